import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import dense_normalised, features, raw_graph
from layer_samples import EDGES, X, numbers

from abkd_jax.graph import normalise, prepare, sparse_features
from abkd_jax.layers import Dense, GCN2Conv, GCNConv
from abkd_jax.types import InputError

LAYOUTS = {"plain": lambda graph: graph, "normalised": normalise, "prepared": prepare}


def _apply(module, params, *arguments):
    params = {"params": {name: jnp.asarray(value) for name, value in params.items()}}
    out = module.apply(params, *jax.device_put(arguments))
    assert out.dtype == jnp.float32
    return out


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("width", [3, 5, 7], ids=["narrowing", "equal", "widening"])
def test_gcn_conv_is_its_formula(layout, width):
    x, kernel, bias = X, numbers(1, 5, width), numbers(2, width)
    graph = LAYOUTS[layout](raw_graph(EDGES, x))
    expected = dense_normalised(EDGES) @ x @ kernel
    got = _apply(GCNConv(width), {"kernel": kernel, "bias": bias}, graph, x)
    np.testing.assert_allclose(got, expected + bias, rtol=1e-5, atol=1e-5)
    got = _apply(GCNConv(width, use_bias=False), {"kernel": kernel}, graph, sparse_features(sp.csr_matrix(x)))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_gcn2_conv_is_its_formula(layout, alpha):
    h, h0, kernel, theta = features(0, 9, 4), numbers(1, 9, 4), numbers(2, 4, 4), 0.4
    support = (1 - alpha) * dense_normalised(EDGES) @ h + alpha * h0
    expected = theta * support @ kernel + (1 - theta) * support
    got = _apply(GCN2Conv(alpha), {"kernel": kernel}, LAYOUTS[layout](raw_graph(EDGES, h)), h, h0, theta)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_variant_weighs_neighbours_and_initial_features_apart(alpha):
    h, h0, kernel, theta = features(0, 9, 4), numbers(1, 9, 4), numbers(2, 8, 4), 0.4
    neighbours = dense_normalised(EDGES) @ h
    mapped = np.concatenate([neighbours, h0], axis=1) @ kernel
    expected = theta * mapped + (1 - theta) * ((1 - alpha) * neighbours + alpha * h0)
    got = _apply(GCN2Conv(alpha, variant=True), {"kernel": kernel}, raw_graph(EDGES, h), h, h0, theta)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_gcn2_conv_wants_initial_features_of_its_width():
    h, h0 = features(0, 9, 4), features(0, 9, 3)
    with pytest.raises(InputError, match=r"h \(9, 4\) and the initial features \(9, 3\) must have one shape"):
        _apply(GCN2Conv(0.1), {"kernel": numbers(2, 4, 4)}, raw_graph(EDGES, h), h, h0, 0.4)


def test_kernels_start_as_the_papers_do():
    """Uniform: within the bound and filling it. Glorot for GCN, 1 / sqrt(fan in) for GCNII and linear layers."""
    graph, x = jax.device_put((raw_graph(EDGES, features(0, 9, 100)), jnp.ones((9, 100))))
    key = jax.random.key(0)
    starts = {
        "gcn": (GCNConv(50).init(key, graph, x), math.sqrt(6 / 150)),
        "gcnii": (GCN2Conv(0.1).init(key, graph, x, x, 0.5), 0.1),
        "gcnii star": (GCN2Conv(0.1, variant=True).init(key, graph, x, x, 0.5), 0.1),
        "dense": (Dense(50).init(key, x), 0.1),
    }
    for name, (variables, bound) in starts.items():
        kernel = np.asarray(variables["params"]["kernel"])
        assert 0.99 * bound < np.abs(kernel).max() <= bound, name
        assert kernel.std() == pytest.approx(bound / math.sqrt(3), rel=0.05), name
    np.testing.assert_array_equal(starts["gcn"][0]["params"]["bias"], np.zeros(50))
    bias = np.asarray(starts["dense"][0]["params"]["bias"])
    assert 0.05 < np.abs(bias).max() <= 0.1
