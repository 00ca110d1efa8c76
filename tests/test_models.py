import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import dense_normalised, features, quick, random_edges, raw_graph
from hypothesis import given
from hypothesis import strategies as st

from abkd_jax import models
from abkd_jax.config import ModelConfig
from abkd_jax.graph import from_edges, node_mask, pad_to_bucket, prepare, sparse_features
from abkd_jax.types import InputError

NODES, WIDTH, CLASSES = 9, 5, 3
EDGES = random_edges(11, NODES, 20)  # the last node is isolated
X = features(0, NODES, WIDTH)  # the first row is zero
ALPHA, LAM = 0.2, 0.7
MODELS = {
    "gcnii": models.GCNII(4, 3, CLASSES, alpha=ALPHA, lam=LAM, dropout=0.5),
    "gcn": models.GCN(4, 3, CLASSES, dropout=0.5),
    "mlp": models.MLP(4, 3, CLASSES, dropout=0.5),
}
every_model = pytest.mark.parametrize("name", MODELS)


@functools.cache
def _params(name, seed=0):
    """Parameters with biases that are not zero."""
    variables = MODELS[name].init(jax.random.key(seed), jax.device_put(prepare(raw_graph(EDGES, X))))
    return jax.tree.map(lambda leaf: leaf + 0.1, variables)


@functools.cache
def _compiled(name):
    return jax.jit(MODELS[name].apply, static_argnames="train")


def _reference(name, variables, matrix, x):
    """The model in dense NumPy float64, without dropout: hiddens and logits."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    relu = lambda a: np.maximum(a, 0.0)  # noqa: E731
    affine = lambda a, layer: a @ p[layer]["kernel"] + p[layer]["bias"]  # noqa: E731
    if name == "gcnii":
        h = h0 = relu(affine(x, "input"))
        hiddens = []
        for layer, kernel in enumerate(p["blocks"]["conv"]["kernel"], start=1):
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


def _relabelled(order):
    """The graph after node `order[i]` has become node `i`."""
    new = np.argsort(order).astype(np.int32)
    return raw_graph(EDGES._replace(senders=new[EDGES.senders], receivers=new[EDGES.receivers]), X[order])


@quick
@given(st.sampled_from(list(MODELS)), st.permutations(range(NODES)), st.permutations(range(20)))
def test_order_of_nodes_and_edges_does_not_matter(name, nodes, edges):
    nodes, edges = np.array(nodes), np.array(edges)
    graph = _relabelled(nodes)
    graph = graph._replace(senders=graph.senders[edges], receivers=graph.receivers[edges], edges=graph.edges[edges])
    variables, run = _params(name), _compiled(name)
    expected = run(variables, raw_graph(EDGES, X))
    got = run(variables, graph)
    _check(got, [hidden[nodes] for hidden in expected.hiddens], expected.logits[nodes])


@pytest.mark.parametrize("name", ["gcnii", "gcn"])
def test_vmap_over_seeds_is_a_loop(name):
    """Parameters and dropout of three students, forward and backward, in one program."""
    graph, model = jax.device_put(prepare(raw_graph(EDGES, X))), MODELS[name]
    variables = [_params(name, seed) for seed in range(3)]
    keys = jax.random.split(jax.random.key(5), 3)

    def run(variables, key):
        def loss(variables):
            out = model.apply(variables, graph, train=True, rngs={"dropout": key})
            return jnp.sum(out.logits**2), out

        return jax.value_and_grad(loss, has_aux=True)(variables)

    alone = jax.jit(run)
    expected = [alone(v, key) for v, key in zip(variables, keys, strict=True)]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *expected)
    got = jax.jit(jax.vmap(run))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *variables), keys)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, expected)


@every_model
@pytest.mark.parametrize("edges", [20, 0])
def test_gradients_are_finite_on_isolated_nodes_and_zero_rows(name, edges):
    graph = prepare(raw_graph(random_edges(11, NODES, edges), 0.0 * X if edges == 0 else X))
    model, variables = MODELS[name], _params(name)

    def loss(variables, x):
        out = model.apply(variables, graph._replace(nodes=x))
        return jnp.sum(out.logits**2) + sum(jnp.sum(h) for h in out.hiddens)

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss, argnums=(0, 1)))(variables, jnp.asarray(graph.nodes))):
        assert np.isfinite(np.asarray(leaf)).all()


@every_model
def test_padding_changes_neither_outputs_nor_gradients(name):
    model, variables = MODELS[name], _params(name)
    padded = pad_to_bucket(raw_graph(EDGES, X))
    assert padded.nodes.shape[0] == 16

    @jax.jit
    def run(variables, graph):
        def loss(variables):
            out = model.apply(variables, graph)
            return jnp.sum(jnp.where(node_mask(graph)[:, None], out.logits, 0.0) ** 2), out

        (_, out), gradient = jax.value_and_grad(loss, has_aux=True)(variables)
        return gradient, jax.tree.map(lambda leaf: leaf[:NODES], out)

    expected = run(variables, raw_graph(EDGES, X))
    for other in (padded, prepare(padded)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), run(variables, other), expected
        )


def _count(config, inputs, classes):
    graph = from_edges(np.array([0]), np.array([1]), 2, nodes=np.zeros((2, inputs), np.float32))
    shapes = jax.eval_shape(models.build(config, classes).init, jax.random.key(0), graph)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("inputs", "classes", "layers", "hidden", "parameters"),
    [
        (1433, 7, 64, 64, 354_375),
        (1433, 7, 4, 4, 5_835),
        (500, 3, 64, 64, 294_403),
        (500, 3, 4, 4, 2_083),
    ],
)
def test_gcnii_has_the_papers_number_of_parameters(inputs, classes, layers, hidden, parameters):
    """Teachers and students of ABKD, table 1 (294,403 / 2,083 is its 141x on Pubmed)."""
    assert _count(ModelConfig(layers=layers, hidden=hidden), inputs, classes) == parameters


def test_gcn_and_mlp_have_a_kernel_and_a_bias_a_layer():
    for name in ("gcn", "mlp"):
        assert _count(ModelConfig(name=name, layers=3, hidden=16), 10, 4) == 10 * 16 + 16 + 16 * 16 + 16 + 16 * 4 + 4
        assert _count(ModelConfig(name=name, layers=2, hidden=16), 10, 4) == 10 * 16 + 16 + 16 * 4 + 4


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


def test_every_gcnii_layer_has_its_own_dropout_mask():
    """Without initial residual and with identity kernels, entries that reach layer 3 have survived four masks."""
    model, graph = models.GCNII(8, 3, 8, alpha=0.0, dropout=0.5), _edgeless(8)
    out = jax.jit(lambda v, g: model.apply(v, g, train=True, rngs={"dropout": jax.random.key(0)}))(
        _identities(model, graph), graph
    )
    for layer, hidden in enumerate(out.hiddens, start=1):  # the input's own mask is hidden by the bias
        share = 0.5**layer
        alive = np.mean(np.asarray(hidden) > 0.0)
        assert abs(alive - share) < 4.5 * np.sqrt(share * (1 - share) / hidden.size)


@every_model
def test_dropout_only_while_training(name):
    graph, variables = jax.device_put(raw_graph(EDGES, X)), _params(name)
    run = _compiled(name)
    evaluated = run(variables, graph)
    first, again, other = (run(variables, graph, train=True, rngs={"dropout": jax.random.key(k)}) for k in (0, 0, 1))
    np.testing.assert_array_equal(first.logits, again.logits)
    assert (np.asarray(first.logits) != np.asarray(other.logits)).any()
    assert (np.asarray(first.logits) != np.asarray(evaluated.logits)).any()


def test_64_layers_trace_to_a_program_as_long_as_4():
    graph = jax.device_put(prepare(raw_graph(EDGES, X)))
    lengths = []
    for layers in (4, 64):
        model = models.GCNII(4, layers, CLASSES, dropout=0.5)
        shapes = jax.eval_shape(model.init, jax.random.key(0), graph)
        run = jax.jit(lambda v, g, model=model: model.apply(v, g, train=True, rngs={"dropout": jax.random.key(0)}))
        lengths.append(len(run.lower(shapes, graph).as_text()))
    assert lengths[1] < 1.5 * lengths[0]  # 60 more hiddens to hand out, but not one more layer


def test_build_reads_every_field():
    config = ModelConfig(layers=5, hidden=6, dropout=0.3, alpha=0.2, lam=0.9)
    assert models.build(config, 4) == models.GCNII(6, 5, 4, alpha=0.2, lam=0.9, dropout=0.3)
    assert models.build(ModelConfig("gcn", 2, 6, 0.3), 4) == models.GCN(6, 2, 4, dropout=0.3)
    assert models.build(ModelConfig("mlp", 2, 6, 0.3), 4) == models.MLP(6, 2, 4, dropout=0.3)
    assert models.build(ModelConfig(layers=1), 4).layers == 1


@pytest.mark.parametrize(
    ("options", "classes", "message"),
    [
        ({"hidden": 0}, 3, "gcnii: hidden width is 0, expected at least 1"),
        ({"layers": 0}, 3, "gcnii: number of layers is 0, expected at least 1"),
        ({"name": "gcn", "layers": 1}, 3, "gcn: number of layers is 1, expected at least 2"),
        ({"name": "mlp", "layers": 1}, 3, "mlp: number of layers is 1, expected at least 2"),
        ({"dropout": 1.0}, 3, "gcnii: dropout is 1.0, expected 0 <= rate < 1"),
        ({"dropout": -0.1}, 3, "gcnii: dropout is -0.1, expected 0 <= rate < 1"),
        ({"dropout": float("nan")}, 3, "gcnii: dropout is nan, expected 0 <= rate < 1"),
        ({"alpha": 1.5}, 3, "gcnii: alpha is 1.5, expected 0 to 1"),
        ({"lam": 0.0}, 3, "gcnii: lambda is 0.0, expected a positive number"),
        ({"lam": float("nan")}, 3, "gcnii: lambda is nan, expected a positive number"),
        ({}, 0, "gcnii: number of classes is 0, expected at least 1"),
    ],
)
def test_configs_that_make_no_model_are_refused(options, classes, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        models.build(ModelConfig(**options), classes)


def test_an_unknown_model_is_refused():
    config = ModelConfig()
    object.__setattr__(config, "name", "gat")  # past the type checker, which runs in tests alone
    with pytest.raises(InputError, match="model 'gat' is unknown, expected one of gcnii, gcn, mlp"):
        models.build(config, 3)
