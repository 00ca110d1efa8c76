"""Memory layout and gathers of arrays with few attention heads."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float, Int, Shaped

__all__ = ["LANES", "heads_first", "join_heads", "rows_at", "split_heads"]

SMALL = 2**27  # bytes of an array in whole tiles, which a TPU has room for
MANY = 32  # more columns are features
LANES = 128  # numbers in a row of a tile: narrower rows cost as much
NARROW = 8  # columns of a row that is gathered as one


def heads_first(x: Shaped[Array, "n h *f"]) -> Shaped[Array, "n h *f"]:
    """Returns `x`, which a TPU then keeps head by head where it is large; other platforms keep it as they like.

    A TPU pads the last axis of an array in memory to 128 numbers and the one before to 8: three attention weights per
    edge would take 43 times their size, and three heads of a node 2.7 times.
    """
    heads, rest = x.shape[1], tuple(range(2, x.ndim))
    if heads == 1 or (x.ndim == 2 and heads > MANY) or _padded_bytes(x) <= SMALL:
        return x

    def constrained(x: Array) -> Any:
        return with_layout_constraint(x, Layout(major_to_minor=(1, 0, *rest)))

    return jax.lax.platform_dependent(x, tpu=constrained, default=lambda x: x)


# Of a large array a TPU keeps head by head what has few heads: reshaped, each of its columns would be moved by code of
# its own. Small ones stay rows of all heads, between which XLA drops the reshapes.


def split_heads(x: Float[Array, "n _"], heads: int) -> Float[Array, "n {heads} _"]:
    """Returns `[n, heads, d]` of `[n, heads * d]`."""

    def whole(x: Array) -> Array:
        return x.reshape(x.shape[0], heads, -1)

    def columns(x: Array) -> Array:
        return jnp.stack(jnp.split(x, heads, axis=1), axis=1)

    return whole(x) if _is_small(x) else jax.lax.platform_dependent(x, tpu=columns, default=whole)


def join_heads(x: Float[Array, "n h d"]) -> Float[Array, "n _"]:
    """Returns `[n, heads * d]` of `[n, heads, d]`."""

    def whole(x: Array) -> Array:
        return x.reshape(x.shape[0], x.shape[1] * x.shape[2])

    def columns(x: Array) -> Array:
        return jnp.concatenate([x[:, head] for head in range(x.shape[1])], axis=1)

    return whole(x) if _is_small(x) else jax.lax.platform_dependent(x, tpu=columns, default=whole)


def _is_small(x: Any) -> bool:
    """Tells whether an array is; of exported programs the size is unknown, and they are for any."""
    return not isinstance(x.size, int) or x.size * x.dtype.itemsize <= SMALL


def rows_at(x: Shaped[Array, "n h"], ids: Int[Array, " e"]) -> Shaped[Array, "e h"]:
    """Gathers rows; on a TPU a single number, where they are not many, as one of a few, in a fifth of the time."""
    if x.shape[1] > 1 or 4 * LANES * ids.shape[0] > SMALL:
        return heads_first(x[ids])
    return jax.lax.platform_dependent(x, ids, tpu=_in_wide_rows, default=lambda x, ids: x[ids])


def _in_wide_rows(x: Array, ids: Array) -> Array:
    # The barriers keep XLA from gathering the one column that is used.
    wide = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), (0, NARROW - 1))))
    return jax.lax.optimization_barrier(wide[ids])[:, :1]


def _padded_bytes(x: Array) -> int:
    *major, last = x.shape
    major[-1] += -major[-1] % 8
    return math.prod(major) * (last + -last % LANES) * x.dtype.itemsize
