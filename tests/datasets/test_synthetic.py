import numpy as np
import pytest

from abkd_jax import datasets
from abkd_jax.types import InputError


def _generate(seed=0, **options):
    arguments = {"num_nodes": 3000, "num_classes": 3, "num_features": 10} | options
    return datasets.validate(datasets.generate(rng=np.random.default_rng(seed), **arguments))


def _share_inside(dataset) -> float:
    return float((dataset.labels[dataset.senders] == dataset.labels[dataset.receivers]).mean())


def test_the_listed_graph():
    dataset = datasets.load("synthetic")
    assert dataset.source.startswith("generated")
    assert dataset.features.shape == (300, 32)
    assert np.bincount(dataset.labels).tolist() == [100, 100, 100]
    for mask, per_class in [(dataset.train_mask, 20), (dataset.val_mask, 30), (dataset.test_mask, 50)]:
        assert np.bincount(dataset.labels[mask]).tolist() == [per_class] * 3


def test_homophily_is_the_share_of_edges_inside_a_class():
    assert _share_inside(_generate(homophily=1.0)) == 1.0
    assert _share_inside(_generate(homophily=0.0)) == 0.0
    assert _share_inside(_generate(homophily=0.7)) == pytest.approx(0.7, abs=0.03)  # 9,000 edges: sd 0.005


def test_edges_reach_every_node_of_both_sides_alike():
    dataset = _generate(mean_degree=100.0, homophily=0.0, num_classes=2, num_nodes=1000)
    degrees = np.bincount(dataset.receivers, minlength=1000)
    assert degrees.sum() == 50_000  # no edge leaves its class, so none is a self loop
    assert degrees.min() > 15  # mean 50, sd 7
    assert degrees.max() < 85


def test_words_belong_to_classes():
    words = _generate(own_word=0.3, other_word=0.1).features
    labels = _generate(own_word=0.3, other_word=0.1).labels
    assert set(np.unique(words)) == {0.0, 1.0}
    frequency = np.stack([words[labels == label].mean(axis=0) for label in range(3)])  # [classes, words]
    expected = np.where(np.arange(3)[:, None] == np.arange(10)[None, :] % 3, 0.3, 0.1)
    np.testing.assert_allclose(frequency, expected, atol=0.06)  # 1,000 nodes: sd 0.015


def test_the_generator_decides_everything():
    first, again, other = _generate(1), _generate(1), _generate(2)
    np.testing.assert_array_equal(first.senders, again.senders)
    np.testing.assert_array_equal(first.features, again.features)
    np.testing.assert_array_equal(first.test_mask, again.test_mask)
    assert (first.labels != other.labels).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes 1, homophily 0.8; expected at least 2"),
        ({"homophily": 1.5}, r"homophily 1.5; expected .* in \[0, 1\]"),
        ({"num_nodes": 30}, "class 0 has 10 nodes; 20 for training"),
    ],
)
def test_impossible_graphs_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        _generate(**options)
