"""vmap over seeds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from abkd_jax.types import Batch, Pytree

__all__ = ["vmap_seeds"]

WIDE_KERNEL = 32  # units in and out


def vmap_seeds(
    function: Callable[[Any, Batch], Any], batch_axes: Batch | None, params: Pytree
) -> Callable[[Any, Batch], Any]:
    """Maps `function(state, batch)` over seeds, in one program: by `vmap`, or on a CPU one after the other if wide.

    Small students gain several-fold from `vmap`. Products of wide kernels keep all cores of a CPU busy by themselves,
    and XLA's batched products take longer there than as many single ones. Same numbers to float tolerance.

    Args:
        function: of one seed.
        batch_axes: as for `fit`.
        params: the models' parameters; their shapes decide.
    """
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
