"""Logits that need both ends of an edge inside a nonlinearity: dynamic attention."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float

from abkd_jax.aggregate import receiver_values, sender_values
from abkd_jax.graph.build import num_edges
from abkd_jax.graph.precision import accumulation_dtype, widened

__all__ = ["leaky_relu", "pair_logits"]

CHUNK_BYTES = 2**24  # of `[edges, heads, width]` at a time: inside a large cache, enough to fill an accelerator


def leaky_relu(x: Array, negative_slope: float) -> Array:
    """`x` where positive, else `negative_slope * x`; the slope at zero is the negative one, as in PyTorch."""
    return jnp.where(x > 0, x, negative_slope * x)


def pair_logits(
    graph: jraph.GraphsTuple,
    sent: Float[Array, "n h d"],
    received: Float[Array, "r h d"],
    attention: Float[Array, "h d"],
    negative_slope: float,
) -> Float[Array, "e h"]:
    """`attention . LeakyReLU(sent[sender] + received[receiver])` of each edge, head by head.

    Where `[e, heads, width]` is more than `CHUNK_BYTES` it runs over chunks of edges, and again so in the backward
    pass: then nothing larger than a chunk, the inputs and the logits is ever in memory.
    """
    edges, size = num_edges(graph), sent[0].size
    chunk = max(CHUNK_BYTES // (size * sent.dtype.itemsize), 1)
    if edges > chunk:
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
        tuple(_in_chunks(i, chunk) for i in ends),
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
    parts: Any = tuple(_in_chunks(a, chunk) for a in (*ends, cotangent))  # padding: cotangent zero
    totals, _ = jax.lax.scan(step, zeros, parts)
    return None, *(total.astype(a.dtype) for total, a in zip(totals, inputs, strict=True))


_chunked.defvjp(_forward, _backward)


def _in_chunks(x: Array, chunk: int) -> Array:
    """`[e, ...]` as `[chunks, chunk, ...]`, with zeros at the end."""
    chunks = -(-x.shape[0] // chunk)
    padding = [(0, chunks * chunk - x.shape[0])] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, padding).reshape(chunks, chunk, *x.shape[1:])
