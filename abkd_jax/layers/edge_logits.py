"""Attention logits with both ends of an edge inside the nonlinearity (GATv2), in chunks of edges."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float

from abkd_jax.aggregate import receiver_values, sender_values
from abkd_jax.aggregate.chunks import in_chunks
from abkd_jax.aggregate.partitioned import by_blocks
from abkd_jax.graph import num_edges
from abkd_jax.graph.precision import accumulation_dtype, widened

__all__ = ["leaky_relu", "pair_logits"]

CHUNK_BYTES = 2**24  # of `[edges, heads, width]` at a time: inside a large cache, enough to fill an accelerator


def leaky_relu(x: Array, negative_slope: float) -> Array:
    """Computes `x` where positive, else `negative_slope * x`; the slope at zero is the negative one, as in PyTorch."""
    return jnp.where(x > 0, x, negative_slope * x)


@by_blocks(sent="sent", received="received", gives="edges")
def pair_logits(
    graph: jraph.GraphsTuple,
    sent: Float[Array, "n h d"],
    received: Float[Array, "r h d"],
    attention: Float[Array, "h d"],
    negative_slope: float,
) -> Float[Array, "e h"]:
    """Computes `attention . LeakyReLU(sent[sender] + received[receiver])` per edge and head.

    Where `[e, heads, width]` is more than `CHUNK_BYTES` both passes run over chunks of edges: then nothing larger than
    a chunk, the inputs and the logits is ever in memory.

    Args:
        graph: plain or prepared.
        sent: `[n, heads, width]`.
        received: `[r, heads, width]`, one row per node that edges enter.
        attention: `[heads, width]`.
        negative_slope: of the LeakyReLU.

    Returns:
        `[e, heads]`, in the order of `graph.senders`.
    """
    edges, size = num_edges(graph), sent[0].size
    chunk = max(CHUNK_BYTES // (size * sent.dtype.itemsize), 1)
    if isinstance(edges, int) and edges > chunk:  # of an exported program their number is symbolic
        ends = jnp.asarray(graph.senders), jnp.asarray(graph.receivers)
        return _chunked(chunk, negative_slope, ends, sent, received, attention)
    flat = sender_values(graph, sent.reshape(-1, size)) + receiver_values(graph, received.reshape(-1, size))
    return _logits(flat.reshape(-1, *sent.shape[1:]), attention, negative_slope)


def _logits(sums: Array, attention: Array, negative_slope: float) -> Array:
    products = widened(leaky_relu(sums, negative_slope)) * widened(attention)[None]
    return jnp.sum(products, axis=-1).astype(sums.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _chunked(
    chunk: int, negative_slope: float, ends: tuple[Array, Array], sent: Array, received: Array, attention: Array
) -> Array:
    edges = ends[0].shape[0]
    parts = jax.lax.map(
        lambda ids: _logits(sent[ids[0]] + received[ids[1]], attention, negative_slope),
        tuple(in_chunks(i, chunk) for i in ends),
    )
    return parts.reshape(-1, attention.shape[0])[:edges]


def _forward(
    chunk: int, negative_slope: float, ends: tuple[Array, Array], sent: Array, received: Array, attention: Array
) -> tuple[Array, Any]:
    return _chunked(chunk, negative_slope, ends, sent, received, attention), (ends, sent, received, attention)


def _backward(chunk: int, negative_slope: float, saved: Any, cotangent: Array) -> tuple[Any, ...]:
    ends, sent, received, attention = saved
    inputs = (sent, received, attention)
    wide = accumulation_dtype(sent.dtype)

    def step(totals: tuple[Array, Array, Array], part: tuple[Array, Array, Array]) -> tuple[Any, None]:
        senders, receivers, g = part
        sums = sent[senders] + received[receivers]
        slopes = jnp.where(sums > 0, jnp.ones((), sums.dtype), negative_slope)
        g = g.astype(wide)[:, :, None]
        grad = g * widened(attention)[None] * slopes.astype(wide)
        grad_attention = jnp.sum(g * leaky_relu(sums, negative_slope).astype(wide), axis=0)
        return (totals[0].at[senders].add(grad), totals[1].at[receivers].add(grad), totals[2] + grad_attention), None

    zeros = tuple(jnp.zeros(a.shape, wide) for a in inputs)
    # Padding has a cotangent of zero.
    parts = in_chunks(ends[0], chunk), in_chunks(ends[1], chunk), in_chunks(cotangent, chunk)
    totals, _ = jax.lax.scan(step, zeros, parts)
    return None, *(total.astype(a.dtype) for total, a in zip(totals, inputs, strict=True))


_chunked.defvjp(_forward, _backward)
