"""From what a sampler drew to a `types.Batch` of few shapes: features, labels, masks, padding, layout."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from abkd_jax.graph.build import prepare
from abkd_jax.graph.host import HostGraph
from abkd_jax.sampling.subgraph import Subgraph, as_numbers
from abkd_jax.types import Batch, GNNOutput, InputError, NodeMasks

__all__ = ["Capacity", "Epochs", "Ladder", "Minibatch", "fit_capacities", "gather_outputs", "node_epochs", "to_batch"]

TRIALS = 4  # batches that are drawn to find the capacity
SLACK = 1.1  # of the lowest capacity over the largest of these
GROWTH = 1.25  # from one capacity to the next
STEPS = 7  # capacities that nodes and edges share; beyond, 5 times the lowest one, each has its own
WASTE, WORTH = 32, 128  # a capacity 32 times what is asked for goes down by that, as long as it is 128 or more


class Capacity(NamedTuple):
    """The shape of a batch, padding included."""

    nodes: int
    edges: int


class Ladder(NamedTuple):
    """Capacities in a geometric series: batches of similar sizes share the lowest one, and no batch is too large.

    Nodes and edges grow together for a few steps, which keeps the shapes few. A batch that is far larger or smaller
    than the lowest capacity gets nodes and edges by themselves: many edges ask for no more nodes.

    Attributes:
        lowest: capacity of all batches that fit in, but for those that would be nearly all padding.
    """

    lowest: Capacity

    def holding(self, nodes: int, edges: int) -> Capacity:
        """Returns the lowest capacity that holds the nodes with one padding node, and the edges."""
        capacity, step = self.lowest, 0
        while nodes >= capacity.nodes or edges > capacity.edges:
            step += 1
            if step > STEPS:
                capacity = Capacity(_grown(self.lowest.nodes, nodes + 1), _grown(self.lowest.edges, edges))
            else:
                capacity = Capacity(*(_rounded(size * GROWTH**step) for size in self.lowest))
        return Capacity(_reduced(capacity.nodes, nodes + 1), _reduced(capacity.edges, edges))


class Minibatch(NamedTuple):
    """A batch together with where it comes from.

    Attributes:
        batch: NumPy arrays.
        nodes: `[k]` int32, the numbers of its nodes in the whole graph (or in the whole graph-level data set), without
            padding.
        graphs: `[g]` int32, the numbers of its graphs; None in node-level tasks.
    """

    batch: Batch
    nodes: Int[np.ndarray, " k"]
    graphs: Int[np.ndarray, " g"] | None = None

    def outputs(self, stored: GNNOutput) -> GNNOutput:
        """What a model has returned for these nodes (and graphs), as `gather_outputs`."""
        rows = None if self.graphs is None else (self.graphs, self.batch.labels.shape[0])
        return gather_outputs(stored, self.nodes, self.batch.masks.all.shape[0], graphs=rows)


@dataclass(frozen=True)
class Epochs:
    """Batches for training, an epoch a call; the same generator state gives the same batches, bit for bit.

    Attributes:
        draw: `rng -> iterator` over the minibatches of one epoch.
        steps: batches an epoch; None where that depends on the draws.
    """

    draw: Callable[[np.random.Generator], Iterator[Minibatch]]
    steps: int | None

    def __call__(self, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of one epoch, NumPy arrays."""
        return (drawn.batch for drawn in self.draw(rng))


def node_epochs(
    graph: HostGraph, draw: Callable[[np.random.Generator], Iterator[Subgraph]], steps: int, *, roots_only: bool
) -> Epochs:
    """Epochs of the subgraphs that a sampler draws; the capacities come from a few of them under a seed of their own.

    Args:
        graph: the whole graph.
        draw: `rng -> iterator` over the subgraphs of one epoch.
        steps: how many that are.
        roots_only: see `to_batch`.
    """
    trials = itertools.islice(draw(np.random.default_rng(0)), TRIALS)
    ladder = fit_capacities((drawn.nodes.shape[0], drawn.senders.shape[0]) for drawn in trials)

    def minibatches(rng: np.random.Generator) -> Iterator[Minibatch]:
        for drawn in draw(rng):
            capacity = ladder.holding(drawn.nodes.shape[0], drawn.senders.shape[0])
            yield Minibatch(to_batch(graph, drawn, capacity, roots_only=roots_only), drawn.nodes)

    return Epochs(minibatches, steps)


def fit_capacities(sizes: Iterable[tuple[int, int]]) -> Ladder:
    """Computes the capacities for batches like these.

    Args:
        sizes: numbers of nodes and edges of some batches.

    Raises:
        InputError: there is no batch.
    """
    known = np.array(list(sizes))
    if not known.size:
        raise InputError("capacities of no batch, expected the sizes of at least one")
    nodes, edges = np.max(known, axis=0)
    return Ladder(Capacity(_rounded(SLACK * nodes + 1), _rounded(SLACK * edges)))


def to_batch(graph: HostGraph, drawn: Subgraph, capacity: Capacity, *, roots_only: bool) -> Batch:
    """Gathers, pads and prepares: a batch of NumPy arrays whose shapes and tree follow from graph and capacity alone.

    Padding is one more graph, as in `jraph.pad_with_graphs`: zero rows, and edges from its first node to itself. Nodes
    without features have zero rows; sparse features come dense. `graph.nodes` is the array `[n, f]`, or in a typed
    graph a dict of `features`, `type` and `embedding` (row of the embedding table, -1 where the node has features);
    `graph.edges` is None, or `{"relation": [e]}`.

    Args:
        graph: where the subgraph comes from.
        drawn: at most `capacity.nodes - 1` nodes and `capacity.edges` edges.
        capacity: shape of the batch.
        roots_only: whether losses look at the roots alone, or at all nodes; never at others than `target_mask`.

    Raises:
        InputError: the capacity is too small.
    """
    count, edges = drawn.nodes.shape[0], drawn.senders.shape[0]
    spare = capacity.nodes - count, capacity.edges - edges
    if spare[0] < 1 or spare[1] < 0:
        raise InputError(f"a batch of {count} nodes and {edges} edges in a {capacity}, expected one node to spare")
    relations = None if drawn.relations is None else _padded(drawn.relations, capacity.edges, 0)
    fields: dict[str, Any] = {
        "nodes": _node_inputs(graph, drawn.nodes, capacity.nodes),
        "edges": None if relations is None else {"relation": relations},
        "senders": _padded(drawn.senders, capacity.edges, count),
        "receivers": _padded(drawn.receivers, capacity.edges, count),
        "n_node": np.array([count, spare[0]], np.int32),
        "n_edge": np.array([edges, spare[1]], np.int32),
    }
    chosen = graph.target_mask[drawn.nodes]
    if roots_only:
        chosen[drawn.num_roots :] = False
    masks = NodeMasks(
        all=_padded(chosen, capacity.nodes, False),
        train=_padded(chosen & graph.train_mask[drawn.nodes], capacity.nodes, False),
    )
    plain = jraph.GraphsTuple(globals=None, **fields)
    prepared = prepare(plain, buckets=False, relations=None if relations is None else graph.num_relations)
    return Batch(prepared, _padded(graph.labels[drawn.nodes], capacity.nodes, -1), masks)


def gather_outputs(
    stored: GNNOutput,
    nodes: Int[np.ndarray, " k"],
    capacity: int,
    *,
    graphs: tuple[Int[np.ndarray, " g"], int] | None = None,
) -> GNNOutput:
    """The rows of a batch of what a model has returned for the whole graph, zero where the batch is padding.

    Args:
        stored: arrays on the host, memory-mapped or not, in any floating type, which stays.
        nodes: `[k]` nodes of the batch.
        capacity: rows of the batch.
        graphs: for logits of graphs: the `[g]` graphs of the batch, and its capacity for them.

    Raises:
        InputError: nodes or graphs that are no numbers, have no stored row, or are more than the capacity.
    """
    rows, size = (nodes, capacity) if graphs is None else graphs
    return GNNOutput(
        logits=_stored_rows("logits", stored.logits, rows, size),
        hiddens=tuple(_stored_rows("hidden layers", hidden, nodes, capacity) for hidden in stored.hiddens),
    )


def _stored_rows(what: str, matrix: Any, rows: Any, capacity: int) -> Any:
    rows = as_numbers(f"stored {what}: rows", rows, matrix.shape[0])
    if rows.shape[0] > capacity:
        raise InputError(f"stored {what}: {rows.shape[0]} rows in a batch of {capacity}, expected no more")
    return _rows(matrix, rows, capacity)


def _rows(matrix: Any, rows: np.ndarray, capacity: int) -> Any:
    """`[capacity, f]` dense; zero beyond the rows, and for rows that the matrix does not have."""
    count, (height, width) = rows.shape[0], matrix.shape
    if sp.issparse(matrix) or height == 0:
        out = np.zeros((capacity, width), matrix.dtype)
        has = np.flatnonzero(rows < height)
        out[has] = matrix[rows[has]].toarray() if sp.issparse(matrix) else 0
        return out
    out = np.empty((capacity, width), matrix.dtype)  # written once: most of the time of a batch goes into this
    np.take(matrix, rows, axis=0, out=out[:count], mode="clip")
    out[:count][rows >= height] = 0
    out[count:] = 0
    return out


def _node_inputs(graph: HostGraph, nodes: np.ndarray, capacity: int) -> Any:
    features = _rows(graph.features, nodes, capacity)
    if graph.node_types is None:
        return features
    return {
        "features": features,
        "type": _padded(graph.node_types[nodes], capacity, 0),
        "embedding": _padded(graph.embedding_rows(nodes), capacity, -1),
    }


def _padded(values: np.ndarray, size: int, fill: int | bool) -> Any:
    out = np.full((size, *values.shape[1:]), fill, values.dtype)
    out[: values.shape[0]] = values
    return out


def _grown(lowest: int, size: int) -> int:
    """The first of the geometric series that holds so many."""
    capacity = max(lowest, 8) if size else lowest
    while capacity < size:
        capacity = _rounded(capacity * GROWTH)
    return capacity


def _reduced(capacity: int, size: int) -> int:
    while capacity >= WASTE * max(size, WORTH):
        capacity = _rounded(capacity / WASTE)
    return capacity


def _rounded(size: float) -> int:
    return int(np.ceil(size / 8)) * 8
