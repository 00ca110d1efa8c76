"""Subgraphs to minibatches of few shapes: features, labels, masks, padding, layout; and the sampler of an epoch."""

import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from abkd_jax.graph import graphs_tuple, prepare
from abkd_jax.graph.host import HostGraph, edge_entries
from abkd_jax.graph.type_blocks import TypeBlocks, TypedRelations, type_layout, typed_relations
from abkd_jax.sampling.buckets import Capacity, fit_capacities, padded
from abkd_jax.sampling.subgraph import Positions, Subgraph, as_indices, sorted_by_type
from abkd_jax.types import Batch, GNNOutput, InputError, NodeMasks

__all__ = ["Build", "Draw", "EpochSampler", "Minibatch", "gather_outputs", "in_groups", "node_sampler", "to_batch"]

Item = TypeVar("Item")
Job = Any  # see `node_sampler`

TRIALS = 4  # minibatches that are drawn to fit the capacities


class Minibatch(NamedTuple):
    """A batch, and which nodes and graphs of the whole data set are in it.

    Attributes:
        batch: NumPy arrays.
        nodes: `[k]` int32 indices of its nodes in the whole graph (or in the whole graph-level data set), without
            padding.
        graphs: `[g]` int32 indices of its graphs; None in node-level tasks.
    """

    batch: Batch
    nodes: Int[np.ndarray, " k"]
    graphs: Int[np.ndarray, " g"] | None = None

    def outputs(self, stored: GNNOutput) -> GNNOutput:
        """Returns the rows of a model's stored outputs for these nodes (and graphs); see `gather_outputs`."""
        rows = None if self.graphs is None else (self.graphs, self.batch.labels.shape[0])
        return gather_outputs(stored, self.nodes, self.batch.masks.all.shape[0], graphs=rows)


Build = Callable[[], Minibatch]  # of a subgraph that is drawn
Draw = Callable[[], list[Build]]  # of a group


@dataclass(frozen=True)
class EpochSampler:
    """Draws the minibatches of one epoch per call; the same generator state gives the same batches, bit for bit.

    Attributes:
        groups: `(rng, size) -> iterator` over groups of `size` consecutive minibatches of one epoch; the last one may
            be smaller. All of a group have one shape. An item is a function that draws the group, whose numbers depend
            on the state of the generator and its position alone: several threads may call theirs at a time. It returns
            functions that build the minibatches: of a group that several hosts share, each builds its own.
        steps: minibatches per epoch; None where that depends on the draws.
    """

    groups: Callable[[np.random.Generator, int], Iterator[Draw]]
    steps: int | None

    def minibatches(self, rng: np.random.Generator) -> Iterator[Minibatch]:
        """Returns an iterator over the minibatches of one epoch."""
        return (build() for draw in self.groups(rng, 1) for build in draw())

    def __call__(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Returns an iterator over the batches of one epoch, NumPy arrays."""
        return (minibatch.batch for minibatch in self.minibatches(rng))

    def with_outputs(self, stored: GNNOutput) -> "EpochSampler":
        """Returns the sampler of the same minibatches, with a model's stored outputs of their nodes as targets.

        Args:
            stored: arrays of the host, for the whole data set; see `Minibatch.outputs`.
        """

        def with_targets(build: Build) -> Minibatch:
            minibatch = build()
            return minibatch._replace(batch=minibatch.batch._replace(targets=minibatch.outputs(stored)))

        def with_all(draw: Draw) -> list[Build]:
            return [functools.partial(with_targets, build) for build in draw()]

        def groups(rng: np.random.Generator, size: int) -> Iterator[Draw]:
            return (functools.partial(with_all, draw) for draw in self.groups(rng, size))

        return EpochSampler(groups, self.steps)


def in_groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Returns an iterator over lists of `size` consecutive items; the last one may be shorter.

    Examples:
        >>> list(in_groups("abcde", 2))
        [['a', 'b'], ['c', 'd'], ['e']]
    """
    remaining = iter(items)
    return iter(lambda: list(itertools.islice(remaining, size)), [])


def node_sampler(
    graph: HostGraph,
    plan: Callable[[np.random.Generator], Sequence[Job]],
    draw: Callable[[Job, np.random.Generator, Positions], Subgraph],
    *,
    roots_only: bool,
) -> EpochSampler:
    """Makes a sampler of padded minibatches from one of subgraphs.

    Every subgraph is drawn with a generator of its own, seeded by that of the epoch: the numbers of one do not depend
    on who has drawn the others, or when. The padding buckets are fitted to a few subgraphs of a separate seed.

    Args:
        graph: the whole graph.
        plan: `rng -> jobs` of one epoch, one per subgraph: what differs between them beside their random numbers.
        draw: `(job, rng, positions) -> subgraph`; it leaves the scratch memory empty.
        roots_only: see `to_batch`.
    """

    def seeded(rng: np.random.Generator) -> list[tuple[Job, int]]:
        jobs = plan(rng)
        return list(zip(jobs, rng.integers(2**63, size=len(jobs)).tolist(), strict=True))

    def drawn_with(job: Job, seed: int, scratch: threading.local) -> Subgraph:
        if not hasattr(scratch, "positions"):
            scratch.positions = Positions(graph.num_nodes)
        return draw(job, np.random.default_rng(seed), scratch.positions)

    relations = typed_relations(graph)

    def sizes_of(drawn: Subgraph) -> tuple[int, ...]:
        sizes = drawn.nodes.shape[0], drawn.senders.shape[0]
        if relations is None or graph.node_types is None:
            return sizes
        return *sizes, *np.bincount(graph.node_types[drawn.nodes], minlength=len(relations.entering)).tolist()

    def build(drawn: Subgraph, capacity: Capacity) -> Minibatch:
        if relations is not None:
            drawn = sorted_by_type(graph, drawn)
        return Minibatch(to_batch(graph, drawn, capacity, roots_only=roots_only, relations=relations), drawn.nodes)

    def draw_group(jobs: list[tuple[Job, int]], scratch: threading.local) -> list[Build]:
        group = [drawn_with(*job, scratch) for job in jobs]
        nodes, edges, *types = map(max, zip(*map(sizes_of, group), strict=True))
        return [functools.partial(build, drawn, sizes.smallest_fitting(nodes, edges, types)) for drawn in group]

    def groups(rng: np.random.Generator, size: int) -> Iterator[Draw]:
        scratch = threading.local()  # of this epoch: an exception may leave it with nodes
        return (functools.partial(draw_group, jobs, scratch) for jobs in in_groups(seeded(rng), size))

    jobs, scratch = seeded(np.random.default_rng(0)), threading.local()
    sizes = fit_capacities(sizes_of(drawn_with(*job, scratch)) for job in jobs[:TRIALS])
    return EpochSampler(groups, len(jobs))


def to_batch(
    graph: HostGraph,
    drawn: Subgraph,
    capacity: Capacity,
    *,
    roots_only: bool,
    relations: TypedRelations | None = None,
) -> Batch:
    """Gathers the features of a subgraph, pads and prepares it: a batch of NumPy arrays.

    Its shapes and tree structure follow from graph and capacity alone. Padding is one more graph, as in
    `jraph.pad_with_graphs`: zero rows, and edges from its first node to itself. Nodes without features have zero rows;
    sparse features become dense. `graph.nodes` is the array `[n, f]`, or in a heterogeneous graph a dict of `features`,
    `type` and `embedding` (row of the embedding table, -1 where the node has features); `graph.edges` is None, or a
    dict of what the edges have: `relation`, `weight`, `features`. Padding edges are of relation 0, with zeros.

    Args:
        graph: where the subgraph comes from.
        drawn: at most `capacity.nodes - 1` nodes and `capacity.edges` edges.
        capacity: shape of the batch.
        roots_only: whether losses are computed on the roots alone, or on all nodes; on `target_mask` in both cases.
        relations: of the node types, where the nodes of the subgraph are sorted by type and `capacity` has their sizes.

    Raises:
        InputError: the capacity is too small.
    """
    count, edges = drawn.nodes.shape[0], drawn.senders.shape[0]
    spare = capacity.nodes - count, capacity.edges - edges
    if spare[0] < 1 or spare[1] < 0:
        raise InputError(f"a batch of {count} nodes and {edges} edges in a {capacity}, expected one node to spare")
    entries = edge_entries(graph, drawn.edges)
    plain = graphs_tuple(
        nodes=_node_inputs(graph, drawn.nodes, capacity.nodes),
        edges=entries and {name: padded(values, capacity.edges, 0) for name, values in entries.items()},
        senders=padded(drawn.senders, capacity.edges, count),
        receivers=padded(drawn.receivers, capacity.edges, count),
        n_node=np.array([count, spare[0]], np.int32),
        n_edge=np.array([edges, spare[1]], np.int32),
    )
    chosen = graph.target_mask[drawn.nodes]
    if roots_only:
        chosen &= drawn.is_root
    masks = NodeMasks(
        all=padded(chosen, capacity.nodes, False),
        train=padded(chosen & graph.train_mask[drawn.nodes], capacity.nodes, False),
    )
    typed = None
    if relations is not None and graph.node_types is not None:
        types, blocks = graph.node_types[drawn.nodes], TypeBlocks(capacity.types, relations)
        typed = functools.partial(type_layout, node_types=types, size=capacity.nodes, blocks=blocks)
    count_of_relations = None if graph.relations is None else graph.num_relations
    prepared = prepare(plain, buckets=False, relations=count_of_relations, typed=typed)
    return Batch(prepared, padded(graph.labels[drawn.nodes], capacity.nodes, -1), masks)


def gather_outputs(
    stored: GNNOutput,
    nodes: Int[np.ndarray, " k"],
    capacity: int,
    *,
    graphs: tuple[Int[np.ndarray, " g"], int] | None = None,
) -> GNNOutput:
    """Returns the rows of a batch out of a model's outputs for the whole graph, zero where the batch is padding.

    Args:
        stored: arrays on the host, memory-mapped or not, of any floating type, which is kept.
        nodes: `[k]` nodes of the batch.
        capacity: rows of the batch.
        graphs: for logits of graphs: the `[g]` graphs of the batch, and its capacity for them.

    Raises:
        InputError: nodes or graphs that are no numbers, have no stored row, or are more than the capacity.

    Examples:
        >>> stored = GNNOutput(logits=np.eye(3, dtype=np.float32), hiddens=())
        >>> gather_outputs(stored, np.array([2, 0]), capacity=3).logits.tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    rows, size = (nodes, capacity) if graphs is None else graphs
    return GNNOutput(
        logits=_stored_rows("logits", stored.logits, rows, size),
        hiddens=tuple(_stored_rows("hidden layers", hidden, nodes, capacity) for hidden in stored.hiddens),
    )


def _stored_rows(what: str, matrix: Any, rows: Any, capacity: int) -> Any:
    rows = as_indices(f"stored {what}: rows", rows, matrix.shape[0])
    if rows.shape[0] > capacity:
        raise InputError(f"stored {what}: {rows.shape[0]} rows in a batch of {capacity}, expected no more")
    return _rows(matrix, rows, capacity)


def _rows(matrix: Any, rows: np.ndarray, capacity: int) -> Any:
    """Returns `[capacity, f]` dense; zero beyond the rows, and for rows that the matrix does not have."""
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
        "type": padded(graph.node_types[nodes], capacity, 0),
        "embedding": padded(graph.embedding_rows(nodes), capacity, -1),
    }
