"""Whole graphs on the host, in memory or memory-mapped, for samplers and layer-wise inference.

For graphs that are too large to be prepared or moved to a device as a whole.
"""

from typing import Any, NamedTuple

import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float32, Int, Shaped

from abkd_jax.graph.input_checks import checked_ends
from abkd_jax.graph.layout import SparseFeatures, graphs_tuple, sparse_features
from abkd_jax.types import Dataset, InputError

__all__ = ["HostGraph", "edge_entries", "host_graph", "target_mask", "whole_graph"]


class HostGraph(NamedTuple):
    """Graph in CSR form: edges sorted by receiver, then by type, then by sender, without duplicates.

    Attributes:
        indptr: `[n + 1]` int64; the edges into node `v` are `indptr[v]` to `indptr[v + 1]`.
        senders: `[e]` int32.
        relations: `[e]` int32 edge types, those of reverse edges included; None where edges have no type.
        num_relations: number of edge types; 1 where edges have none.
        features: `[m, f]` float32 (NumPy, memory-mapped or not, or `scipy.sparse.csr_matrix`): those of the first `m`
            nodes.
        node_types: `[n]` int32, or None.
        labels: `[n]` int32, -1 where unlabelled; of the tasks multilabel and regression `[n, c]` float32, NaN where
            unknown.
        train_mask: `[n]` bool.
        target_mask: `[n]` bool, nodes that losses are computed on: all, or in a heterogeneous graph those with a label
            in its files.
        weights: `[e]` float32 edge weights; None where all are 1.
        edge_features: `[e, k]` float32; None where there are none.
        directed: whether edges may be without their reverse.
    """

    indptr: Int[np.ndarray, " n_plus_1"]
    senders: Int[np.ndarray, " e"]
    relations: Int[np.ndarray, " e"] | None
    num_relations: int
    features: Any
    node_types: Int[np.ndarray, " n"] | None
    labels: Shaped[np.ndarray, "n ..."]
    train_mask: np.ndarray
    target_mask: np.ndarray
    weights: Float32[np.ndarray, " e"] | None = None
    edge_features: Float32[np.ndarray, "e _"] | None = None
    directed: bool = False

    @property
    def num_nodes(self) -> int:
        """Returns the number of nodes."""
        return self.indptr.shape[0] - 1

    @property
    def num_edges(self) -> int:
        """Returns the number of edges, those of both directions."""
        return self.senders.shape[0]

    @property
    def receivers(self) -> Int[np.ndarray, " e"]:
        """Returns `[e]` int32, the receiver of each edge."""
        return np.repeat(np.arange(self.num_nodes, dtype=np.int32), np.diff(self.indptr))

    def embedding_rows(self, nodes: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
        """Returns `[k]` int32, the row of each node among the learned node embeddings, -1 where it has features."""
        return np.maximum(nodes - self.features.shape[0], -1).astype(np.int32)


def host_graph(dataset: Dataset) -> HostGraph:
    """Builds the graph of a data set, without self loops and duplicates; unless it is directed, with all reverse edges.

    The weight of an edge that is listed several times is the sum; where both directions of an undirected edge are
    listed, each with its weight, the larger counts for both (as Kipf & Welling's code, arXiv 1609.02907, makes an
    adjacency matrix symmetric). Of its features the first listed count, those of its own direction before the others.

    Args:
        dataset: checked by `datasets.validate`.

    Raises:
        InputError: an edge points outside, or the features have another number of rows than there are nodes.

    Examples:
        >>> from abkd_jax import datasets
        >>> dataset = datasets.load("synthetic")
        >>> graph = host_graph(dataset)
        >>> graph.num_nodes, graph.num_relations, int(graph.indptr[-1]) == graph.num_edges
        (300, 1, True)
    """
    n, schema = dataset.num_nodes, dataset.schema
    if dataset.num_embeddings < 0 or (schema is None and dataset.num_embeddings):
        raise InputError(f"node features: {n - dataset.num_embeddings} rows, expected {n}, one a node")
    num_relations = 1 if schema is None else schema.num_relations
    keys = _edge_keys(dataset, num_relations)
    weights = features = None
    if dataset.edge_weights is None and dataset.edge_features is None:
        keys = keys[keys >= 0]
        keys.sort()
        keys = keys[np.append(True, keys[1:] != keys[:-1])] if keys.size else keys
    else:
        keys, weights, features = _merged(keys, dataset.edge_weights, dataset.edge_features)
    pairs, senders = np.divmod(keys, n)
    del keys
    receivers, relations = np.divmod(pairs, num_relations)
    return HostGraph(
        indptr=np.searchsorted(receivers, np.arange(n + 1)),
        senders=senders.astype(np.int32),
        relations=None if schema is None else relations.astype(np.int32),
        num_relations=num_relations,
        features=dataset.features,
        node_types=dataset.node_types,
        labels=dataset.labels,
        train_mask=dataset.train_mask,
        target_mask=target_mask(dataset),
        weights=weights,
        edge_features=features,
        directed=dataset.directed,
    )


def _edge_keys(dataset: Dataset, num_relations: int) -> Int[np.ndarray, " e_or_2e"]:
    """Returns `(receiver * relations + relation) * n + sender` of each edge, then of its reverse; -1 for self loops."""
    n, schema, types = dataset.num_nodes, dataset.schema, dataset.relations
    senders, receivers = checked_ends(dataset.senders, dataset.receivers, n)
    if dataset.directed:
        rows, cols = receivers.astype(np.int64), senders
    else:
        rows = np.concatenate([receivers, senders]).astype(np.int64)
        cols = np.concatenate([senders, receivers])
    keys = rows * num_relations
    if schema is not None and types is not None:
        keys += types if dataset.directed else np.concatenate([types, np.asarray(schema.reverses)[types]])
    keys *= n
    keys += cols
    keys[rows == cols] = -1
    return keys


def _merged(
    keys: Int[np.ndarray, " k"], weights: np.ndarray | None, features: np.ndarray | None
) -> tuple[Int[np.ndarray, " e"], np.ndarray | None, np.ndarray | None]:
    """Returns the distinct keys, and weights and features of each; see `host_graph` for what counts."""
    order = np.argsort(keys, kind="stable")  # of equal keys the listed edges come before the reverse ones
    order = order[np.count_nonzero(keys < 0) :]
    keys, listed = keys[order], max(len(given) for given in (weights, features) if given is not None)
    entries = order % max(listed, 1)
    new = np.diff(keys, prepend=-1) != 0
    if weights is not None:
        # A sum for each direction that is listed, then the larger of the two.
        backward = order >= listed
        parts = np.flatnonzero(new | np.diff(backward, prepend=False))
        sums = np.add.reduceat(weights[entries].astype(np.float64), parts)
        weights = np.maximum.reduceat(sums, np.flatnonzero(new[parts])).astype(np.float32)
    return keys[new], weights, None if features is None else features[entries[new]]


def whole_graph(graph: HostGraph) -> jraph.GraphsTuple:
    """Returns all of the graph as a plain `GraphsTuple`, for graphs that fit a device.

    `nodes` are the features `[n, f]` and `edges` None. In a heterogeneous graph `nodes` are `{"features": [n, f],
    "type": [n], "embedding": [n]}`, where nodes without features have zeros in `features` and the row of their learned
    node embedding in `embedding`, others -1; `edges` are `{"relation": [e]}`. Weights and features of edges are the
    entries `"weight"` `[e]` and `"features"` `[e, k]` of `edges`. Sparse features stay sparse.

    Raises:
        InputError: sparse features hold NaN or infinite values.
    """
    ids = np.arange(graph.num_nodes, dtype=np.int32)
    features = _features_of_all(graph)
    typed = {"features": features, "type": graph.node_types, "embedding": graph.embedding_rows(ids)}
    return graphs_tuple(
        nodes=features if graph.node_types is None else typed,
        edges=edge_entries(graph, slice(None)),
        senders=graph.senders,
        receivers=graph.receivers,
        n_node=np.array([graph.num_nodes], np.int32),
        n_edge=np.array([graph.num_edges], np.int32),
    )


def edge_entries(graph: HostGraph, edges: Any) -> dict[str, np.ndarray] | None:
    """Returns what is known of some edges, as `graph.edges` holds it: relations, weights, features; None without any.

    Args:
        graph: the whole graph.
        edges: their indices in it, or a slice.
    """
    known = {"relation": graph.relations, "weight": graph.weights, "features": graph.edge_features}
    return {name: values[edges] for name, values in known.items() if values is not None} or None


def _features_of_all(graph: HostGraph) -> np.ndarray | SparseFeatures:
    """`[n, f]` float32, with rows of zeros for the nodes without features."""
    rows, width = graph.features.shape
    missing = graph.num_nodes - rows
    if sp.issparse(graph.features):
        if not missing:
            return sparse_features(graph.features)
        zeros = sp.csr_matrix((missing, width), dtype=np.float32)
        return sparse_features(sp.csr_matrix(sp.vstack([graph.features, zeros])))
    features = np.asarray(graph.features, np.float32)
    return np.concatenate([features, np.zeros((missing, width), np.float32)]) if missing else features


def target_mask(dataset: Dataset) -> np.ndarray:
    """Returns `[n]` bool, the nodes for losses: all, or in a heterogeneous graph those with a label in its files."""
    if dataset.schema is None:
        return np.ones(dataset.num_nodes, bool)
    return dataset.labels >= 0 if dataset.labels.ndim == 1 else np.any(~np.isnan(dataset.labels), axis=1)
