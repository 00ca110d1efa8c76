import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import dense_adjacency, dense_normalised
from layer_samples import EDGES, LAYOUTS, X, graph_of, params_of, run, value_of

from abkd_jax.graph import sparse_features
from abkd_jax.layers import GCNConv, SGConv, hops, precompute
from abkd_jax.types import InputError

NORMALISED = dense_normalised(EDGES, weighted=False)
SPARSE = jax.device_put(sparse_features(sp.csr_matrix(X)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("width", "k"), [(3, 2), (7, 3), (3, 0)])
def test_sg_conv_is_its_formula(layout, width, k):
    layer, graph = SGConv(width, k), LAYOUTS[layout](graph_of(EDGES, X))
    variables = params_of(layer, graph, X)
    kernel, bias = (value_of(variables, f"params/linear/{name}") for name in ("kernel", "bias"))
    expected = np.linalg.matrix_power(NORMALISED, k) @ X @ kernel + bias
    for x in (X, SPARSE):
        np.testing.assert_allclose(run(layer, variables, graph, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("x", [jnp.asarray(X), SPARSE], ids=["dense", "sparse"])
def test_hops_are_powers(x):
    powers = hops(graph_of(EDGES, X), x, 3)
    assert len(powers) == 4
    for k, power in enumerate(powers):
        expected = np.linalg.matrix_power(NORMALISED, k) @ X
        np.testing.assert_allclose(power, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="k is -1, expected at least 0"):
        hops(graph_of(EDGES, X), x, -1)


@pytest.mark.parametrize("x", [jnp.asarray(X), SPARSE], ids=["dense", "sparse"])
def test_precompute_is_the_first_aggregation(x):
    graph, counts = graph_of(EDGES, X), dense_adjacency(EDGES, np.ones(20))
    largest = [X[row > 0].max(axis=0) if row.any() else np.zeros(5) for row in counts]
    for how, expected in {
        "normalised": NORMALISED @ X,
        "mean": counts @ X / np.maximum(counts.sum(axis=1), 1)[:, None],
        "max": np.stack(largest),
    }.items():
        np.testing.assert_allclose(precompute(graph, x, how), expected, rtol=1e-5, atol=1e-5)


def test_gcn_conv_on_what_was_aggregated_before():
    graph, layer = graph_of(EDGES, X), GCNConv(3)
    variables, x = params_of(layer, graph, X), jnp.asarray(X)
    got = layer.apply(variables, graph, x, aggregated=precompute(graph, x, "normalised"))
    np.testing.assert_allclose(got, run(layer, variables, graph, X), rtol=1e-5, atol=1e-5)
