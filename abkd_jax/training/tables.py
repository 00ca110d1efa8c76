"""Learned node embeddings whose rows are spread over devices, with the moments that the optimizer keeps of them.

Each device of the axis `data` holds an equal part of the table and reads minibatches of its own. In a step it is told
which rows the others need, and all are added up where they are needed: all-gather of the rows' numbers, reduce-scatter
of the rows. Their gradients go back by an all-gather. What is exchanged is as large as the minibatches of all devices;
neither the table nor its gradient, which is as large, ever is.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jraph
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from abkd_jax.graph import node_entry
from abkd_jax.training.sharding import axis_size, put, take
from abkd_jax.types import Batch, InputError, Pytree

__all__ = ["fetch_rows", "on_shards", "put_tables", "sum_over_devices", "table_specs", "take_tables", "unread", "weigh"]

AXIS = "data"
TABLE = ("input", "embedding")  # of `models.RGCN`, where models and optimizers keep their parameters
HOLDERS = ("params", "student", "best_params")


def fetch_rows(block: Float[Array, "r d"], rows: Int[Array, " n"]) -> Float[Array, "n d"]:
    """Looks up rows of a table that is spread over the axis `data`, inside a `shard_map`.

    Args:
        block: rows of the table on this device; those of all devices follow each other.
        rows: of the whole table; below 0 gives zeros.
    """
    wanted, first = jax.lax.all_gather(rows, AXIS, tiled=True), jax.lax.axis_index(AXIS) * block.shape[0]
    here = (wanted >= first) & (wanted < first + block.shape[0])  # never of a number below 0
    found = jnp.where(here[:, None], block[jnp.where(here, wanted - first, 0)], jnp.zeros((), block.dtype))
    return jax.lax.psum_scatter(found, AXIS, tiled=True)


class _OnShards(NamedTuple):
    """A model whose table is spread over devices: it is given the rows that its graph reads."""

    module: Any

    def apply(self, variables: Pytree, graph: jraph.GraphsTuple, **options: Any) -> Any:
        """Applies the model inside a `shard_map` over the axis `data`.

        Raises:
            InputError: a graph whose nodes name no rows, of a model with parameters of the table's name.
        """
        params, rows = variables.get("params"), node_entry(graph, "embedding")
        if not isinstance(params, dict) or TABLE[1] not in params.get(TABLE[0], {}):
            return self.module.apply(variables, graph, **options)
        if rows is None:
            raise InputError(
                f"parameters {'/'.join(TABLE)}: on several devices they are spread by row, for nodes that name rows "
                "of theirs; expected another name in a model of a graph whose nodes do not"
            )
        nodes: Any = graph.nodes
        embedded = fetch_rows(params[TABLE[0]][TABLE[1]], rows)
        return self.module.apply(variables, graph._replace(nodes={**nodes, "embedded": embedded}), **options)


def on_shards(module: Any, mesh: Mesh | None) -> Any:
    """Returns a model for steps on a mesh, `apply` alone; the model itself where the axis `data` has one device."""
    return module if axis_size(mesh, AXIS) == 1 else _OnShards(module)


def table_specs(tree: Pytree) -> Pytree:
    """Returns how a state, a gradient or variables are spread over a mesh: tables by row, all else everywhere."""
    return _map_tables(tree, lambda _: PartitionSpec(AXIS), lambda _: PartitionSpec())


def sum_over_devices(tree: Pytree) -> Pytree:
    """Sums over the axis `data`, inside a `shard_map`; gradients of tables are summed where they are."""
    return _map_tables(tree, lambda leaf: leaf, lambda leaf: jax.lax.psum(leaf, AXIS))


def put_tables(tree: Pytree, mesh: Mesh) -> Pytree:
    """Puts arrays on a mesh as `sharding.put`, tables by row, with rows of zeros up to a multiple of the devices."""
    devices = axis_size(mesh, AXIS)

    def spread(leaf: Array) -> Array:
        return put(jnp.pad(leaf, ((0, -leaf.shape[0] % devices), (0, 0))), mesh, AXIS)

    return put(tree, mesh) if devices == 1 else _map_tables(tree, spread, lambda leaf: put(leaf, mesh))


def take_tables(tree: Pytree, mesh: Mesh | None, params: Pytree) -> Pytree:
    """Returns arrays of a mesh as `sharding.take`, tables without the rows that `params`, as of one device, lacks."""
    whole, table = take(tree, mesh), params.get(TABLE[0], {}).get(TABLE[1])
    return whole if table is None else _map_tables(whole, lambda leaf: leaf[: table.shape[0]], lambda leaf: leaf)


def unread(batch: Batch, weight: Float[Array, ""]) -> Batch:
    """Returns a batch that reads no rows of a table where its weight is 0, so that it gives them no gradient."""
    nodes: Any = batch.graph.nodes
    if not isinstance(nodes, dict) or TABLE[1] not in nodes:
        return batch
    rows = jnp.where(weight > 0, nodes[TABLE[1]], -1)
    return batch._replace(graph=batch.graph._replace(nodes={**nodes, TABLE[1]: rows}))


def weigh(tree: Pytree, weight: Float[Array, ""]) -> Pytree:
    """Multiplies a gradient with the weight of its batch, but for tables: theirs is of the batches of all devices.

    What has no weight reads no rows (`unread`).
    """
    return _map_tables(tree, lambda leaf: leaf, lambda leaf: leaf * weight.astype(leaf.dtype))


def _map_tables(tree: Pytree, of_table: Any, of_other: Any) -> Pytree:
    def of(path: tuple[Any, ...], leaf: Any) -> Any:
        names = tuple(getattr(entry, "key", getattr(entry, "name", None)) for entry in path[-3:])
        return of_table(leaf) if names[1:] == TABLE and names[0] in HOLDERS else of_other(leaf)

    return jax.tree_util.tree_map_with_path(of, tree)
