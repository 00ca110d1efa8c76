"""Sums over the rows of a sparse matrix on an NVIDIA GPU: a kernel in Pallas, lowered by Triton, without atomics.

A warp sums 128 columns of a row, eight entries at a time, in registers, and writes them once. Windows of 256 entries
that lie in one row are summed before, by warps of their own: a hub takes one row per window. All sums have a fixed
order, so that a program gives the same bits again. (XLA's sorted scatter sums runs of 8 or 16 entries in registers too,
and adds these to their rows by atomics, in any order.) Compiled for an H100; run by Pallas's interpreter alone.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from abkd_jax.aggregate.entries import RowEntries
from abkd_jax.aggregate.pallas import traced_alone_for

__all__ = ["reads", "warp_row_sums"]

COLUMNS = 128  # of a warp: four for each thread, which one instruction loads
ENTRIES = 8  # in flight per warp: 61 registers a thread
WINDOW = 256  # entries, a multiple of those in flight


def reads(x: Float[Array, "m h f"]) -> bool:
    """Tells whether the kernel runs on `x`: float32, in a program for one GPU (or inside of `shard_map`)."""
    return x.dtype == jnp.float32 and traced_alone_for("gpu")


def warp_row_sums(
    matrix: RowEntries, values: Float[Array, "nnz h"] | None, x: Float[Array, "m h f"]
) -> Float[Array, "n h f"]:
    """Computes the sum over the entries `e` of each row of `values[e, h] * x[cols[e], h]`.

    Args:
        matrix: positions of the entries.
        values: `[nnz, h]`, in the order that the matrix names; None where all are 1.
        x: `[m, h, f]`, see `reads`.
    """
    heads, width = x.shape[1:]
    flat, rows = x.reshape(x.shape[0], heads * width), matrix.row_ptr.shape[0] - 1
    entries = matrix.cols, values, None if values is None else matrix.order
    windows, sums = matrix.cols.shape[0] // WINDOW, None
    if windows:
        sums = _run(_window_sums, windows, width, matrix.rows, entries, flat)
    return _run(_row_sums, rows, width, matrix.row_ptr, sums, entries, flat).reshape(rows, heads, width)


def _run(kernel: Callable[..., None], rows: int, width: int, *arrays: Any) -> Float[Array, "rows hf"]:
    """Runs one warp for each row of the result and each 128 of its columns, those of the last argument."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    columns = arrays[-1].shape[1]
    block = min(pl.next_power_of_2(columns), COLUMNS)
    whole = pl.BlockSpec(memory_space=pl.ANY)
    return pl.pallas_call(
        functools.partial(kernel, width, block),
        out_shape=jax.ShapeDtypeStruct((rows, columns), arrays[-1].dtype),
        grid=(rows, pl.cdiv(columns, block)),
        in_specs=jax.tree.map(lambda _: whole, arrays),
        out_specs=whole,
        compiler_params=triton.CompilerParams(num_warps=1, num_stages=1),
        name=kernel.__name__.strip("_"),
    )(*arrays)


def _window_sums(width: int, block: int, rows: Any, entries: Any, x: Any, out: Any) -> None:
    """Sums a window of entries where they are all of one row, else none."""
    from jax.experimental import pallas as pl

    begin = pl.program_id(0) * WINDOW
    end = jnp.where(rows[begin] == rows[begin + WINDOW - 1], begin + WINDOW, begin)
    _store(out, _span(width, block, entries, x, begin, end))


def _row_sums(width: int, block: int, row_ptr: Any, windows: Any, entries: Any, x: Any, out: Any) -> None:
    """Sums a row: the windows inside of it, and the entries before and after them."""
    from jax.experimental import pallas as pl

    row = pl.program_id(0)
    begin, end = row_ptr[row], row_ptr[row + 1]
    span = functools.partial(_span, width, block)
    if windows is None:
        return _store(out, span(entries, x, begin, end))
    first, last = pl.cdiv(begin, WINDOW), end // WINDOW
    cut = first < last
    total = span(entries, x, begin, jnp.where(cut, first * WINDOW, end))
    total += span(None, windows, first, last)
    _store(out, total + span(entries, x, jnp.where(cut, last * WINDOW, end), end))


def _columns(block: int) -> Array:
    from jax.experimental import pallas as pl

    return pl.program_id(1) * block + jnp.arange(block)


def _store(out: Any, total: Float[Array, " block"]) -> None:
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    columns = _columns(total.shape[0])
    triton.store(out.at[pl.program_id(0), columns], total, mask=columns < out.shape[1])


def _span(width: int, block: int, entries: Any, x: Any, begin: Array, end: Array) -> Float[Array, " block"]:
    """Sums the entries from `begin` to `end`; with None in their place, these rows of `x` themselves."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    columns = _columns(block)[None, :]
    inside, several = columns < x.shape[1], max(ENTRIES, COLUMNS // block)
    cols, values, order = entries or (None, None, None)

    def add(turn: Array, total: Array) -> Array:
        at = begin + turn * several + jnp.arange(several)
        live = at < end
        rows = at if cols is None else triton.load(cols.at[at], mask=live, other=0)
        sent = triton.load(x.at[rows[:, None], columns], mask=live[:, None] & inside, other=0.0)
        if values is not None:
            at = at if order is None else triton.load(order.at[at], mask=live, other=0)
            if values.shape[1] == 1:  # one number for all columns
                sent *= triton.load(values.at[at, 0], mask=live, other=0.0)[:, None]
            else:
                sent *= triton.load(values.at[at[:, None], columns // width], mask=live[:, None] & inside, other=0.0)
        return total + sent.sum(axis=0)

    return jax.lax.fori_loop(0, pl.cdiv(end - begin, several), add, jnp.zeros(block, x.dtype))
