from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from graphs import edge_lists, quick
from hypothesis import given
from hypothesis import strategies as st
from sampling_samples import all_edges, drawn_edges, sample, star, typed_dataset
from scipy import stats

from abkd_jax.graph.host import host_graph
from abkd_jax.sampling import neighbour_batches, sample_neighbours
from abkd_jax.sampling.subgraph import Positions
from abkd_jax.types import InputError

fan_outs = st.lists(st.sampled_from([-1, 0, 1, 2, 3, 50]), min_size=1, max_size=3)


@quick
@given(edge_lists([(1, 0), (5, 0), (9, 20), (9, 60)]), st.booleans(), fan_outs, st.integers(0, 9), st.data())
def test_every_node_reached_gets_its_share_of_edges(edges, typed, fan_outs, seed, data):
    dataset = typed_dataset(edges, typed=typed)
    roots = np.array(data.draw(st.lists(st.integers(0, edges.size - 1), unique=True, min_size=1)), np.int32)
    graph = host_graph(dataset)
    drawn = sample_neighbours(graph, roots, fan_outs, np.random.default_rng(seed))
    found = drawn_edges(graph, drawn)
    existing = all_edges(dataset)
    assert drawn.nodes[: drawn.num_roots].tolist() == roots.tolist()
    assert len(set(drawn.nodes.tolist())) == len(drawn.nodes)
    assert len(set(found)) == len(found)
    assert set(found) <= existing
    into = {node: [edge for edge in found if edge[2] == node] for node in range(edges.size)}
    reached, frontier = set(), set(roots.tolist())
    for fan_out in fan_outs:
        for node in frontier:
            degree = sum(edge[2] == node for edge in existing)
            assert len(into[node]) == (degree if fan_out < 0 else min(degree, fan_out))
        reached |= frontier
        frontier = {edge[0] for node in frontier for edge in into[node]} - reached
    assert all(not into[node] for node in frontier)  # reached by the last hop
    assert set(drawn.nodes.tolist()) == reached | frontier


@pytest.mark.parametrize(("leaves", "fan_out"), [(6, 3), (7, 1), (5, 4), (40, 2)])
def test_every_set_of_neighbours_is_equally_likely(leaves, fan_out):
    hubs = 4000
    drawn = sample_neighbours(
        star(leaves, hubs), np.arange(leaves, leaves + hubs, dtype=np.int32), [fan_out], np.random.default_rng(0)
    )
    own = {hub: [] for hub in range(hubs)}
    for sender, receiver in zip(drawn.nodes[drawn.senders].tolist(), drawn.receivers.tolist(), strict=True):
        own[receiver].append(sender)
    counts = Counter(tuple(sorted(senders)) for senders in own.values())
    sets = list(combinations(range(leaves), fan_out))
    assert set(counts) <= set(sets)
    assert stats.chisquare([counts[chosen] for chosen in sets]).pvalue > 1e-3


def test_repeated_roots_count_once_and_positions_come_back_empty():
    _, graph = sample()
    positions = Positions(graph.num_nodes)
    drawn = sample_neighbours(graph, np.array([4, 2, 4]), [2], np.random.default_rng(0), positions)
    assert (drawn.num_roots, drawn.nodes[:2].tolist()) == (2, [4, 2])
    assert (positions.of(np.arange(graph.num_nodes)) == -1).all()


@pytest.mark.parametrize("roots", [None, np.array([59]), np.array([3, 4, 8])])
def test_an_epoch_visits_every_root_once(roots):
    dataset, graph = sample()
    sampler = neighbour_batches(graph, 7, (3, 2), roots=roots)
    drawn = list(sampler.minibatches(np.random.default_rng(0)))
    expected = np.flatnonzero(dataset.labels >= 0) if roots is None else roots
    first = [minibatch.nodes[: min(7, len(expected) - 7 * i)] for i, minibatch in enumerate(drawn)]
    assert len(drawn) == sampler.steps == -(-len(expected) // 7)
    assert sorted(np.concatenate(first).tolist()) == expected.tolist()
    for roots_of, minibatch in zip(first, drawn, strict=True):
        masks = minibatch.batch.masks
        assert np.flatnonzero(masks.all).tolist() == np.flatnonzero(dataset.labels[roots_of] >= 0).tolist()
        assert np.flatnonzero(masks.train).tolist() == np.flatnonzero(dataset.train_mask[roots_of]).tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0, "fan_outs": (2,)}, "40 roots in batches of 0"),
        ({"batch_size": 2, "fan_outs": ()}, r"fan-outs are \(\)"),
        ({"batch_size": 2, "fan_outs": (2, -2)}, r"fan-outs are \(2, -2\)"),
        ({"batch_size": 2, "fan_outs": (2,), "roots": np.zeros(0, np.int32)}, "0 roots"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        neighbour_batches(sample()[1], **arguments)
