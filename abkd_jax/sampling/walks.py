"""Subgraphs of random walks (GraphSAINT: Zeng et al., arXiv 1907.04931, algorithm 2)."""

from numbers import Integral

import numpy as np
from jaxtyping import Int

from abkd_jax.graph.host import HostGraph
from abkd_jax.sampling.batches import EpochSampler, node_sampler
from abkd_jax.sampling.subgraph import Positions, Subgraph, as_indices, induced
from abkd_jax.types import InputError

__all__ = ["random_walks", "walk_batches"]


def walk_batches(graph: HostGraph, roots: int, length: int, steps: int, *, platform: str | None = None) -> EpochSampler:
    """Makes a sampler of the subgraphs that random walks visit; losses are computed on all their nodes.

    Without the paper's normalisation by how often a node is visited, as the distillation experiments on MAG train: with
    20,000 roots, walks as long as the student has layers, and 30 steps per epoch.

    Args:
        graph: the whole graph.
        roots: walks per minibatch.
        length: steps of a walk.
        steps: minibatches per epoch.
        platform: see `node_sampler`.

    Raises:
        InputError: no nodes, no roots, or no steps.
    """
    whole = all(isinstance(value, Integral) for value in (roots, length, steps))
    if not whole or min(graph.num_nodes, roots, steps) < 1 or length < 0:
        raise InputError(
            f"{roots} walks of length {length} and {steps} steps on {graph.num_nodes} nodes, expected positive numbers"
        )

    def draw(_: int, rng: np.random.Generator, positions: Positions) -> Subgraph:
        starts = rng.integers(graph.num_nodes, size=roots, dtype=np.int32)
        visited = random_walks(graph, starts, length, rng)
        distinct = positions.add(visited[0], 0)
        nodes = np.concatenate([distinct, positions.add(visited[1:].ravel(), distinct.shape[0])])
        positions.clear(nodes)
        return induced(graph, nodes, positions)._replace(num_roots=distinct.shape[0])

    return node_sampler(graph, lambda rng: range(steps), draw, roots_only=False, platform=platform)


def random_walks(
    graph: HostGraph, starts: Int[np.ndarray, " r"], length: int, rng: np.random.Generator
) -> Int[np.ndarray, "steps r"]:
    """Draws the nodes that random walks visit: all edges at a node are equally likely, whatever types and weights.

    A walk stays at a node without neighbours.

    Args:
        graph: the whole graph; each step goes from a node to the sender of an edge that enters it.
        starts: `[r]` first nodes.
        length: number of steps.
        rng: the source of every draw.

    Returns:
        `[length + 1, r]` int32, the starts first.

    Raises:
        InputError: starts that are none of the nodes, or a length below 0.

    Examples:
        >>> from abkd_jax import datasets
        >>> from abkd_jax.graph.host import host_graph
        >>> graph = host_graph(datasets.load("synthetic"))
        >>> random_walks(graph, np.array([7, 8]), 3, np.random.default_rng(0)).shape
        (4, 2)
    """
    starts = as_indices("starts of walks", starts, graph.num_nodes)
    if length < 0:
        raise InputError(f"random_walks: length is {length!r}, expected a number of steps")
    visited = np.empty((length + 1, starts.shape[0]), np.int32)
    visited[0] = starts
    for step in range(length):
        here = visited[step]
        begins = graph.indptr[here]
        degrees = graph.indptr[here + 1] - begins
        edges = begins + (rng.random(here.shape[0]) * degrees).astype(np.int64)
        visited[step + 1] = here
        moving = np.flatnonzero(degrees > 0)
        visited[step + 1, moving] = graph.senders[edges[moving]]
    return visited
