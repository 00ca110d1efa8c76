"""Kernels in C++ for sums over the rows of sparse matrices on CPUs, on all threads, where a compiler is at hand.

All take float32 and compute what the pure forms do; `row_sums` to the bit, on any number of threads.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate.native.library import load

__all__ = ["edge_dots", "reads", "row_maxima", "row_sums"]


def reads(*arrays: Array) -> bool:
    """Returns whether the kernels can be used, and read these arrays: float32 alone."""
    return all(array.dtype == jnp.float32 for array in arrays) and load()


def row_sums(
    row_ptr: Int[Array, " n_plus_1"],
    cols: Int[Array, " nnz"],
    values: Float[Array, "nnz h"],
    x: Float[Array, "m h f"],
    order: Int[Array, " nnz"] | None = None,
) -> Float[Array, "n h f"]:
    """Computes the sum over the entries `e` of each row of `values[e, h] * x[cols[e], h]`.

    Args:
        row_ptr: `[n + 1]` int32.
        cols: `[nnz]` int32.
        values: `[nnz, h]`.
        x: `[m, h, f]`.
        order: `[nnz]` int32, where the values of the entries are; None where they are in row order.
    """
    shape = row_ptr.shape[0] - 1, *x.shape[1:]
    if order is None:
        return _call("row_sums", shape, row_ptr, cols, values, x)
    return _call("ordered_row_sums", shape, row_ptr, cols, order, values, x)


def edge_dots(
    rows: Int[Array, " nnz"], cols: Int[Array, " nnz"], a: Float[Array, "n h f"], b: Float[Array, "m h f"]
) -> Float[Array, "nnz h"]:
    """Computes `<a[rows[e], h], b[cols[e], h]>` for every entry and head."""
    return _call("edge_dots", (rows.shape[0], a.shape[1]), rows, cols, a, b)


def row_maxima(row_ptr: Int[Array, " n_plus_1"], values: Float[Array, "nnz h"]) -> Float[Array, "n h"]:
    """Computes the largest value of each row and head; minus infinity for a row without entries."""
    return _call("row_maxima", (row_ptr.shape[0] - 1, values.shape[1]), row_ptr, values)


def _call(kernel: str, shape: tuple[int, ...], *arguments: Array) -> Array:
    """Calls a kernel; under `vmap` once for each seed."""
    out = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.ffi.ffi_call(f"abkd_jax_{kernel}", out, vmap_method="sequential")(*arguments)
