"""Parts of a graph on the host as prepared graphs for evaluation: their edges, features and normalisation."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from abkd_jax.graph.host import HostGraph
from abkd_jax.graph.layout import CSR, LayoutInfo, PreparedEdges, RelationLayout, SparseFeatures
from abkd_jax.sampling import bucket_size, padded
from abkd_jax.sampling.subgraph import edges_into

__all__ = ["block_layout", "edges_of", "features_of", "sums_of_weights"]

EDGES_AT_ONCE = 2**22  # edges whose senders are looked up together, 12 bytes each


def edges_of(graph: HostGraph, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the receivers and the positions in the graph of the edges into some nodes, part by part."""
    degrees = graph.indptr[rows + 1] - graph.indptr[rows]
    parts = np.cumsum(degrees) // EDGES_AT_ONCE
    for begin in (bounds := np.flatnonzero(np.diff(parts, prepend=-1))):
        end = next(iter(bounds[bounds > begin]), rows.shape[0])
        some, lengths = rows[begin:end], degrees[begin:end]
        yield np.repeat(some, lengths), edges_into(graph.indptr[some], lengths)


def sums_of_weights(graph: HostGraph, nodes: np.ndarray) -> np.ndarray:
    """Returns the sum of the weights of the edges into each of some nodes."""
    sums = np.zeros(nodes.shape[0])
    if graph.weights is not None:
        for receivers, positions in edges_of(graph, nodes):
            sums += np.bincount(np.searchsorted(nodes, receivers), graph.weights[positions], nodes.shape[0])
    return sums


def features_of(features: Any, ids: np.ndarray, entries: int | None = None) -> np.ndarray | SparseFeatures:
    """Returns the rows of the features, zero for nodes that have none, with indices from the number of rows on.

    Args:
        features: `[m, f]`, dense or CSR.
        ids: `[k]` nodes.
        entries: length of sparse rows together, padding included; None takes the next of a few sizes.
    """
    known = ids < features.shape[0]
    if not sp.issparse(features):
        out = np.zeros((ids.shape[0], features.shape[1]), np.float32)
        out[known] = features[ids[known]]
        return out
    chosen = features[ids[known]]
    rows = np.repeat(np.flatnonzero(known), np.diff(chosen.indptr))
    size = bucket_size(rows.shape[0] + 1) if entries is None else entries
    pattern = _pattern(
        padded(rows, size, ids.shape[0] - 1, np.int32),
        padded(chosen.indices, size, 0, np.int32),
        (ids.shape[0], features.shape[1]),
    )
    return SparseFeatures(pattern, padded(chosen.data, size, 0, np.float32))


def block_layout(
    to: np.ndarray,
    by: np.ndarray,
    entries: dict[str, np.ndarray],
    scale: np.ndarray,
    rows: int,
    info: LayoutInfo,
) -> PreparedEdges:
    """Returns the layout of a block of `rows` receivers; `to` and `by` are the ends of its edges."""
    nodes, by_relation = info.nodes, None
    types, weights = entries.get("relation"), entries.get("weight", np.float32(1.0))
    if types is not None:
        num_edge_types = len(info.relations or ())
        by_relation = RelationLayout(
            rows=_pattern(to * num_edge_types + types, by, (rows * num_edge_types, nodes)),
            columns=_pattern(to, by * num_edge_types + types, (rows, nodes * num_edge_types)),
        )
    return PreparedEdges(
        features=entries or None,
        pattern=_pattern(to, by, (rows, nodes)),
        coefficients=weights * scale[by] * scale[to],
        self_coefficients=scale[:rows] ** 2,
        relations=by_relation,
        info=info,
    )


def _pattern(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> CSR:
    """Returns a CSR pattern without its transpose, which only gradients read."""
    row_ptr = np.zeros(shape[0] + 1, np.int32)
    np.cumsum(np.bincount(rows, minlength=shape[0]), out=row_ptr[1:])
    nothing = np.zeros(0, np.int32)
    return CSR(rows, cols, row_ptr, nothing, (nothing, np.zeros(shape[1] + 1, np.int32), nothing))
