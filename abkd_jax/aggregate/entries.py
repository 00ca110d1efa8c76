"""Entries of a sparse matrix in row order: of a pattern, or of its transpose."""

from typing import NamedTuple

from jaxtyping import Array, Int

from abkd_jax.graph.buckets import Buckets
from abkd_jax.graph.layout import CSR

__all__ = ["RowEntries", "by_column", "by_row"]


class RowEntries(NamedTuple):
    """Entries of a sparse matrix in row order.

    Attributes:
        rows: `[nnz]` int32, ascending.
        cols: `[nnz]` int32.
        row_ptr: `[n + 1]` int32.
        buckets: of the rows, or None.
    """

    rows: Int[Array, " nnz"]
    cols: Int[Array, " nnz"]
    row_ptr: Int[Array, " n_plus_1"]
    buckets: Buckets | None


def by_row(pattern: CSR) -> RowEntries:
    """Returns the entries of a pattern in row order."""
    return RowEntries(pattern.rows, pattern.cols, pattern.row_ptr, pattern.buckets and pattern.buckets[0])


def by_column(pattern: CSR) -> RowEntries:
    """Returns the entries of the transpose in its row order, which is `pattern.order_t`."""
    buckets = pattern.buckets and (pattern.buckets[1] or pattern.buckets[0])
    return RowEntries(pattern.cols[pattern.order_t], pattern.rows_t, pattern.col_ptr, buckets)
