"""Arithmetic for 16-bit types: the type of sums, the mean over a mask, and the moments of an optimizer.

float16 ends at 65,504 and counts to 2,048, bfloat16 counts to 256: sums, counts and what is divided by them run in
float32, and only the result is rounded to the type of the input.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Shaped

from abkd_jax.types import InputError, Pytree

__all__ = ["accumulation_dtype", "by_column", "floats", "in_float32", "masked_mean", "widened"]


def accumulation_dtype(*dtypes: DTypeLike) -> jnp.dtype:
    """Returns the type for sums of numbers of these types: float32, or the widest float if one is wider.

    Examples:
        >>> accumulation_dtype("bfloat16", "int32"), accumulation_dtype("float16", "float64")
        (dtype('float32'), dtype('float64'))
    """
    wide = (jnp.dtype(dtype) for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating))
    return max((jnp.dtype(jnp.float32), *wide), key=lambda dtype: dtype.itemsize)


def widened(x: Any) -> Shaped[Array, "..."]:
    """Converts 16-bit floats to float32; returns other numbers as they are."""
    x = jnp.asarray(x)
    return x.astype(accumulation_dtype(x.dtype)) if jnp.issubdtype(x.dtype, jnp.floating) else x


def floats(x: Any) -> Float[Array, "..."]:
    """Converts integers and booleans to float32; returns floats as they are."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)


def by_column(values: Float[Array, "n c"], scale: Any) -> Float[Array, "n c"]:
    """Divides the columns of `values` `[n, c]` by `scale` `[c]`, in the type of the values.

    Raises:
        InputError: `scale` is not one number per column.

    Examples:
        >>> by_column(jnp.array([[3.0, 8.0]]), [1.0, 4.0]).tolist()
        [[3.0, 2.0]]
    """
    each = jnp.asarray(scale, values.dtype)
    if each.shape != values.shape[1:]:
        raise InputError(f"the scale is {each.shape}, expected {values.shape[1:]}, one number per output")
    return values / each[None]


def masked_mean(values: Float[Array, "_"], mask: Bool[Array, "_"]) -> Float[Array, ""]:
    """Computes the mean of `values` `[n]` where `mask` `[n]` holds; 0 for an empty mask.

    Values outside the mask may be anything, NaN included.

    Raises:
        InputError: the two differ in length.

    Examples:
        >>> import jax.numpy as jnp
        >>> float(masked_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])))
        2.0
    """
    if values.shape != mask.shape:
        raise InputError(f"values {values.shape} and mask {mask.shape} differ, expected one shape")
    wide = widened(values)
    mean = jnp.sum(jnp.where(mask, wide, 0.0)) / jnp.maximum(jnp.sum(mask), 1).astype(wide.dtype)
    return mean.astype(values.dtype)


def in_float32(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Wraps an optimizer: gradients and moments are float32 or wider, updates have the type of the gradients.

    In float16 the squares of small gradients and Adam's epsilon are 0, and its step is 0 / 0.
    """

    def init(params: Pytree) -> optax.OptState:
        return optimizer.init(jax.tree.map(widened, params))

    def update(updates: Pytree, state: optax.OptState, params: Pytree = None) -> tuple[Pytree, optax.OptState]:
        wide, state = optimizer.update(jax.tree.map(widened, updates), state, jax.tree.map(widened, params))
        return jax.tree.map(lambda new, given: new.astype(given.dtype), wide, updates), state

    return optax.GradientTransformation(init, update)
