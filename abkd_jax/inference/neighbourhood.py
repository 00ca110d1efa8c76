"""The part of a graph that the outputs of some nodes depend on, as one small prepared graph of few shapes."""

from typing import Any, NamedTuple

import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from abkd_jax.configs.options import ModelConfig
from abkd_jax.graph.host import HostGraph
from abkd_jax.graph.layout import LayoutInfo, SparseFeatures, graphs_tuple
from abkd_jax.inference.layerwise import block_layout, csr_pattern
from abkd_jax.sampling import padded, sample_neighbours
from abkd_jax.sampling.subgraph import Positions, Subgraph
from abkd_jax.types import InputError

__all__ = ["Ladder", "neighbourhood", "radius"]

LEAST_NODES = 32  # rows of the smallest shape
ROOM = 1.5  # edges and entries of a shape per node, over their mean in the graph


def radius(config: ModelConfig) -> int:
    """Returns how many hops away a node can be and still change the logits of another.

    Raises:
        InputError: the model reads more of the graph than the edges into the nodes within some hops: the degrees of
            senders, powers of the adjacency, or all nodes of a graph.

    Examples:
        >>> radius(ModelConfig("gcn", layers=2)), radius(ModelConfig("mlp", layers=2))
        (2, 0)
    """
    if config.name == "sign" or config.symmetric_norm or config.readout is not None:
        reason = "powers of the adjacency" if config.name == "sign" else "more than the edges into a node"
        raise InputError(f"{config.name}: it reads {reason}, expected a model of nodes and their neighbourhoods")
    return 0 if config.name == "mlp" else config.layers


class Ladder(NamedTuple):
    """Shapes of the neighbourhoods of one graph: each has twice the rows of the one before, so few are compiled.

    Attributes:
        edges: edges of a shape per node.
        entries: entries of sparse features of a shape per node; 0 where features are dense.
    """

    edges: float
    entries: float

    @classmethod
    def of(cls, graph: HostGraph) -> "Ladder":
        """Returns the ladder that suits the mean degree of a graph, and the mean length of its sparse rows."""
        entries = graph.features.nnz / max(graph.features.shape[0], 1) if sp.issparse(graph.features) else 0.0
        return cls(ROOM * graph.num_edges / max(graph.num_nodes, 1), ROOM * entries)

    def smallest(self, nodes: int, edges: int, entries: int) -> tuple[int, int, int]:
        """Returns rows, edges and entries of the smallest shape that fits, with one row to spare.

        Examples:
            >>> Ladder(edges=4.0, entries=0.0).smallest(nodes=40, edges=150, entries=0)
            (64, 256, 0)
        """
        rows = LEAST_NODES
        while rows <= nodes or rows * self.edges < edges or rows * self.entries < entries:
            rows *= 2
        return rows, int(rows * self.edges), int(rows * self.entries)


def neighbourhood(
    graph: HostGraph, nodes: Int[np.ndarray, " k"], hops: int, ladder: Ladder, positions: Positions | None = None
) -> jraph.GraphsTuple:
    """Returns all nodes within some hops of the given ones and the edges among them that their outputs depend on.

    The given nodes are the first rows. Normalisation uses the degrees of the whole graph, so that a model of as many
    layers gives their exact logits. The rest of a shape is padding.

    Args:
        graph: the whole graph.
        nodes: `[k]` distinct nodes.
        hops: number of message-passing layers, see `radius`.
        ladder: shapes, `Ladder.of(graph)`.
        positions: scratch memory to use again, see `sampling.sample_neighbours`.

    Returns:
        A prepared graph of NumPy arrays, for evaluation alone: it has no transpose for gradients.

    Raises:
        InputError: a node is not in the graph.

    Examples:
        >>> from abkd_jax import datasets
        >>> from abkd_jax.graph.host import host_graph
        >>> graph = host_graph(datasets.load("synthetic"))
        >>> part = neighbourhood(graph, np.array([7]), 1, Ladder.of(graph))
        >>> degree = int(graph.indptr[8] - graph.indptr[7])
        >>> part.nodes.shape[0] >= degree + 1
        True
    """
    drawn = sample_neighbours(graph, nodes, (-1,) * hops, np.random.default_rng(0), positions) if hops else None
    if drawn is None:
        nothing = np.zeros(0, np.int32)
        relations = None if graph.relations is None else nothing
        drawn = Subgraph(nodes, nodes.shape[0], nothing, nothing, relations)
    count, entries = drawn.nodes.shape[0], _entries(graph, drawn.nodes)
    rows, edges, entries = ladder.smallest(count, drawn.senders.shape[0], entries)
    if not hops:
        edges = 0
    by, to = (padded(ends, edges, rows - 1, np.int32) for ends in (drawn.senders, drawn.receivers))
    types = None if drawn.relations is None else padded(drawn.relations, edges, 0, np.int32)
    degrees = np.ones(rows)
    degrees[:count] += graph.indptr[drawn.nodes + 1] - graph.indptr[drawn.nodes]
    relations = None if types is None else tuple(range(graph.num_relations))
    info = LayoutInfo(rows, edges, relations=relations)
    return graphs_tuple(
        nodes=_inputs(graph, drawn.nodes, rows, entries),
        edges=block_layout(to, by, types, (1.0 / np.sqrt(degrees)).astype(np.float32), rows, info),
        senders=by,
        receivers=to,
        n_node=np.array([rows], np.int32),
        n_edge=np.array([edges], np.int32),
    )


def _entries(graph: HostGraph, nodes: np.ndarray) -> int:
    """Returns the number of entries of sparse features at the nodes; 0 where features are dense."""
    if not sp.issparse(graph.features):
        return 0
    known = nodes[nodes < graph.features.shape[0]]
    return int((graph.features.indptr[known + 1] - graph.features.indptr[known]).sum())


def _inputs(graph: HostGraph, nodes: np.ndarray, rows: int, entries: int) -> Any:
    features = _features(graph.features, nodes, rows, entries)
    if graph.node_types is None:
        return features
    types, embedding = graph.node_types[nodes], graph.embedding_rows(nodes)
    return {"features": features, "type": padded(types, rows, 0), "embedding": padded(embedding, rows, -1)}


def _features(features: Any, nodes: np.ndarray, rows: int, entries: int) -> np.ndarray | SparseFeatures:
    """Returns the rows of the features, zero for padding and for nodes without features."""
    known = np.flatnonzero(nodes < features.shape[0])
    if not sp.issparse(features):
        out = np.zeros((rows, features.shape[1]), np.float32)
        out[known] = features[nodes[known]]
        return out
    chosen = features[nodes[known]]
    at = np.repeat(known, np.diff(chosen.indptr))
    pattern = csr_pattern(
        padded(at, entries, rows - 1, np.int32), padded(chosen.indices, entries, 0, np.int32), (rows, features.shape[1])
    )
    return SparseFeatures(pattern, padded(chosen.data, entries, 0, np.float32))
