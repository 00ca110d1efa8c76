"""Batches of clusters with the edges between them (Cluster-GCN: Chiang et al., arXiv 1905.07953, section 3.2)."""

from collections.abc import Iterator
from numbers import Integral

import numpy as np
from jaxtyping import Int

from abkd_jax.graph.host import HostGraph
from abkd_jax.graph.layout import stable_order
from abkd_jax.sampling.batches import Epochs, node_epochs
from abkd_jax.sampling.subgraph import Positions, Subgraph, edges_into, induced
from abkd_jax.types import InputError

__all__ = ["cluster_batches", "partition"]


def partition(graph: HostGraph, parts: int, seed: int = 0) -> Int[np.ndarray, " n"]:
    """Cuts the nodes into clusters of about one size with few edges between them: METIS, through `pymetis`.

    Args:
        graph: the whole graph, which has the reverse of each edge; edge types play no role.
        parts: number of clusters, 1 to `n`. METIS may leave some of them empty where they are tiny.
        seed: of METIS, which gives the same clusters for the same seed.

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
    except ImportError:
        raise InputError("clusters need METIS and pymetis is not installed: pip install pymetis") from None
    if parts == 1:
        return np.zeros(graph.num_nodes, np.int32)
    pointers, neighbours = _neighbours(graph)
    found = pymetis.part_graph(parts, pymetis.CSRAdjacency(pointers, neighbours), options=pymetis.Options(seed=seed))
    return np.asarray(found[1], np.int32)


def cluster_batches(graph: HostGraph, parts: Int[np.ndarray, " n"], per_batch: int) -> Epochs:
    """Epochs over all clusters in random order, several of them in a batch; losses look at all their nodes.

    The last batch of an epoch holds the clusters that are left.

    Args:
        graph: the whole graph.
        parts: `[n]` the cluster of each node, from `partition` or elsewhere, numbers from 0 on.
        per_batch: clusters a batch.

    Raises:
        InputError: `parts` is not one number from 0 on for each node, or `per_batch` is below 1.
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
            f"clusters of shape {parts.shape}, {per_batch} a batch, for {graph.num_nodes} nodes: expected one whole "
            "number from 0 on for each node and at least one cluster a batch"
        )
    parts = np.unique(parts, return_inverse=True)[1].astype(np.int32)  # sizes below are by number, however large
    members, begins = stable_order(parts, int(parts.max()) + 1)
    sizes = np.diff(begins)
    clusters = np.arange(sizes.shape[0])

    def draw(rng: np.random.Generator) -> Iterator[Subgraph]:
        positions = Positions(graph.num_nodes)
        order = rng.permutation(clusters)
        for first in range(0, order.shape[0], per_batch):
            chosen = order[first : first + per_batch]
            yield induced(graph, members[edges_into(begins[chosen], sizes[chosen])], positions)

    return node_epochs(graph, draw, -(-clusters.size // per_batch), roots_only=False)


def _neighbours(graph: HostGraph) -> tuple[Int[np.ndarray, " n_plus_1"], Int[np.ndarray, " e"]]:
    """The graph without types: pointers and neighbours, a pair of nodes once however many types join it."""
    if graph.relations is None:
        return graph.indptr, graph.senders
    receivers = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    pairs = np.unique(receivers * graph.num_nodes + graph.senders)
    receivers, senders = np.divmod(pairs, graph.num_nodes)
    return np.searchsorted(receivers, np.arange(graph.num_nodes + 1)), senders
