import sys

import numpy as np
import pytest
from sampling_samples import all_edges, sample, star
from scipy import stats

from abkd_jax.sampling import cluster_batches, partition, random_walks, walk_batches
from abkd_jax.types import InputError


def edges_of(minibatch):
    """(sender, type, receiver) of a batch's edges, padding aside."""
    graph, nodes = minibatch.batch.graph, minibatch.nodes
    real = graph.receivers < nodes.size
    return sorted(
        zip(
            nodes[graph.senders[real]].tolist(),
            graph.edges.features["relation"][real].tolist(),
            nodes[graph.receivers[real]].tolist(),
            strict=True,
        )
    )


def test_walks_go_to_neighbours_or_stay_where_there_are_none():
    dataset, graph = sample()
    pairs = {(sender, receiver) for sender, _, receiver in all_edges(dataset)}
    alone = set(range(60)) - {node for pair in pairs for node in pair}
    visited = random_walks(graph, np.arange(60, dtype=np.int32), 5, np.random.default_rng(0))
    assert visited[0].tolist() == list(range(60))
    assert 59 in alone
    for here, there in zip(visited[:-1].ravel().tolist(), visited[1:].ravel().tolist(), strict=True):
        assert (here, there) in pairs or (here == there and here in alone)


def test_every_neighbour_is_equally_likely():
    visited = random_walks(star(7, 1), np.full(3000, 7, np.int32), 1, np.random.default_rng(0))
    assert stats.chisquare(np.bincount(visited[1], minlength=7)).pvalue > 1e-3


def test_batches_of_walks_are_the_subgraphs_of_what_they_visit():
    dataset, graph = sample()
    sampler = walk_batches(graph, roots=5, length=2, steps=4)
    drawn = list(sampler.minibatches(np.random.default_rng(3)))
    assert len(drawn) == sampler.steps == 4
    for minibatch in drawn:
        nodes = set(minibatch.nodes.tolist())
        assert len(nodes) == minibatch.nodes.size <= 15
        assert edges_of(minibatch) == sorted(edge for edge in all_edges(dataset) if {edge[0], edge[2]} <= nodes)
        chosen = np.flatnonzero(minibatch.batch.masks.all)
        assert chosen.tolist() == np.flatnonzero(dataset.labels[minibatch.nodes] >= 0).tolist()


@pytest.mark.parametrize("typed", [True, False])
def test_clusters_share_out_the_nodes_and_are_the_same_for_the_same_seed(typed):
    pytest.importorskip("pymetis")
    _, graph = sample(typed=typed)
    parts = partition(graph, 6)
    assert parts.dtype == np.int32
    assert parts.shape == (60,)
    assert set(parts.tolist()) == set(range(6))
    assert max(np.bincount(parts)) <= 15
    np.testing.assert_array_equal(parts, partition(graph, 6))
    assert (partition(graph, 1) == 0).all()


def test_clusters_follow_the_edges():
    """Two rings with one edge between them are cut there."""
    pytest.importorskip("pymetis")
    ring = np.arange(8)
    pairs = [(a, (a + 1) % 8) for a in ring] + [(8 + a, 8 + (a + 1) % 8) for a in ring] + [(0, 8)]
    both = np.array(sorted({(b, a) for a, b in pairs} | set(pairs)))
    graph = star(1, 15)._replace(indptr=np.searchsorted(both[:, 0], np.arange(17)), senders=both[:, 1].astype(np.int32))
    parts = partition(graph, 2)
    assert len(set(parts[:8].tolist())) == len(set(parts[8:].tolist())) == 1
    assert parts[0] != parts[8]


def test_without_pymetis_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymetis", None)
    with pytest.raises(InputError, match=r"^clusters need pymetis, .*: pip install 'abkd_jax\[clusters\]'$"):
        partition(star(1, 15), 2)


def test_batches_of_clusters_keep_the_edges_between_them():
    dataset, graph = sample()
    parts = (np.arange(60) % 7 * 2).astype(np.int32)  # every other cluster is empty
    sampler = cluster_batches(graph, parts, per_batch=3)
    drawn = list(sampler.minibatches(np.random.default_rng(0)))
    assert len(drawn) == sampler.steps == 3
    assert sorted(np.concatenate([minibatch.nodes for minibatch in drawn]).tolist()) == list(range(60))
    for minibatch in drawn:
        nodes = set(minibatch.nodes.tolist())
        assert len({int(parts[node]) for node in nodes}) == (1 if len(nodes) < 12 else 3)
        assert edges_of(minibatch) == sorted(edge for edge in all_edges(dataset) if {edge[0], edge[2]} <= nodes)


def test_bad_arguments_are_named():
    _, graph = sample()
    with pytest.raises(InputError, match="0 walks of length 2"):
        walk_batches(graph, 0, 2, 3)
    with pytest.raises(InputError, match="random_walks: length is -1, expected a number of steps"):
        random_walks(graph, np.zeros(1, np.int32), -1, np.random.default_rng(0))
    with pytest.raises(InputError, match="61 clusters of 60 nodes"):
        partition(graph, 61)
    with pytest.raises(InputError, match=r"clusters of shape \(3,\), 2 per batch, for 60 nodes"):
        cluster_batches(graph, np.zeros(3, np.int32), 2)
