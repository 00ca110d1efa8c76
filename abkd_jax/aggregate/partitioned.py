"""Sums over a graph whose blocks of receivers are on different devices.

Every device fetches the senders of its own edges, by an all-to-all of what other blocks need (or an all-gather where
that is less), and then runs the same function on its block. In the backward pass the block's transposed product comes
first, and the gradients of fetched rows go back the same way and are added up where they came from. All edges of a
receiver are in one block: softmax, means and maxima need no other exchange. Everything else of a model, batch norm and
losses included, is left to XLA's partitioner.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import jraph
from jax.sharding import PartitionSpec
from jaxtyping import Array, Shaped

from abkd_jax.aggregate.backends import row_sums
from abkd_jax.aggregate.entries import by_column
from abkd_jax.graph import PartitionedEdges, graphs_tuple, partition_of
from abkd_jax.graph.input_checks import check_rows
from abkd_jax.graph.layout import CSR, PreparedEdges
from abkd_jax.graph.partitioned import NODES_AXIS

__all__ = ["by_blocks"]

P = ParamSpec("P")
R = TypeVar("R")


def by_blocks(
    *, sent: str = "", received: str = "", edges: str = "", gives: Literal["nodes", "edges"] = "nodes"
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a function of a graph run block by block where the graph is partitioned; others run as they are.

    Args:
        sent: names of its arguments with one row per node that edges read, separated by spaces.
        received: of those with one row per node that edges enter.
        edges: of those with one row per edge; all other arguments are passed on as they are.
        gives: what the rows of the result stand for.
    """
    kinds = dict.fromkeys(sent.split(), "sent") | dict.fromkeys(received.split(), "received")
    kinds |= dict.fromkeys(edges.split(), "edge")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments
            graph: Any = given.pop("graph")
            held = partition_of(graph)
            if held is None:
                return function(*args, **kwargs)
            arrays = {name: given.pop(name) for name in kinds if name in given}
            for name, array in arrays.items():
                noun, size = ("edge", held.info.edges) if kinds[name] == "edge" else ("node", held.info.nodes)
                check_rows(noun, array, size)

            def of_block(held: PartitionedEdges, arrays: dict[str, Any]) -> Any:
                block = jax.tree.map(lambda leaf: leaf[0], held.blocks)._replace(features=held.features)
                halo = jax.tree.map(lambda leaf: leaf[0], held.halo)
                rows = held.info.nodes // held.info.parts
                place = {"sent": functools.partial(_fetched, halo), "received": _with_spare, "edge": lambda a: a}
                local = {name: jax.tree.map(place[kinds[name]], array) for name, array in arrays.items()}
                out = function(graph=_as_graph(block), **local, **given)  # type: ignore[call-arg]
                return out[:rows] if gives == "nodes" else out

            spread = PartitionSpec(NODES_AXIS)
            sharded = jax.shard_map(
                of_block, mesh=held.info.mesh, in_specs=(spread, spread), out_specs=spread, check_vma=False
            )
            return sharded(held, arrays)

        return run

    return decorate


def _as_graph(block: PreparedEdges) -> jraph.GraphsTuple:
    """Returns a block as a graph of its own, whose first nodes alone receive."""
    sizes = jnp.array([block.info.nodes], jnp.int32), jnp.array([block.info.edges], jnp.int32)
    return graphs_tuple(
        nodes=None,
        edges=block,
        senders=block.pattern.cols,
        receivers=block.pattern.rows,
        n_node=sizes[0],
        n_edge=sizes[1],
    )


def _fetched(halo: CSR | None, own: Shaped[Array, "r ..."]) -> Shaped[Array, "m ..."]:
    """Returns the rows of all nodes that a block numbers (`PartitionedEdges`), from those of its own."""
    spare = _with_spare(own)
    if halo is None:
        others = jax.lax.all_gather(own, NODES_AXIS, tiled=True)
    else:
        sent = _needed_rows(halo, spare.reshape(spare.shape[0], -1))
        others = jax.lax.all_to_all(sent, NODES_AXIS, 0, 0, tiled=True).reshape(-1, *own.shape[1:])
    return jnp.concatenate([spare, others])


def _with_spare(own: Shaped[Array, "r ..."]) -> Shaped[Array, "r_plus_1 ..."]:
    """Appends the row of the node that padding edges are at."""
    return jnp.concatenate([own, jnp.zeros((1, *own.shape[1:]), own.dtype)])


@jax.custom_vjp
def _needed_rows(halo: CSR, x: Array) -> Array:
    """Gathers the rows that other blocks need; its gradient is a sorted sum, where plain JAX would scatter."""
    return x[halo.cols]


def _summed(halo: CSR, cotangent: Array) -> tuple[None, Array]:
    places = by_column(halo)._replace(cols=halo.order_t)
    return None, row_sums(places, None, cotangent[:, None], "auto")[:, 0]


_needed_rows.defvjp(lambda halo, x: (_needed_rows(halo, x), halo), _summed)
