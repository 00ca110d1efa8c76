import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abkd_jax.sampling import BucketSizes, Capacity, bucket_size, fit_capacities, padded
from abkd_jax.types import InputError


def test_capacities_hold_a_padding_node_and_grow_by_quarters():
    sizes = fit_capacities([(90, 30), (100, 20)])
    assert sizes == BucketSizes(Capacity(112, 40))  # 1.1 x, one node for padding, multiples of 8
    assert sizes.smallest_fitting(111, 40) == Capacity(112, 40)
    assert sizes.smallest_fitting(112, 4) == Capacity(144, 56)
    assert sizes.smallest_fitting(3, 57) == Capacity(176, 64)
    assert fit_capacities([(1, 0)]).smallest_fitting(1, 0) == Capacity(8, 0)


@pytest.mark.parametrize(
    ("lowest", "batch", "nodes", "edges"),
    [
        ((8, 0), (2, 1), 8, 8),  # trials without an edge
        ((8, 0), (2, 0), 8, 0),
        ((448, 8), (400, 159_600), 448, None),  # a clique beside clusters of one edge: no more nodes for it
        ((8, 1000), (500, 10), None, 1000),
        ((448, 175_560), (400, 2), 448, 176),  # trials of the clique: most batches have fewer edges
        ((5000, 4096), (3, 2), 160, 128),
        ((5000, 4096), (3, 129), 160, 4096),  # less than 32 times as many
    ],
)
def test_capacities_of_batches_unlike_the_trials_are_fitted_separately(lowest, batch, nodes, edges):
    """None is the next of a series that grows by quarters, rounded up to eights at each step."""
    capacity = BucketSizes(Capacity(*lowest)).smallest_fitting(*batch)
    for size, needed, expected in zip(capacity[:2], (batch[0] + 1, batch[1]), (nodes, edges), strict=True):
        assert size == expected or (expected is None and needed <= size <= 1.25 * needed + 8)


def test_hops_grow_together_and_stay_inside_the_batch():
    sizes = fit_capacities([(100, 35)], hops=[(10, 0), (49, 20)])
    assert sizes.lowest.hops == ((16, 8), (56, 24))
    assert sizes.smallest_fitting(100, 35, hops=[(15, 8), (55, 24)]).hops == ((16, 8), (56, 24))
    assert sizes.smallest_fitting(100, 35, hops=[(16, 1), (17, 1)]).hops == ((24, 16), (72, 32))  # no node to spare
    assert sizes.smallest_fitting(100, 35, hops=[(2, 1), (99, 35)]).hops == ((32, 16), (112, 40))
    assert fit_capacities([(1, 0)], hops=[(1, 0)]).smallest_fitting(1, 0, hops=[(1, 0)]).hops == ((8, 0),)


def test_no_batch_has_no_capacity():
    with pytest.raises(InputError, match="capacities of no batch"):
        fit_capacities([])


@given(st.integers(0, 2**40))
def test_bucket_sizes_hold_the_size_and_little_padding(size):
    bucket = bucket_size(size)
    assert size <= bucket < max(size + 16, 1.25 * size)
    assert bucket_size(bucket) == bucket
    assert bucket_size(size + 1) >= bucket


def test_padded_keeps_the_values_and_takes_the_type():
    values = np.arange(6, dtype=np.int64).reshape(3, 2)
    np.testing.assert_array_equal(padded(values, 4, -1), np.append(values, [[-1, -1]], axis=0))
    assert padded(values, 4, -1).dtype == np.int64
    assert padded(values, 4, -1, np.float32).dtype == np.float32
    assert padded(np.array([True]), 2, False).tolist() == [True, False]
