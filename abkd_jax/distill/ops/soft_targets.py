"""Soft labels that nodes are given by their neighbours, and the divergence of the student from them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from jraph import GraphsTuple

from abkd_jax.distill.ops.checks import require_rows
from abkd_jax.distill.ops.numerics import masked_rows
from abkd_jax.graph import edge_relations, num_nodes
from abkd_jax.types import Mask, Scalar

__all__ = ["SoftTargets", "counted_edges", "divergence", "from_neighbours", "log_probabilities", "negative_entropy"]


class SoftTargets(NamedTuple):
    """Weighted sums of the class probabilities of other nodes, one sum for each node.

    Attributes:
        probabilities: `[n, c]`, `sum_u w_uv p_u`.
        negative_entropy: `[n]`, `sum_u w_uv sum_c p_uc log p_uc`.
        weight: `[n]`, `sum_u w_uv`.
    """

    probabilities: Float[Array, "n c"]
    negative_entropy: Float[Array, " n"]
    weight: Float[Array, " n"]


def log_probabilities(logits: Float[Array, "n c"], mask: Mask, temperature: Scalar) -> Float[Array, "n c"]:
    """Computes `log softmax(z / T)` of the masked rows; uniform probabilities for all others.

    Args:
        logits: `[n, c]`; rows outside the mask may hold anything.
        mask: `[n]`.
        temperature: `T`, a number or traced.
    """
    return jax.nn.log_softmax(masked_rows(logits, mask, "logits") / temperature, axis=-1)


def negative_entropy(log_p: Float[Array, "*rows c"]) -> Float[Array, "*rows"]:
    """Computes `sum_c p_c log p_c` over the last axis from log-probabilities."""
    return jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def counted_edges(graph: GraphsTuple, mask: Mask) -> tuple[Int[Array, " e"], Int[Array, " e"], Bool[Array, " e"]]:
    """Returns senders, receivers, and the edges of which the mask holds both ends.

    Of edges of several types that join the same two nodes in one direction, the first counts. An untyped graph is taken
    as it is, so that nothing is computed for what `graph.from_edges` has merged.

    Args:
        graph: the graph of the models.
        mask: `[n]`.

    Raises:
        InputError: the mask is of another number of nodes.
    """
    if graph.nodes is not None:
        require_rows("nodes of the graph", num_nodes(graph), mask)
    senders, receivers = jnp.asarray(graph.senders), jnp.asarray(graph.receivers)
    counted = mask[senders] & mask[receivers]
    return senders, receivers, counted if edge_relations(graph) is None else counted & _first(senders, receivers)


def _first(senders: Int[Array, " e"], receivers: Int[Array, " e"]) -> Bool[Array, " e"]:
    """Tells which edges are the first with their ends."""
    order = jnp.lexsort((senders, receivers))
    new = [end[order][1:] != end[order][:-1] for end in (senders, receivers)]
    return jnp.ones(order.shape, bool).at[order[1:]].set(new[0] | new[1])


def from_neighbours(
    log_p: Float[Array, "n c"], weights: Float[Array, " n"], graph: GraphsTuple, mask: Mask, *, own: bool
) -> SoftTargets:
    """Sums the probabilities of the nodes whose edges enter a node; self loops are left out.

    Args:
        log_p: `[n, c]`, of every node.
        weights: `[n]`, of every node as a sender: `w_uv = w_u`.
        graph: the graph of the models.
        mask: `[n]`; an edge counts where it holds both ends.
        own: whether every masked node is also its own neighbour, with its own weight.
    """
    senders, receivers, counted = counted_edges(graph, mask)
    parts = SoftTargets(jnp.exp(log_p), negative_entropy(log_p), jnp.ones_like(weights))
    counted = counted & (senders != receivers)

    def summed(part: Array) -> Array:
        part = part * weights.reshape(-1, *[1] * (part.ndim - 1))
        part = jnp.where(mask.reshape(-1, *[1] * (part.ndim - 1)), part, 0.0)
        sent = jnp.where(counted.reshape(-1, *[1] * (part.ndim - 1)), part[senders], 0.0)
        received = jax.ops.segment_sum(sent, receivers, num_segments=mask.shape[0])
        return received + part if own else received

    return SoftTargets(*map(summed, parts))


def divergence(targets: SoftTargets, log_q: Float[Array, "n c"], mask: Mask) -> Float[Array, ""]:
    """Computes the weighted mean of `KL(p_u || q_v)` over the pairs that the targets sum; 0 without any.

    Args:
        targets: of the teacher.
        log_q: `[n, c]`, the student's log-probabilities.
        mask: `[n]`.
    """
    require_rows("targets of the teacher", targets.weight.shape[0], mask)
    per_node = targets.negative_entropy - jnp.sum(targets.probabilities * log_q, axis=-1)
    total = jnp.sum(jnp.where(mask, targets.weight, 0.0))
    return jnp.sum(jnp.where(mask, per_node, 0.0)) / jnp.where(total > 0.0, total, 1.0)
