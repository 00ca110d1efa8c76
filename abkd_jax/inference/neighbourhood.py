"""The part of a graph that the outputs of some nodes depend on, as one small prepared graph of few shapes."""

from typing import Any, NamedTuple

import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from abkd_jax.configs.options import ModelConfig
from abkd_jax.graph.host import HostGraph, edge_entries
from abkd_jax.graph.layout import LayoutInfo, graphs_tuple
from abkd_jax.inference.blocks import block_layout, features_of, sums_of_weights
from abkd_jax.outside import is_outside
from abkd_jax.sampling import as_indices, padded, sample_neighbours
from abkd_jax.sampling.subgraph import Positions, Subgraph
from abkd_jax.types import InputError

__all__ = ["Ladder", "neighbourhood", "radius"]

LEAST_NODES = 32  # rows of the smallest shape
ROOM = 1.5  # edges and entries of a shape per node, over their mean in the graph


def radius(config: ModelConfig) -> int:
    """Returns how many hops away a node can be and still change the logits of another.

    Raises:
        InputError: the model reads more of the graph than the edges into the nodes within some hops: the degrees of
            senders, powers of the adjacency, or all nodes of a graph; or it is not known.

    Examples:
        >>> radius(ModelConfig("gcn", layers=2)), radius(ModelConfig("mlp", layers=2))
        (2, 0)
    """
    if is_outside(config.name):
        raise InputError(f"{config.name}: what it reads is not known, expected a model of this package")
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
    drawn = _drawn(graph, nodes, hops, positions)
    ladder = ladder if hops else ladder._replace(edges=0.0)
    count, edges = drawn.nodes.shape[0], drawn.senders.shape[0]
    rows, edges, entries = ladder.smallest(count, edges, _entries(graph, drawn.nodes))
    ids = padded(drawn.nodes, rows, graph.num_nodes, np.int64)
    by, to = (padded(ends, edges, rows - 1, np.int32) for ends in (drawn.senders, drawn.receivers))
    known = {name: padded(values, edges, 0) for name, values in (edge_entries(graph, drawn.edges) or {}).items()}
    degrees = np.ones(rows)
    if graph.weights is None:
        degrees[:count] += graph.indptr[drawn.nodes + 1] - graph.indptr[drawn.nodes]
    else:
        degrees[:count] += _weighted_degrees(graph, drawn.nodes)
    relations = None if graph.relations is None else tuple(range(graph.num_relations))
    info = LayoutInfo(rows, edges, relations=relations)
    return graphs_tuple(
        nodes=_inputs(graph, drawn.nodes, ids, entries),
        edges=block_layout(to, by, known, (1.0 / np.sqrt(degrees)).astype(np.float32), rows, info),
        senders=by,
        receivers=to,
        n_node=np.array([rows], np.int32),
        n_edge=np.array([edges], np.int32),
    )


def _drawn(graph: HostGraph, nodes: np.ndarray, hops: int, positions: Positions | None) -> Subgraph:
    if hops:
        return sample_neighbours(graph, nodes, (-1,) * hops, np.random.default_rng(0), positions)
    nodes, nothing = as_indices("nodes", nodes, graph.num_nodes), np.zeros(0, np.int32)
    return Subgraph(nodes, nodes.shape[0], nothing, nothing, nothing)


def _weighted_degrees(graph: HostGraph, nodes: np.ndarray) -> np.ndarray:
    order = np.argsort(nodes)
    sums = np.empty(nodes.shape[0])
    sums[order] = sums_of_weights(graph, nodes[order])
    return sums


def _entries(graph: HostGraph, nodes: np.ndarray) -> int:
    """Returns the number of entries of sparse features at the nodes; 0 where features are dense."""
    if not sp.issparse(graph.features):
        return 0
    known = nodes[nodes < graph.features.shape[0]]
    return int((graph.features.indptr[known + 1] - graph.features.indptr[known]).sum())


def _inputs(graph: HostGraph, nodes: np.ndarray, ids: np.ndarray, entries: int) -> Any:
    features = features_of(graph.features, ids, entries)
    if graph.node_types is None:
        return features
    types, embedding, rows = graph.node_types[nodes], graph.embedding_rows(nodes), ids.shape[0]
    return {"features": features, "type": padded(types, rows, 0), "embedding": padded(embedding, rows, -1)}
