"""Maxima over the neighbours, with the gradient shared by those that attain them."""

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float

from abkd_jax.aggregate.bucketed import bucketed_reduce
from abkd_jax.aggregate.edges import checked_layout, rows_of_sums
from abkd_jax.aggregate.entries import by_column, by_row
from abkd_jax.aggregate.partitioned import by_blocks
from abkd_jax.aggregate.slots import combined_levels, rows_of_groups, sent_in_slots, slots_of
from abkd_jax.graph.layout import CSR, PreparedEdges
from abkd_jax.graph.precision import accumulation_dtype, floats, widened

__all__ = ["maximum"]


@by_blocks(sent="x")
def maximum(graph: jraph.GraphsTuple, x: Float[Array, "n f"]) -> Float[Array, "r f"]:
    """Computes the maximum of `x` over the edges that enter each node, unit by unit.

    Neighbours that attain it share the gradient equally, as in `jax.ops.segment_max` and PyTorch's `scatter_reduce`.
    A graph with buckets or slots (`graph.prepare`) runs by gathers alone, forwards and backwards; with slots, for a
    TPU, by gathers of rows.

    Args:
        graph: plain or prepared.
        x: `[n, f]`; integers give float32.

    Returns:
        `[n, f]`; zero for a node without incoming edges.

    Raises:
        InputError: another number of rows than of nodes.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> star = from_edges(np.array([1, 2]), np.array([0, 0]), num_nodes=3)
        >>> maximum(star, jnp.array([[9.0], [-2.0], [-1.0]]))[:, 0].tolist()
        [-1.0, 0.0, 0.0]
    """
    layout, x = checked_layout(graph, sent=x), floats(x)
    if layout is None or layout.info.backend not in ("auto", "bucketed"):
        return _segment_maximum(graph, layout, x)
    by_slots = layout.pattern.slots is not None and layout.pattern.slots[0].cols
    if not by_slots and layout.pattern.buckets is None:
        return _segment_maximum(graph, layout, x)
    form = _slotted_maximum if by_slots else _bucketed_maximum
    return form(jax.tree.map(jnp.asarray, layout.pattern), x)


def _segment_maximum(graph: jraph.GraphsTuple, layout: PreparedEdges | None, x: Array) -> Array:
    receivers, n = jnp.asarray(graph.receivers), rows_of_sums(graph, layout)
    sent = widened(x)[jnp.asarray(graph.senders)]  # float32: its gradient counts how many attain the maximum
    out = jax.ops.segment_max(sent, receivers, num_segments=n, indices_are_sorted=layout is not None)
    return jnp.where(jnp.isneginf(out), 0.0, out).astype(x.dtype)


@jax.custom_vjp
def _bucketed_maximum(pattern: CSR, x: Array) -> Array:
    largest = bucketed_reduce(by_row(pattern), lambda ids, _: x[pattern.cols[ids]], jnp.maximum, _lowest(x), x.shape[1])
    return jnp.where(jnp.isneginf(largest), 0.0, largest)


def _forward(pattern: CSR, x: Array) -> tuple[Array, tuple[CSR, Array, Array, Array]]:
    """Computes the maximum, and how many entries attain it, in one pass."""

    def neighbour(ids: Array, _: Array) -> tuple[Array, Array]:
        values = x[pattern.cols[ids]]
        return values, jnp.ones(values.shape, accumulation_dtype(x.dtype))

    def larger(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        largest = jnp.maximum(a[0], b[0])
        return largest, jnp.where(a[0] == largest, a[1], 0.0) + jnp.where(b[0] == largest, b[1], 0.0)

    identity = _lowest(x), jnp.zeros((), accumulation_dtype(x.dtype))
    largest, count = bucketed_reduce(by_row(pattern), neighbour, larger, identity, x.shape[1])
    return jnp.where(jnp.isneginf(largest), 0.0, largest), (pattern, x, largest, count)


def _backward(saved: tuple[CSR, Array, Array, Array], cotangent: Array) -> tuple[None, Array]:
    pattern, x, largest, count = saved
    share = cotangent.astype(count.dtype) / jnp.maximum(count, 1.0)
    share = jnp.where(jnp.isneginf(largest), 0.0, share)

    def received(ids: Array, senders: Array) -> Array:
        receivers = pattern.rows_t[ids]
        return jnp.where(largest[receivers] == x[senders], share[receivers], 0.0)

    zero = jnp.zeros((), share.dtype)
    return None, bucketed_reduce(by_column(pattern), received, jnp.add, zero, x.shape[1]).astype(x.dtype)


_bucketed_maximum.defvjp(_forward, _backward)


@jax.custom_vjp
def _slotted_maximum(pattern: CSR, x: Array) -> Array:
    slots = slots_of(by_row(pattern))
    largest = combined_levels(slots, sent_in_slots(slots, x, -jnp.inf), jnp.maximum, -jnp.inf)
    return jnp.where(jnp.isneginf(largest), 0.0, largest)


def _slotted_forward(pattern: CSR, x: Array) -> tuple[Array, tuple[CSR, Array, Array, Array]]:
    """Computes the maximum, and then how many entries attain it."""
    slots = slots_of(by_row(pattern))
    sent = sent_in_slots(slots, x, -jnp.inf)
    largest = combined_levels(slots, sent, jnp.maximum, -jnp.inf)
    wide = accumulation_dtype(x.dtype)
    pairs = zip(sent, rows_of_groups(slots, largest), strict=True)
    attain = [[(slot == own).astype(wide) for slot in group] for group, own in pairs]
    count = combined_levels(slots, attain, jnp.add, 0.0)
    return jnp.where(jnp.isneginf(largest), 0.0, largest), (pattern, x, largest, count)


def _slotted_backward(saved: tuple[CSR, Array, Array, Array], cotangent: Array) -> tuple[None, Array]:
    pattern, x, largest, count = saved
    share = jnp.where(jnp.isneginf(largest), 0.0, cotangent.astype(count.dtype) / jnp.maximum(count, 1.0))
    slots, width = slots_of(by_column(pattern)), x.shape[1]
    both = sent_in_slots(slots, jnp.concatenate([largest.astype(share.dtype), share], axis=1))
    of_rows = rows_of_groups(slots, x.astype(share.dtype))
    received = [
        [jnp.where(slot[:, :width] == own, slot[:, width:], 0.0) for slot in group]
        for group, own in zip(both, of_rows, strict=True)
    ]
    return None, combined_levels(slots, received, jnp.add, 0.0).astype(x.dtype)


_slotted_maximum.defvjp(_slotted_forward, _slotted_backward)


def _lowest(x: Array) -> Array:
    return jnp.asarray(-jnp.inf, x.dtype)
