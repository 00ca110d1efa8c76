import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import features
from layer_samples import numbers

from abkd_jax.graph import SparseFeatures, sparse_features
from abkd_jax.layers import Dense, Dropout

MILLION = 1_000_000
ONES = np.ones((1000, 1000), np.float32)


def _drop(rate, x, seed=0):
    return Dropout(rate).apply({}, jax.device_put(x), deterministic=False, rngs={"dropout": jax.random.key(seed)})


@pytest.mark.parametrize(("rate", "deterministic"), [(0.0, False), (0.7, True), (0.0, True)])
def test_dropout_that_does_nothing_needs_no_key(rate, deterministic):
    x = jnp.asarray(features(0, 5, 3))
    assert Dropout(rate).apply({}, x, deterministic=deterministic) is x


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.7])
def test_dropout_zeroes_at_its_rate_and_scales_the_rest(rate):
    dropped = np.asarray(_drop(rate, 3.0 * ONES))
    np.testing.assert_allclose(np.unique(dropped), [0.0, 3.0 / (1.0 - rate)], rtol=1e-6)
    zeros = np.count_nonzero(dropped == 0.0)
    sd = math.sqrt(MILLION * rate * (1 - rate))
    assert abs(zeros - MILLION * rate) < 4.5 * sd  # binomial
    assert abs(dropped.mean(dtype=np.float64) - 3.0) < 4.5 * 3.0 * sd / MILLION / (1 - rate)


def _mask(seed):
    """Which of 10^6 entries survive a rate of 1/2, in row order: 0.5 or -0.5."""
    return (np.asarray(_drop(0.5, ONES, seed)) > 0).ravel() - 0.5


@pytest.mark.parametrize("lag", [1, 2, 3, 7, 64, 500, 1000, 65_536])
def test_neighbouring_entries_are_dropped_independently(lag):
    mask = _mask(0)
    assert abs(np.mean(mask[lag:] * mask[:-lag])) / 0.25 < 5e-3  # sd 1e-3


def test_keys_decide_the_mask():
    first = _mask(0)
    np.testing.assert_array_equal(first, _mask(0))
    for seed in (1, 2, 2**20):
        assert abs(np.mean(first * _mask(seed))) / 0.25 < 5e-3  # sd 1e-3


def test_rows_and_columns_have_their_own_share():
    mask = _mask(0).reshape(1000, 1000)
    for axis in (0, 1):
        shares = mask.mean(axis=axis)  # 1,000 of sd 0.0158
        assert np.abs(shares).max() < 0.08
        assert shares.std() == pytest.approx(0.0158, rel=0.15)


class _Twice(nn.Module):
    """One dropout layer called twice, as models do."""

    @nn.compact
    def __call__(self, x):
        drop = Dropout(0.5)
        return drop(x, deterministic=False), drop(x, deterministic=False)


def test_places_in_a_model_have_their_own_masks():
    first, second = (
        np.asarray(a) > 0 for a in _Twice().apply({}, jnp.asarray(ONES), rngs={"dropout": jax.random.key(0)})
    )
    assert abs(np.mean((first - 0.5) * (second - 0.5))) / 0.25 < 5e-3


def test_vmap_over_keys_gives_every_seed_the_mask_of_its_own_key():
    keys, x = jax.random.split(jax.random.key(0), 3), jnp.ones((20, 30))
    together = jax.vmap(lambda key: Dropout(0.5).apply({}, x, deterministic=False, rngs={"dropout": key}))(keys)
    alone = [Dropout(0.5).apply({}, x, deterministic=False, rngs={"dropout": key}) for key in keys]
    np.testing.assert_array_equal(together, np.stack(alone))
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert 0.3 < np.mean(np.asarray(together[a] != together[b])) < 0.7


def test_gradient_passes_where_entries_survive():
    x = jnp.asarray(features(0, 5, 3)) + 10.0
    gradient = jax.grad(lambda x: jnp.sum(_drop(0.5, x)))(x)
    np.testing.assert_array_equal(gradient, np.where(np.asarray(_drop(0.5, x)) > 0, 2.0, 0.0))


def test_sparse_features_stay_sparse_under_dropout():
    matrix = sp.random(40, 50, density=0.5, random_state=np.random.default_rng(0), format="csr", dtype=np.float32)
    x = jax.device_put(sparse_features(matrix))
    out = _drop(0.5, x)
    assert isinstance(out, SparseFeatures)
    jax.tree.map(np.testing.assert_array_equal, out.pattern, x.pattern)
    values = np.asarray(out.values)
    np.testing.assert_allclose(values[values != 0], 2 * matrix.data[values != 0], rtol=1e-6)
    assert abs(np.mean(values == 0) - 0.5) < 4.5 * 0.5 / math.sqrt(1000)
    assert Dropout(0.5).apply({}, x, deterministic=True) is x


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_dense_is_the_affine_map(dtype):
    x, kernel, bias = features(0, 6, 5), numbers(1, 5, 3), numbers(2, 3)
    expected, tolerance = x.astype(np.float64) @ kernel, 1e-5 if dtype is None else 0.02
    params = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    for given in jax.device_put((x, sparse_features(sp.csr_matrix(x)))):
        for use_bias, shift in [(False, np.zeros(3)), (True, bias)]:
            got = Dense(3, use_bias, dtype=dtype).apply({"params": params}, given)
            assert got.dtype == (dtype or jnp.float32)
            np.testing.assert_allclose(np.asarray(got, np.float64), expected + shift, rtol=tolerance, atol=tolerance)
