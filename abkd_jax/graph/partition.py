"""Cuts a graph into blocks of receivers, one per device: equal numbers of nodes and of edges, and what they exchange.

Block `b` has the nodes `b r` to `(b + 1) r` and the edges that enter them. The senders of other blocks, its halo, are
fetched before every sum (`aggregate.partitioned`). Built on the host in NumPy, once per graph.
"""

from typing import Any

import jax
import jraph
import numpy as np
import scipy.sparse as sp

from abkd_jax.graph.access import num_nodes, raw_edges
from abkd_jax.graph.input_checks import checked_edges, checked_size
from abkd_jax.graph.layout import (
    CSR,
    Backend,
    LayoutInfo,
    PreparedEdges,
    RelationLayout,
    SparseFeatures,
    build_pattern,
    edge_order,
    graphs_tuple,
    sparse_features,
    symmetric_coefficients,
)
from abkd_jax.graph.partitioned import PartitionedEdges, PartitionInfo
from abkd_jax.types import InputError, Pytree

__all__ = ["pad_rows", "partition"]


def partition(
    graph: jraph.GraphsTuple,
    parts: int,
    *,
    backend: Backend = "auto",
    relations: int | None = None,
    halo: bool | None = None,
) -> jraph.GraphsTuple:
    """Cuts one graph into blocks of consecutive receivers, for `place`: models and losses then run on it as on any.

    Nodes keep their order, and padding nodes follow them, at least one, as one more graph (`graph.node_mask`). Edges
    are sorted as by `prepare`, and with them every array in `graph.edges`; every block has as many as the largest one,
    filled up with edges of zeros. Time and memory of a device follow from the largest block, so that hubs should be
    spread over the nodes.

    Args:
        graph: one graph, not a batch; what it was prepared for is replaced.
        parts: number of blocks, at least 1.
        backend: as for `prepare`; `"bucketed"` is not available.
        relations: number of edge types, as for `prepare`.
        halo: whether blocks send each other what is needed, by an all-to-all of equal parts, or everything, by an
            all-gather; None takes what sends less.

    Raises:
        InputError: as `prepare`; a batch of graphs, or no whole number of parts above 0.

    Examples:
        >>> from abkd_jax.graph import from_edges
        >>> path = from_edges(np.array([0, 1]), np.array([1, 2]), num_nodes=3, nodes=np.ones((3, 1), np.float32))
        >>> halves = partition(path, 2)
        >>> halves.nodes.shape, halves.n_node.tolist(), halves.receivers.tolist()
        ((4, 1), [3, 1], [1, 2])
    """
    size, edges = num_nodes(graph), raw_edges(graph)
    if graph.n_node.shape[0] != 1:
        raise InputError(f"partition: a batch of {graph.n_node.shape[0]} graphs, expected one graph")
    if checked_size(parts) < 1 or backend == "bucketed":
        raise InputError(f"partition: {parts} parts, backend {backend!r}, expected at least 1 and none of buckets")
    (senders, receivers), types, weights, _ = checked_edges(graph, edges, size, relations)
    order = edge_order(senders, receivers, size, types)
    senders, receivers = senders[order], receivers[order]
    cut = _Cut(receivers, size, parts)
    edge_scale, self_scale, _ = symmetric_coefficients(senders, receivers, weights[order], size)
    columns, sent = _columns(cut, senders, receivers, halo)
    blocks = _blocks(
        cut,
        columns,
        receivers,
        (cut.spread(edge_scale), pad_rows(self_scale, cut.nodes).reshape(parts, cut.rows)),
        None if types is None else (types[0][order], types[1]),
        backend,
    )
    features = jax.tree.map(lambda leaf: cut.spread(np.asarray(leaf)[order]).reshape(-1, *leaf.shape[1:]), edges)
    return graphs_tuple(
        nodes=pad_rows(graph.nodes, cut.nodes),
        edges=PartitionedEdges(
            features, blocks, sent, PartitionInfo(cut.nodes, cut.edges * parts, backend, parts=parts)
        ),
        senders=cut.spread(senders, cut.nodes - 1).reshape(-1),
        receivers=cut.spread(receivers, cut.nodes - 1).reshape(-1),
        n_node=np.array([size, cut.nodes - size], np.int32),
        n_edge=np.array([senders.shape[0], cut.edges * parts - senders.shape[0]], np.int32),
    )


class _Cut:
    """Sizes of the blocks, and the place of every edge among those of its block.

    Attributes:
        rows: nodes of a block.
        nodes: nodes of all blocks, padding included.
        edges: edges of a block, at least 1.
    """

    def __init__(self, receivers: np.ndarray, size: int, parts: int) -> None:
        self.parts, self.rows = parts, size // parts + 1  # so that at least one node is padding
        self.nodes = self.rows * parts
        self.block = receivers // self.rows
        begins = np.searchsorted(self.block, np.arange(parts + 1))
        self.edges = max(int(np.diff(begins).max()), 1)
        self._place = self.block, np.arange(receivers.shape[0]) - begins[self.block]

    def spread(self, values: np.ndarray, fill: int = 0) -> np.ndarray:
        """Returns values of the sorted edges as `[parts, edges, ...]`."""
        out = np.full((self.parts, self.edges, *values.shape[1:]), fill, values.dtype)
        out[self._place] = values
        return out


def _columns(
    cut: _Cut, senders: np.ndarray, receivers: np.ndarray, halo: bool | None
) -> tuple[tuple[np.ndarray, int], CSR | None]:
    """Numbers the senders of every block from 0, and lists what every block sends to the others.

    Returns:
        `[parts, edges]` numbers and how many there are, see `PartitionedEdges`; the patterns of what is sent.
    """
    own = senders // cut.rows
    inside = own == cut.block
    pairs, which = np.unique(cut.block[~inside].astype(np.int64) * cut.nodes + senders[~inside], return_inverse=True)
    to, sent = pairs // cut.nodes, pairs % cut.nodes
    groups = to * cut.parts + sent // cut.rows  # ascending: of pairs of a block and where its senders are
    counts = np.bincount(groups, minlength=cut.parts**2)
    nth = np.arange(pairs.shape[0]) - (np.cumsum(counts) - counts)[groups]
    width = max(int(counts.max(initial=0)), 1)
    local = senders - cut.block * cut.rows
    if not (width * cut.parts < cut.nodes if halo is None else halo):
        local[~inside] = cut.rows + 1 + senders[~inside]
        return (cut.spread(local, cut.rows), cut.rows + 1 + cut.nodes), None
    local[~inside] = (cut.rows + 1 + sent // cut.rows * width + nth)[which]
    slots = np.full((cut.parts, cut.parts, width), cut.rows, np.int32)
    slots[sent // cut.rows, to, nth] = sent % cut.rows
    rows = np.arange(cut.parts * width, dtype=np.int32)
    shape = rows.shape[0], cut.rows + 1
    sent_rows = _stacked([build_pattern(rows, cols, shape) for cols in slots.reshape(cut.parts, -1)])
    return (cut.spread(local, cut.rows), cut.rows + 1 + rows.shape[0]), sent_rows


def _blocks(
    cut: _Cut,
    columns: tuple[np.ndarray, int],
    receivers: np.ndarray,
    scales: tuple[np.ndarray, np.ndarray],
    types: tuple[np.ndarray, int] | None,
    backend: Backend,
) -> PreparedEdges:
    """Builds the layouts of all blocks, stacked; `types` are those of the sorted edges, and their number."""
    cols, width = columns
    rows = cut.spread(receivers - cut.block * cut.rows, cut.rows)
    count = 1 if types is None else types[1]
    kinds = np.zeros_like(rows) if types is None else cut.spread(types[0])
    height = cut.rows + 1

    def block(rows: np.ndarray, cols: np.ndarray, kinds: np.ndarray, of_edges: Any, of_loops: Any) -> PreparedEdges:
        relations = RelationLayout(
            rows=build_pattern(rows * count + kinds, cols, (height * count, width)),
            columns=build_pattern(rows, cols * count + kinds, (height, width * count)),
        )
        return PreparedEdges(
            features=None,
            pattern=build_pattern(rows, cols, (height, width)),
            coefficients=of_edges,
            self_coefficients=np.append(of_loops, of_loops.dtype.type(0)),
            relations=None if types is None else relations,
            info=LayoutInfo(width, cut.edges, backend),
        )

    return _stacked([block(*of_block) for of_block in zip(rows, cols, kinds, *scales, strict=True)])


def _stacked(trees: list[Pytree]) -> Pytree:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def pad_rows(rows: Pytree, size: int, fill: int = 0) -> Pytree:
    """Pads arrays `[n, ...]` and sparse features to `size` rows, sparse features with empty ones.

    Examples:
        >>> pad_rows({"x": np.array([1, 2])}, 3, fill=-1)["x"].tolist()
        [1, 2, -1]
    """

    def padded(part: Any) -> Any:
        if isinstance(part, SparseFeatures):
            entries = (np.asarray(a) for a in (part.values, part.pattern.cols, part.pattern.row_ptr))
            matrix = sp.csr_matrix(tuple(entries), part.shape)
            matrix.resize(size, part.shape[1])
            return sparse_features(matrix)
        part = np.asarray(part)
        return np.concatenate([part, np.full((size - part.shape[0], *part.shape[1:]), fill, part.dtype)])

    return jax.tree.map(padded, rows, is_leaf=lambda part: isinstance(part, SparseFeatures))
