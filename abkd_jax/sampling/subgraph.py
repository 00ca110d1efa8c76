"""What a sampler draws: some nodes of a graph on the host, and edges between them in numbers of their own."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from abkd_jax.graph.host import HostGraph
from abkd_jax.types import InputError

__all__ = ["Positions", "Subgraph", "as_numbers", "edges_into", "induced"]


class Subgraph(NamedTuple):
    """Nodes and edges of one batch, before padding.

    Attributes:
        nodes: `[k]` int32, their numbers in the whole graph, roots first.
        num_roots: how many of them are roots.
        senders: `[e]` int32, positions in `nodes`.
        receivers: `[e]` int32, likewise.
        relations: `[e]` int32 edge types, or None where the graph has none.
    """

    nodes: Int[np.ndarray, " k"]
    num_roots: int
    senders: Int[np.ndarray, " e"]
    receivers: Int[np.ndarray, " e"]
    relations: Int[np.ndarray, " e"] | None


def as_numbers(what: str, numbers: Any, count: int) -> Int[np.ndarray, " k"]:
    """Returns numbers of nodes, or of graphs, as an array of the integer type that they have.

    Args:
        what: for the message.
        numbers: `[k]` integers.
        count: how many nodes or graphs there are.

    Raises:
        InputError: a boolean mask, other than whole numbers, or one outside 0 to `count - 1`.
    """
    found = np.asarray(numbers)
    if found.dtype == bool:
        raise InputError(f"{what}: a boolean mask, expected whole numbers such as np.flatnonzero(mask)")
    if found.ndim == 1 and not found.size:
        return found.astype(np.int32)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise InputError(f"{what}: {found.dtype} of shape {found.shape}, expected a list of whole numbers")
    lowest, highest = found.min(), found.max()
    if lowest < 0 or highest >= count:
        raise InputError(f"{what} {lowest} to {highest}, expected 0 to {count - 1}")
    return found


class Positions:
    """Where each node of the whole graph stands in the batch that is being built: 4 bytes a node, used again and again.

    Not for two batches at a time: every epoch in progress has its own.
    """

    def __init__(self, num_nodes: int):
        self._table = np.full(num_nodes, -1, np.int32)

    def add(self, nodes: Int[np.ndarray, " k"], taken: int) -> Int[np.ndarray, " new"]:
        """Numbers the nodes that have no position yet, from `taken` on, and returns them, each once, as they came."""
        new = nodes[self._table[nodes] < 0]
        order = np.arange(new.shape[0], dtype=np.int32)
        self._table[new[::-1]] = order[::-1]  # of several writes one stays, whichever it is
        new = new[self._table[new] == order]
        self._table[new] = np.arange(taken, taken + new.shape[0], dtype=np.int32)
        return new

    def of(self, nodes: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
        """`[k]` int32, -1 for nodes outside the batch."""
        return self._table[nodes]

    def clear(self, nodes: Int[np.ndarray, " k"]) -> None:
        """Forgets the nodes of a batch."""
        self._table[nodes] = -1


def induced(graph: HostGraph, nodes: Int[np.ndarray, " k"], positions: Positions | None = None) -> Subgraph:
    """All edges between the nodes, in time linear in the edges that enter them.

    Args:
        graph: the whole graph.
        nodes: `[k]` distinct; all of them are roots.
        positions: used again if given; it holds no node before and after.

    Raises:
        InputError: a node comes twice, or is none of the graph's numbers.
    """
    nodes = as_numbers("nodes of a subgraph", nodes, graph.num_nodes)
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
        relations=None if graph.relations is None else graph.relations[edges[inside]],
    )


def edges_into(starts: Int[np.ndarray, " k"], lengths: Int[np.ndarray, " k"]) -> Int[np.ndarray, " e"]:
    """The ranges `starts[i]` to `starts[i] + lengths[i]`, one after the other."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if ends.size else 0)
