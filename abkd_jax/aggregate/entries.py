"""Entries of a sparse matrix in row order: of a pattern, or of its transpose."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from abkd_jax.graph.buckets import Buckets
from abkd_jax.graph.layout import CSR
from abkd_jax.graph.slots import Slots

__all__ = ["RowEntries", "by_column", "by_row", "in_row_order", "one_by_one"]


class RowEntries(NamedTuple):
    """Entries of a sparse matrix in row order.

    Attributes:
        rows: `[nnz]` int32, ascending.
        cols: `[nnz]` int32.
        row_ptr: `[n + 1]` int32.
        buckets: of the rows, or None.
        slots: of the rows, or None; they say themselves where the values of the entries are.
        order: `[nnz]` int32, where the value of each entry is; None where values are in row order.
    """

    rows: Int[Array, " nnz"]
    cols: Int[Array, " nnz"]
    row_ptr: Int[Array, " n_plus_1"]
    buckets: Buckets | None = None
    slots: Slots | None = None
    order: Int[Array, " nnz"] | None = None


def by_row(pattern: CSR) -> RowEntries:
    """Returns the entries of a pattern in row order."""
    buckets, slots = pattern.buckets and pattern.buckets[0], pattern.slots and pattern.slots[0]
    return RowEntries(pattern.rows, pattern.cols, pattern.row_ptr, buckets, slots)


def by_column(pattern: CSR) -> RowEntries:
    """Returns the entries of the transpose; their values are those of the pattern, in its row order."""
    buckets = pattern.buckets and (pattern.buckets[1] or pattern.buckets[0])
    slots = pattern.slots and pattern.slots[1]
    return RowEntries(pattern.cols_t, pattern.rows_t, pattern.col_ptr, buckets, slots, pattern.order_t)


def in_row_order(matrix: RowEntries, values: Shaped[Array, "e *h"]) -> Shaped[Array, "e *h"]:
    """Brings values of the entries into row order."""
    return values if matrix.order is None else values[matrix.order]


def one_by_one(
    function: Callable[..., Array], size: int, batched: Sequence[Any], *arguments: Any
) -> tuple[Array, bool]:
    """Maps a product over graphs that differ, one after the other: a rule of `jax.custom_batching.custom_vmap`.

    Args:
        function: the product.
        size: number of graphs.
        batched: which leaves of the arguments have a leading axis of them.
        arguments: of the function.

    Returns:
        The products of all graphs, and that they have such an axis.
    """

    def of_graph(i: Array) -> Array:
        return function(*jax.tree.map(lambda leaf, many: leaf[i] if many else leaf, arguments, tuple(batched)))

    return jax.lax.map(of_graph, jnp.arange(size)), True
