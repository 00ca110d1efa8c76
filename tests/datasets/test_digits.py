import sys

import numpy as np
import pytest

from abkd_jax import datasets
from abkd_jax.types import InputError


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def test_counts(digits):
    assert digits.features.shape == (1797, 64)
    assert digits.features.min() == 0
    assert digits.features.max() == 1
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(digits.labels[digits.train_mask]).tolist() == [5] * 10
    assert np.bincount(digits.labels[digits.val_mask]).tolist() == [30] * 10
    assert digits.test_mask.sum() == 1797 - 350


def test_edges_lead_to_the_ten_nearest(digits):
    np.testing.assert_array_equal(np.bincount(digits.senders), 10)
    greys = (16 * digits.features).astype(np.int64)
    for node in (0, 17, 1796):
        squared = ((greys - greys[node]) ** 2).sum(axis=1)
        neighbours = digits.receivers[digits.senders == node]
        assert node not in neighbours
        assert sorted(squared[neighbours]) == sorted(np.delete(squared, node))[:10]


def test_seed_changes_the_split_and_nothing_else(digits):
    again, other = datasets.load("digits", seed=0), datasets.load("digits", seed=1)
    for field in ("senders", "receivers", "train_mask", "val_mask", "test_mask"):
        np.testing.assert_array_equal(getattr(digits, field), getattr(again, field))
    np.testing.assert_array_equal(digits.receivers, other.receivers)
    assert (digits.train_mask != other.train_mask).any()


def test_without_scikit_learn_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r"^digits need scikit-learn, .*: pip install 'abkd_jax\[data\]'$"):
        datasets.load("digits")
