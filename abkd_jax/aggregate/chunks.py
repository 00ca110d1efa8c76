"""Sums over large arrays a chunk at a time, so that messages stay in a core's cache."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Shaped

__all__ = ["CHUNK_BYTES", "chunk_size", "in_chunks"]

CHUNK_BYTES = 2**19  # of messages at a time on a CPU: they stay in a core's cache, and no fresh pages are requested


def chunk_size(x: Shaped[Array, "n *f"]) -> int:
    """Returns the number of rows like those of `x` that fill a chunk."""
    return max(CHUNK_BYTES // (math.prod(x.shape[1:]) * x.dtype.itemsize or 1), 1)


def in_chunks(x: Shaped[Array, "e *f"], size: int, fill: int = 0) -> Shaped[Array, "chunks {size} *f"]:
    """Splits the rows of an array into chunks of equal size; the last chunk is filled up with `fill`.

    Args:
        x: `[e, ...]`.
        size: rows per chunk.
        fill: value of the padding.

    Examples:
        >>> import jax.numpy as jnp
        >>> in_chunks(jnp.arange(5), 2, fill=-1).tolist()
        [[0, 1], [2, 3], [4, -1]]
    """
    chunks = -(-x.shape[0] // size)
    padding = [(0, chunks * size - x.shape[0])] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, padding, constant_values=fill).reshape(chunks, size, *x.shape[1:])
