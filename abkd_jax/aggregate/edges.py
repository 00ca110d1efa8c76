"""Gathers from nodes to the edges at them, and sums and maxima of edges at their receivers.

The gradients of the gathers are sorted sums, where plain JAX would scatter.
"""

import functools
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float, Shaped

from abkd_jax.aggregate.backends import gather_rows, row_maxima, row_sums, segment_sums
from abkd_jax.aggregate.entries import RowEntries, by_column, by_row
from abkd_jax.aggregate.heads import rows_at
from abkd_jax.aggregate.partitioned import by_blocks
from abkd_jax.graph import SparseFeatures, layout_of, num_edges, num_nodes
from abkd_jax.graph.input_checks import check_graph, check_rows
from abkd_jax.graph.layout import CSR, Backend, PreparedEdges

__all__ = [
    "FeaturesT",
    "checked_layout",
    "first_rows",
    "num_receivers",
    "receiver_maxima",
    "receiver_sums",
    "receiver_values",
    "receiving",
    "row_totals",
    "rows_of_sums",
    "sender_sums",
    "sender_values",
]

FeaturesT = TypeVar("FeaturesT", bound=Shaped[Array, "_ ..."] | SparseFeatures)


def checked_layout(
    graph: jraph.GraphsTuple, *, sent: Any = None, received: Any = None, edges: Any = None
) -> PreparedEdges | None:
    """Returns the layout of a graph as `graph.layout_of`, once the arrays that are read along its edges fit.

    Args:
        graph: plain or prepared; a plain one is checked (`input_checks.check_graph`).
        sent: arrays with one row per node.
        received: arrays with one row per node that edges enter (`num_receivers`).
        edges: arrays with one row per edge.

    Raises:
        InputError: an array has another number of rows: gathers would read its last row instead of missing ones.
    """
    layout = layout_of(graph)
    if layout is None:
        check_graph(graph, num_nodes(graph))
    check_rows("node", sent, num_nodes(graph) if layout is None else layout.pattern.shape[1])
    check_rows("node", received, rows_of_sums(graph, layout))
    check_rows("edge", edges, num_edges(graph))
    return layout


def num_receivers(graph: jraph.GraphsTuple) -> int:
    """Returns the number of nodes that edges enter, and that sums have rows for: the first ones.

    All nodes, except in a block of a graph, whose pattern has fewer rows than columns: its other nodes only send. Sums
    over the blocks of a minibatch (`graph.hops`) have gradients, those over blocks without a transpose (`inference`)
    have none.
    """
    return rows_of_sums(graph, layout_of(graph))


def rows_of_sums(graph: jraph.GraphsTuple, layout: PreparedEdges | None) -> int:
    """Returns `num_receivers` of a graph whose layout is known."""
    return num_nodes(graph) if layout is None else layout.pattern.shape[0]


def receiving(graph: jraph.GraphsTuple, x: FeaturesT) -> FeaturesT:
    """Returns the rows of `x`, an array or sparse features, of the nodes that edges enter (`num_receivers`)."""
    return first_rows(x, num_receivers(graph))


def first_rows(x: Any, rows: int) -> Any:
    """Returns the first rows of an array or of sparse features; `x` itself where that is all."""
    if rows == x.shape[0]:
        return x
    if isinstance(x, SparseFeatures):
        return x._replace(pattern=x.pattern._replace(row_ptr=x.pattern.row_ptr[: rows + 1]))
    return x[:rows]


@by_blocks(sent="x", gives="edges")
def sender_values(graph: jraph.GraphsTuple, x: Float[Array, "n h"]) -> Float[Array, "e h"]:
    """Gathers `x` at the sender of each edge.

    Args:
        graph: plain or prepared.
        x: `[n, h]`.

    Returns:
        `[e, h]`, in the order of `graph.senders`.

    Raises:
        InputError: another number of rows than of nodes.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> path = from_edges(np.array([0, 1]), np.array([1, 2]), num_nodes=3)
        >>> sender_values(path, jnp.array([[5.0], [6.0], [7.0]]))[:, 0].tolist()
        [5.0, 6.0]
    """
    layout = checked_layout(graph, sent=x)
    if layout is None:
        return gather_rows(x, jnp.asarray(graph.senders))
    return _at_columns(jax.tree.map(jnp.asarray, layout.pattern), layout.info.backend, x)


@by_blocks(received="x", gives="edges")
def receiver_values(graph: jraph.GraphsTuple, x: Float[Array, "n h"]) -> Float[Array, "e h"]:
    """Gathers `x` at the receiver of each edge: as `sender_values`, `[e, h]`."""
    layout = checked_layout(graph, received=x)
    if layout is None:
        return gather_rows(x, jnp.asarray(graph.receivers))
    return _at_rows(jax.tree.map(jnp.asarray, layout.pattern), layout.info.backend, x)


@by_blocks(edges="values")
def receiver_sums(graph: jraph.GraphsTuple, values: Float[Array, "e h"]) -> Float[Array, "n h"]:
    """Computes the sum of `values` over the edges that enter each node.

    Args:
        graph: plain or prepared.
        values: `[e, h]`, in the order of `graph.senders`.

    Returns:
        `[n, h]`.

    Raises:
        InputError: another number of rows than of edges.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> star = from_edges(np.array([1, 2]), np.array([0, 0]), num_nodes=3)
        >>> receiver_sums(star, jnp.array([[5.0], [6.0]]))[:, 0].tolist()
        [11.0, 0.0, 0.0]
    """
    layout = checked_layout(graph, edges=values)
    if layout is None:
        return segment_sums(values, jnp.asarray(graph.receivers), num_nodes(graph))
    return row_totals(jax.tree.map(jnp.asarray, layout.pattern), layout.info.backend, values)


def sender_sums(graph: jraph.GraphsTuple, values: Float[Array, "e h"], nodes: int) -> Float[Array, "n h"]:
    """Computes the sum of `values` `[e, h]` over the edges that leave each of so many nodes; as `receiver_sums`."""
    layout = layout_of(graph)
    if layout is None:
        return segment_sums(values, jnp.asarray(graph.senders), nodes)
    return _column_totals(jax.tree.map(jnp.asarray, layout.pattern), layout.info.backend, values)


@by_blocks(edges="values")
def receiver_maxima(graph: jraph.GraphsTuple, values: Float[Array, "e h"]) -> Float[Array, "n h"]:
    """Computes the maximum of `values` `[e, h]` over the edges that enter each node, minus infinity without any.

    It has no gradient.
    """
    values = jax.lax.stop_gradient(values)
    layout = checked_layout(graph, edges=values)
    if layout is None:
        return jax.ops.segment_max(values, jnp.asarray(graph.receivers), num_segments=num_nodes(graph))
    return row_maxima(by_row(jax.tree.map(jnp.asarray, layout.pattern)), values, layout.info.backend)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _at_rows(pattern: CSR, backend: Backend, x: Array) -> Array:
    return rows_at(x, pattern.rows)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _at_columns(pattern: CSR, backend: Backend, x: Array) -> Array:
    return rows_at(x, pattern.cols)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def row_totals(pattern: CSR, backend: Backend, values: Float[Array, "e h"]) -> Float[Array, "n h"]:
    """Computes the sum of the values of the entries of each row of a pattern."""
    return _totals(by_row(pattern), jnp.arange(values.shape[0], dtype=jnp.int32), backend, values)


def _column_totals(pattern: CSR, backend: Backend, values: Array) -> Array:
    return _totals(by_column(pattern), pattern.order_t, backend, values)


def _totals(matrix: RowEntries, positions: Array, backend: Backend, values: Array) -> Array:
    """Computes the product of a matrix of ones, whose columns are the edges themselves, with their values."""
    slots = matrix.slots and matrix.slots._replace(cols=matrix.slots.entries)
    return row_sums(matrix._replace(cols=positions, slots=slots), None, values[:, None], backend)[:, 0]


_at_rows.defvjp(
    lambda p, backend, x: (_at_rows(p, backend, x), p), lambda backend, p, g: (None, row_totals(p, backend, g))
)
_at_columns.defvjp(
    lambda p, backend, x: (_at_columns(p, backend, x), p), lambda backend, p, g: (None, _column_totals(p, backend, g))
)
row_totals.defvjp(lambda p, backend, v: (row_totals(p, backend, v), p), lambda backend, p, g: (None, g[p.rows]))
