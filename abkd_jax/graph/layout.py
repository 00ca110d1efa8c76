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
    "edge_order",
    "relation_layout",
    "sparse_features",
    "stable_order",
    "symmetric_coefficients",
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
        transpose: `rows_t` and `col_ptr` below; None where they are `cols` and `row_ptr`, see `build_pattern`.
        buckets: of the rows, and of the columns (None where `transpose` is); None without buckets.
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
        relations: of a piece of a graph (`inference`) the types that its edges may have, ascending: the types in the
            layout are positions in this; None where they are the types themselves.
        types: of a piece the types that its receivers may have; None for all.
    """

    nodes: int
    edges: int
    backend: str = "auto"
    relations: tuple[int, ...] | None = None
    types: tuple[int, ...] | None = None


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
        buckets: whether to group rows and columns by degree too. Then a symmetric pattern also shares its arrays with
            its transpose. Without buckets the shapes and the tree's structure follow from the sizes alone.
    """
    row_ptr = _pointers(np.bincount(rows, minlength=shape[0]))
    order_t, col_ptr = stable_order(cols, shape[1])
    rows_t = rows[order_t]
    if not buckets:
        return CSR(rows, cols, row_ptr, order_t, (rows_t, col_ptr))
    symmetric = shape[0] == shape[1] and np.array_equal(rows_t, cols) and np.array_equal(col_ptr, row_ptr)
    grouped = bucketise(row_ptr), None if symmetric else bucketise(col_ptr)
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


def edge_order(
    senders: np.ndarray, receivers: np.ndarray, size: int, types: tuple[np.ndarray, int] | None
) -> np.ndarray:
    """`[e]`, the order of edges in a layout: by receiver, then by type, then by sender, equal ones as they came.

    Args:
        senders: `[e]`.
        receivers: `[e]`.
        size: number of nodes.
        types: `[e]` edge types and their number, or None.
    """
    order = stable_order(senders, size)[0]
    if types is not None:
        order = order[stable_order(types[0][order], types[1])[0]]
    return order[stable_order(receivers[order], size)[0]]


def relation_layout(
    receivers: np.ndarray, senders: np.ndarray, types: np.ndarray, size: int, relations: int, buckets: bool
) -> RelationLayout:
    """The two layouts of typed edges; the arguments as in `edge_order`, the edges in its order."""
    pairs = size * relations
    return RelationLayout(
        rows=build_pattern(receivers * relations + types, senders, (pairs, size), buckets),
        columns=build_pattern(receivers, senders * relations + types, (size, pairs), buckets),
    )


def stable_order(keys: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """What `np.argsort(keys, kind="stable")` gives, and where each key begins, in linear time.

    SciPy turns rows into columns by counting, which is what sorting integers by counting is.

    Args:
        keys: `[e]` integers in `[0, size)`.
        size: number of keys there may be.

    Returns:
        `[e]` int32, the order; `[size + 1]` int32, the places of key `i` in it: `begins[i]` to `begins[i + 1]`.
    """
    count = keys.shape[0]
    one_each = sp.csr_matrix((np.ones(count, np.int8), keys, np.arange(count + 1, dtype=np.int32)), (count, size))
    by_key = one_each.tocsc()
    return by_key.indices.astype(np.int32, copy=False), by_key.indptr.astype(np.int32, copy=False)


def symmetric_coefficients(
    senders: np.ndarray, receivers: np.ndarray, weights: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of `graph.normalise` on the host, summed in double precision.

    Args:
        senders: `[e]`.
        receivers: `[e]`.
        weights: `[e]` floats.
        size: number of nodes.

    Returns:
        `[e]` coefficients of the edges and `[size]` of the self loops, in the precision of the weights.
    """
    self_weights = np.ones(size)
    self_weights[receivers[senders == receivers]] = 0.0
    degrees = np.bincount(receivers, weights.astype(np.float64), size) + self_weights
    scale = np.zeros(size)
    scale[degrees > 0] = degrees[degrees > 0] ** -0.5
    coefficients = weights * scale[senders] * scale[receivers]
    return coefficients.astype(weights.dtype), (self_weights * scale**2).astype(weights.dtype)


def _pointers(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


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
