"""Means over the edges of each type: the aggregation of relational networks.

    out_v = sum over relations r of W_r mean over u -> v of type r of x_u

The product with the `W_r` may come before or after the mean: aggregate on the narrower side.
"""

import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate.backends import gather_rows, segment_sums
from abkd_jax.aggregate.edges import checked_layout, rows_of_sums
from abkd_jax.aggregate.partitioned import by_blocks
from abkd_jax.aggregate.products import sparse_matmul
from abkd_jax.graph import edge_relations, num_edges
from abkd_jax.graph.input_checks import checked_relations, host_values
from abkd_jax.graph.layout import PreparedEdges
from abkd_jax.graph.precision import floats, widened
from abkd_jax.graph.type_blocks import TypedLayout
from abkd_jax.types import InputError

__all__ = ["relation_means", "relation_sum"]


@by_blocks(sent="x")
def relation_means(graph: jraph.GraphsTuple, x: Float[Array, "n f"], relations: int) -> Float[Array, "m r f"]:
    """Computes the mean of `x` over the edges of each type that enter each node; zero where there are none.

    Args:
        graph: with one type per edge, see `graph.edge_relations`.
        x: `[n, f]`; integers give float32.
        relations: number of types.

    Returns:
        `[n, relations, f]`.

    Raises:
        InputError: edges have no types, or the graph was prepared for another number of them; another number of rows
            than of nodes.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> star = from_edges(np.array([1, 2]), np.array([0, 0]), num_nodes=3)._replace(edges=np.array([0, 1]))
        >>> relation_means(star, jnp.array([[9.0], [2.0], [1.0]]), 2)[0, :, 0].tolist()
        [2.0, 1.0]
    """
    layout, x = _without_type_blocks(checked_layout(graph, sent=x)), floats(x)
    wide = widened(x)
    n, weights = _by_relation(graph, layout, relations, wide.dtype)
    if layout is None or layout.relations is None:
        messages = weights[:, None] * gather_rows(wide, jnp.asarray(graph.senders))
        sums = _sums_by_relation(graph, messages, (n, relations))
    else:
        sums = sparse_matmul(layout.relations.rows, weights, wide, layout.info.backend)
        sums = sums.reshape(n, relations, x.shape[1])
    return sums.astype(x.dtype)


@by_blocks(sent="x")
def relation_sum(graph: jraph.GraphsTuple, x: Float[Array, "n r f"]) -> Float[Array, "m f"]:
    """Computes the sum over the types of the mean of `x[:, type]` over the edges of that type that enter each node.

    Args:
        graph: with one type per edge, see `graph.edge_relations`.
        x: `[n, relations, f]`, the features transformed for each type; integers give float32.

    Returns:
        `[n, f]`.

    Raises:
        InputError: as `relation_means`.
    """
    layout, x = _without_type_blocks(checked_layout(graph, sent=x)), floats(x)
    relations, width = x.shape[1:]
    wide = widened(x)
    n, weights = _by_relation(graph, layout, relations, wide.dtype)
    if layout is None or layout.relations is None:
        sent = wide[jnp.asarray(graph.senders), _relations(graph, relations)]
        sums = segment_sums(weights[:, None] * sent, jnp.asarray(graph.receivers), n)
    else:
        flat = wide.reshape(-1, width)
        sums = sparse_matmul(layout.relations.columns, weights, flat, layout.info.backend)
    return sums.astype(x.dtype)


def _without_type_blocks(layout: PreparedEdges | None) -> PreparedEdges | None:
    """Drops the layout of a batch whose nodes are sorted by type: its pairs are others, see `typed_sums`."""
    held = None if layout is None else layout.relations
    return layout._replace(relations=None) if layout is not None and isinstance(held, TypedLayout) else layout


def _by_relation(
    graph: jraph.GraphsTuple, layout: PreparedEdges | None, relations: int, dtype: DTypeLike
) -> tuple[int, Float[Array, " e"]]:
    """Counts the receivers, and weights edges by one over the number of those of their type at their receiver.

    The types of a plain graph under `jit` are taken as they are; `graph.prepare` checks them.

    Returns:
        The number of nodes that edges enter; `[e]`, the weights.
    """
    n = rows_of_sums(graph, layout)
    if layout is not None and layout.relations is not None:
        pattern = layout.relations.rows
        if pattern.shape[0] != n * relations:
            raise InputError(
                f"the graph was prepared for {pattern.shape[0] // max(n, 1)} relations, expected {relations}: "
                "name their number in graph.prepare(relations=...)"
            )
        rows, counts = jnp.asarray(pattern.rows), jnp.diff(jnp.asarray(pattern.row_ptr)).astype(dtype)
        return n, (1.0 / jnp.maximum(counts, 1.0))[rows]
    counts = _sums_by_relation(graph, jnp.ones(num_edges(graph), dtype), (n, relations))
    weights = 1.0 / jnp.maximum(counts, 1.0)
    return n, weights[jnp.asarray(graph.receivers), _relations(graph, relations)]


def _sums_by_relation(graph: jraph.GraphsTuple, values: Float[Array, "e *f"], shape: tuple[int, int]) -> Array:
    """Sums `[e, ...]` values by receiver and type, `[n, relations, ...]`, for graphs that were never prepared.

    With an index per axis, and not `receiver * relations + type`: exported programs know no product of their sizes.
    """
    places = jnp.asarray(graph.receivers), _relations(graph, shape[1])
    return jnp.zeros(shape + values.shape[1:], values.dtype).at[places].add(values, mode="drop")


def _relations(graph: jraph.GraphsTuple, count: int) -> Int[Array, " e"]:
    relations = edge_relations(graph)
    if relations is None:
        raise InputError("the graph's edges have no type, expected integers [e] in `edges` or in `edges['relation']`")
    types = host_values(relations)
    if types is not None:
        checked_relations(types, count)
    return jnp.asarray(relations)
