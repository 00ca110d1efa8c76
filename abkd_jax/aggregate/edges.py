"""Between nodes and edges: what stands at the ends of an edge, and sums and maxima over the edges at a node.

Gathers from nodes to edges have sorted sums as their gradients, where plain JAX would scatter.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float

from abkd_jax.aggregate.backends import Backend, Rows, gathered, row_maxima, row_sums, segment_sums
from abkd_jax.graph.build import SparseFeatures, layout_of, num_edges, num_nodes
from abkd_jax.graph.input_checks import check_graph, check_rows
from abkd_jax.graph.layout import CSR

__all__ = [
    "by_column",
    "by_row",
    "checked_layout",
    "num_receivers",
    "receiver_maxima",
    "receiver_sums",
    "receiver_values",
    "receiving",
    "row_totals",
    "sender_values",
]


def by_row(pattern: CSR) -> Rows:
    """The entries of a pattern in row order."""
    return Rows(pattern.rows, pattern.cols, pattern.row_ptr, pattern.buckets and pattern.buckets[0])


def by_column(pattern: CSR) -> Rows:
    """The entries of the transpose in its row order, which is `pattern.order_t`."""
    buckets = pattern.buckets and (pattern.buckets[1] or pattern.buckets[0])
    return Rows(pattern.cols[pattern.order_t], pattern.rows_t, pattern.col_ptr, buckets)


def checked_layout(graph: jraph.GraphsTuple, *, sent: Any = None, received: Any = None, edges: Any = None) -> Any:
    """The layout of a graph as `graph.layout_of` gives it, once the arrays that go over its edges fit.

    Args:
        graph: plain or prepared; a plain one is checked (`graph_input.check_graph`).
        sent: arrays with one row a node.
        received: arrays with one row a node that edges enter (`num_receivers`).
        edges: arrays with one row an edge.

    Raises:
        InputError: an array has another number of rows: gathers would take its last one for those that are missing.
    """
    layout = layout_of(graph)
    if layout is None:
        check_graph(graph, num_nodes(graph))
    check_rows("node", sent, num_nodes(graph) if layout is None else layout.pattern.shape[1])
    check_rows("node", received, num_receivers(graph))
    check_rows("edge", edges, num_edges(graph))
    return layout


def num_receivers(graph: jraph.GraphsTuple) -> int:
    """The number of nodes that edges enter, and that sums have rows for: the first ones.

    All nodes, but for a piece of a graph, whose pattern has fewer rows than columns (`inference`): the nodes from there
    on only send. Pieces have no gradients.
    """
    layout = layout_of(graph)
    return num_nodes(graph) if layout is None else layout.pattern.shape[0]


def receiving(graph: jraph.GraphsTuple, x: Any) -> Any:
    """The rows of `x`, an array or sparse features, of the nodes that edges enter (`num_receivers`)."""
    rows = num_receivers(graph)
    if rows == x.shape[0]:
        return x
    if isinstance(x, SparseFeatures):
        return x._replace(pattern=x.pattern._replace(row_ptr=x.pattern.row_ptr[: rows + 1]))
    return x[:rows]


def sender_values(graph: jraph.GraphsTuple, x: Float[Array, "n h"]) -> Float[Array, "e h"]:
    """`x` at the sender of each edge, `[e, h]`."""
    layout = checked_layout(graph, sent=x)
    if layout is None:
        return gathered(x, jnp.asarray(graph.senders))
    return _at_columns(jax.tree.map(jnp.asarray, layout.pattern), layout.facts.backend, x)


def receiver_values(graph: jraph.GraphsTuple, x: Float[Array, "n h"]) -> Float[Array, "e h"]:
    """`x` at the receiver of each edge, `[e, h]`."""
    layout = checked_layout(graph, received=x)
    if layout is None:
        return gathered(x, jnp.asarray(graph.receivers))
    return _at_rows(jax.tree.map(jnp.asarray, layout.pattern), layout.facts.backend, x)


def receiver_sums(graph: jraph.GraphsTuple, values: Float[Array, "e h"]) -> Float[Array, "n h"]:
    """The sum of `values` over the edges that enter each node, `[n, h]`."""
    layout = checked_layout(graph, edges=values)
    if layout is None:
        return segment_sums(values, jnp.asarray(graph.receivers), num_nodes(graph))
    return row_totals(jax.tree.map(jnp.asarray, layout.pattern), layout.facts.backend, values)


def receiver_maxima(graph: jraph.GraphsTuple, values: Float[Array, "e h"]) -> Float[Array, "n h"]:
    """The maximum of `values` over the edges that enter each node; minus infinity where none does. No gradient."""
    values = jax.lax.stop_gradient(values)
    layout = checked_layout(graph, edges=values)
    if layout is None:
        return jax.ops.segment_max(values, jnp.asarray(graph.receivers), num_segments=num_nodes(graph))
    return row_maxima(by_row(jax.tree.map(jnp.asarray, layout.pattern)), values, layout.facts.backend)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _at_rows(pattern: CSR, backend: Backend, x: Array) -> Array:
    return x[pattern.rows]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _at_columns(pattern: CSR, backend: Backend, x: Array) -> Array:
    return x[pattern.cols]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def row_totals(pattern: CSR, backend: Backend, values: Float[Array, "e h"]) -> Float[Array, "n h"]:
    """The sum of the values of the entries of each row of a pattern."""
    positions = jnp.arange(values.shape[0], dtype=jnp.int32)
    return _totals(by_row(pattern)._replace(cols=positions), backend, values)


def _column_totals(pattern: CSR, backend: Backend, values: Array) -> Array:
    return _totals(by_column(pattern)._replace(cols=pattern.order_t), backend, values)


def _totals(matrix: Rows, backend: Backend, values: Array) -> Array:
    """The row sums of a matrix of ones whose columns are the edges themselves."""
    return row_sums(matrix, jnp.ones((values.shape[0], 1), values.dtype), values[:, None], backend)[:, 0]


_at_rows.defvjp(lambda p, backend, x: (x[p.rows], p), lambda backend, p, g: (None, row_totals(p, backend, g)))
_at_columns.defvjp(lambda p, backend, x: (x[p.cols], p), lambda backend, p, g: (None, _column_totals(p, backend, g)))
row_totals.defvjp(lambda p, backend, v: (row_totals(p, backend, v), p), lambda backend, p, g: (None, g[p.rows]))
