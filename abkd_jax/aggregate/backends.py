"""One sum of weighted rows in four forms, and the choice among them.

    out[i, h] = sum over the entries e of row i of values[e, h] * x[cols[e], h]

- `"csr"`: XLA's native CSR kernel; nothing of size `[entries, f]` is built. CPU only.
- `"bucketed"`: rows grouped by degree, gathers alone, no scatter; for TPUs and CPUs of many cores.
- `"segment"`: a sorted `segment_sum`; any platform, and the choice for GPUs.
- `"dense"`: a matrix product; for tiny graphs.
- `"auto"`: by the platform that the program is compiled for.

Sums of 16-bit numbers accumulate in float32.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCSR
from jaxtyping import Array, Bool, Float, Int

from abkd_jax.graph.layout import BACKENDS, Buckets
from abkd_jax.graph.precision import accumulation_dtype, widened
from abkd_jax.types import InputError, Pytree

__all__ = [
    "Backend",
    "Rows",
    "bucketed_reduce",
    "chunk_size",
    "gathered",
    "row_maxima",
    "row_sums",
    "segment_sums",
]

Backend = Literal["auto", "csr", "bucketed", "segment", "dense"]

DENSE_NODES = 1024  # on a TPU, a matrix of so many rows and columns costs less than its gathers (by arithmetic)
UNROLLED, LOOP_STEP = 8, 4  # entries of a bucket in one fused expression; above, so many an iteration
CHUNK_BYTES = 2**19  # of messages at a time on a CPU: they stay in a core's cache, and no fresh pages are asked for
NARROW_HEAD = 16  # units; the native product of narrower heads costs more than their messages


class Rows(NamedTuple):
    """The entries of a sparse matrix in row order.

    Attributes:
        rows: `[nnz]` int32, ascending.
        cols: `[nnz]` int32.
        row_ptr: `[n + 1]` int32.
        buckets: of the rows, or None.
    """

    rows: Int[Array, " nnz"]
    cols: Int[Array, " nnz"]
    row_ptr: Int[Array, " n_plus_1"]
    buckets: Buckets | None


def row_sums(
    matrix: Rows, values: Float[Array, "nnz h"], x: Float[Array, "m h f"], backend: Backend
) -> Float[Array, "n h f"]:
    """The sum at the head of this file, for `h` heads.

    Under `vmap`, seeds become more features where they share the values, and more heads where they do not.

    Raises:
        InputError: the backend is unknown, or `"bucketed"` without buckets.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    if backend == "bucketed" and matrix.buckets is None:
        raise InputError("backend 'bucketed': the graph has no buckets, expected one from graph.prepare(buckets=True)")
    if not values.size:
        return jnp.zeros((matrix.row_ptr.shape[0] - 1, *x.shape[1:]), x.dtype)
    dtype = accumulation_dtype(values.dtype, x.dtype)
    return _folding(backend)(matrix, values.astype(dtype), x.astype(dtype)).astype(x.dtype)


def gathered(x: Float[Array, "n *f"], ids: Int[Array, " e"]) -> Float[Array, "e *f"]:
    """`x[ids]`, whose gradient adds up in its `accumulation_dtype`; for graphs that were never prepared."""
    return widened(x)[ids].astype(x.dtype)


def segment_sums(messages: Float[Array, "e *f"], ids: Int[Array, " e"], rows: int) -> Float[Array, "n *f"]:
    """JAX's own sum of the messages of each row, for graphs that were never prepared."""
    return jax.ops.segment_sum(widened(messages), ids, num_segments=rows).astype(messages.dtype)


@functools.cache
def _folding(backend: Backend) -> Callable[[Rows, Array, Array], Array]:
    """The sum by one backend, with a rule for `vmap` of its own."""

    @jax.custom_batching.custom_vmap
    def sums(matrix: Rows, values: Array, x: Array) -> Array:
        return _FORMS[backend](matrix, values, x)

    @sums.def_vmap
    def _over_seeds(size: int, batched: list[Any], matrix: Rows, values: Array, x: Array) -> tuple[Array, bool]:
        if any(jax.tree.leaves(batched[0])):  # graphs that differ: one after the other
            arguments = (matrix, values, x)
            pick = lambda i: jax.tree.map(lambda leaf, many: leaf[i] if many else leaf, arguments, tuple(batched))  # noqa: E731
            return jax.lax.map(lambda i: sums(*pick(i)), jnp.arange(size)), True
        x = x if batched[2] else jnp.broadcast_to(x[None], (size, *x.shape))
        heads, width = x.shape[2:]
        if batched[1]:
            folded = jnp.moveaxis(x, 0, 1).reshape(x.shape[1], size * heads, width)
            out = sums(matrix, jnp.moveaxis(values, 0, 1).reshape(values.shape[1], size * heads), folded)
            return jnp.moveaxis(out.reshape(out.shape[0], size, heads, width), 1, 0), True
        folded = jnp.moveaxis(x, 0, 2).reshape(x.shape[1], heads, size * width)
        out = sums(matrix, values, folded)
        return jnp.moveaxis(out.reshape(out.shape[0], heads, size, width), 2, 0), True

    return sums


def row_maxima(matrix: Rows, values: Float[Array, "nnz h"], backend: Backend) -> Float[Array, "n h"]:
    """The largest value of each row, head by head; minus infinity for a row without entries."""

    def segment(matrix: Rows, values: Array) -> Array:
        rows = matrix.row_ptr.shape[0] - 1
        return jax.ops.segment_max(values, matrix.rows, num_segments=rows, indices_are_sorted=True)

    def bucketed(matrix: Rows, values: Array) -> Array:
        buckets: Any = matrix.buckets
        lowest = jnp.asarray(-jnp.inf, values.dtype)
        return bucketed_reduce(buckets, matrix.rows, lambda ids, _: values[ids], jnp.maximum, lowest, values.shape[1])

    if matrix.buckets is None or backend in ("csr", "segment", "dense"):
        return segment(matrix, values)
    if backend == "bucketed":
        return bucketed(matrix, values)
    return jax.lax.platform_dependent(matrix, values, tpu=bucketed, default=segment)


def _auto(matrix: Rows, values: Array, x: Array) -> Array:
    rows = matrix.row_ptr.shape[0] - 1
    tiny = max(rows, x.shape[0]) <= DENSE_NODES
    tpu = _dense if tiny else _bucketed if matrix.buckets is not None else _segment
    return jax.lax.platform_dependent(matrix, values, x, cpu=_csr, tpu=tpu, default=_segment)


def _csr(matrix: Rows, values: Array, x: Array) -> Array:
    """One native product a head; narrow heads go together, a chunk of entries at a time."""
    heads, width = x.shape[1:]
    rows = matrix.row_ptr.shape[0] - 1
    if heads > 1 and width < NARROW_HEAD:
        return _chunked(matrix, values, x)

    def product(head: int | Array) -> Array:
        return BCSR((values[:, head], matrix.cols, matrix.row_ptr), shape=(rows, x.shape[0])) @ x[:, head]

    if heads == 1:
        return product(0)[:, None]
    # Filled in place, head by head. The zero is one that XLA cannot know, or all such sums of a program would share
    # one array of zeros and start by copying it.
    zero = (values[0, 0] > jnp.inf).astype(x.dtype)
    empty = jnp.full((rows, heads, width), zero)
    return jax.lax.fori_loop(0, heads, lambda head, out: out.at[:, head].set(product(head)), empty)


def _chunked(matrix: Rows, values: Array, x: Array) -> Array:
    """The messages of a chunk of entries added to their rows, chunk after chunk: they stay in a core's cache."""
    rows, nnz = matrix.row_ptr.shape[0] - 1, values.shape[0]
    size = chunk_size(x)
    chunks = -(-nnz // size)
    fill = (0, chunks * size - nnz)
    ids = jnp.pad(matrix.rows, fill, constant_values=rows).reshape(chunks, size)  # past the last row: dropped
    cols = jnp.pad(matrix.cols, fill).reshape(chunks, size)
    weights = jnp.pad(values, (fill, (0, 0))).reshape(chunks, size, values.shape[1])

    def add(i: Array, out: Array) -> Array:
        return out.at[ids[i]].add(weights[i][:, :, None] * x[cols[i]], indices_are_sorted=True, mode="drop")

    return jax.lax.fori_loop(0, chunks, add, jnp.zeros((rows, *x.shape[1:]), x.dtype))


def chunk_size(x: Float[Array, "n *f"]) -> int:
    """How many rows like those of `x` fill a chunk."""
    return max(CHUNK_BYTES // (math.prod(x.shape[1:]) * x.dtype.itemsize or 1), 1)


def _segment(matrix: Rows, values: Array, x: Array) -> Array:
    messages = (values[:, :, None] * x[matrix.cols]).reshape(values.shape[0], math.prod(x.shape[1:]))
    rows = matrix.row_ptr.shape[0] - 1
    sums = jax.ops.segment_sum(messages, matrix.rows, num_segments=rows, indices_are_sorted=True)
    return sums.reshape(rows, *x.shape[1:])


def _dense(matrix: Rows, values: Array, x: Array) -> Array:
    shape = (matrix.row_ptr.shape[0] - 1, x.shape[0], values.shape[1])
    dense = jnp.zeros(shape, values.dtype).at[matrix.rows, matrix.cols].add(values)
    return jnp.einsum("nmh,mhf->nhf", dense, x, precision="highest")


def _bucketed(matrix: Rows, values: Array, x: Array) -> Array:
    width = math.prod(x.shape[1:])

    def message(ids: Array, _: Array) -> Array:
        return (values[ids][:, :, None] * x[matrix.cols[ids]]).reshape(ids.shape[0], width)

    buckets: Any = matrix.buckets
    sums = bucketed_reduce(buckets, matrix.rows, message, jnp.add, jnp.zeros((), x.dtype), width)
    return sums.reshape(sums.shape[0], *x.shape[1:])


_FORMS = {"auto": _auto, "csr": _csr, "segment": _segment, "dense": _dense, "bucketed": _bucketed}


def bucketed_reduce(
    buckets: Buckets,
    rows: Int[Array, " nnz"],
    message: Callable[[Array, Array], Pytree],
    combine: Callable[[Pytree, Pytree], Pytree],
    identity: Pytree,
    width: int,
) -> Pytree:
    """Reduces the messages of the entries of each row, without a scatter.

    Args:
        buckets: of the rows.
        rows: `[nnz]`.
        message: `(ids [b], own [b]) -> [b, width]`, of the entries at the positions `ids` that stand in the rows
            `own`; an array, or a tree of arrays.
        combine: of two such.
        identity: of `combine`, a scalar for each array; what rows without entries get.
        width: of the messages.

    Returns:
        `[n, width]`, or a tree of such.
    """
    n = buckets.place.shape[0]
    if not buckets.levels:
        return jax.tree.map(lambda scalar: jnp.full((n, width), scalar), identity)
    outputs = [_joined([_fold(ids, rows, rows.shape[0], message, combine, identity) for ids in buckets.levels[0]])]
    for level in buckets.levels[1:]:
        previous = outputs[-1]
        part = lambda ids, _, p=previous: jax.tree.map(lambda leaf: _rows_of(leaf, ids), p)  # noqa: E731
        size = jax.tree.leaves(previous)[0].shape[0]
        outputs.append(_joined([_fold(ids, ids[0], size, part, combine, identity) for ids in level]))
    joined = _joined(outputs)
    there = buckets.place < jax.tree.leaves(joined)[0].shape[0]
    place = jnp.where(there, buckets.place, 0)
    return jax.tree.map(lambda leaf, scalar: jnp.where(there[:, None], _rows_of(leaf, place), scalar), joined, identity)


def _fold(
    ids: Int[Array, "k b"],
    rows: Int[Array, " _"],
    size: int,
    message: Callable[..., Pytree],
    combine: Callable[..., Pytree],
    identity: Pytree,
) -> Pytree:
    """The messages of each column of `ids`, combined; long columns in a loop, so that programs stay small."""
    there = ids < size
    ids = jnp.where(there, ids, 0)
    own = rows[ids[0]]

    def some(pair: tuple[Int[Array, "s b"], Bool[Array, "s b"]]) -> Pytree:
        def one(ids: Array, there: Array) -> Pytree:
            found = message(ids, own)
            return jax.tree.map(lambda leaf, scalar: jnp.where(there[:, None], leaf, scalar), found, identity)

        return functools.reduce(combine, [one(*row) for row in zip(*pair, strict=True)])

    if ids.shape[0] <= UNROLLED:
        return some((ids, there))
    steps = ids.reshape(-1, LOOP_STEP, ids.shape[1]), there.reshape(-1, LOOP_STEP, ids.shape[1])
    first = some((steps[0][0], steps[1][0]))
    return jax.lax.fori_loop(1, len(steps[0]), lambda i, out: combine(out, some((steps[0][i], steps[1][i]))), first)


def _joined(parts: list[Pytree]) -> Pytree:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def _rows_of(x: Float[Array, "n f"], ids: Int[Array, " b"]) -> Float[Array, "b f"]:
    return x.at[ids].get(mode="promise_in_bounds")
