"""Sparsity patterns in the orders that the kernels read: by row, by column, and in buckets of equal degree.

Built on the host in NumPy, once per graph; pytrees that `jit` takes as arguments.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from abkd_jax.graph.buckets import Buckets, bucketise
from abkd_jax.graph.constants import Constants
from abkd_jax.graph.degrees import Degrees
from abkd_jax.graph.slot_shapes import EdgeRoom, Room
from abkd_jax.graph.slots import Slots, lay_out_slots
from abkd_jax.types import HostOrDevice, InputError, shape_of

__all__ = [
    "BACKENDS",
    "CSR",
    "Backend",
    "LayoutInfo",
    "NormalisedEdges",
    "PreparedEdges",
    "RelationLayout",
    "SparseFeatures",
    "build_pattern",
    "edge_order",
    "graphs_tuple",
    "relation_layout",
    "sparse_features",
    "stable_order",
    "symmetric_coefficients",
]

Backend = Literal["auto", "csr", "bucketed", "segment", "dense"]  # how sums run, see `aggregate.backends`
BACKENDS: tuple[Backend, ...] = get_args(Backend)


class CSR(NamedTuple):
    """Sparsity pattern in row order together with its transpose; the values are kept separately.

    Attributes:
        rows: `[nnz]` int32, ascending.
        cols: `[nnz]` int32.
        row_ptr: `[n + 1]` int32; row `i` holds the entries `row_ptr[i]` to `row_ptr[i + 1]`.
        order_t: `[nnz]` int32, permutation from row order to column order.
        transpose: `rows_t`, `col_ptr` and `cols_t` below; None where the matrix is symmetric, see `build_pattern`.
        buckets: of the rows, and of the columns (None where `transpose` is); None without buckets.
        slots: of the rows, and of the columns; None without slots.
    """

    rows: Int[HostOrDevice, " nnz"]
    cols: Int[HostOrDevice, " nnz"]
    row_ptr: Int[HostOrDevice, " n_plus_1"]
    order_t: Int[HostOrDevice, " nnz"]
    transpose: tuple[Int[HostOrDevice, " nnz"], Int[HostOrDevice, " m_plus_1"], Int[HostOrDevice, " nnz"]] | None
    buckets: tuple[Buckets, Buckets | None] | None = None
    slots: tuple[Slots, Slots] | None = None

    @property
    def rows_t(self) -> Int[HostOrDevice, " nnz"]:
        """`[nnz]` int32, `rows[order_t]`: the column indices of the transpose."""
        return self.cols if self.transpose is None else self.transpose[0]

    @property
    def col_ptr(self) -> Int[HostOrDevice, " m_plus_1"]:
        """`[m + 1]` int32: the row pointers of the transpose."""
        return self.row_ptr if self.transpose is None else self.transpose[1]

    @property
    def cols_t(self) -> Int[HostOrDevice, " nnz"]:
        """`[nnz]` int32, `cols[order_t]`, ascending: the rows of the transpose."""
        return self.rows if self.transpose is None else self.transpose[2]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.row_ptr.shape[0] - 1, self.col_ptr.shape[0] - 1


class SparseFeatures(NamedTuple):
    """Sparse node features (bags of words): an `[n, f]` matrix as a pattern and `[nnz]` values."""

    pattern: CSR
    values: Float[HostOrDevice, " nnz"]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of nodes and features."""
        return self.pattern.shape


@jax.tree_util.register_static
@dataclass(frozen=True)
class LayoutInfo:
    """Static sizes and choices of a layout: part of the pytree's structure, not of its leaves.

    Attributes:
        nodes: number of nodes that the layout was made for.
        edges: number of edges.
        backend: how sums over it run, see `aggregate.backends`.
        relations: for a block of a graph (`inference`) the edge types that may occur in it, ascending: types in the
            layout are positions in this tuple; None where they are the types themselves.
        types: for a block the node types of its receivers; None for all.
    """

    nodes: int
    edges: int
    backend: Backend = "auto"
    relations: tuple[int, ...] | None = None
    types: tuple[int, ...] | None = None


class RelationLayout(NamedTuple):
    """Typed edges as a matrix between nodes and (node, relation) pairs, numbered `node * relations + relation`.

    Attributes:
        rows: pairs of receiver and relation as rows, senders as columns.
        columns: receivers as rows, pairs of sender and relation as columns.
    """

    rows: CSR
    columns: CSR


class NormalisedEdges(NamedTuple):
    """Edges of a graph that `normalise` was called on.

    Attributes:
        features: the original `graph.edges`.
        coefficients: `[e]`, `w_e / sqrt(d_sender d_receiver)`.
        self_coefficients: `[n]`, those of the self loops that the symmetric normalisation adds.
        info: static sizes.
    """

    features: Any
    coefficients: Float[HostOrDevice, " e"]
    self_coefficients: Float[HostOrDevice, " n"]
    info: LayoutInfo


class PreparedEdges(NamedTuple):
    """Edges of a graph that `prepare` was called on.

    Attributes:
        features: the original `graph.edges`, in the order of the layout.
        pattern: receivers as rows, senders as columns.
        coefficients: `[e]`, `w_e / sqrt(d_sender d_receiver)`.
        self_coefficients: `[n]`, those of the self loops that the symmetric normalisation adds.
        relations: the layout of typed edges, a `RelationLayout`, or `type_blocks.TypedLayout` of a minibatch; or None.
        info: static sizes and choices.
        constants: what sums with constant weights read on accelerators; None in blocks of a graph without slots.
        hops: one `hops.Hop` for each that layers of a minibatch are trimmed to; `()` elsewhere.
        degrees: of all nodes of a minibatch with hops, of the first ones in its blocks; None elsewhere.
    """

    features: Any
    pattern: CSR
    coefficients: Float[HostOrDevice, " e"]
    self_coefficients: Float[HostOrDevice, " n"]
    relations: Any
    info: LayoutInfo
    constants: Constants | None = None
    hops: tuple[Any, ...] = ()
    degrees: Degrees | None = None


def graphs_tuple(
    *,
    nodes: Any,
    edges: Any,
    senders: Int[HostOrDevice, " e"],
    receivers: Int[HostOrDevice, " e"],
    n_node: Int[HostOrDevice, " g"],
    n_edge: Int[HostOrDevice, " g"],
    globals: Any = None,  # noqa: A002  # jraph's name
) -> jraph.GraphsTuple:
    """Builds a `jraph.GraphsTuple`, whose annotations know device arrays alone, of arrays on the host or a device.

    Args:
        nodes: node features, any pytree of `[n, ...]` arrays or `SparseFeatures`.
        edges: edge features `[e, ...]`, `NormalisedEdges` or `PreparedEdges`.
        senders: `[e]` int32.
        receivers: `[e]` int32.
        n_node: `[g]` int32, nodes of each graph.
        n_edge: `[g]` int32, edges of each graph.
        globals: features of each graph.
    """
    return jraph.GraphsTuple(
        nodes=nodes, edges=edges, senders=senders, receivers=receivers, n_node=n_node, n_edge=n_edge, globals=globals
    )


def build_pattern(
    rows: np.ndarray,
    cols: np.ndarray,
    shape: tuple[int, int],
    *,
    buckets: bool = False,
    slots: bool = False,
    room: Room | None = None,
) -> CSR:
    """Builds a sparsity pattern and its transpose from the positions of the entries.

    Args:
        rows: `[nnz]` int32, ascending.
        cols: `[nnz]` int32, in any order within a row.
        shape: `(n, m)`.
        buckets: whether to group rows and columns by degree too. Then a symmetric pattern also shares its arrays with
            its transpose. Without buckets and slots the shapes and the pytree's structure follow from the sizes alone.
        slots: whether to lay out rows and columns in slots, as few as that takes.
        room: for slots of given shapes instead; then all shapes follow from it and the sizes.

    Examples:
        >>> import numpy as np
        >>> rows, cols = np.array([0, 0, 2], np.int32), np.array([1, 0, 1], np.int32)
        >>> pattern = build_pattern(rows, cols, (3, 2))
        >>> pattern.row_ptr.tolist(), pattern.col_ptr.tolist(), pattern.rows_t.tolist()
        ([0, 2, 2, 3], [0, 1, 3], [0, 0, 2])
    """
    row_ptr = np.append(0, np.cumsum(np.bincount(rows, minlength=shape[0]))).astype(np.int32)
    order_t, col_ptr = stable_order(cols, shape[1])
    rows_t = rows[order_t]
    pattern = CSR(rows, cols, row_ptr, order_t, (rows_t, col_ptr, cols[order_t]))
    if room is not None:
        of_rows, of_columns = (np.minimum(pointers, room.entries) for pointers in (row_ptr, col_ptr))
        by_row = lay_out_slots(of_rows, cols, shape[1], shape=room.rows)
        by_column = lay_out_slots(of_columns, rows_t, shape[0], order_t, room.columns)
        pattern = pattern._replace(slots=(by_row, by_column))
    elif slots:
        by_row = lay_out_slots(row_ptr, cols, shape[1])
        pattern = pattern._replace(slots=(by_row, lay_out_slots(col_ptr, rows_t, shape[0], order_t)))
    if not buckets:
        return pattern
    symmetric = shape[0] == shape[1] and np.array_equal(rows_t, cols) and np.array_equal(col_ptr, row_ptr)
    grouped = bucketise(row_ptr), None if symmetric else bucketise(col_ptr)
    return pattern._replace(transpose=None if symmetric else pattern.transpose, buckets=grouped)


def sparse_features(matrix: sp.csr_matrix) -> SparseFeatures:
    """Converts an `[n, f]` SciPy matrix to features that models multiply without making them dense.

    Raises:
        InputError: an entry is NaN or infinite.

    Examples:
        >>> import scipy.sparse as sp
        >>> features = sparse_features(sp.csr_matrix([[0.0, 2.0], [0.0, 0.0], [1.0, 0.0]]))
        >>> features.shape, features.pattern.cols.tolist(), features.values.tolist()
        ((3, 2), [1, 0], [2.0, 1.0])
    """
    matrix = sp.csr_matrix(matrix, dtype=np.float32, copy=not matrix.has_canonical_format)  # the caller's stays
    n, f = shape_of(matrix)
    matrix.sum_duplicates()
    if not np.isfinite(matrix.data).all():
        raise InputError("node features hold NaN or infinite values, expected finite numbers")
    rows = np.repeat(np.arange(n, dtype=np.int32), np.diff(matrix.indptr))
    return SparseFeatures(build_pattern(rows, matrix.indices.astype(np.int32), (n, f)), matrix.data)


def edge_order(
    senders: np.ndarray, receivers: np.ndarray, size: int, types: tuple[np.ndarray, int] | None
) -> np.ndarray:
    """Returns the order of edges in a layout: by receiver, then by type, then by sender; stable.

    Args:
        senders: `[e]`.
        receivers: `[e]`.
        size: number of nodes.
        types: `[e]` edge types and their number, or None.

    Returns:
        `[e]` int32, a permutation.
    """
    order = stable_order(senders, size)[0]
    if types is not None:
        order = order[stable_order(types[0][order], types[1])[0]]
    return order[stable_order(receivers[order], size)[0]]


def relation_layout(
    receivers: np.ndarray,
    senders: np.ndarray,
    types: np.ndarray,
    size: int,
    relations: int,
    slots: bool,
    room: EdgeRoom | None = None,
) -> RelationLayout:
    """Builds the two layouts of typed edges; arguments as in `edge_order`, the edges in its order."""
    pairs = size * relations
    by_row, by_column = (None, None) if room is None else room.typed
    return RelationLayout(
        rows=build_pattern(receivers * relations + types, senders, (pairs, size), slots=slots, room=by_row),
        columns=build_pattern(receivers, senders * relations + types, (size, pairs), slots=slots, room=by_column),
    )


def stable_order(keys: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Computes `np.argsort(keys, kind="stable")`, and where each key begins in it, in linear time.

    SciPy's conversion from CSR to CSC is a counting sort: each key is the column of a matrix with one entry per row.

    Args:
        keys: `[e]` integers in `[0, size)`.
        size: number of possible keys.

    Returns:
        `[e]` int32, the order; `[size + 1]` int32 `begins`: key `i` is at `begins[i]` to `begins[i + 1]` of the order.

    Examples:
        >>> order, begins = stable_order(np.array([2, 0, 2, 1], np.int32), 3)
        >>> order.tolist(), begins.tolist()
        ([1, 3, 0, 2], [0, 1, 2, 4])
    """
    count = keys.shape[0]
    one_each = sp.csr_matrix((np.ones(count, np.int8), keys, np.arange(count + 1, dtype=np.int32)), (count, size))
    by_key = one_each.tocsc()
    return by_key.indices.astype(np.int32, copy=False), by_key.indptr.astype(np.int32, copy=False)


def symmetric_coefficients(
    senders: np.ndarray, receivers: np.ndarray, weights: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the coefficients of `graph.normalise` on the host, with degrees in double precision.

    Args:
        senders: `[e]`.
        receivers: `[e]`.
        weights: `[e]` floats.
        size: number of nodes.

    Returns:
        `[e]` coefficients of the edges, `[size]` of the self loops, and `[size]` the factors `D^-1/2` of the nodes, in
        the precision of the weights.
    """
    self_weights = np.ones(size)
    self_weights[receivers[senders == receivers]] = 0.0
    degrees = np.bincount(receivers, weights.astype(np.float64), size) + self_weights
    scale = np.zeros(size)
    scale[degrees > 0] = degrees[degrees > 0] ** -0.5
    coefficients = weights * scale[senders] * scale[receivers]
    of_loops = self_weights * scale**2
    return coefficients.astype(weights.dtype), of_loops.astype(weights.dtype), scale.astype(weights.dtype)
