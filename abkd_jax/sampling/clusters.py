"""Minibatches of clusters with the edges between them (Cluster-GCN: Chiang et al., arXiv 1905.07953, section 3.2)."""

from numbers import Integral

import numpy as np
from jaxtyping import Int

from abkd_jax.graph.host import HostGraph
from abkd_jax.graph.layout import stable_order
from abkd_jax.sampling.batches import EpochSampler, node_sampler
from abkd_jax.sampling.subgraph import Positions, Subgraph, edges_into, induced
from abkd_jax.types import InputError

__all__ = ["cluster_batches", "partition"]


def partition(graph: HostGraph, parts: int, seed: int = 0) -> Int[np.ndarray, " n"]:
    """Partitions the nodes into clusters of similar size with few edges between them: METIS, through `pymetis`.

    Args:
        graph: the whole graph; types, weights and directions of edges are ignored.
        parts: number of clusters, 1 to `n`. METIS may leave some of them empty where they are tiny.
        seed: of METIS; the same seed gives the same clusters.

    Returns:
        `[n]` int32, the cluster of each node.

    Raises:
        InputError: `parts` is out of range, the seed is no whole number, or `pymetis` is not installed.
    """
    if not (isinstance(parts, Integral) and 1 <= parts <= graph.num_nodes):
        raise InputError(f"{parts} clusters of {graph.num_nodes} nodes, expected 1 to {graph.num_nodes}")
    if not isinstance(seed, Integral):
        raise InputError(f"clusters under the seed {seed}, expected a whole number")
    try:
        import pymetis
    except ImportError as error:
        raise InputError("clusters need pymetis, which is not installed: pip install 'abkd_jax[clusters]'") from error
    if parts == 1:
        return np.zeros(graph.num_nodes, np.int32)
    pointers, neighbours = _neighbours(graph)
    _, clusters = pymetis.part_graph(
        parts, pymetis.CSRAdjacency(pointers, neighbours), options=pymetis.Options(seed=seed)
    )
    return np.asarray(clusters, np.int32)


def cluster_batches(
    graph: HostGraph, parts: Int[np.ndarray, " n"], per_batch: int, *, platform: str | None = None
) -> EpochSampler:
    """Makes a sampler that visits all clusters in random order, several per minibatch.

    Losses are computed on all their nodes. The last minibatch of an epoch holds the clusters that are left.

    Args:
        graph: the whole graph.
        parts: `[n]` the cluster of each node, from `partition` or elsewhere, numbered from 0.
        per_batch: clusters per minibatch.
        platform: see `node_sampler`.

    Raises:
        InputError: `parts` is not one number of at least 0 per node, or `per_batch` is below 1.

    Examples:
        >>> from abkd_jax import datasets
        >>> from abkd_jax.graph.host import host_graph
        >>> graph = host_graph(datasets.load("synthetic"))
        >>> cluster_batches(graph, np.arange(graph.num_nodes) % 10, per_batch=2).steps
        5
    """
    parts, whole = np.asarray(parts), isinstance(per_batch, Integral) and per_batch >= 1
    if (
        parts.shape != (graph.num_nodes,)
        or parts.size == 0
        or parts.dtype.kind not in "iu"
        or parts.min() < 0
        or not whole
    ):
        raise InputError(
            f"clusters of shape {parts.shape}, {per_batch} per batch, for {graph.num_nodes} nodes: expected one whole "
            "number from 0 on for each node and at least one cluster per batch"
        )
    parts = np.unique(parts, return_inverse=True)[1].astype(np.int32)  # sizes below are by number, however large
    members, begins = stable_order(parts, int(parts.max()) + 1)
    sizes = np.diff(begins)
    clusters = np.arange(sizes.shape[0])

    def plan(rng: np.random.Generator) -> list[Int[np.ndarray, " c"]]:
        return np.split(rng.permutation(clusters), range(per_batch, clusters.size, per_batch))

    def draw(chosen: Int[np.ndarray, " c"], _: np.random.Generator, positions: Positions) -> Subgraph:
        return induced(graph, members[edges_into(begins[chosen], sizes[chosen])], positions)

    return node_sampler(graph, plan, draw, roots_only=False, platform=platform)


def _neighbours(graph: HostGraph) -> tuple[Int[np.ndarray, " n_plus_1"], Int[np.ndarray, " e"]]:
    """Returns row pointers and neighbours, each pair of nodes once whatever its edge types, in both directions."""
    if graph.relations is None and not graph.directed:
        return graph.indptr, graph.senders
    receivers = graph.receivers.astype(np.int64)
    pairs = receivers * graph.num_nodes + graph.senders
    if graph.directed:
        pairs = np.append(pairs, graph.senders.astype(np.int64) * graph.num_nodes + receivers)
    pairs = np.unique(pairs)
    receivers, senders = np.divmod(pairs, graph.num_nodes)
    return np.searchsorted(receivers, np.arange(graph.num_nodes + 1)), senders
