"""The largest entry among the neighbours, with the gradient shared by those that attain it."""

from typing import Any

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float

from abkd_jax.aggregate.backends import accumulator, bucketed_reduce, gathered
from abkd_jax.graph import layout_of, num_nodes
from abkd_jax.layout import CSR, Buckets

__all__ = ["maximum"]


def maximum(graph: jraph.GraphsTuple, x: Float[Array, "n f"]) -> Float[Array, "n f"]:
    """The maximum of `x` over the edges that enter each node, unit by unit; zero for a node without incoming edges.

    Where several neighbours attain it they share the gradient alike, as `jax.ops.segment_max` and PyTorch's
    `scatter_reduce` have it. A graph with buckets (`graph.prepare`) runs by gathers alone, forwards and backwards.

    Args:
        graph: plain or prepared.
        x: `[n, f]`.
    """
    layout = layout_of(graph)
    if layout is None or layout.pattern.buckets is None or layout.facts.backend not in ("auto", "bucketed"):
        return _segment_maximum(graph, x)
    return _bucketed_maximum(jax.tree.map(jnp.asarray, layout.pattern), x)


def _segment_maximum(graph: jraph.GraphsTuple, x: Array) -> Array:
    sorted_ids = layout_of(graph) is not None
    receivers, n = jnp.asarray(graph.receivers), num_nodes(graph)
    out = jax.ops.segment_max(
        gathered(x, jnp.asarray(graph.senders)), receivers, num_segments=n, indices_are_sorted=sorted_ids
    )
    return jnp.where(jnp.isneginf(out), 0.0, out)


@jax.custom_vjp
def _bucketed_maximum(pattern: CSR, x: Array) -> Array:
    return _forward(pattern, x)[0]


def _forward(pattern: CSR, x: Array) -> tuple[Array, tuple[CSR, Array, Array]]:
    buckets, _ = _both(pattern)

    def neighbour(ids: Array, _: Array) -> Array:
        return _take(x, _take(pattern.cols, ids, x.shape[0]), -jnp.inf)

    largest = bucketed_reduce(buckets, pattern.rows, neighbour, jnp.maximum, -jnp.inf, x)
    return jnp.where(jnp.isneginf(largest), 0.0, largest), (pattern, x, largest)


def _backward(saved: tuple[CSR, Array, Array], cotangent: Array) -> tuple[None, Array]:
    pattern, x, largest = saved
    buckets, buckets_t = _both(pattern)
    wide = cotangent.astype(accumulator(x.dtype))

    def attains(ids: Array, own: Array) -> Array:
        neighbours = _take(x, _take(pattern.cols, ids, x.shape[0]), jnp.nan)  # padding equals nothing
        return (neighbours == largest[own]).astype(wide.dtype)

    count = bucketed_reduce(buckets, pattern.rows, attains, jnp.add, 0.0, wide)
    share = jnp.where(jnp.isneginf(largest), 0.0, wide / jnp.maximum(count, 1.0))
    cols_t = pattern.cols[pattern.order_t]

    def received(ids: Array, own: Array) -> Array:
        receivers = _take(pattern.rows_t, ids, share.shape[0])
        return jnp.where(_take(largest, receivers, jnp.nan) == x[own], _take(share, receivers, 0.0), 0.0)

    return None, bucketed_reduce(buckets_t, cols_t, received, jnp.add, 0.0, wide).astype(x.dtype)


_bucketed_maximum.defvjp(_forward, _backward)


def _both(pattern: CSR) -> tuple[Buckets, Buckets]:
    buckets: Any = pattern.buckets
    return buckets[0], buckets[1] or buckets[0]


def _take(x: Array, ids: Array, fill: float | int) -> Array:
    return x.at[ids].get(mode="fill", fill_value=fill)
