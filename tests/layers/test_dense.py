import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import dense_normalised, features, random_edges, raw_graph

from abkd_jax.graph import SparseFeatures, normalise, prepare, sparse_features
from abkd_jax.layers import Dense, Dropout, GCN2Conv, GCNConv
from abkd_jax.types import InputError

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


EDGES = random_edges(7, 9, 20)
LAYOUTS = {"plain": lambda graph: graph, "normalised": normalise, "prepared": prepare}


def _numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _apply(module, params, *arguments):
    params = {"params": {name: jnp.asarray(value) for name, value in params.items()}}
    out = module.apply(params, *jax.device_put(arguments))
    assert out.dtype == jnp.float32
    return out


def test_dense_is_the_affine_map():
    x, kernel, bias = features(0, 6, 5), _numbers(1, 5, 3), _numbers(2, 3)
    expected = x.astype(np.float64) @ kernel
    for given in (x, sparse_features(sp.csr_matrix(x))):
        np.testing.assert_allclose(_apply(Dense(3, use_bias=False), {"kernel": kernel}, given), expected, rtol=1e-5)
        got = _apply(Dense(3), {"kernel": kernel, "bias": bias}, given)
        np.testing.assert_allclose(got, expected + bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("width", [3, 5, 7], ids=["narrowing", "equal", "widening"])
def test_gcn_conv_is_its_formula(layout, width):
    x, kernel, bias = features(0, 9, 5), _numbers(1, 5, width), _numbers(2, width)
    graph = LAYOUTS[layout](raw_graph(EDGES, x))
    expected = dense_normalised(EDGES) @ x @ kernel
    got = _apply(GCNConv(width), {"kernel": kernel, "bias": bias}, graph, x)
    np.testing.assert_allclose(got, expected + bias, rtol=1e-5, atol=1e-5)
    got = _apply(GCNConv(width, use_bias=False), {"kernel": kernel}, graph, sparse_features(sp.csr_matrix(x)))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_gcn2_conv_is_its_formula(layout, alpha):
    h, h0, kernel, theta = features(0, 9, 4), _numbers(1, 9, 4), _numbers(2, 4, 4), 0.4
    support = (1 - alpha) * dense_normalised(EDGES) @ h + alpha * h0
    expected = theta * support @ kernel + (1 - theta) * support
    got = _apply(GCN2Conv(alpha), {"kernel": kernel}, LAYOUTS[layout](raw_graph(EDGES, h)), h, h0, theta)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_gcn2_conv_wants_initial_features_of_its_width():
    h, h0 = features(0, 9, 4), features(0, 9, 3)
    with pytest.raises(InputError, match=r"h \(9, 4\) and the initial features \(9, 3\) must have one shape"):
        _apply(GCN2Conv(0.1), {"kernel": _numbers(2, 4, 4)}, raw_graph(EDGES, h), h, h0, 0.4)


def test_kernels_start_as_the_papers_do():
    """Uniform: within the bound and filling it. Glorot for GCN, 1 / sqrt(fan in) for GCNII and linear layers."""
    graph, x = jax.device_put((raw_graph(EDGES, features(0, 9, 100)), jnp.ones((9, 100))))
    key = jax.random.key(0)
    starts = {
        "gcn": (GCNConv(50).init(key, graph, x), math.sqrt(6 / 150)),
        "gcnii": (GCN2Conv(0.1).init(key, graph, x, x, 0.5), 0.1),
        "dense": (Dense(50).init(key, x), 0.1),
    }
    for name, (variables, bound) in starts.items():
        kernel = np.asarray(variables["params"]["kernel"])
        assert 0.99 * bound < np.abs(kernel).max() <= bound, name
        assert kernel.std() == pytest.approx(bound / math.sqrt(3), rel=0.05), name
    np.testing.assert_array_equal(starts["gcn"][0]["params"]["bias"], np.zeros(50))
    bias = np.asarray(starts["dense"][0]["params"]["bias"])
    assert 0.05 < np.abs(bias).max() <= 0.1
