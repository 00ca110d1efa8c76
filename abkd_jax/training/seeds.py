"""Seeds side by side in one program: vmap on one device, and shards of them on a mesh."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from abkd_jax.training.sharding import Fit, axis_size, check_seeds_axis, in_blocks, on_mesh, put, take
from abkd_jax.types import Batch, Pytree

__all__ = ["over_seeds", "put_batch", "put_seeds", "vmap_seeds"]

WIDE_KERNEL = 32  # units in and out


def vmap_seeds(
    function: Callable[[Any, Batch], Any], batch_axes: Batch | None, params: Pytree, mesh: Mesh | None = None
) -> Callable[[Any, Batch], Any]:
    """Maps `function(state, batch)` over seeds, in one program: by `vmap`, or on a CPU one after the other if wide.

    Small students gain several-fold from `vmap`. Products of wide kernels keep all cores of a CPU busy by themselves,
    and XLA's batched products take longer there than as many single ones. Same numbers to float tolerance.

    Args:
        function: of one seed.
        batch_axes: as for `fit`.
        params: the models' parameters; their shapes decide.
        mesh: its axis `seeds` shares the seeds, whose number it divides: each device maps over its own. Where the axis
            `nodes` shares the graph too, sums over its blocks are programs of one device (`aggregate.partitioned`), and
            XLA spreads all else over both axes.
    """
    if axis_size(mesh, "seeds") > 1:
        if in_blocks(mesh):
            return jax.vmap(function, in_axes=(0, batch_axes), spmd_axis_name="seeds")
        own = vmap_seeds(function, batch_axes, params)
        shared, specs = PartitionSpec("seeds"), _seed_specs(batch_axes)
        return jax.shard_map(own, mesh=mesh, in_specs=(shared, specs), out_specs=shared, check_vma=False)
    side_by_side = jax.vmap(function, in_axes=(0, batch_axes))
    wide = any(leaf.ndim > 1 and min(leaf.shape[-2:]) >= WIDE_KERNEL for leaf in jax.tree.leaves(params))
    if not wide:
        return side_by_side

    def in_turn(states: Any, batch: Batch) -> Any:
        def one(seed: Array) -> Any:
            def pick(axis: int | None, part: Any) -> Any:
                return part if axis is None else jax.tree.map(lambda leaf: leaf[seed], part)

            own = batch if batch_axes is None else jax.tree.map(pick, batch_axes, batch, is_leaf=lambda a: a is None)
            return function(jax.tree.map(lambda leaf: leaf[seed], states), own)

        return jax.lax.map(one, jnp.arange(jax.tree.leaves(states)[0].shape[0]))

    return lambda states, batch: jax.lax.platform_dependent(states, batch, cpu=in_turn, default=side_by_side)


def put_seeds(tree: Pytree, mesh: Mesh) -> Pytree:
    """Puts arrays `[seeds, ...]` on a mesh; copies of the last seed fill up to a multiple of its axis `seeds`.

    Raises:
        InputError: the mesh has no axis `seeds`, or one that is not `Auto`.

    Examples:
        >>> from abkd_jax.training import make_mesh
        >>> put_seeds({"w": jnp.zeros((3, 2))}, make_mesh(["seeds=1"]))["w"].shape
        (3, 2)
    """
    check_seeds_axis(mesh)
    return put(_filled(tree, mesh), mesh, "seeds")


def put_batch(batch: Batch, batch_axes: Batch | None, mesh: Mesh) -> Batch:
    """Puts a batch of a fit on a mesh: what differs between seeds with them, as `put_seeds`, all else everywhere.

    With an axis `nodes` the batch is on the mesh already (`graph.place`), in blocks of nodes: there it stays, and only
    what differs between seeds is moved along the axis `seeds`.
    """

    def spread(filled: Array, leaf: Array) -> Array:
        rows: Any = leaf.sharding
        return put(filled, mesh, "seeds", *rows.spec[1:])

    def put_part(axis: int | None, part: Pytree) -> Pytree:
        if axis is None:
            return part if in_blocks(mesh) else put(part, mesh)
        return jax.tree.map(spread, _filled(part, mesh), part) if in_blocks(mesh) else put_seeds(part, mesh)

    if batch_axes is None:
        return put_part(None, batch)
    return jax.tree.map(put_part, batch_axes, batch, is_leaf=lambda axis: axis is None)


def _filled(tree: Pytree, mesh: Mesh) -> Pytree:
    def fill(leaf: Array) -> Array:
        missing = -leaf.shape[0] % axis_size(mesh, "seeds")
        return jnp.concatenate([leaf, *[leaf[-1:]] * missing]) if missing else leaf

    return jax.tree.map(fill, tree)


def over_seeds(fit: Fit, seeds: int, mesh: Mesh) -> Fit:
    """Returns a fit of stacked states on a mesh that is resumed and saved as on one device; see `on_mesh`.

    Args:
        fit: `training.fit` on states and a batch that lie on the mesh.
        seeds: number of seeds, without those that fill up.
        mesh: shares them.
    """

    def put_run(state: Pytree, history: dict[str, np.ndarray]) -> tuple[Pytree, dict[str, np.ndarray]]:
        missing = -seeds % axis_size(mesh, "seeds")
        filled = {
            name: np.concatenate([values, *[values[:, -1:]] * missing], axis=1)
            for name, values in history.items()
            if values.ndim > 1
        }
        return put_seeds(state, mesh), history | filled

    def take_run(state: Pytree, history: dict[str, np.ndarray]) -> tuple[Pytree, dict[str, np.ndarray]]:
        own = {name: values[:, :seeds] for name, values in history.items() if values.ndim > 1}
        return jax.tree.map(lambda leaf: leaf[:seeds], take(state, mesh)), history | own

    return on_mesh(fit, put_run, take_run)


def _seed_specs(batch_axes: Batch | None) -> Any:
    """Returns how a batch is spread over the axis `seeds`: what differs between seeds with them."""
    whole, shared = PartitionSpec(), PartitionSpec("seeds")
    if batch_axes is None:
        return whole
    return jax.tree.map(lambda axis: whole if axis is None else shared, batch_axes, is_leaf=lambda axis: axis is None)
