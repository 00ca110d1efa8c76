"""The largest entry among the neighbours, with the gradient shared by those that attain it."""

from typing import Any

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float

from abkd_jax.aggregate.backends import bucketed_reduce
from abkd_jax.aggregate.edges import checked_layout, num_receivers
from abkd_jax.graph.build import layout_of
from abkd_jax.graph.layout import CSR, Buckets
from abkd_jax.graph.precision import accumulation_dtype, floats, widened

__all__ = ["maximum"]


def maximum(graph: jraph.GraphsTuple, x: Float[Array, "n f"]) -> Float[Array, "r f"]:
    """The maximum of `x` over the edges that enter each node, unit by unit; zero for a node without incoming edges.

    Where several neighbours attain it they share the gradient alike, as `jax.ops.segment_max` and PyTorch's
    `scatter_reduce` have it. A graph with buckets (`graph.prepare`) runs by gathers alone, forwards and backwards.

    Args:
        graph: plain or prepared.
        x: `[n, f]`.
    """
    layout, x = checked_layout(graph, sent=x), floats(x)
    if layout is None or layout.pattern.buckets is None or layout.facts.backend not in ("auto", "bucketed"):
        return _segment_maximum(graph, x)
    return _bucketed_maximum(jax.tree.map(jnp.asarray, layout.pattern), x)


def _segment_maximum(graph: jraph.GraphsTuple, x: Array) -> Array:
    sorted_ids = layout_of(graph) is not None
    receivers, n = jnp.asarray(graph.receivers), num_receivers(graph)
    sent = widened(x)[jnp.asarray(graph.senders)]  # its gradient counts how many attain the maximum
    out = jax.ops.segment_max(sent, receivers, num_segments=n, indices_are_sorted=sorted_ids)
    return jnp.where(jnp.isneginf(out), 0.0, out).astype(x.dtype)


@jax.custom_vjp
def _bucketed_maximum(pattern: CSR, x: Array) -> Array:
    buckets, _ = _both(pattern)
    largest = bucketed_reduce(
        buckets, pattern.rows, lambda ids, _: x[pattern.cols[ids]], jnp.maximum, _lowest(x), x.shape[1]
    )
    return jnp.where(jnp.isneginf(largest), 0.0, largest)


def _forward(pattern: CSR, x: Array) -> tuple[Array, tuple[CSR, Array, Array, Array]]:
    """The maximum, and how many entries attain it, in one pass."""
    buckets, _ = _both(pattern)

    def neighbour(ids: Array, _: Array) -> tuple[Array, Array]:
        values = x[pattern.cols[ids]]
        return values, jnp.ones(values.shape, accumulation_dtype(x.dtype))

    def larger(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        largest = jnp.maximum(a[0], b[0])
        return largest, jnp.where(a[0] == largest, a[1], 0.0) + jnp.where(b[0] == largest, b[1], 0.0)

    identity = _lowest(x), jnp.zeros((), accumulation_dtype(x.dtype))
    largest, count = bucketed_reduce(buckets, pattern.rows, neighbour, larger, identity, x.shape[1])
    return jnp.where(jnp.isneginf(largest), 0.0, largest), (pattern, x, largest, count)


def _backward(saved: tuple[CSR, Array, Array, Array], cotangent: Array) -> tuple[None, Array]:
    pattern, x, largest, count = saved
    _, buckets_t = _both(pattern)
    share = cotangent.astype(count.dtype) / jnp.maximum(count, 1.0)
    share = jnp.where(jnp.isneginf(largest), 0.0, share)

    def received(ids: Array, own: Array) -> Array:
        receivers = pattern.rows_t[ids]
        return jnp.where(largest[receivers] == x[own], share[receivers], 0.0)

    cols_t, zero = pattern.cols[pattern.order_t], jnp.zeros((), share.dtype)
    return None, bucketed_reduce(buckets_t, cols_t, received, jnp.add, zero, x.shape[1]).astype(x.dtype)


_bucketed_maximum.defvjp(_forward, _backward)


def _both(pattern: CSR) -> tuple[Buckets, Buckets]:
    buckets: Any = pattern.buckets
    return buckets[0], buckets[1] or buckets[0]


def _lowest(x: Array) -> Array:
    return jnp.asarray(-jnp.inf, x.dtype)
