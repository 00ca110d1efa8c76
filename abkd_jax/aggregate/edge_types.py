"""Sums over typed edges, relation by relation: the aggregation of relational networks.

    out_v = sum over relations r of W_r mean over u -> v of type r of x_u

Either side of the product with the `W_r` may come first: sum on the narrower one.
"""

from typing import Any

import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate.backends import gathered, segment_sums
from abkd_jax.aggregate.edges import checked_layout, num_receivers
from abkd_jax.aggregate.products import sparse_matmul
from abkd_jax.graph.build import edge_relations, layout_of
from abkd_jax.graph.input_checks import checked_relations, host_values
from abkd_jax.graph.precision import floats, widened
from abkd_jax.types import InputError

__all__ = ["relation_means", "relation_sum"]


def relation_means(graph: jraph.GraphsTuple, x: Float[Array, "n f"], relations: int) -> Float[Array, "m r f"]:
    """The mean of `x` over the edges of each type that enter each node; zero where there are none.

    Args:
        graph: with a type an edge, see `graph.edge_relations`.
        x: `[n, f]`.
        relations: number of types.
    """
    layout, x = checked_layout(graph, sent=x), floats(x)
    wide = widened(x)
    n, rows, weights = _by_relation(graph, relations, wide.dtype)
    if layout is None or layout.relations is None:
        sums = segment_sums(weights[:, None] * gathered(wide, jnp.asarray(graph.senders)), rows, n * relations)
    else:
        sums = sparse_matmul(layout.relations.rows, weights, wide, layout.facts.backend)
    return sums.reshape(n, relations, x.shape[1]).astype(x.dtype)


def relation_sum(graph: jraph.GraphsTuple, x: Float[Array, "n r f"]) -> Float[Array, "m f"]:
    """The sum over the types of the mean of `x[:, type]` over the edges of that type that enter each node.

    Args:
        graph: with a type an edge, see `graph.edge_relations`.
        x: `[n, relations, f]`, one transformed feature a type.
    """
    layout, x = checked_layout(graph, sent=x), floats(x)
    relations, width = x.shape[1:]
    flat = widened(x).reshape(-1, width)
    n, _, weights = _by_relation(graph, relations, flat.dtype)
    if layout is None or layout.relations is None:
        cols = jnp.asarray(graph.senders) * relations + _relations(graph, relations)
        sums = segment_sums(weights[:, None] * gathered(flat, cols), jnp.asarray(graph.receivers), n)
    else:
        sums = sparse_matmul(layout.relations.columns, weights, flat, layout.facts.backend)
    return sums.astype(x.dtype)


def _by_relation(
    graph: jraph.GraphsTuple, relations: int, dtype: Any
) -> tuple[int, Int[Array, " e"], Float[Array, " e"]]:
    """Number of nodes that receive, `receiver * relations + type` of each edge, and one over how many edges have it.

    The types of a plain graph under `jit` are taken as they are; `graph.prepare` checks them.
    """
    n, layout = num_receivers(graph), layout_of(graph)
    if layout is not None and layout.relations is not None:
        pattern = layout.relations.rows
        if pattern.shape[0] != n * relations:
            raise InputError(
                f"the graph was prepared for {pattern.shape[0] // max(n, 1)} relations, expected {relations}: "
                "name their number in graph.prepare(relations=...)"
            )
        rows, counts = jnp.asarray(pattern.rows), jnp.diff(jnp.asarray(pattern.row_ptr)).astype(dtype)
        return n, rows, (1.0 / jnp.maximum(counts, 1.0))[rows]
    types = _relations(graph, relations)
    rows = jnp.asarray(graph.receivers) * relations + types
    counts = segment_sums(jnp.ones(rows.shape[0], dtype), rows, n * relations)
    return n, rows, (1.0 / jnp.maximum(counts, 1.0))[rows]


def _relations(graph: jraph.GraphsTuple, count: int) -> Int[Array, " e"]:
    relations = edge_relations(graph)
    if relations is None:
        raise InputError("the graph's edges have no type, expected integers [e] in `edges` or in `edges['relation']`")
    types = host_values(relations)
    if types is not None:
        checked_relations(types, count)
    return jnp.asarray(relations)
