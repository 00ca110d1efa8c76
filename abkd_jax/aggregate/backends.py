"""SpMM, the product of a sparse matrix with dense features, in four forms, and the choice among them.

    out[i, h] = sum over the entries e of row i of values[e, h] * x[cols[e], h]

- `"csr"`: row by row, by this package's kernels or XLA's own; nothing of size `[entries, f]` is built. The choice for
  CPUs; on a GPU a kernel without atomics (`pallas_gpu`), which was compiled and never run there.
- `"bucketed"`: rows in slots (`graph.slots`), one gather of rows per group, no scatter; the choice for TPUs.
- `"segment"`: a sorted `segment_sum`; any platform, and the choice for GPUs and for TPUs without slots.
- `"dense"`: a dense matrix product where the weights are constants (`constants`), elsewhere as `"auto"`.
- `"auto"`: by the platform that the program is compiled for.

Sums of 16-bit numbers accumulate in float32.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCSR
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate import native, pallas_gpu
from abkd_jax.aggregate.chunks import chunk_size, in_chunks
from abkd_jax.aggregate.entries import RowEntries, in_row_order, one_by_one
from abkd_jax.aggregate.heads import LANES
from abkd_jax.aggregate.slots import slot_maxima, slot_sums, slots_of, slotted_values
from abkd_jax.graph.layout import BACKENDS, Backend
from abkd_jax.graph.precision import accumulation_dtype, widened
from abkd_jax.types import InputError

__all__ = [
    "gather_rows",
    "row_maxima",
    "row_sums",
    "segment_sums",
]

NARROW_HEAD = 16  # units; the native product of narrower heads costs more than their messages


def row_sums(
    matrix: RowEntries, values: Float[Array, "nnz h"] | None, x: Float[Array, "m h f"], backend: Backend
) -> Float[Array, "n h f"]:
    """Computes the SpMM at the head of this file, for `h` heads.

    Under `vmap`, seeds become more features where they share the values, and more heads where they do not.

    Args:
        matrix: positions of the entries of an `[n, m]` matrix.
        values: `[nnz, h]`, in the order that the matrix names (`RowEntries.order`); None where all are 1.
        x: `[m, h, f]`.
        backend: the form of the product.

    Returns:
        `[n, h, f]` in the type of `x`; float32 or wider inside.

    Raises:
        InputError: the backend is unknown, or `"bucketed"` without slots.

    Examples:
        >>> import jax.numpy as jnp
        >>> matrix = RowEntries(jnp.array([0, 0]), jnp.array([0, 1]), jnp.array([0, 2, 2]))
        >>> row_sums(matrix, jnp.array([[2.0], [3.0]]), jnp.ones((2, 1, 1)), "segment")[:, 0, 0].tolist()
        [5.0, 0.0]
    """
    if backend not in BACKENDS:
        raise InputError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    if backend == "bucketed":
        slots_of(matrix)
    if not matrix.cols.size:
        return jnp.zeros((matrix.row_ptr.shape[0] - 1, *x.shape[1:]), x.dtype)
    dtype = accumulation_dtype(x.dtype, *([] if values is None else [values.dtype]))
    values = None if values is None else values.astype(dtype)
    return _folding(backend)(matrix, values, x.astype(dtype)).astype(x.dtype)


def gather_rows(x: Float[Array, "n *f"], ids: Int[Array, " e"]) -> Float[Array, "e *f"]:
    """Returns `x[ids]`, whose gradient is summed in its `accumulation_dtype`; for graphs that were never prepared."""
    return widened(x)[ids].astype(x.dtype)


def segment_sums(messages: Float[Array, "e *f"], ids: Int[Array, " e"], rows: int) -> Float[Array, "n *f"]:
    """Sums the messages of each row by `jax.ops.segment_sum`, for graphs that were never prepared."""
    return jax.ops.segment_sum(widened(messages), ids, num_segments=rows).astype(messages.dtype)


@functools.cache
def _folding(backend: Backend) -> Callable[[RowEntries, Array | None, Array], Array]:
    """Returns the SpMM by one backend, with a custom rule for `vmap`."""

    @jax.custom_batching.custom_vmap
    def sums(matrix: RowEntries, values: Array | None, x: Array) -> Array:
        return _FORMS[backend](matrix, values, x)

    @sums.def_vmap
    def _over_seeds(
        size: int, batched: list[Any], matrix: RowEntries, values: Array | None, x: Array
    ) -> tuple[Array, bool]:
        if any(jax.tree.leaves(batched[0])):  # graphs that differ
            return one_by_one(sums, size, batched, matrix, values, x)
        x = x if batched[2] else jnp.broadcast_to(x[None], (size, *x.shape))
        heads, width = x.shape[2:]
        if values is not None and batched[1]:
            folded = jnp.moveaxis(x, 0, 1).reshape(x.shape[1], size * heads, width)
            out = sums(matrix, jnp.moveaxis(values, 0, 1).reshape(values.shape[1], size * heads), folded)
            return jnp.moveaxis(out.reshape(out.shape[0], size, heads, width), 1, 0), True
        folded = jnp.moveaxis(x, 0, 2).reshape(x.shape[1], heads, size * width)
        out = sums(matrix, values, folded)
        return jnp.moveaxis(out.reshape(out.shape[0], heads, size, width), 2, 0), True

    return sums


def row_maxima(matrix: RowEntries, values: Float[Array, "nnz h"], backend: Backend) -> Float[Array, "n h"]:
    """Computes the maximum of the values of each row, head by head; minus infinity for a row without entries."""

    def segment(matrix: RowEntries, values: Array) -> Array:
        rows = matrix.row_ptr.shape[0] - 1
        return jax.ops.segment_max(values, matrix.rows, num_segments=rows, indices_are_sorted=True)

    def slotted(matrix: RowEntries, values: Array) -> Array:
        return slot_maxima(slots_of(matrix), values)

    def on_cpu(matrix: RowEntries, values: Array) -> Array:
        return native.row_maxima(matrix.row_ptr, values) if native.reads(values) else segment(matrix, values)

    if backend == "bucketed":
        return slotted(matrix, values)
    if backend == "segment":
        return segment(matrix, values)
    tpu = segment if matrix.slots is None or backend == "csr" else slotted
    return jax.lax.platform_dependent(matrix, values, cpu=on_cpu, tpu=tpu, default=segment)


def _auto(matrix: RowEntries, values: Array | None, x: Array) -> Array:
    tpu = _segment if matrix.slots is None else _slotted
    return jax.lax.platform_dependent(matrix, values, x, cpu=_by_row, tpu=tpu, default=_segment)


def _csr(matrix: RowEntries, values: Array | None, x: Array) -> Array:
    """Computes the product row by row: on one GPU by a kernel of this package, elsewhere as `_by_row`."""
    if pallas_gpu.reads(x):
        return jax.lax.platform_dependent(matrix, values, x, cuda=pallas_gpu.warp_row_sums, default=_by_row)
    return _by_row(matrix, values, x)


def _by_row(matrix: RowEntries, values: Array | None, x: Array) -> Array:
    """Computes the product row by row: on a CPU by a kernel of this package where one is built, else by XLA's own."""
    values = jnp.ones((matrix.cols.shape[0], x.shape[1]), x.dtype) if values is None else values
    on_cpu = _of_package if native.reads(values, x) else _of_xla
    return jax.lax.platform_dependent(matrix, values, x, cpu=on_cpu, default=_of_xla)


def _of_package(matrix: RowEntries, values: Array, x: Array) -> Array:
    return native.row_sums(matrix.row_ptr, matrix.cols, values, x, matrix.order)


def _of_xla(matrix: RowEntries, values: Array, x: Array) -> Array:
    """Computes one product per head; narrow heads run together, a chunk of entries at a time."""
    values = in_row_order(matrix, values)
    heads, width = x.shape[1:]
    rows = matrix.row_ptr.shape[0] - 1
    if heads > 1 and width < NARROW_HEAD:
        return _chunked(matrix, values, x)

    def product(head: int | Array) -> Array:
        return BCSR((values[:, head], matrix.cols, matrix.row_ptr), shape=(rows, x.shape[0])) @ x[:, head]

    if heads == 1:
        return product(0)[:, None]
    # Filled in place, head by head. XLA must not know the zero, or all such sums of a program would share one array of
    # zeros and start by copying it.
    zero = (values[0, 0] > jnp.inf).astype(x.dtype)
    empty = jnp.full((rows, heads, width), zero)
    return jax.lax.fori_loop(0, heads, lambda head, out: out.at[:, head].set(product(head)), empty)


def _chunked(matrix: RowEntries, values: Array, x: Array) -> Array:
    """Adds the messages of one chunk of entries after the other to their rows: they stay in a core's cache."""
    rows, size = matrix.row_ptr.shape[0] - 1, chunk_size(x)
    ids = in_chunks(matrix.rows, size, fill=rows)  # past the last row: dropped
    cols, weights = in_chunks(matrix.cols, size), in_chunks(values, size)

    def add(i: Array, out: Array) -> Array:
        return out.at[ids[i]].add(weights[i][:, :, None] * x[cols[i]], indices_are_sorted=True, mode="drop")

    return jax.lax.fori_loop(0, ids.shape[0], add, jnp.zeros((rows, *x.shape[1:]), x.dtype))


def _segment(matrix: RowEntries, values: Array | None, x: Array) -> Array:
    sent = x[matrix.cols]
    messages = sent if values is None else in_row_order(matrix, values)[:, :, None] * sent
    rows = matrix.row_ptr.shape[0] - 1
    flat = messages.reshape(messages.shape[0], math.prod(x.shape[1:]))
    return jax.ops.segment_sum(flat, matrix.rows, num_segments=rows, indices_are_sorted=True).reshape(
        rows, *x.shape[1:]
    )


def _slotted(matrix: RowEntries, values: Array | None, x: Array) -> Array:
    """Computes the product in slots: heads side by side as long as they fill one row of a tile, else in turn."""
    slots = slots_of(matrix)
    heads, width = x.shape[1:]
    if values is None or (heads > 1 and heads * width <= LANES):
        weights = None if values is None else slotted_values(slots, jnp.repeat(values, width, axis=1))
        return slot_sums(slots, x.reshape(-1, heads * width), weights).reshape(-1, heads, width)

    def one_head(own: tuple[Array, Array]) -> Array:
        return slot_sums(slots, own[1], slotted_values(slots, own[0][:, None]))

    if heads == 1:
        return one_head((values[:, 0], x[:, 0]))[:, None]
    return jnp.moveaxis(jax.lax.map(one_head, (values.T, jnp.moveaxis(x, 1, 0))), 0, 1)


_FORMS = {"auto": _auto, "csr": _csr, "segment": _segment, "dense": _auto, "bucketed": _slotted}
