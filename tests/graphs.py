"""Random edge lists, and what their graphs are in dense NumPy float64: the model that the core is measured against."""

from typing import NamedTuple

import jraph
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

SIZES = [(1, 0), (1, 2), (5, 0), (9, 20)]  # (nodes, edges): few, so that compiled operations are reused
quick = settings(max_examples=25, deadline=None, derandomize=True)


class EdgeList(NamedTuple):
    senders: np.ndarray  # [e] int32, duplicates and self loops included
    receivers: np.ndarray
    weights: np.ndarray  # [e] float32
    size: int


def random_edges(seed: int, nodes: int, edges: int) -> EdgeList:
    """Edges among all nodes but the last one, which stays isolated where there is more than one."""
    rng = np.random.default_rng(seed)
    senders, receivers = rng.integers(0, max(nodes - 1, 1), (2, edges)).astype(np.int32)
    return EdgeList(senders, receivers, rng.uniform(0.5, 2.0, edges).astype(np.float32), nodes)


@st.composite
def edge_lists(draw: st.DrawFn, sizes: list[tuple[int, int]] = SIZES) -> EdgeList:
    nodes, edges = draw(st.sampled_from(sizes))
    ends = st.lists(st.integers(0, nodes - 1), min_size=edges, max_size=edges)
    weights = st.lists(st.integers(1, 12), min_size=edges, max_size=edges)
    senders, receivers = (np.array(draw(ends), np.int32) for _ in range(2))
    return EdgeList(senders, receivers, np.array(draw(weights), np.float32) / 4, nodes)  # quarters add up exactly


def raw_graph(edges: EdgeList, nodes: np.ndarray, weighted: bool = True) -> jraph.GraphsTuple:
    """The edge list as it is: neither merged nor sorted."""
    return jraph.GraphsTuple(
        nodes=nodes,
        edges=edges.weights if weighted else None,
        senders=edges.senders,
        receivers=edges.receivers,
        globals=None,
        n_node=np.array([edges.size], np.int32),
        n_edge=np.array([edges.senders.shape[0]], np.int32),
    )


def features(seed: int, nodes: int, width: int) -> np.ndarray:
    """`[n, f]` float32; the first row is zero."""
    x = np.random.default_rng(seed).normal(size=(nodes, width)).astype(np.float32)
    x[0] = 0.0
    return x


def dense_adjacency(edges: EdgeList, weights: np.ndarray | None = None) -> np.ndarray:
    """`[n, n]` with receivers as rows: the sum of the weights of all edges from the column's node to the row's."""
    matrix = np.zeros((edges.size, edges.size))
    np.add.at(matrix, (edges.receivers, edges.senders), edges.weights if weights is None else weights)
    return matrix


def dense_normalised(edges: EdgeList, weighted: bool = True) -> np.ndarray:
    """`D^-1/2 (A + I) D^-1/2`, where only nodes without a self loop get one; D counts what enters a node."""
    weights = edges.weights if weighted else np.ones_like(edges.weights)
    matrix = dense_adjacency(edges, weights)
    looped = edges.receivers[edges.senders == edges.receivers]
    matrix += np.diag([0.0 if node in looped else 1.0 for node in range(edges.size)])
    scale = 1.0 / np.sqrt(matrix.sum(axis=1))
    return scale[:, None] * matrix * scale[None, :]
