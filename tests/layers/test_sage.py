import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import dense_adjacency
from layer_samples import EDGES, LAYOUTS, X, graph_of, params_of, run, value_of

from abkd_jax.graph import sparse_features
from abkd_jax.layers import SAGEConv, precompute
from abkd_jax.types import InputError

COUNTS = dense_adjacency(EDGES, np.ones(20))  # [receivers, senders]


def _mean(x):
    return COUNTS @ x / np.maximum(COUNTS.sum(axis=1), 1)[:, None]


def _max(x):
    return np.stack([x[row > 0].max(axis=0) if row.any() else np.zeros(x.shape[1]) for row in COUNTS])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("width", [3, 7], ids=["narrowing", "widening"])
@pytest.mark.parametrize(("aggregation", "model"), [("mean", _mean), ("max", _max)])
def test_sage_conv_is_its_formula(layout, width, aggregation, model):
    layer, graph = SAGEConv(width, aggregation), LAYOUTS[layout](graph_of(EDGES, X))
    variables = params_of(layer, graph, X)
    kernel, bias = (value_of(variables, f"params/neighbour/{name}") for name in ("kernel", "bias"))
    expected = model(X.astype(np.float64)) @ kernel + bias + X @ value_of(variables, "params/root/kernel")
    np.testing.assert_allclose(run(layer, variables, graph, X), expected, rtol=1e-5, atol=1e-5)


def test_projected_and_normalised():
    layer, graph = SAGEConv(3, project=True, normalize=True, root_weight=False), graph_of(EDGES, X)
    variables = params_of(layer, graph, X)
    kernels = [value_of(variables, f"params/{name}/kernel") for name in ("project", "neighbour")]
    biases = [value_of(variables, f"params/{name}/bias") for name in ("project", "neighbour")]
    expected = _mean(np.maximum(X @ kernels[0] + biases[0], 0)) @ kernels[1] + biases[1]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(run(layer, variables, graph, X), expected, rtol=1e-5, atol=1e-5)


def test_a_row_of_zeros_is_normalised_to_zeros_without_a_gradient():
    """The isolated node without a bias or a root."""
    layer, graph = SAGEConv(3, use_bias=False, root_weight=False, normalize=True), graph_of(EDGES, X)
    variables = params_of(layer, graph, X)

    @jax.jit
    def both(variables, x):
        out, pullback = jax.vjp(lambda v, x: layer.apply(v, graph, x), variables, x)
        return out, pullback(jnp.ones_like(out))

    out, gradients = both(variables, jnp.asarray(X))
    np.testing.assert_array_equal(out[-1], np.zeros(3))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_what_was_aggregated_before_serves_as_well(aggregation):
    layer, graph = SAGEConv(3, aggregation), graph_of(EDGES, X)
    variables = params_of(layer, graph, X)

    @jax.jit
    def in_two_steps(x):
        return layer.apply(variables, graph, x, aggregated=precompute(graph, x, aggregation))

    got = in_two_steps(jnp.asarray(X))
    np.testing.assert_allclose(got, run(layer, variables, graph, X), rtol=1e-5, atol=1e-6)


def test_mistakes_are_named():
    graph, sparse = graph_of(EDGES, X), sparse_features(sp.csr_matrix(X))
    for layer, x, extra, message in [
        (SAGEConv(3, "max"), sparse, {}, "the maximum of sparse features"),
        (SAGEConv(3, project=True), X, {"aggregated": X}, "aggregated features with project"),
    ]:
        with pytest.raises(InputError, match=message):
            layer.init(jax.random.key(0), graph, *jax.device_put((x,)), **jax.device_put(extra))
