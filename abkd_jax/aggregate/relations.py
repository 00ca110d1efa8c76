"""Sums over typed edges, relation by relation: the aggregation of relational networks.

    out_v = sum over relations r of W_r mean over u -> v of type r of x_u

Either side of the product with the `W_r` may come first: sum on the narrower one.
"""

from typing import Any

import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate.backends import gathered, segment_sums
from abkd_jax.aggregate.edges import num_receivers
from abkd_jax.aggregate.products import sparse_matmul
from abkd_jax.graph import edge_relations, layout_of
from abkd_jax.types import InputError

__all__ = ["relation_means", "relation_sum"]


def relation_means(graph: jraph.GraphsTuple, x: Float[Array, "n f"], relations: int) -> Float[Array, "m r f"]:
    """The mean of `x` over the edges of each type that enter each node; zero where there are none.

    Args:
        graph: with a type an edge, see `graph.edge_relations`.
        x: `[n, f]`.
        relations: number of types.
    """
    n, rows, counts = _by_relation(graph, relations, x.dtype)
    layout = layout_of(graph)
    weights = (1.0 / jnp.maximum(counts, 1.0))[rows]
    if layout is None or layout.relations is None:
        sums = segment_sums(weights[:, None] * gathered(x, jnp.asarray(graph.senders)), rows, n * relations)
    else:
        sums = sparse_matmul(layout.relations.rows, weights, x, layout.facts.backend)
    return sums.reshape(n, relations, x.shape[1])


def relation_sum(graph: jraph.GraphsTuple, x: Float[Array, "n r f"]) -> Float[Array, "m f"]:
    """The sum over the types of the mean of `x[:, type]` over the edges of that type that enter each node.

    Args:
        graph: with a type an edge, see `graph.edge_relations`.
        x: `[n, relations, f]`, one transformed feature a type.
    """
    relations, width = x.shape[1:]
    n, rows, counts = _by_relation(graph, relations, x.dtype)
    weights = (1.0 / jnp.maximum(counts, 1.0))[rows]
    layout = layout_of(graph)
    flat = x.reshape(-1, width)
    if layout is None or layout.relations is None:
        cols = jnp.asarray(graph.senders) * relations + _relations(graph)
        return segment_sums(weights[:, None] * gathered(flat, cols), jnp.asarray(graph.receivers), n)
    return sparse_matmul(layout.relations.columns, weights, flat, layout.facts.backend)


def _by_relation(
    graph: jraph.GraphsTuple, relations: int, dtype: Any
) -> tuple[int, Int[Array, " e"], Float[Array, " nr"]]:
    """Number of nodes that receive, `receiver * relations + type` of each edge, and how many edges have each."""
    n, layout = num_receivers(graph), layout_of(graph)
    if layout is not None and layout.relations is not None:
        pattern = layout.relations.rows
        if pattern.shape[0] != n * relations:
            raise InputError(
                f"the graph was prepared for {pattern.shape[0] // max(n, 1)} relations, expected {relations}: "
                "name their number in graph.prepare(relations=...)"
            )
        return n, jnp.asarray(pattern.rows), jnp.diff(jnp.asarray(pattern.row_ptr)).astype(dtype)
    rows = jnp.asarray(graph.receivers) * relations + _relations(graph)
    ones = jnp.ones(rows.shape[0], dtype)
    return n, rows, segment_sums(ones, rows, n * relations)


def _relations(graph: jraph.GraphsTuple) -> Int[Array, " e"]:
    relations = edge_relations(graph)
    if relations is None:
        raise InputError("the graph's edges have no type, expected integers [e] in `edges` or in `edges['relation']`")
    return jnp.asarray(relations)
