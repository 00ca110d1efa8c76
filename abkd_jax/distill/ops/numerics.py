"""Arithmetic that stays finite and exact enough: wider types, masked rows, products, roots and norms.

In 16 bits a square overflows from 256 on, a count is inexact from 256 (bfloat16) or 2,048 (float16) on, and 1e-8 is
zero. Outputs of a model therefore go through `widen` or `masked_rows` before anything is computed from them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.distill.ops.checks import require_rows
from abkd_jax.graph.precision import accumulation_dtype, widened
from abkd_jax.types import Mask, Pytree

__all__ = [
    "masked_rows",
    "narrow",
    "narrow_like",
    "product",
    "safe_norm",
    "safe_sqrt",
    "sqrt_or_one",
    "unit_rows",
    "widen",
]

_NORM_FLOOR = 1e-12  # of torch.nn.functional.normalize


def widen(tree: Pytree) -> Pytree:
    """Casts the floats of a tree to float32 or wider, with gradients that stay finite.

    Forwards it is `precision.widened`. Gradients come back in the type of each array, finite where the float32 gradient
    is: what a 16-bit type cannot hold becomes its largest number of that sign.

    Args:
        tree: arrays of any shapes; integers stay as they are.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.array([300.0], jnp.float16)
        >>> (widen(x) ** 2).tolist()
        [90000.0]
        >>> jax.grad(lambda x: 1e9 * widen(x)[0])(x).tolist()
        [65504.0]
    """

    def is_short(x: Array | np.ndarray) -> bool:
        return jnp.issubdtype(x.dtype, jnp.floating) and accumulation_dtype(x.dtype) != x.dtype

    return jax.tree.map(lambda x: _widen(x) if is_short(x) else x, tree)


@jax.custom_vjp
def _widen(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return widened(x)


_widen.defvjp(lambda x: (_widen(x), jnp.zeros(0, x.dtype)), lambda like, slope: (narrow(slope, like.dtype),))


def narrow(x: Float[Array, "*shape"], dtype: DTypeLike) -> Float[Array, "*shape"]:
    """Casts an array to a type of fewer bits, finite numbers to finite ones; infinities and NaN stay.

    Args:
        x: an array.
        dtype: the type that comes out; one of no fewer bits is a plain cast.

    Examples:
        >>> import jax.numpy as jnp
        >>> narrow(jnp.array([1e9, -jnp.inf]), jnp.float16).tolist()
        [65504.0, -inf]
    """
    if jnp.finfo(dtype).bits >= jnp.finfo(x.dtype).bits:
        return x.astype(dtype)
    largest = float(jnp.finfo(dtype).max)
    return jnp.where(jnp.isfinite(x), jnp.clip(x, -largest, largest), x).astype(dtype)


def narrow_like(like: Pytree, tree: Pytree) -> Pytree:
    """Casts every array of a tree to the type of its partner, as `narrow` does.

    Args:
        like: arrays of the types that come out.
        tree: a tree of the same structure.
    """
    return jax.tree.map(lambda x, partner: narrow(x, partner.dtype), tree, like)


def masked_rows(x: Float[Array, "n d"], mask: Mask, noun: str = "features") -> Float[Array, "n d"]:
    """Returns the rows where the mask holds, in float32 or wider, and zeros for all other rows.

    The first thing that a loss does with logits or hidden layers: a row outside the mask may hold anything, and masking
    after a function of it is too late, since 0 * NaN in the backward pass is NaN.

    Args:
        x: `[n, d]`; rows outside the mask may hold anything.
        mask: `[n]`.
        noun: what `x` is, for the message.

    Raises:
        InputError: the mask is not boolean, or has another number of entries than `x` has rows.

    Examples:
        >>> import jax.numpy as jnp
        >>> print(masked_rows(jnp.array([[1.0, 2.0], [jnp.nan, 0.0]]), jnp.array([True, False])))
        [[1. 2.]
         [0. 0.]]
    """
    require_rows(noun, x.shape[0], mask)
    return jnp.where(mask[:, None], widen(x), 0.0)


def product(a: Float[Array, "i j"], b: Float[Array, "j k"]) -> Float[Array, "i k"]:
    """Computes the matrix product in full float32 precision on every backend.

    Args:
        a: `[i, j]`.
        b: `[j, k]`.
    """
    return jnp.matmul(a, b, precision="highest")


def safe_sqrt(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes the square root; where `x` is not above 0 the value and the gradient are 0, and not NaN.

    Args:
        x: an array of any shape.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> print(jax.grad(lambda x: safe_sqrt(x).sum())(jnp.array([4.0, 0.0])))
        [0.25 0.  ]
    """
    # The inner choice keeps the infinite slope at 0 out of the backward pass, where it would meet a zero.
    positive = x > 0.0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def sqrt_or_one(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes a square root to divide by: 1 with a zero gradient where `x` is not above 0.

    Args:
        x: an array of any shape.
    """
    return jnp.sqrt(jnp.where(x > 0.0, x, 1.0))


def safe_norm(x: Float[Array, "*rows d"]) -> Float[Array, "*rows"]:
    """Computes the Euclidean norm over the last axis, whose gradient at a zero vector is 0 and not NaN.

    Args:
        x: `[..., d]`.
    """
    return safe_sqrt(jnp.sum(x**2, axis=-1))


def unit_rows(x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """Scales vectors to Euclidean norm 1; one no longer than 1e-12 becomes zero and has no gradient.

    Dividing such a vector by the floor instead, as torch does, would give gradients of `1e12`.

    Args:
        x: `[..., d]`.

    Examples:
        >>> import jax.numpy as jnp
        >>> print(unit_rows(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
        [[0.6 0.8]
         [0.  0. ]]
    """
    norm = safe_norm(x)[..., None]
    long_enough = norm > _NORM_FLOOR
    return jnp.where(long_enough, x / jnp.where(long_enough, norm, 1.0), 0.0)
