"""Perturbed graphs and few labels: what differs from the data set, and what does not."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from abkd_jax.datasets import generate
from abkd_jax.study.regimes import DROPPED, NOISY, perturbed, views
from abkd_jax.types import InputError


def edges(dataset):
    return list(zip(dataset.senders.tolist(), dataset.receivers.tolist(), strict=True))


@settings(max_examples=20, deadline=None)
@given(nodes=st.integers(90, 150), seed=st.integers(0, 99))
def test_a_fifth_of_the_edges_goes_with_the_reverses(nodes, seed):
    dataset = generate(nodes, 2, 4, np.random.default_rng(seed), train_per_class=5, val_per_class=5)
    both = dataset._replace(
        senders=np.concatenate([dataset.senders, dataset.receivers]),
        receivers=np.concatenate([dataset.receivers, dataset.senders]),
    )
    found = perturbed(both, np.random.default_rng(seed))[DROPPED]
    before, after = ({frozenset(edge) for edge in edges(of)} for of in (both, found))
    assert len(after) == len(before) - len(before) // 5
    assert after < before
    assert sorted(edges(found)) == sorted(edge for edge in edges(both) if frozenset(edge) in after)
    assert found.features is both.features


def test_half_of_a_noisy_feature_is_noise_of_its_deviation():
    rng = np.random.default_rng(1)
    scales = np.array([0.0, 1.0, 100.0], np.float32)
    features = (rng.standard_normal((300, 3)) * scales).astype(np.float32)
    dense = generate(300, 3, 32, np.random.default_rng(0))._replace(features=features)
    found = perturbed(dense, np.random.default_rng(0))[NOISY]
    noise = (found.features - features / 2) * 2
    np.testing.assert_allclose(noise.std(axis=0), features.std(axis=0), rtol=0.15, atol=1e-6)
    assert abs(np.corrcoef(noise[:, 1], features[:, 1])[0, 1]) < 0.2
    np.testing.assert_array_equal(found.senders, dense.senders)
    sparse = perturbed(dense._replace(features=sp.csr_matrix(features)), np.random.default_rng(0))[NOISY]
    np.testing.assert_allclose(np.asarray(sparse.features), np.asarray(found.features), rtol=1e-5)


def test_perturbed_graphs_are_one_for_all_splits():
    first = generate(300, 3, 32, np.random.default_rng(0))
    other = first._replace(train_mask=first.val_mask, val_mask=first.train_mask)
    seen = views([first, other], "perturbed", 2)
    assert [one.train for one in seen] == [first, other]
    for name in (DROPPED, NOISY):
        tests = [one.tests[name] for one in seen]
        assert tests[0].senders is tests[1].senders
        assert tests[0].features is tests[1].features
        np.testing.assert_array_equal(tests[1].val_mask, first.train_mask)


def test_each_seed_draws_its_few_labels():
    whole = generate(300, 3, 32, np.random.default_rng(0))  # 20 of each class
    seen = views([whole], "labels_5", 3)
    masks = np.stack([one.train.train_mask for one in seen])
    assert len({mask.tobytes() for mask in masks}) == 3
    assert not (masks & ~whole.train_mask).any()
    assert all(np.bincount(whole.labels[mask]).tolist() == [5, 5, 5] for mask in masks)
    assert all(one.taught.all() and one.train.test_mask is whole.test_mask for one in seen)
    (all_of_them,) = views([whole], "labels_20", 3)
    np.testing.assert_array_equal(all_of_them.train.train_mask, whole.train_mask)


def test_too_few_labels_are_refused():
    whole = generate(300, 3, 32, np.random.default_rng(0))
    one = whole._replace(train_mask=whole.train_mask & (np.cumsum(whole.train_mask) <= 30))
    with pytest.raises(InputError, match=r"synthetic: class \d has \d+ training nodes, expected at least 20"):
        views([one], "labels_20", 1)
