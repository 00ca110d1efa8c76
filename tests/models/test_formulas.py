import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import dense_normalised, features, random_edges, raw_graph

from abkd_jax import models
from abkd_jax.graph import from_edges, prepare, sparse_features

NODES, WIDTH, CLASSES = 9, 5, 3
EDGES = random_edges(11, NODES, 20)  # the last node is isolated
X = features(0, NODES, WIDTH)  # the first row is zero
ALPHA, LAM = 0.2, 0.7
MODELS = {
    "gcnii": models.GCNII(4, 3, CLASSES, alpha=ALPHA, lam=LAM, dropout=0.5),
    "gcnii repeated": models.GCNII(4, 3, CLASSES, alpha=ALPHA, lam=LAM, dropout=0.5, repeated=True),
    "gcn": models.GCN(4, 3, CLASSES, dropout=0.5),
    "mlp": models.MLP(4, 3, CLASSES, dropout=0.5),
}
every_model = pytest.mark.parametrize("name", MODELS)


@functools.cache
def _params(name, seed=0):
    """Parameters with biases that are not zero."""
    variables = jax.jit(MODELS[name].init)(jax.random.key(seed), jax.device_put(prepare(raw_graph(EDGES, X))))
    return jax.tree.map(lambda leaf: leaf + 0.1, variables)


@functools.cache
def _compiled(name):
    return jax.jit(MODELS[name].apply, static_argnames="train")


def _reference(name, variables, matrix, x):
    """The model in dense NumPy float64, without dropout: hiddens and logits."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    relu = lambda a: np.maximum(a, 0.0)  # noqa: E731
    affine = lambda a, layer: a @ p[layer]["kernel"] + p[layer]["bias"]  # noqa: E731
    if name.startswith("gcnii"):
        h = h0 = relu(affine(x, "input"))
        hiddens = []
        kernels = p["blocks"]["conv"]["kernel"]
        for layer, kernel in enumerate([kernels] * 3 if name == "gcnii repeated" else kernels, start=1):
            theta = np.log(LAM / layer + 1)
            support = (1 - ALPHA) * matrix @ h + ALPHA * h0
            h = relu(theta * support @ kernel + (1 - theta) * support)
            hiddens.append(h)
        return hiddens, affine(h, "output")
    prefix, matrix = ("conv", matrix) if name == "gcn" else ("dense", np.eye(x.shape[0]))
    first = relu(affine(matrix @ x, f"{prefix}_0"))
    second = relu(affine(matrix @ first, f"{prefix}_1"))
    return [first, second], affine(matrix @ second, f"{prefix}_2")


def _check(out, hiddens, logits):
    assert len(out.hiddens) == len(hiddens)
    for got, expected in zip([*out.hiddens, out.logits], [*hiddens, logits], strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


class FormulaTest(chex.TestCase):
    """Compiled or not, on whatever layout and kind of features: one and the same formula."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_models_are_their_formulas(self):
        for name, model in MODELS.items():
            variables = _params(name)
            expected = _reference(name, variables, dense_normalised(EDGES), X)
            graph = jax.device_put(prepare(raw_graph(EDGES, X)))
            _check(self.variant(model.apply)(variables, graph), *expected)


@every_model
@pytest.mark.parametrize("layout", ["plain", "sparse", "plain and sparse"])
def test_other_layouts_and_kinds_of_features_give_the_same(name, layout):
    variables = _params(name)
    graph = raw_graph(EDGES, sparse_features(sp.csr_matrix(X)) if "sparse" in layout else X)
    out = _compiled(name)(variables, graph if "plain" in layout else prepare(graph))
    _check(out, *_reference(name, variables, dense_normalised(EDGES), X))


def _edgeless(width, nodes=200):
    """Without edges `D^-1/2 (A + I) D^-1/2` is the identity."""
    x = np.random.default_rng(0).uniform(1.0, 2.0, (nodes, width)).astype(np.float32)
    return from_edges(np.array([], np.int32), np.array([], np.int32), nodes, nodes=x)


def _identities(model, graph):
    """Every kernel the identity, every bias 1."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), graph)

    def fill(shape):
        return jnp.broadcast_to(jnp.eye(8), shape.shape) if len(shape.shape) > 1 else jnp.ones(shape.shape)

    return jax.tree.map(fill, shapes)


@pytest.mark.parametrize(
    "model",
    [
        models.GCNII(8, 2, 8, alpha=0.5, dropout=0.25),
        models.GCN(8, 3, 8, dropout=0.25),
        models.MLP(8, 3, 8, dropout=0.25),
    ],
    ids=["gcnii", "gcn", "mlp"],
)
def test_hiddens_are_seen_before_dropout_and_the_classifier_reads_them_after(model):
    graph = _edgeless(8)
    out = jax.jit(lambda v, g: model.apply(v, g, train=True, rngs={"dropout": jax.random.key(0)}))(
        _identities(model, graph), graph
    )
    assert len(out.hiddens) == 2
    for hidden in out.hiddens:
        assert np.asarray(hidden).min() > 0.0
    ratio = (np.asarray(out.logits) - 1.0) / np.asarray(out.hiddens[-1])  # 0, or 1 / (1 - 0.25)
    dropped = np.abs(ratio) < 1e-6
    np.testing.assert_allclose(ratio[~dropped], 4 / 3, rtol=1e-5)
    assert abs(dropped.mean() - 0.25) < 4.5 * np.sqrt(0.25 * 0.75 / dropped.size)


@pytest.mark.parametrize("repeated", [False, True])
def test_every_gcnii_layer_has_its_own_dropout_mask(repeated):
    """Without initial residual and with identity kernels, entries that reach layer 3 have survived four masks."""
    model, graph = models.GCNII(8, 3, 8, alpha=0.0, dropout=0.5, repeated=repeated), _edgeless(8)
    out = jax.jit(lambda v, g: model.apply(v, g, train=True, rngs={"dropout": jax.random.key(0)}))(
        _identities(model, graph), graph
    )
    for layer, hidden in enumerate(out.hiddens, start=1):  # the input's own mask is hidden by the bias
        share = 0.5**layer
        alive = np.mean(np.asarray(hidden) > 0.0)
        assert abs(alive - share) < 4.5 * np.sqrt(share * (1 - share) / hidden.size)


def test_the_gradient_of_a_repeated_kernel_is_the_sum_over_the_layers():
    graph, repeated = jax.device_put(prepare(raw_graph(EDGES, X))), _params("gcnii repeated")
    kernel = repeated["params"]["blocks"]["conv"]["kernel"]
    stacked = {"params": {**repeated["params"], "blocks": {"conv": {"kernel": jnp.stack([kernel] * 3)}}}}

    def slopes(name, variables):
        loss = jax.grad(lambda v: jnp.sum(MODELS[name].apply(v, graph).logits ** 2))
        return jax.jit(loss)(variables)["params"]["blocks"]["conv"]["kernel"]

    expected = slopes("gcnii", stacked).sum(axis=0)
    np.testing.assert_allclose(slopes("gcnii repeated", repeated), expected, rtol=1e-4, atol=1e-5)


def test_64_layers_trace_to_a_program_as_long_as_4():
    graph = jax.device_put(prepare(raw_graph(EDGES, X)))
    lengths = []
    for layers in (4, 64):
        model = models.GCNII(4, layers, CLASSES, dropout=0.5)
        shapes = jax.eval_shape(model.init, jax.random.key(0), graph)
        run = jax.jit(lambda v, g, model=model: model.apply(v, g, train=True, rngs={"dropout": jax.random.key(0)}))
        lengths.append(len(run.lower(shapes, graph).as_text()))
    assert lengths[1] < 1.5 * lengths[0]  # 60 more hiddens to hand out, but not one more layer
