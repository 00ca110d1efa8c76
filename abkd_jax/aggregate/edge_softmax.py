"""Edge softmax and the sums that it weights: the aggregation of attention networks."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Bool, Float

from abkd_jax.aggregate.backends import gather_rows, row_maxima, row_sums, segment_sums
from abkd_jax.aggregate.edges import (
    checked_layout,
    first_rows,
    receiver_maxima,
    receiver_sums,
    receiver_values,
    row_totals,
    rows_of_sums,
)
from abkd_jax.aggregate.entries import by_column, by_row
from abkd_jax.aggregate.heads import heads_first, split_heads
from abkd_jax.aggregate.partitioned import by_blocks
from abkd_jax.aggregate.products import edge_dots, last_axis_sum
from abkd_jax.aggregate.slot_attention import (
    attends_in_slots,
    features_of_heads,
    kept_in_slots,
    slot_softmax,
    slot_weighted_sums,
)
from abkd_jax.aggregate.slots import slots_of
from abkd_jax.graph import num_edges, num_nodes
from abkd_jax.graph.layout import CSR, Backend
from abkd_jax.graph.precision import floats, widened
from abkd_jax.types import InputError

__all__ = ["attention_sum", "edge_softmax"]


@by_blocks(sent="x", received="self_logits self_keep", edges="logits keep mask")
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
    """Computes the sum of the senders' features, weighted by the softmax of the logits over the incoming edges.

        out_v = sum over u -> v of keep_uv alpha_uv x_u,    alpha_uv = exp(logit_uv) / sum over w -> v of exp(logit_wv)

    The softmax (stable for logits of any size), the sum and their gradients are one function: nothing of size `[e, h,
    d]` is kept between the passes, and on a CPU none is built where it would be large.

    Args:
        graph: plain or prepared.
        logits: `[e, heads]`, in the order of `graph.senders`.
        x: `[n, heads, d]`.
        self_logits: `[n, heads]`, of a self loop at every node, which is then not needed in the edge list.
        keep: `[e, heads]`, factors of the weights after the softmax: dropout.
        self_keep: `[n, heads]`, likewise for the self loops.
        mask: `[e]`, edges to include; None takes all.

    Returns:
        `[n, heads, d]`, zero for a node without incoming edges; float32 inside, in the type of `x`.

    Raises:
        InputError: rows, heads or types of the arguments do not fit the graph and each other.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> star = from_edges(np.array([1, 2]), np.array([0, 0]), num_nodes=3)
        >>> x, logits = jnp.array([[[9.0]], [[2.0]], [[4.0]]]), jnp.zeros((2, 1))
        >>> attention_sum(star, logits, x)[:, 0, 0].tolist()  # equal logits: the mean
        [3.0, 0.0, 0.0]
        >>> attention_sum(star, logits, x, mask=jnp.array([True, False]))[:, 0, 0].tolist()
        [2.0, 0.0, 0.0]
    """
    layout, x = checked_layout(graph, sent=x, edges=(logits, keep, mask)), floats(x)
    receivers = rows_of_sums(graph, layout)
    for name, value, rows in (
        ("logits", logits, num_edges(graph)),
        ("keep", keep, num_edges(graph)),
        ("self_logits", self_logits, receivers),
        ("self_keep", self_keep, receivers),
    ):
        if value is not None and value.shape != (rows, x.shape[1]):
            raise InputError(f"attention_sum: {name} are {value.shape}, expected {(rows, x.shape[1])}")
    if mask is not None and (mask.dtype, mask.ndim) != (jnp.bool_, 1):
        raise InputError(f"attention_sum: mask is {mask.dtype} {mask.shape}, expected booleans ({num_edges(graph)},)")
    logits = logits if mask is None else jnp.where(mask[:, None], logits, -jnp.inf)
    loops = None if self_logits is None else _Loops(self_logits, self_keep)
    arguments = jax.tree.map(widened, (logits, x, loops, keep))
    if layout is None:  # as in exported programs, which must not name a layout in memory
        return _plain(graph, *arguments).astype(x.dtype)
    if not attends_in_slots(layout.pattern.slots and layout.pattern.slots[0], x.shape[1]):
        arguments = jax.tree.map(heads_first, arguments)
    out: Float[Array, "r h d"] = _attention(jax.tree.map(jnp.asarray, layout.pattern), layout.info.backend, *arguments)
    return out.astype(x.dtype)


@by_blocks(edges="logits", gives="edges")
def edge_softmax(graph: jraph.GraphsTuple, logits: Float[Array, "e h"]) -> Float[Array, "e h"]:
    """Computes the attention weights `alpha` of `attention_sum` themselves, to inspect or to distil.

    Args:
        graph: plain or prepared.
        logits: `[e, heads]`, in the order of `graph.senders`.

    Returns:
        `[e, heads]`; the weights of the edges that enter a node sum to 1.

    Raises:
        InputError: another number of rows than of edges.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> star = from_edges(np.array([1, 2]), np.array([0, 0]), num_nodes=3)
        >>> edge_softmax(star, jnp.zeros((2, 1))).tolist()
        [[0.5], [0.5]]
    """
    wide = widened(logits)
    weights = jnp.exp(wide - receiver_values(graph, _finite(receiver_maxima(graph, wide))))
    return (weights / receiver_values(graph, _divisor(receiver_sums(graph, weights)))).astype(logits.dtype)


class _Loops(NamedTuple):
    """Self loops at every node: their logits `[n, h]`, and factors of their weights or None."""

    logits: Array
    keep: Array | None


class _Softmax(NamedTuple):
    """Exponentials of the logits of edges `[e, h]` and of loops `[n, h]`, and their sums at each receiver `[n, h]`."""

    weights: Array
    loop_weights: Array | None
    totals: Array


class _Saved(NamedTuple):
    """Residuals for the backward pass; `weights` and `loop_weights` are those before their division by `totals`."""

    pattern: CSR
    weights: Array
    loop_weights: Array | None
    totals: Array
    x: Array
    keep: Array | None
    loop_keep: Array | None


def _plain(graph: jraph.GraphsTuple, logits: Array, x: Array, loops: _Loops | None, keep: Array | None) -> Array:
    """Computes the sum by JAX's own segment operations, for graphs that were never prepared."""
    largest = receiver_maxima(graph, logits)
    largest = _finite(largest if loops is None else jnp.maximum(largest, jax.lax.stop_gradient(loops.logits)))
    weights = jnp.exp(logits - largest[graph.receivers])
    totals = receiver_sums(graph, weights)
    messages = _times(weights, keep)[:, :, None] * gather_rows(x, jnp.asarray(graph.senders))
    out = segment_sums(messages, jnp.asarray(graph.receivers), num_nodes(graph))
    if loops is not None:
        loop_weights = jnp.exp(loops.logits - largest)
        totals, out = totals + loop_weights, out + _of_loops(loop_weights, loops.keep, x)
    return out / _divisor(totals)[:, :, None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _attention(
    pattern: CSR, backend: Backend, logits: Array, x: Array, loops: _Loops | None, keep: Array | None
) -> Array:
    return _forward(pattern, backend, logits, x, loops, keep)[0]


def _forward(
    pattern: CSR, backend: Backend, logits: Array, x: Array, loops: _Loops | None, keep: Array | None
) -> tuple[Array, _Saved]:
    slots, arguments = pattern.slots and pattern.slots[0], (pattern, logits, x, loops, keep)
    by_edges = functools.partial(_by_edges, backend=backend)
    if backend in ("csr", "segment") or not attends_in_slots(slots, logits.shape[1]):
        out, softmax = by_edges(*arguments)
    elif backend == "bucketed":
        out, softmax = _in_slots(*arguments)
    else:
        out, softmax = jax.lax.platform_dependent(*arguments, tpu=_in_slots, default=by_edges)
    return out, _Saved(pattern, softmax.weights, softmax.loop_weights, softmax.totals, x, keep, loops and loops.keep)


def _by_edges(
    pattern: CSR, logits: Array, x: Array, loops: _Loops | None, keep: Array | None, *, backend: Backend
) -> tuple[Array, _Softmax]:
    # The largest logit of each receiver is subtracted before exp, which is then at most 1. It cancels in the quotient,
    # and so has no gradient. A receiver without edges, or whose edges are all masked, has minus infinity here.
    largest = row_maxima(by_row(pattern), logits, backend)
    largest = _finite(largest if loops is None else jnp.maximum(largest, loops.logits))
    weights = heads_first(_weights_of(pattern, logits, largest))  # [e, h]; 0 on masked edges
    totals: Float[Array, "r h"] = row_totals(pattern, backend, weights)
    # Dropout changes the numerator alone: the softmax is over all edges, as in the paper's code.
    out = row_sums(by_row(pattern), _times(weights, keep), x, backend)  # SpMM, [r, h, d]
    loop_weights = None
    if loops is not None:
        loop_weights = jnp.exp(loops.logits - largest)
        totals, out = totals + loop_weights, out + _of_loops(loop_weights, loops.keep, x)
    totals = _divisor(totals)
    # Divided once per receiver and not once per edge.
    return out / totals[:, :, None], _Softmax(weights, loop_weights, totals)


def _in_slots(
    pattern: CSR, logits: Array, x: Array, loops: _Loops | None, keep: Array | None
) -> tuple[Array, _Softmax]:
    """Computes the same in the slots of a minibatch on a TPU, head by head."""
    slots = slots_of(by_row(pattern))
    in_slots, totals, largest = slot_softmax(slots, logits, loops and loops.logits)
    if keep is not None:
        in_slots = kept_in_slots(slots, in_slots, keep)
    features, loop_weights = features_of_heads(x), None
    sums = slot_weighted_sums(slots, features, in_slots)
    if loops is not None:
        loop_weights = jnp.exp(loops.logits - largest)
        totals, own = totals + loop_weights, _times(loop_weights, loops.keep)
        sums = [out + own[:, head, None] * first_rows(features[head], out.shape[0]) for head, out in enumerate(sums)]
    totals = _divisor(totals)
    flat = jnp.concatenate([out / totals[:, head, None] for head, out in enumerate(sums)], axis=1)
    weights = _weights_of(pattern, logits, largest)  # of the edges, for the backward pass
    return split_heads(flat, x.shape[1]), _Softmax(weights, loop_weights, totals)


def _backward(backend: Backend, saved: _Saved, cotangent: Array) -> tuple[Any, ...]:
    """Computes the gradients from `g = cotangent / totals` and the saved weights.

        d logit = weight (keep <g, x> - m),    d x = sum of weight keep g,    d keep = weight <g, x>

    `m = <g, out>` of each receiver comes from the softmax's denominator. It is also the sum of `weight keep <g, x> /
    totals` over its edges, so the output need not be saved.
    """
    pattern, weights, loop_weights, totals, x, keep, loop_keep = saved
    g = heads_first(cotangent / totals[:, :, None])
    dots = heads_first(edge_dots(pattern.rows, pattern.cols, g, x))  # SDDMM, <g, x> of each edge, [e, h]
    kept = _times(weights, keep)
    inner: Float[Array, "r h"] = row_totals(pattern, backend, kept * dots)
    grad_x = row_sums(by_column(pattern), kept, g, backend)  # the transposed SpMM
    loop_dots = None
    if loop_weights is not None:  # a loop is an edge of its node to itself: the same terms, without a gather
        own = first_rows(x, g.shape[0])
        loop_dots, loop_kept = last_axis_sum(g * own), _times(loop_weights, loop_keep)
        inner, grad_x = inner + loop_kept * loop_dots, _plus_rows(grad_x, loop_kept[:, :, None] * g)
    mean = inner / totals
    grad_logits = weights * (_times(dots, keep) - mean[pattern.rows])
    grad_loops = None
    if loop_weights is not None and loop_dots is not None:
        grad_loop_keep = None if loop_keep is None else loop_weights * loop_dots
        grad_loops = _Loops(loop_weights * (_times(loop_dots, loop_keep) - mean), grad_loop_keep)
    return None, grad_logits, grad_x, grad_loops, None if keep is None else weights * dots


_attention.defvjp(_forward, _backward)


def _weights_of(pattern: CSR, logits: Array, largest: Array) -> Array:
    """Computes the exponentials of the edges; those of padding edges, which no slot counts in a maximum, are finite."""
    return jnp.exp(jnp.minimum(logits - largest[pattern.rows], 0.0))


def _times(weights: Array, keep: Array | None) -> Array:
    return weights if keep is None else weights * keep


def _of_loops(weights: Array, keep: Array | None, x: Array) -> Array:
    """Weights the features of the receivers themselves, which are the first nodes, by those of their self loops."""
    return _times(weights, keep)[:, :, None] * x[: weights.shape[0]]


def _plus_rows(x: Array, added: Array) -> Array:
    """Adds to the first rows, which are all but in a block of a graph."""
    return x + added if x.shape == added.shape else x.at[: added.shape[0]].add(added)


def _finite(largest: Array) -> Array:
    """Returns zero for receivers without edges, so that `exp(-inf - largest)` is 0 and not NaN."""
    return jnp.where(jnp.isneginf(largest), 0.0, largest)


def _divisor(totals: Array) -> Array:
    return jnp.where(totals > 0, totals, 1.0)
