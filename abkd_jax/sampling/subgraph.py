"""Subgraphs that samplers draw: some nodes of a graph on the host, and edges between them in local indices."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from abkd_jax.graph.host import HostGraph
from abkd_jax.graph.layout import stable_order
from abkd_jax.types import InputError

__all__ = ["Positions", "Subgraph", "as_indices", "edges_into", "induced", "sorted_by_type"]


class Subgraph(NamedTuple):
    """Nodes and edges of one minibatch, before padding.

    Attributes:
        nodes: `[k]` int32 indices in the whole graph, roots first as long as they are not sorted.
        num_roots: how many of them are roots.
        senders: `[e]` int32 local indices: positions in `nodes`.
        receivers: `[e]` int32, likewise.
        edges: `[e]` indices of the edges in the whole graph, which has their types, weights and features.
        order: `[k]` places of the nodes before they were sorted; None where they are not.
        hops: for 0, 1, ... hops the number of nodes within so many hops of the roots, which are the first ones, and of
            the edges into them; the last entry has all edges. `()` where nodes do not lie hop by hop.
    """

    nodes: Int[np.ndarray, " k"]
    num_roots: int
    senders: Int[np.ndarray, " e"]
    receivers: Int[np.ndarray, " e"]
    edges: Int[np.ndarray, " e"]
    order: Int[np.ndarray, " k"] | None = None
    hops: tuple[tuple[int, int], ...] = ()

    @property
    def is_root(self) -> Bool[np.ndarray, " k"]:
        """Returns which nodes are roots."""
        return (np.arange(self.nodes.shape[0]) if self.order is None else self.order) < self.num_roots


def sorted_by_type(graph: HostGraph, drawn: Subgraph) -> Subgraph:
    """Returns the same subgraph with its nodes sorted by their type, those of a type in the order they had."""
    if graph.node_types is None:
        return drawn
    types = graph.node_types[drawn.nodes]
    order, _ = stable_order(types, int(types.max(initial=0)) + 1)
    places = np.empty_like(order)
    places[order] = np.arange(order.shape[0], dtype=order.dtype)
    return drawn._replace(
        nodes=drawn.nodes[order], senders=places[drawn.senders], receivers=places[drawn.receivers], order=order, hops=()
    )


def as_indices(what: str, indices: Any, count: int) -> Int[np.ndarray, " k"]:
    """Checks indices of nodes, or of graphs, and returns them as an array of their own integer type.

    Args:
        what: for the message.
        indices: `[k]` integers.
        count: how many nodes or graphs there are.

    Raises:
        InputError: a boolean mask, other than whole numbers, or one outside 0 to `count - 1`.

    Examples:
        >>> as_indices("roots", [2, 0], count=3)
        array([2, 0])
    """
    array = np.asarray(indices)
    if array.dtype == bool:
        raise InputError(f"{what}: a boolean mask, expected whole numbers such as np.flatnonzero(mask)")
    if array.ndim == 1 and not array.size:
        return array.astype(np.int32)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"{what}: {array.dtype} of shape {array.shape}, expected a list of whole numbers")
    lowest, highest = array.min(), array.max()
    if lowest < 0 or highest >= count:
        raise InputError(f"{what} {lowest} to {highest}, expected 0 to {count - 1}")
    return array


class Positions:
    """Maps nodes of the whole graph to local indices of the subgraph that is being drawn: 4 bytes per node, reusable.

    Not for two subgraphs at a time: every epoch in progress has its own.
    """

    def __init__(self, num_nodes: int):
        self._table = np.full(num_nodes, -1, np.int32)

    def add(self, nodes: Int[np.ndarray, " k"], taken: int) -> Int[np.ndarray, " new"]:
        """Gives new nodes the local indices from `taken` on; returns them without repetition, in the order given."""
        new = nodes[self._table[nodes] < 0]
        order = np.arange(new.shape[0], dtype=np.int32)
        self._table[new[::-1]] = order[::-1]  # of several writes to a repeated node one stays, whichever it is
        new = new[self._table[new] == order]
        self._table[new] = np.arange(taken, taken + new.shape[0], dtype=np.int32)
        return new

    def of(self, nodes: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
        """Returns the `[k]` int32 local indices, -1 for nodes outside the subgraph."""
        return self._table[nodes]

    def clear(self, nodes: Int[np.ndarray, " k"]) -> None:
        """Removes the nodes of a subgraph."""
        self._table[nodes] = -1


def induced(graph: HostGraph, nodes: Int[np.ndarray, " k"], positions: Positions | None = None) -> Subgraph:
    """Returns the subgraph of all edges between some nodes, in time linear in the edges that enter them.

    Args:
        graph: the whole graph.
        nodes: `[k]` distinct; all of them are roots.
        positions: scratch memory to use again; it holds no node before and after.

    Raises:
        InputError: a node is repeated, or is none of the graph's.

    Examples:
        >>> from abkd_jax import datasets
        >>> from abkd_jax.graph.host import host_graph
        >>> graph = host_graph(datasets.load("synthetic"))
        >>> part = induced(graph, np.arange(100))
        >>> part.num_roots, int(part.senders.max()) < 100
        (100, True)
    """
    nodes = as_indices("nodes of a subgraph", nodes, graph.num_nodes)
    positions = Positions(graph.num_nodes) if positions is None else positions
    nodes = nodes.astype(np.int32, copy=False)
    distinct = positions.add(nodes, 0)
    if distinct.shape != nodes.shape:
        positions.clear(distinct)
        raise InputError(f"{nodes.shape[0]} nodes of a subgraph, {distinct.shape[0]} of them distinct, expected all")
    starts, stops = graph.indptr[nodes], graph.indptr[nodes + 1]
    edges = edges_into(starts, stops - starts)
    receivers = np.repeat(np.arange(nodes.shape[0], dtype=np.int32), stops - starts)
    senders = positions.of(graph.senders[edges])
    positions.clear(nodes)
    inside = np.flatnonzero(senders >= 0)
    return Subgraph(
        nodes=nodes,
        num_roots=nodes.shape[0],
        senders=senders[inside],
        receivers=receivers[inside],
        edges=edges[inside],
    )


def edges_into(starts: Int[np.ndarray, " k"], lengths: Int[np.ndarray, " k"]) -> Int[np.ndarray, " e"]:
    """Concatenates the ranges `starts[i]` to `starts[i] + lengths[i]`."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if ends.size else 0)
