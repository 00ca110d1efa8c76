"""Sums by a matrix of ones and zeros that is made where it is used: on a TPU instead of small gathers and scatters.

A scatter of two thousand rows takes a TPU as long as a product of two thousand million multiplications.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

__all__ = ["category_sums", "interval_sums"]

LARGEST = 2**24  # entries of such a matrix: with more of them the scatter costs less


def category_sums(
    tables: Sequence[Float[Array, "_ d"]],
    x: Int[Array, "n c"],
    dtype: DTypeLike,
    otherwise: Callable[[tuple[Array, ...], Array], Float[Array, "n d"]],
) -> Float[Array, "n d"]:
    """Computes the sum over the columns of `x` of the rows that they name in their tables.

    Args:
        tables: one per column.
        x: rows of the tables; those past an end are the first or the last.
        dtype: of the sums; a TPU computes them in that of the tables.
        otherwise: `(tables, x) -> sums`, for other platforms than a TPU and where `x` is large.

    Examples:
        >>> import jax.numpy as jnp
        >>> tables, x = [jnp.array([[1.0], [2.0]]), jnp.array([[10.0], [20.0], [30.0]])], jnp.array([[0, 2], [1, 0]])
        >>> gathered = lambda tables, x: tables[0][x[:, 0]] + tables[1][x[:, 1]]
        >>> category_sums(tables, x, jnp.float32, gathered).tolist()
        [[31.0], [12.0]]
    """
    sizes = [table.shape[0] for table in tables]

    def multiplied(tables: tuple[Array, ...], x: Array) -> Array:
        members, begin = jnp.zeros((x.shape[0], sum(sizes)), bool), 0
        for column, size in enumerate(sizes):  # the tables follow each other: no entry is in two of them
            rows = jnp.clip(x[:, column], 0, size - 1) + begin
            members |= rows[:, None] == jnp.arange(sum(sizes), dtype=rows.dtype)[None]
            begin += size
        return _sums(members, jnp.concatenate(tables)).astype(dtype)

    return _chosen(multiplied, otherwise, (x.shape[0], sum(sizes)), tuple(tables), x)


def interval_sums(
    lengths: Int[Array, " g"], x: Float[Array, "n d"], otherwise: Callable[[Array, Array], Float[Array, "g d"]]
) -> Float[Array, "g d"]:
    """Computes the sums over consecutive rows of `x`, as many for each sum as `lengths` says; as `category_sums`.

    Examples:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[1.0], [2.0], [3.0]])
        >>> interval_sums(jnp.array([2, 1]), x, lambda lengths, x: jnp.stack([x[0] + x[1], x[2]])).tolist()
        [[3.0], [3.0]]
    """

    def multiplied(lengths: Array, x: Array) -> Array:
        ends = jnp.cumsum(lengths)
        rows = jnp.arange(x.shape[0], dtype=ends.dtype)[None]
        return _sums((rows >= (ends - lengths)[:, None]) & (rows < ends[:, None]), x)

    return _chosen(multiplied, otherwise, (lengths.shape[0], x.shape[0]), lengths, x)


def _chosen(
    multiplied: Callable[..., Array], otherwise: Callable[..., Array], shape: tuple[Any, Any], *args: Any
) -> Array:
    """Calls one of two functions; sizes of exported programs are unknown, and not compared."""
    if not all(isinstance(size, int) for size in shape) or shape[0] * shape[1] > LARGEST:
        return otherwise(*args)
    return jax.lax.platform_dependent(*args, tpu=multiplied, default=otherwise)


def _sums(members: Bool[Array, "n m"], x: Float[Array, "m d"]) -> Float[Array, "n d"]:
    # Made once, and not again in each of the passes of the product.
    return jnp.matmul(jax.lax.optimization_barrier(members.astype(x.dtype)), x, precision="highest")
