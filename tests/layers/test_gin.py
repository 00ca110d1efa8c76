import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from graphs import dense_adjacency
from layer_samples import EDGES, LAYOUTS, X, graph_of, numbers, params_of, run, value_of

from abkd_jax.layers import Dense, GINConv
from abkd_jax.types import InputError

MLP = nn.Sequential((Dense(6), nn.relu, Dense(4)))
COUNTS = dense_adjacency(EDGES, np.ones(20))


def _mlp(variables, x):
    kernels = [value_of(variables, f"params/mlp/layers_{i}/kernel") for i in (0, 2)]
    biases = [value_of(variables, f"params/mlp/layers_{i}/bias") for i in (0, 2)]
    return np.maximum(x @ kernels[0] + biases[0], 0.0) @ kernels[1] + biases[1]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("train", [False, True])
def test_gin_conv_is_its_formula(layout, train):
    layer, graph = GINConv(MLP, 0.3, train), LAYOUTS[layout](graph_of(EDGES, X))
    variables = params_of(layer, graph, X)
    epsilon = value_of(variables, "params/epsilon") if train else 0.3
    expected = _mlp(variables, (1 + epsilon) * X + COUNTS @ X)
    np.testing.assert_allclose(run(layer, variables, graph, X), expected, rtol=1e-5, atol=1e-5)


def test_a_trained_epsilon_starts_where_it_is_told():
    variables = GINConv(MLP, 0.3, True).init(jax.random.key(0), graph_of(EDGES, X), jnp.asarray(X))
    assert float(variables["params"]["epsilon"]) == pytest.approx(0.3)
    assert "epsilon" not in GINConv(MLP, 0.3).init(jax.random.key(0), graph_of(EDGES, X), jnp.asarray(X))["params"]


def test_edge_features_join_the_messages():
    layer, graph, edges = GINConv(MLP, 0.3), graph_of(EDGES, X), numbers(1, 20, 5)
    variables = params_of(layer, graph, X)
    total = 1.3 * X.astype(np.float64)
    for sender, receiver, edge in zip(EDGES.senders, EDGES.receivers, edges, strict=True):
        total[receiver] += np.maximum(X[sender] + edge, 0.0)
    got = layer.apply(variables, graph, jnp.asarray(X), edges=jnp.asarray(edges))
    np.testing.assert_allclose(got, _mlp(variables, total), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="edge features are 4 wide, expected 5"):
        layer.apply(variables, graph, jnp.asarray(X), edges=jnp.asarray(edges[:, :4]))
