"""Uniform neighbour sampling without replacement (GraphSAGE: Hamilton et al., arXiv 1706.02216, algorithm 2)."""

from collections.abc import Iterable, Sequence
from numbers import Integral

import numpy as np
from jaxtyping import Int

from abkd_jax.graph.host import HostGraph
from abkd_jax.sampling.batches import EpochSampler, node_sampler
from abkd_jax.sampling.subgraph import Positions, Subgraph, as_indices, edges_into
from abkd_jax.types import InputError

__all__ = ["neighbour_batches", "sample_neighbours"]


def neighbour_batches(
    graph: HostGraph,
    batch_size: int,
    fan_outs: Sequence[int],
    *,
    roots: Int[np.ndarray, " r"] | None = None,
    platform: str | None = None,
    layers: int | None = None,
) -> EpochSampler:
    """Makes a sampler that visits the roots in random order, `batch_size` per minibatch, with sampled neighbours.

    Losses are computed on the roots alone. The last minibatch of an epoch holds the roots that are left.

    Args:
        graph: the whole graph.
        batch_size: roots per minibatch.
        fan_outs: see `sample_neighbours`; one per message-passing layer.
        roots: `[r]` distinct nodes that an epoch visits; None for all nodes that may have a loss (`target_mask`).
        platform: see `node_sampler`.
        layers: see `node_sampler`.

    Raises:
        InputError: no roots, indices that are none of the nodes, a batch size below 1, or bad fan-outs.

    Examples:
        >>> from abkd_jax import datasets
        >>> from abkd_jax.graph.host import host_graph
        >>> graph = host_graph(datasets.load("synthetic"))
        >>> sampler = neighbour_batches(graph, 16, (5, 5), roots=np.arange(40))
        >>> [int(batch.masks.all.sum()) for batch in sampler(np.random.default_rng(0))]  # roots per minibatch
        [16, 16, 8]
    """
    chosen = np.flatnonzero(graph.target_mask) if roots is None else as_indices("roots", roots, graph.num_nodes)
    if not isinstance(batch_size, Integral) or batch_size < 1 or chosen.size == 0:
        raise InputError(f"{chosen.size} roots in batches of {batch_size}, expected at least one in each")
    _check_fan_outs(fan_outs)

    def plan(rng: np.random.Generator) -> list[Int[np.ndarray, " b"]]:
        return np.split(rng.permutation(chosen), range(batch_size, chosen.size, batch_size))

    def draw(some: Int[np.ndarray, " b"], rng: np.random.Generator, positions: Positions) -> Subgraph:
        return sample_neighbours(graph, some, fan_outs, rng, positions)

    return node_sampler(graph, plan, draw, roots_only=True, platform=platform, layers=layers)


def sample_neighbours(
    graph: HostGraph,
    roots: Int[np.ndarray, " r"],
    fan_outs: Sequence[int],
    rng: np.random.Generator,
    positions: Positions | None = None,
) -> Subgraph:
    """Samples edges hop by hop: of each node reached for the first time, a uniform choice of the edges into it.

    As `NeighborLoader` of PyTorch Geometric does: without replacement, and all edges of a node that has no more than
    the fan-out. Edges of all types are sampled together.

    Args:
        graph: the whole graph.
        roots: `[r]` nodes where the hops begin; repeated ones count once.
        fan_outs: for each hop the most edges into a node; -1 takes all.
        rng: the source of every draw.
        positions: scratch memory to use again; it holds no node before and after.

    Raises:
        InputError: no fan-outs, one below -1, or roots that are none of the nodes.
    """
    _check_fan_outs(fan_outs)
    roots = as_indices("roots", roots, graph.num_nodes)
    positions = Positions(graph.num_nodes) if positions is None else positions
    frontier = positions.add(roots.astype(np.int32, copy=False), 0)
    layers, edges, senders, receivers, known, hops = [frontier], [], [], [], 0, []
    for fan_out in fan_outs:
        drawn, owners = _draw(graph.indptr, frontier, fan_out, rng)
        edges.append(drawn)
        senders.append(graph.senders[drawn])
        receivers.append(owners + np.int32(known))
        known += frontier.shape[0]
        hops.append((known, sum(map(len, edges))))
        frontier = positions.add(senders[-1], known)
        layers.append(frontier)
    nodes, local = np.concatenate(layers), positions.of(np.concatenate(senders))
    positions.clear(nodes)
    return Subgraph(
        nodes=nodes,
        num_roots=layers[0].shape[0],
        senders=local,
        receivers=np.concatenate(receivers),
        edges=np.concatenate(edges),
        hops=tuple(hops),
    )


def _check_fan_outs(fan_outs: Sequence[int]) -> None:
    given = tuple(fan_outs) if isinstance(fan_outs, Iterable) else fan_outs
    if not isinstance(given, tuple) or not given or not all(isinstance(x, Integral) and x >= -1 for x in given):
        raise InputError(f"fan-outs are {given}, expected one per hop, each at least -1 (all edges)")


def _draw(
    indptr: Int[np.ndarray, " n_plus_1"], nodes: Int[np.ndarray, " k"], fan_out: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " e"], Int[np.ndarray, " e"]]:
    """Draws at most `fan_out` edges into each node: their indices in the whole graph, and local int32 receivers."""
    starts = indptr[nodes]
    degrees = indptr[nodes + 1] - starts
    owners = np.arange(nodes.shape[0], dtype=np.int32)
    if fan_out < 0:
        return edges_into(starts, degrees), np.repeat(owners, degrees)
    few, many = np.flatnonzero(degrees <= fan_out), np.flatnonzero(degrees > fan_out)
    picks = _floyd(degrees[many], fan_out, rng)
    edges = np.concatenate([edges_into(starts[few], degrees[few]), (starts[many] + picks).ravel()])
    return edges, np.concatenate([np.repeat(owners[few], degrees[few]), np.tile(owners[many], fan_out)])


def _floyd(sizes: Int[np.ndarray, " r"], count: int, rng: np.random.Generator) -> Int[np.ndarray, "count r"]:
    """Draws `count` distinct numbers below each size, every set equally likely.

    Floyd's algorithm F2 (Bentley and Floyd, "A sample of brilliance", 1987), for all rows at once.
    """
    picks = np.empty((count, sizes.shape[0]), np.int64)
    uniform = rng.random(picks.shape)
    for step in range(count):
        last = sizes - count + step
        picks[step] = uniform[step] * (last + 1)  # rounds down
        taken = (picks[:step] == picks[step]).any(axis=0)
        picks[step][taken] = last[taken]
    return picks
