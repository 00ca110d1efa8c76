from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import dense_adjacency
from layer_samples import EDGES, LAYOUTS, TYPES, X, graph_of, params_of, run, value_of

from abkd_jax.graph import prepare, sparse_features
from abkd_jax.layers import RGCNConv
from abkd_jax.types import InputError

LAYERS = {
    "narrowing": RGCNConv(3, 3),
    "widening": RGCNConv(7, 3, root_weight=False),
    "bases": RGCNConv(3, 3, bases=2),
    "bases, widening": RGCNConv(7, 3, bases=2, use_bias=False),
    "blocks": RGCNConv(10, 3, blocks=5),
    "blocks, narrowing": RGCNConv(2, 3, blocks=1),
}


def _relation_kernels(layer, variables, width):
    """`[relations, in, out]` in full."""
    kernel = value_of(variables, "params/kernel")
    if layer.bases is not None:
        return np.einsum("rb,bfd->rfd", value_of(variables, "params/coefficients"), kernel)
    if layer.blocks is None:
        return kernel
    full = np.zeros((3, width, layer.features))
    _, blocks, rows, columns = kernel.shape
    for b in range(blocks):
        full[:, b * rows : (b + 1) * rows, b * columns : (b + 1) * columns] = kernel[:, b]
    return full


def _formula(layer, variables, x):
    out = np.zeros((9, layer.features))
    for relation, kernel in enumerate(_relation_kernels(layer, variables, x.shape[1])):
        counts = dense_adjacency(EDGES, (relation == TYPES).astype(np.float64))
        out += counts @ x / np.maximum(counts.sum(axis=1), 1)[:, None] @ kernel
    if layer.root_weight:
        out += x @ value_of(variables, "params/root/kernel")
    return out + (value_of(variables, "params/bias") if layer.use_bias else 0.0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", LAYERS)
def test_rgcn_conv_is_its_formula(layout, name):
    layer, graph = LAYERS[name], LAYOUTS[layout](graph_of(EDGES, X, TYPES))
    variables = params_of(layer, graph, X)
    expected = _formula(layer, variables, X)
    np.testing.assert_allclose(run(layer, variables, graph, X), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [RGCNConv(7, 3), RGCNConv(3, 3, bases=2)], ids=["whole", "bases"])
def test_sparse_features(layer):
    x, graph = jax.device_put(sparse_features(sp.csr_matrix(X))), prepare(graph_of(EDGES, X, TYPES))
    variables = params_of(layer, graph, x)
    np.testing.assert_allclose(run(layer, variables, graph, x), _formula(layer, variables, X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_a_piece_has_the_weights_of_its_own_relations(name):
    """The layer has five, and the types of the layout stand for three of them."""
    layer, present = LAYERS[name].clone(relations=5), (0, 2, 4)
    graph = prepare(graph_of(EDGES, X, TYPES))
    layout = graph.edges
    graph = graph._replace(edges=layout._replace(info=replace(layout.info, relations=present)))
    variables = params_of(layer, graph, X)
    params, mixed = variables["params"], "kernel" if layer.bases is None else "coefficients"
    own = {"params": {**params, mixed: params[mixed][np.array(present)]}}
    np.testing.assert_allclose(run(layer, variables, graph, X), _formula(layer, own, X), rtol=1e-5, atol=1e-5)


def test_every_matrix_starts_as_glorots_alone():
    """Uniform within sqrt(6 / (in + out)) of the matrix, not of all of them together."""
    x = jnp.ones((9, 40))
    graph = graph_of(EDGES, np.ones((9, 40), np.float32), TYPES)
    for layer, bound in [
        (RGCNConv(60, 3), (6 / 100) ** 0.5),
        (RGCNConv(60, 3, bases=2), (6 / 100) ** 0.5),
        (RGCNConv(60, 3, blocks=4), (6 / 25) ** 0.5),
    ]:
        init = jax.jit(layer.init)
        kernel = np.asarray(init(jax.random.key(0), graph, x)["params"]["kernel"])
        assert 0.97 * bound < np.abs(kernel).max() <= bound


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (RGCNConv(4, 3, bases=2, blocks=1), "2 bases and 1 blocks, expected only one"),
        (RGCNConv(4, 3, blocks=2), "2 blocks, expected a divisor of widths 5 and 4"),
    ],
)
def test_mistakes_are_named(layer, message):
    with pytest.raises(InputError, match=message):
        layer.init(jax.random.key(0), graph_of(EDGES, X, TYPES), jnp.asarray(X))
    with pytest.raises(InputError, match="edges have no type"):
        RGCNConv(4, 3).init(jax.random.key(0), graph_of(EDGES, X), jnp.asarray(X))
