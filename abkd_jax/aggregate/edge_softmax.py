"""Sums weighted by a softmax over the edges that enter a node: the aggregation of attention networks."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Bool, Float

from abkd_jax.aggregate.backends import Backend, gathered, row_maxima, row_sums, segment_sums
from abkd_jax.aggregate.edges import (
    by_column,
    by_row,
    checked_layout,
    num_receivers,
    receiver_maxima,
    receiver_sums,
    receiver_values,
    row_totals,
)
from abkd_jax.aggregate.products import edge_dots, last_axis_sum
from abkd_jax.graph.build import num_edges, num_nodes
from abkd_jax.graph.layout import CSR
from abkd_jax.graph.precision import floats, widened
from abkd_jax.types import InputError

__all__ = ["attention_sum", "edge_softmax"]


def attention_sum(
    graph: jraph.GraphsTuple,
    logits: Float[Array, "e h"],
    x: Float[Array, "n h d"],
    *,
    self_logits: Float[Array, "r h"] | None = None,
    keep: Float[Array, "e h"] | None = None,
    self_keep: Float[Array, "r h"] | None = None,
    mask: Bool[Array, " e"] | None = None,
) -> Float[Array, "r h d"]:
    """The sum of the senders' features, weighted by the softmax of the logits over the edges that enter a node.

        out_v = sum over u -> v of keep_uv alpha_uv x_u,    alpha_uv = exp(logit_uv) / sum over w -> v of exp(logit_wv)

    The softmax (safe for logits of any size), the sum and their gradients are one function: nothing of size `[e, h, d]`
    is kept between the passes, and on a CPU none is built where it would be large.

    Args:
        graph: plain or prepared.
        logits: `[e, heads]`, in the order of `graph.senders`.
        x: `[n, heads, d]`.
        self_logits: of a self loop at every node, which then needs none in the edge list.
        keep: factors of the weights after the softmax: dropout.
        self_keep: likewise, for the self loops.
        mask: edges that count; None takes all.

    Returns:
        `[n, heads, d]`, zero for a node that nothing enters; float32 inside, in the type of `x`.

    Raises:
        InputError: rows, heads or types of the arguments do not fit the graph and each other.
    """
    layout, x = checked_layout(graph, sent=x, edges=(logits, keep, mask)), floats(x)
    for name, value, rows in (
        ("logits", logits, num_edges(graph)),
        ("keep", keep, num_edges(graph)),
        ("self_logits", self_logits, num_receivers(graph)),
        ("self_keep", self_keep, num_receivers(graph)),
    ):
        if value is not None and value.shape != (rows, x.shape[1]):
            raise InputError(f"attention_sum: {name} are {value.shape}, expected {(rows, x.shape[1])}")
    if mask is not None and (mask.dtype, mask.ndim) != (jnp.bool_, 1):
        raise InputError(f"attention_sum: mask is {mask.dtype} {mask.shape}, expected booleans ({num_edges(graph)},)")
    logits = logits if mask is None else jnp.where(mask[:, None], logits, -jnp.inf)
    own = None if self_logits is None else _Loops(self_logits, self_keep)
    arguments = jax.tree.map(widened, (logits, x, own, keep))
    if layout is None:
        return _plain(graph, *arguments).astype(x.dtype)
    out: Any = _attention(jax.tree.map(jnp.asarray, layout.pattern), layout.facts.backend, *arguments)
    return out.astype(x.dtype)


def edge_softmax(graph: jraph.GraphsTuple, logits: Float[Array, "e h"]) -> Float[Array, "e h"]:
    """The weights `alpha` of `attention_sum` themselves, `[e, heads]`: to look at, or to distil."""
    wide = widened(logits)
    weights = jnp.exp(wide - receiver_values(graph, _finite(receiver_maxima(graph, wide))))
    return (weights / receiver_values(graph, _divisor(receiver_sums(graph, weights)))).astype(logits.dtype)


class _Loops(NamedTuple):
    """Self loops at every node: their logits `[n, h]`, and factors of their weights or None."""

    logits: Array
    keep: Array | None


class _Saved(NamedTuple):
    """What the backward pass reads; `weights` are those before their division by `totals`."""

    pattern: CSR
    weights: Array
    own: Array | None
    totals: Array
    x: Array
    keep: Array | None
    own_keep: Array | None


def _plain(graph: jraph.GraphsTuple, logits: Array, x: Array, loops: _Loops | None, keep: Array | None) -> Array:
    """By JAX's own segment operations: for graphs that were never prepared."""
    largest = receiver_maxima(graph, logits)
    largest = _finite(largest if loops is None else jnp.maximum(largest, jax.lax.stop_gradient(loops.logits)))
    weights = jnp.exp(logits - largest[graph.receivers])
    totals = receiver_sums(graph, weights)
    messages = _times(weights, keep)[:, :, None] * gathered(x, jnp.asarray(graph.senders))
    out = segment_sums(messages, jnp.asarray(graph.receivers), num_nodes(graph))
    if loops is not None:
        own = jnp.exp(loops.logits - largest)
        totals, out = totals + own, out + _times(own, loops.keep)[:, :, None] * x[: own.shape[0]]
    return out / _divisor(totals)[:, :, None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _attention(
    pattern: CSR, backend: Backend, logits: Array, x: Array, loops: _Loops | None, keep: Array | None
) -> Array:
    return _forward(pattern, backend, logits, x, loops, keep)[0]


def _forward(
    pattern: CSR, backend: Backend, logits: Array, x: Array, loops: _Loops | None, keep: Array | None
) -> tuple[Array, _Saved]:
    largest = row_maxima(by_row(pattern), logits, backend)
    largest = _finite(largest if loops is None else jnp.maximum(largest, loops.logits))
    weights = jnp.exp(logits - largest[pattern.rows])
    totals: Any = row_totals(pattern, backend, weights)
    out = row_sums(by_row(pattern), _times(weights, keep), x, backend)
    own = None
    if loops is not None:
        own = jnp.exp(loops.logits - largest)
        totals, out = totals + own, out + _times(own, loops.keep)[:, :, None] * x[: own.shape[0]]
    totals = _divisor(totals)
    return out / totals[:, :, None], _Saved(pattern, weights, own, totals, x, keep, loops and loops.keep)


def _backward(backend: Backend, saved: _Saved, cotangent: Array) -> tuple[Any, ...]:
    """With `g = cotangent / totals`: `d logit = weight (keep <g, x> - m)`, `d x = sum of weight keep g`.

    `m = <g, out>` is the sum of `weight keep <g, x> / totals` over the edges: the output need not be kept.
    """
    pattern, weights, own, totals, x, keep, own_keep = saved
    g = cotangent / totals[:, :, None]
    dots = edge_dots(pattern.rows, pattern.cols, g, x)  # [e, h]
    kept = _times(weights, keep)
    inner: Any = row_totals(pattern, backend, kept * dots)  # [n, h]
    grad_x = row_sums(by_column(pattern), kept[pattern.order_t], g, backend)
    own_dots = None
    if own is not None:
        own_dots, own_kept = last_axis_sum(g * x), _times(own, own_keep)
        inner, grad_x = inner + own_kept * own_dots, grad_x + own_kept[:, :, None] * g
    mean = inner / totals
    grad_logits = weights * (_times(dots, keep) - mean[pattern.rows])
    grad_loops = None
    if own is not None and own_dots is not None:
        grad_keep = None if own_keep is None else own * own_dots
        grad_loops = _Loops(own * (_times(own_dots, own_keep) - mean), grad_keep)
    return None, grad_logits, grad_x, grad_loops, None if keep is None else weights * dots


_attention.defvjp(_forward, _backward)


def _times(weights: Array, keep: Array | None) -> Array:
    return weights if keep is None else weights * keep


def _finite(largest: Array) -> Array:
    """Zero where nothing counts, so that `exp(-inf - largest)` is 0 and not NaN."""
    return jnp.where(jnp.isneginf(largest), 0.0, largest)


def _divisor(totals: Array) -> Array:
    return jnp.where(totals > 0, totals, 1.0)
