import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abkd_jax.datasets.splits import per_class
from abkd_jax.types import InputError


@given(
    sizes=st.lists(st.integers(6, 20), min_size=1, max_size=5),
    unlabelled=st.integers(0, 5),
    train=st.integers(1, 3),
    val=st.integers(0, 2),
    seed=st.integers(0, 2**32),
)
def test_counts_and_disjointness(sizes, unlabelled, train, val, seed):
    labels = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.full(unlabelled, -1)])
    labels = np.random.default_rng(1).permutation(labels)
    masks = np.stack(per_class(labels, train, val, np.random.default_rng(seed)))
    np.testing.assert_array_equal(masks.sum(axis=0), labels >= 0)  # each labelled node once, the others never
    for label, size in enumerate(sizes):
        assert masks[:, labels == label].sum(axis=1).tolist() == [train, val, size - train - val]


def test_seed_decides_the_draw():
    labels = np.arange(200) % 2
    first, again, other = (per_class(labels, 5, 5, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first[0] != other[0]).any()


def test_a_small_class_is_refused():
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    per_class(labels, 1, 1, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"class 1 has 3 nodes; 2 for training, 1 for validation .* make 4"):
        per_class(labels, 2, 1, np.random.default_rng(0))
