"""The whole graph on the host, in memory or memory-mapped: what samplers and layer-wise inference read.

For graphs that are too large to be prepared or moved to a device as a whole.
"""

from typing import Any, NamedTuple

import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from abkd_jax.graph.input_checks import checked_ends
from abkd_jax.graph.layout import sparse_features
from abkd_jax.types import Dataset, InputError

__all__ = ["HostGraph", "host_graph", "target_mask", "typed_graph"]


class HostGraph(NamedTuple):
    """The edges that enter each node, side by side: by receiver, then by type, then by sender; no two alike.

    Attributes:
        indptr: `[n + 1]` int64; the edges into node `v` are `indptr[v]` to `indptr[v + 1]`.
        senders: `[e]` int32.
        relations: `[e]` int32 edge types, those of reverse edges included; None where edges have no type.
        num_relations: number of edge types; 1 where edges have none.
        features: `[m, f]` float32 (NumPy, memory-mapped or not, or `scipy.sparse.csr_matrix`): of the first `m` nodes.
        node_types: `[n]` int32, or None.
        labels: `[n]` int32, -1 where unlabelled.
        train_mask: `[n]` bool.
        target_mask: `[n]` bool, nodes that losses look at: all, or in a typed graph those with a label in its files.
    """

    indptr: Int[np.ndarray, " n_plus_1"]
    senders: Int[np.ndarray, " e"]
    relations: Int[np.ndarray, " e"] | None
    num_relations: int
    features: Any
    node_types: Int[np.ndarray, " n"] | None
    labels: Int[np.ndarray, " n"]
    train_mask: np.ndarray
    target_mask: np.ndarray

    @property
    def num_nodes(self) -> int:
        return self.indptr.shape[0] - 1

    @property
    def num_edges(self) -> int:
        return self.senders.shape[0]

    def embedding_rows(self, nodes: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
        """`[k]` int32, the trainable vector of each node, -1 where the node has features."""
        return np.maximum(nodes - self.features.shape[0], -1).astype(np.int32)


def host_graph(dataset: Dataset) -> HostGraph:
    """The graph of a data set with all reverse edges, without self loops and repeated edges.

    Args:
        dataset: checked by `datasets.validate`.

    Raises:
        InputError: an edge points outside, or the features have another number of rows than there are nodes.
    """
    n, schema, types = dataset.num_nodes, dataset.schema, dataset.relations
    if dataset.num_embeddings < 0 or (schema is None and dataset.num_embeddings):
        raise InputError(f"node features: {n - dataset.num_embeddings} rows, expected {n}, one a node")
    kinds = 1 if schema is None else schema.num_relations
    senders, receivers = checked_ends(dataset.senders, dataset.receivers, n)
    rows = np.concatenate([receivers, senders]).astype(np.int64)
    cols = np.concatenate([senders, receivers])
    keys = rows * kinds
    if schema is not None and types is not None:
        keys += np.concatenate([types, np.asarray(schema.reverses)[types]])
    keys *= n
    keys += cols
    keys = keys[rows != cols]
    del rows, cols
    keys.sort()
    keys = keys[np.append(True, keys[1:] != keys[:-1])] if keys.size else keys
    pairs, senders = np.divmod(keys, n)
    del keys
    receivers, relations = np.divmod(pairs, kinds)
    return HostGraph(
        indptr=np.searchsorted(receivers, np.arange(n + 1)),
        senders=senders.astype(np.int32),
        relations=None if schema is None else relations.astype(np.int32),
        num_relations=kinds,
        features=dataset.features,
        node_types=dataset.node_types,
        labels=dataset.labels,
        train_mask=dataset.train_mask,
        target_mask=target_mask(dataset),
    )


def typed_graph(graph: HostGraph) -> jraph.GraphsTuple:
    """A typed graph as a whole, for graphs that fit a device.

    `nodes` are `{"features": [n, f], "type": [n], "embedding": [n]}`: nodes without features have zeros there and the
    number of their trainable vector in `embedding`, others -1; sparse features stay sparse. `edges` are
    `{"relation": [e]}`.
    """
    nodes = np.arange(graph.num_nodes, dtype=np.int32)
    rows, width = graph.features.shape
    if sp.issparse(graph.features):
        without = sp.csr_matrix((graph.num_nodes - rows, width), dtype=np.float32)
        features: Any = sparse_features(sp.csr_matrix(sp.vstack([graph.features, without])))
    else:
        features = np.zeros((graph.num_nodes, width), np.float32)
        features[:rows] = graph.features
    inputs = {"features": features, "type": graph.node_types, "embedding": graph.embedding_rows(nodes)}
    fields: dict[str, Any] = {
        "nodes": inputs,
        "edges": {"relation": graph.relations},
        "senders": graph.senders,
        "receivers": np.repeat(nodes, np.diff(graph.indptr)),
        "n_node": np.array([graph.num_nodes], np.int32),
        "n_edge": np.array([graph.num_edges], np.int32),
    }
    return jraph.GraphsTuple(globals=None, **fields)


def target_mask(dataset: Dataset) -> np.ndarray:
    """`[n]` bool, the nodes that losses may look at: all, or in a typed graph those that have a label in its files."""
    return np.ones(dataset.num_nodes, bool) if dataset.schema is None else dataset.labels >= 0
