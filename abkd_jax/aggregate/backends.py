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
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from abkd_jax.layout import BACKENDS, Buckets
from abkd_jax.types import InputError

__all__ = ["Backend", "Rows", "accumulator", "bucketed_reduce", "gathered", "row_maxima", "row_sums", "segment_sums"]

Backend = Literal["auto", "csr", "bucketed", "segment", "dense"]

DENSE_NODES = 1024  # on a TPU, a matrix of so many rows and columns costs less than its gathers (by arithmetic)
UNROLLED, LOOP_STEP = 8, 4  # entries of a bucket in one fused expression; above, so many an iteration
DIRECT_BYTES = 2**25  # of messages: above, on a CPU, fresh pages cost more than the arithmetic (glibc maps from 32 MiB)


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
    dtype = max(accumulator(values.dtype), accumulator(x.dtype), key=lambda dtype: dtype.itemsize)
    return _folding(backend)(matrix, values.astype(dtype), x.astype(dtype)).astype(x.dtype)


def accumulator(dtype: DTypeLike) -> jnp.dtype:
    """The type in which sums of `dtype` numbers run: float32, or `dtype` itself where that is wider."""
    return max(jnp.dtype(dtype), jnp.dtype(jnp.float32), key=lambda dtype: dtype.itemsize)


def gathered(x: Float[Array, "n *f"], ids: Int[Array, " e"]) -> Float[Array, "e *f"]:
    """`x[ids]`, whose gradient adds up in the type of `accumulator`; for graphs that were never prepared."""
    return x.astype(accumulator(x.dtype))[ids].astype(x.dtype)


def segment_sums(messages: Float[Array, "e *f"], ids: Int[Array, " e"], rows: int) -> Float[Array, "n *f"]:
    """JAX's own sum of the messages of each row, for graphs that were never prepared."""
    wide = messages.astype(accumulator(messages.dtype))
    return jax.ops.segment_sum(wide, ids, num_segments=rows).astype(messages.dtype)


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
        message = lambda ids, _: values.at[ids].get(mode="fill", fill_value=-jnp.inf)  # noqa: E731
        return bucketed_reduce(buckets, matrix.rows, message, jnp.maximum, -jnp.inf, values)

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
    """One native product a head; many narrow heads go together, as messages, while these are small."""
    nnz, heads = values.shape
    if heads > 1 and nnz * math.prod(x.shape[1:]) * x.dtype.itemsize <= DIRECT_BYTES:
        return _segment(matrix, values, x)

    def product(head: int | Array) -> Array:
        return BCSR((values[:, head], matrix.cols, matrix.row_ptr), shape=(rows, x.shape[0])) @ x[:, head]

    rows = matrix.row_ptr.shape[0] - 1
    if heads == 1:
        return product(0)[:, None]
    empty = jnp.zeros((rows, *x.shape[1:]), x.dtype)  # filled in place: x is never copied head by head as a whole
    return jax.lax.fori_loop(0, heads, lambda head, out: out.at[:, head].set(product(head)), empty)


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
        weights = values.at[ids].get(mode="fill", fill_value=0)
        cols = matrix.cols.at[ids].get(mode="fill", fill_value=x.shape[0])
        return (weights[:, :, None] * x.at[cols].get(mode="fill", fill_value=0)).reshape(ids.shape[0], width)

    buckets: Any = matrix.buckets
    sums = bucketed_reduce(buckets, matrix.rows, message, jnp.add, 0.0, x.reshape(x.shape[0], width))
    return sums.reshape(sums.shape[0], *x.shape[1:])


_FORMS = {"auto": _auto, "csr": _csr, "segment": _segment, "dense": _dense, "bucketed": _bucketed}


def bucketed_reduce(
    buckets: Buckets,
    rows: Int[Array, " nnz"],
    message: Callable[[Array, Array], Array],
    combine: Callable[[Array, Array], Array],
    identity: float,
    like: Float[Array, "_ f"],
) -> Float[Array, "n f"]:
    """Reduces the messages of the entries of each row, without a scatter.

    Args:
        buckets: of the rows.
        rows: `[nnz]`.
        message: `(ids [b], own [b]) -> [b, f]`, of the entries at the positions `ids` (too large for padding, where it
            must give `identity`) that stand in the rows `own`.
        combine: of two arrays.
        identity: of `combine`; what rows without entries get.
        like: width and type of the result.
    """
    if not buckets.levels:
        return jnp.full((buckets.place.shape[0], like.shape[1]), identity, like.dtype)
    outputs = [jnp.concatenate([_fold(ids, rows[ids[0]], message, combine) for ids in buckets.levels[0]])]
    for level in buckets.levels[1:]:
        previous = outputs[-1]
        part = lambda ids, _, p=previous: p.at[ids].get(mode="fill", fill_value=identity)  # noqa: E731
        outputs.append(jnp.concatenate([_fold(ids, ids[0], part, combine) for ids in level]))
    return jnp.concatenate(outputs).at[buckets.place].get(mode="fill", fill_value=identity)


def _fold(
    ids: Int[Array, "k b"], own: Int[Array, " b"], message: Callable[..., Array], combine: Callable[..., Array]
) -> Array:
    """The messages of each column of `ids`, combined; long columns in a loop, so that programs stay small."""

    def some(rows: Int[Array, "s b"]) -> Array:
        return functools.reduce(combine, [message(row, own) for row in rows])

    if ids.shape[0] <= UNROLLED:
        return some(ids)
    steps = ids.reshape(-1, LOOP_STEP, ids.shape[1])
    return jax.lax.fori_loop(1, len(steps), lambda i, out: combine(out, some(steps[i])), some(steps[0]))
