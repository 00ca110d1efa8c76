"""Sparsity patterns in the orders that the kernels read: rows, columns, and buckets of equal degree.

Built on the host in NumPy, once a graph; pytrees that `jit` takes as arguments.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from abkd_jax.types import InputError

__all__ = [
    "BACKENDS",
    "CSR",
    "Buckets",
    "HostOrDevice",
    "LayoutFacts",
    "PreparedEdges",
    "RelationLayout",
    "SparseFeatures",
    "bucketise",
    "build_pattern",
    "sparse_features",
]

HostOrDevice = Any  # np.ndarray as built on the host; jax.Array once `jax.device_put` or `jit` has moved it

BACKENDS = ("auto", "csr", "bucketed", "segment", "dense")  # how sums run, see `aggregate.backends`

# Entries of a row that one bucket may hold: few sizes, each little above the one before, so that padding stays near a
# tenth. A longer row is cut into parts, which the next level adds up.
BUCKET_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


class Buckets(NamedTuple):
    """Rows grouped by their number of entries, so that a sum over rows is gathers alone.

    Attributes:
        levels: of each level the buckets `[size, rows of the bucket]` int32. Those of the first level hold positions
            of entries, those of the next ones positions in the output of the level before (all buckets one after the
            other); what is too large to be one is padding.
        place: `[n]` int32, where each row stands in the outputs of all levels one after the other; too large for a
            row without entries.
    """

    levels: tuple[tuple[Int[HostOrDevice, "size rows"], ...], ...]
    place: Int[HostOrDevice, " n"]


class CSR(NamedTuple):
    """A sparsity pattern in row order together with its transpose; the values travel separately.

    Attributes:
        rows: `[nnz]` int32, ascending.
        cols: `[nnz]` int32.
        row_ptr: `[n + 1]` int32; row `i` holds the entries `row_ptr[i]` to `row_ptr[i + 1]`.
        order_t: `[nnz]` int32; takes entries from row order to column order.
        transpose: `rows_t` and `col_ptr` below; None where the pattern is symmetric, and they are `cols` and `row_ptr`.
        buckets: of the rows, and of the columns (None where the pattern is symmetric); None without buckets.
    """

    rows: Int[HostOrDevice, " nnz"]
    cols: Int[HostOrDevice, " nnz"]
    row_ptr: Int[HostOrDevice, " n_plus_1"]
    order_t: Int[HostOrDevice, " nnz"]
    transpose: tuple[Int[HostOrDevice, " nnz"], Int[HostOrDevice, " m_plus_1"]] | None
    buckets: tuple[Buckets, Buckets | None] | None = None

    @property
    def rows_t(self) -> Int[HostOrDevice, " nnz"]:
        """`[nnz]` int32, `rows[order_t]`: the column indices of the transpose."""
        return self.cols if self.transpose is None else self.transpose[0]

    @property
    def col_ptr(self) -> Int[HostOrDevice, " m_plus_1"]:
        """`[m + 1]` int32: the row pointers of the transpose."""
        return self.row_ptr if self.transpose is None else self.transpose[1]

    @property
    def shape(self) -> tuple[int, int]:
        return self.row_ptr.shape[0] - 1, self.col_ptr.shape[0] - 1


class SparseFeatures(NamedTuple):
    """Node features that are mostly zero (bags of words): `[n, f]` as a pattern and `[nnz]` values."""

    pattern: CSR
    values: Float[HostOrDevice, " nnz"]

    @property
    def shape(self) -> tuple[int, int]:
        return self.pattern.shape


@jax.tree_util.register_static
@dataclass(frozen=True)
class LayoutFacts:
    """What is known of a layout before any program runs; part of the tree's structure, not of its leaves.

    Attributes:
        nodes: number of nodes that the layout was made for.
        edges: number of edges.
        backend: how sums over it run, see `aggregate.backends`.
    """

    nodes: int
    edges: int
    backend: str = "auto"


class RelationLayout(NamedTuple):
    """The edges of a graph as a matrix between nodes and (node, relation) pairs, `node * relations + relation`.

    Attributes:
        rows: pairs of receiver and relation as rows, senders as columns.
        columns: receivers as rows, pairs of sender and relation as columns.
    """

    rows: CSR
    columns: CSR


class PreparedEdges(NamedTuple):
    """What `graph.edges` holds once the graph is normalised or prepared.

    Attributes:
        features: what `graph.edges` held before.
        pattern: receivers as rows, senders as columns; None where only `normalise` was called.
        coefficients: `[e]`, `w_e / sqrt(d_sender d_receiver)`.
        self_coefficients: `[n]`, the same for the self loops that the symmetric normalisation adds.
        relations: the layout of typed edges, or None.
        facts: static sizes and choices.
    """

    features: Any
    pattern: CSR | None
    coefficients: Float[HostOrDevice, " e"]
    self_coefficients: Float[HostOrDevice, " n"]
    relations: RelationLayout | None
    facts: LayoutFacts


def build_pattern(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int], buckets: bool = False) -> CSR:
    """The layout of a pattern.

    Args:
        rows: `[nnz]` int32, ascending.
        cols: `[nnz]` int32, in any order within a row.
        shape: `(n, m)`.
        buckets: whether to group rows and columns by degree too.
    """
    row_ptr = np.searchsorted(rows, np.arange(shape[0] + 1)).astype(np.int32)
    order_t = np.lexsort((rows, cols)).astype(np.int32)
    rows_t = rows[order_t]
    col_ptr = np.searchsorted(cols[order_t], np.arange(shape[1] + 1)).astype(np.int32)
    symmetric = shape[0] == shape[1] and np.array_equal(rows_t, cols) and np.array_equal(col_ptr, row_ptr)
    grouped = (bucketise(row_ptr), None if symmetric else bucketise(col_ptr)) if buckets else None
    return CSR(rows, cols, row_ptr, order_t, None if symmetric else (rows_t, col_ptr), grouped)


def sparse_features(matrix: sp.csr_matrix) -> SparseFeatures:
    """Turns an `[n, f]` SciPy matrix into features that models multiply without making them dense.

    Raises:
        InputError: an entry is NaN or infinite.
    """
    matrix = sp.csr_matrix(matrix, dtype=np.float32)
    shape: Any = matrix.shape
    matrix.sum_duplicates()
    if not np.isfinite(matrix.data).all():
        raise InputError("node features hold NaN or infinite values, expected finite numbers")
    rows = np.repeat(np.arange(shape[0], dtype=np.int32), np.diff(matrix.indptr))
    return SparseFeatures(build_pattern(rows, matrix.indices.astype(np.int32), shape), matrix.data)


def bucketise(row_ptr: np.ndarray) -> Buckets:
    """Groups rows by their number of entries; long rows are cut into parts, over as many levels as it takes.

    Args:
        row_ptr: `[n + 1]`.
    """
    place = np.full(row_ptr.shape[0] - 1, np.iinfo(np.int32).max, np.int32)
    rows, starts, lengths = np.arange(place.shape[0]), row_ptr[:-1].astype(np.int64), np.diff(row_ptr).astype(np.int64)
    names = np.arange(row_ptr[-1])  # of this level's entries: their positions
    levels, offset = [], 0
    while (lengths > 0).any():
        parts = -(-lengths // BUCKET_SIZES[-1])
        owner = np.repeat(np.arange(rows.shape[0]), parts)
        nth = np.arange(owner.shape[0]) - np.repeat(np.cumsum(parts) - parts, parts)
        begins = starts[owner] + nth * BUCKET_SIZES[-1]
        sizes = np.minimum(lengths[owner] - nth * BUCKET_SIZES[-1], BUCKET_SIZES[-1])
        level, position = _fill_buckets(begins, sizes, names)
        levels.append(level)
        whole = parts[owner] == 1
        place[rows[owner[whole]]] = offset + position[whole]
        offset += owner.shape[0]
        cut = parts > 1
        names = position[~whole]
        rows, lengths = rows[cut], parts[cut]
        starts = np.cumsum(lengths) - lengths
    return Buckets(tuple(levels), place)


def _fill_buckets(
    begins: np.ndarray, sizes: np.ndarray, names: np.ndarray
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Index lists of the parts `begins[i]` to `begins[i] + sizes[i]`, and where each part ends up in the output."""
    bucket_of = np.searchsorted(BUCKET_SIZES, sizes)
    order = np.argsort(bucket_of, kind="stable")
    position = np.empty(order.shape[0], np.int64)
    position[order] = np.arange(order.shape[0])
    padded = np.append(names, np.iinfo(np.int32).max)
    level = []
    for bucket in np.unique(bucket_of):
        members = order[bucket_of[order] == bucket]
        steps = np.arange(BUCKET_SIZES[bucket])[:, None]
        inside = steps < sizes[members][None, :]
        level.append(padded[np.where(inside, begins[members][None, :] + steps, -1)].astype(np.int32))
    return tuple(level), position
