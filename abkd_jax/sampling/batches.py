"""Samplers of an epoch: subgraphs that several threads may draw, and minibatches of few shapes made of them."""

import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int

from abkd_jax.graph.forms import for_tpu
from abkd_jax.graph.host import HostGraph
from abkd_jax.graph.slot_shapes import part_counts
from abkd_jax.graph.type_blocks import typed_relations
from abkd_jax.sampling.assembly import gather_outputs, to_batch
from abkd_jax.sampling.buckets import Capacity, PartCounts, fit_capacities
from abkd_jax.sampling.subgraph import Positions, Subgraph, sorted_by_type
from abkd_jax.types import Batch, GNNOutput

__all__ = ["Build", "Draw", "EpochSampler", "Minibatch", "in_groups", "node_sampler"]

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
    platform: str | None = None,
    layers: int | None = None,
) -> EpochSampler:
    """Makes a sampler of padded minibatches from one of subgraphs.

    Every subgraph is drawn with a generator of its own, seeded by that of the epoch: the numbers of one do not depend
    on who has drawn the others, or when. The padding buckets are fitted to a few subgraphs of a separate seed.

    Args:
        graph: the whole graph.
        plan: `rng -> jobs` of one epoch, one per subgraph: what differs between them beside their random numbers.
        draw: `(job, rng, positions) -> subgraph`; it leaves the scratch memory empty.
        roots_only: see `to_batch`.
        platform: that of the programs that read the batches; None takes that of JAX's default device. For a `"tpu"`
            they have slots, of shapes that are fitted likewise (`graph.slot_shapes`).
        layers: of the deepest `models.Stack` that reads the batches, where nothing is read of its outputs but rows of
            roots: its layers are then trimmed to the hops they are away from them (`graph.hops`), those of other models
            are not. None leaves all rows in all layers, and so do batches with edge types and subgraphs whose nodes do
            not lie hop by hop.
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

    slotted, plain = for_tpu(platform), graph.relations is None and graph.node_types is None
    depth = layers + 1 if layers is not None and plain else 0

    def most_parts(group: list[Subgraph]) -> PartCounts | None:
        return np.max([_parts_of(graph, drawn, depth) for drawn in group], axis=0) if slotted else None

    def most_hops(group: list[Subgraph]) -> list[tuple[int, int]]:
        by_hop = zip(*(drawn.hops[:depth] for drawn in group), strict=True)
        return [(max(n for n, _ in of), max(e for _, e in of)) for of in by_hop]

    def build(drawn: Subgraph, capacity: Capacity) -> Minibatch:
        if relations is not None:
            drawn = sorted_by_type(graph, drawn)
        return Minibatch(to_batch(graph, drawn, capacity, roots_only=roots_only, relations=relations), drawn.nodes)

    def draw_group(jobs: list[tuple[Job, int]], scratch: threading.local) -> list[Build]:
        group = [drawn_with(*job, scratch) for job in jobs]
        nodes, edges, *types = map(max, zip(*map(sizes_of, group), strict=True))
        capacity = sizes.smallest_fitting(nodes, edges, types, most_parts(group), most_hops(group))
        return [functools.partial(build, drawn, capacity) for drawn in group]

    def groups(rng: np.random.Generator, size: int) -> Iterator[Draw]:
        scratch = threading.local()  # of this epoch: an exception may leave it with nodes
        return (functools.partial(draw_group, jobs, scratch) for jobs in in_groups(seeded(rng), size))

    jobs, scratch = seeded(np.random.default_rng(0)), threading.local()
    trials = [drawn_with(*job, scratch) for job in jobs[:TRIALS]]
    sizes = fit_capacities(map(sizes_of, trials), most_parts(trials), most_hops(trials))
    return EpochSampler(groups, len(jobs))


def _parts_of(graph: HostGraph, drawn: Subgraph, depth: int) -> PartCounts:
    """Counts the parts of rows of the matrices that `EdgeRoom` has shapes for, with so many hops."""
    ends = [drawn.receivers, drawn.senders]
    if graph.relations is not None:
        relations = graph.relations[drawn.edges]
        ends += [nodes.astype(np.int64) * graph.num_relations + relations for nodes in ends]
    # The last hop has all edges, or only says how many columns the one before it has.
    ends += [nodes[:edges] for _, edges in drawn.hops[:depth][:-1] for nodes in (drawn.receivers, drawn.senders)]
    return np.stack([part_counts(np.bincount(rows)) for rows in ends])
