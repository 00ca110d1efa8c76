"""Moments of large student layers, one chunk of nodes at a time: no copy of a layer, forwards or backwards.

Stacking, centring and transposing the layers, as small ones are treated, keeps four copies of all of them until the
backward pass is over: at 169,343 nodes x 128 units more than the hidden states of teacher and student together.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from abkd_jax.distill.ops.checks import require_rows
from abkd_jax.distill.ops.moments import (
    NodeRows,
    centre,
    covariance,
    cross_covariance,
    layer_widths,
    node_count,
    require_same_nodes,
    stack_layers,
)
from abkd_jax.distill.ops.numerics import narrow, product
from abkd_jax.graph.precision import accumulation_dtype
from abkd_jax.types import Mask

__all__ = ["student_moments"]

_SMALL = 2**24  # entries of all layers together; below, one pass over copies of them is faster
_CHUNK = 2**20  # entries of a chunk of a layer: 4 MiB, which stays in a core's cache while it is used
_TPU_CHUNK = 2**17  # on a TPU, whose compiler writes out products of chunks in vector memory as straight code


def student_moments(
    hiddens: Sequence[Float[Array, "n _"]], rows: NodeRows, mask: Mask, teacher_layers: int
) -> tuple[Float[Array, "S e"], Float[Array, "S e e"], Float[Array, "T d S e"]]:
    """Computes means and covariances of the student's layers, and their covariances with the teacher's.

    The values are those of `centre`, `covariance` and `cross_covariance` of the stacked layers, which it calls for
    small ones. For larger ones the memory beyond inputs, outputs and gradients is that of a few chunks.

    Args:
        hiddens: `S` layers `[n, width]`; rows outside the mask may hold anything.
        rows: the teacher, as `node_rows` returns it: centred, zero outside the mask, constant under differentiation.
        mask: `[n]`.
        teacher_layers: `T`.

    Returns:
        `[S, e]`, `[S, e, e]` and `[T, d, S, e]` with `e` the largest width.

    Raises:
        InputError: teacher, student and mask are of different numbers of nodes.
    """
    require_rows("hidden layers", hiddens[0].shape[0], mask)
    require_same_nodes(rows, mask.shape[0])
    stacked, in_chunks = (functools.partial(form, teacher_layers=teacher_layers) for form in (_stacked, _in_chunks))
    size = sum(h.size for h in hiddens)
    if size > _SMALL:
        return in_chunks(hiddens, rows, mask)
    if size <= _CHUNK:
        return stacked(hiddens, rows, mask)
    # Of one product of all nodes at full precision the code for a TPU is long: a loop compiles in half of the time.
    return jax.lax.platform_dependent(tuple(hiddens), rows, mask, tpu=in_chunks, default=stacked)


def _stacked(
    hiddens: Sequence[Array], rows: NodeRows, mask: Mask, *, teacher_layers: int
) -> tuple[Array, Array, Array]:
    mean, centred = centre(stack_layers(hiddens), mask)
    return mean, covariance(centred, mask), cross_covariance(rows, centred, teacher_layers)


def _in_chunks(
    hiddens: Sequence[Array], rows: NodeRows, mask: Mask, *, teacher_layers: int
) -> tuple[Array, Array, Array]:
    e = max(layer_widths(hiddens))
    pads = [e - width for width in layer_widths(hiddens)]
    moments = [_layer_moments(h, jax.lax.stop_gradient(rows.factor), mask) for h in hiddens]
    mean = jnp.stack([jnp.pad(m, (0, p)) for (m, _, _), p in zip(moments, pads, strict=True)])
    covariances = jnp.stack([jnp.pad(c, ((0, p), (0, p))) for (_, c, _), p in zip(moments, pads, strict=True)])
    cross = jnp.stack([jnp.pad(c, ((0, 0), (0, p))) for (_, _, c), p in zip(moments, pads, strict=True)], axis=1)
    if rows.basis is not None:
        cross = jnp.einsum("rse,rd->dse", cross, rows.basis, precision="highest")
    return mean, covariances, cross.reshape(teacher_layers, -1, len(hiddens), e)


@jax.custom_vjp
def _layer_moments(
    h: Float[Array, "n e"], factor: Float[Array, "r n"], mask: Mask
) -> tuple[Float[Array, " e"], Float[Array, "e e"], Float[Array, "r e"]]:
    """Computes mean and covariance of one layer, and the product of the teacher's rows with the centred layer."""
    return _forward(h, factor, mask)[0]


def _forward(h: Float[Array, "n e"], factor: Float[Array, "r n"], mask: Mask) -> tuple[Any, Any]:
    dtype, count = accumulation_dtype(h.dtype), node_count(mask, accumulation_dtype(h.dtype))
    mean = jnp.sum(jnp.where(mask[:, None], h.astype(dtype), 0.0), axis=0) / count
    squares, cross = _by_platform(_sums, h, factor, mask, mean)
    return (mean, squares / count, cross), (h, factor, mask, mean, count)


def _sums(h: Array, factor: Array, mask: Mask, mean: Array, *, chunk: int) -> tuple[Array, Array]:
    chunks, size = _layout(h, chunk)

    def add(i: Int[Array, ""], sums: tuple[Array, Array]) -> tuple[Array, Array]:
        start = _start(i, h, size)
        not_yet = start + jnp.arange(size) >= i * size  # the last chunk overlaps the one before
        x = _centred_chunk(h, mean, mask, start, size, also=not_yet)
        return sums[0] + product(x.T, x), sums[1] + product(_columns(factor, start, size), x)

    e = h.shape[1]
    zeros = jnp.zeros((e, e), mean.dtype), jnp.zeros((len(factor), e), mean.dtype)
    return jax.lax.fori_loop(0, chunks, add, zeros)


def _backward(kept: Any, slopes: Any) -> tuple[Array, None, None]:
    h, factor, mask, mean, count = kept
    to_mean, to_covariance, to_cross = slopes
    mixing = (to_covariance + to_covariance.T) / count
    # Centred rows sum to zero, so that only the mean itself and the rounding of the factor's rows move all nodes alike.
    shift = (to_mean - jnp.matmul(jnp.sum(factor, axis=1), to_cross, precision="highest")) / count
    return _by_platform(_slopes, h, factor, mask, mean, mixing, to_cross, shift), None, None


def _slopes(
    h: Array, factor: Array, mask: Mask, mean: Array, mixing: Array, to_cross: Array, shift: Array, *, chunk: int
) -> Float[Array, "n e"]:
    chunks, size = _layout(h, chunk)

    def fill(i: Int[Array, ""], slope: Float[Array, "n e"]) -> Float[Array, "n e"]:
        start = _start(i, h, size)
        x = _centred_chunk(h, mean, mask, start, size)
        part = product(_columns(factor, start, size).T, to_cross) + product(x, mixing) + shift[None]
        part = jnp.where(jax.lax.dynamic_slice_in_dim(mask, start, size)[:, None], part, 0.0)
        return jax.lax.dynamic_update_slice_in_dim(slope, narrow(part, h.dtype), start, 0)

    return jax.lax.fori_loop(0, chunks, fill, jnp.zeros_like(h))


_layer_moments.defvjp(_forward, _backward)


def _by_platform(loop: Callable[..., Any], *arguments: Array) -> Any:
    return jax.lax.platform_dependent(
        *arguments, tpu=functools.partial(loop, chunk=_TPU_CHUNK), default=functools.partial(loop, chunk=_CHUNK)
    )


def _layout(h: Float[Array, "n e"], chunk: int) -> tuple[int, int]:
    """Returns the number of chunks, and the rows of each."""
    size = min(h.shape[0], max(1, chunk // h.shape[1]))
    return -(-h.shape[0] // size), size


def _start(i: Int[Array, ""], h: Float[Array, "n e"], size: int) -> Int[Array, ""]:
    return jnp.minimum(i * size, h.shape[0] - size)


def _centred_chunk(
    h: Float[Array, "n e"],
    mean: Float[Array, " e"],
    mask: Mask,
    start: Int[Array, ""],
    size: int,
    also: Bool[Array, " b"] | None = None,
) -> Float[Array, "b e"]:
    kept = jax.lax.dynamic_slice_in_dim(mask, start, size)
    kept = kept if also is None else kept & also
    x = jax.lax.dynamic_slice_in_dim(h, start, size).astype(mean.dtype)
    return jnp.where(kept[:, None], x - mean[None], 0.0)


def _columns(factor: Float[Array, "r n"], start: Int[Array, ""], size: int) -> Float[Array, "r b"]:
    return jax.lax.dynamic_slice_in_dim(factor, start, size, axis=1)
