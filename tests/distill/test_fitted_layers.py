"""The start `fitted`: every layer of a student solved for the principal axes of its teacher's logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import relabelled
from graphs import EdgeList, dense_normalised, edge_lists, features, quick, random_edges, raw_graph
from hypothesis import given, settings

from abkd_jax.distill import fitted
from abkd_jax.graph import node_mask, prepare
from abkd_jax.models import GCN, GCNII, MLP, GraphSAGE
from abkd_jax.types import GNNOutput, InputError

NODES, WIDTH, CLASSES = 60, 5, 3
EVERY = np.ones(NODES, bool)
MODELS = {
    "gcnii": GCNII(2, 3, CLASSES),
    "gcnii variant, elu": GCNII(2, 3, CLASSES, variant=True, activation=jax.nn.elu),
    "gcn": GCN(2, 3, CLASSES),
    "gcn under a scan, linear residual": GCN(2, 7, CLASSES, residual="linear"),
    "graphsage, jumping": GraphSAGE(2, 2, CLASSES, jumping="cat"),
    "mlp, dropout": MLP(2, 2, CLASSES, dropout=0.5),
}


def problem(seed=0, kept=EVERY):
    """A graph, and logits that are linear in its smoothed features."""
    edges = random_edges(seed, NODES, 150)
    x = features(seed + 1, NODES, WIDTH)
    logits = dense_normalised(edges) @ x @ np.random.default_rng(seed + 2).normal(size=(WIDTH, CLASSES)) + 1.0
    graph = jax.device_put(prepare(raw_graph(edges, x)))
    return graph, GNNOutput(jnp.asarray(logits, jnp.float32), ()), jnp.asarray(kept)


@functools.cache
def programs(model):
    return jax.jit(model.init), jax.jit(functools.partial(fitted, student=model)), jax.jit(model.apply)


def drawn(model, graph):
    return programs(model)[0](jax.random.key(0), graph)["params"]


def fit(model, graph, teacher, mask):
    return programs(model)[1](drawn(model, graph), teacher=teacher, graph=graph, mask=mask)


def predicted(model, params, graph):
    return programs(model)[2]({"params": params}, graph)


def axes_in_numpy(logits, count):
    """Principal axes by singular values, of mean and deviation 1/2, each to where its largest entry is positive."""
    left, _, right = np.linalg.svd(logits - logits.mean(axis=0), full_matrices=False)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    return 0.5 + 0.5 * np.sqrt(len(left)) * (left * signs)[:, :count]


def test_layers_are_the_least_squares_solutions_of_numpy():
    kept = np.arange(NODES) < 45
    graph, teacher, mask = problem(kept=kept)
    model = GCN(2, 3, CLASSES)
    params = fit(model, graph, teacher, mask)
    smooth = dense_normalised(random_edges(0, NODES, 150))
    logits = np.asarray(teacher.logits, np.float64)
    axes, h = axes_in_numpy(logits[kept], 2), np.asarray(graph.nodes, np.float64)
    for number, targets in enumerate((axes, axes, logits[kept])):
        rows = np.column_stack([smooth @ h, np.ones(NODES)])
        solution = np.linalg.lstsq(rows[kept], targets)[0]
        found = np.vstack([params[f"conv_{number}"]["kernel"], params[f"conv_{number}"]["bias"]])
        np.testing.assert_allclose(found, solution, rtol=2e-3, atol=2e-3)
        h = np.maximum(rows @ solution, 0.0)


@pytest.mark.parametrize("name", MODELS)
def test_an_untrained_student_predicts_as_its_teacher_whatever_its_architecture(name):
    """Classes that differ in a feature each, and whose nodes are linked: every model here can tell them apart."""
    labels = np.repeat(np.arange(CLASSES), NODES // CLASSES)
    x = np.eye(CLASSES, WIDTH, dtype=np.float32)[labels] + 0.1 * features(1, NODES, WIDTH)
    ends = np.flatnonzero(labels[:-1] == labels[1:]).astype(np.int32)
    edges = EdgeList(np.r_[ends, ends + 1], np.r_[ends + 1, ends], np.ones(2 * len(ends), np.float32), NODES)
    graph, teacher = jax.device_put(prepare(raw_graph(edges, x))), GNNOutput(jnp.eye(CLASSES)[labels], ())
    model = MODELS[name]
    params = fit(model, graph, teacher, jnp.asarray(EVERY))
    assert jax.tree.structure(params) == jax.tree.structure(drawn(model, graph))
    assert np.mean(np.asarray(predicted(model, drawn(model, graph), graph).logits).argmax(axis=1) == labels) < 0.8
    out = predicted(model, params, graph)
    assert np.mean(np.asarray(out.logits).argmax(axis=1) == labels) > 0.95
    for hidden in out.hiddens:  # no unit is dead
        assert (np.mean(np.asarray(hidden) > 0.0, axis=0) > 0.5).all()


def test_units_beyond_the_axes_stay_as_they_were_drawn():
    graph, teacher, mask = problem()
    model = GCN(CLASSES + 2, 2, CLASSES)
    params, before = fit(model, graph, teacher, mask), drawn(model, graph)
    np.testing.assert_array_equal(params["conv_0"]["kernel"][:, CLASSES:], before["conv_0"]["kernel"][:, CLASSES:])
    assert np.abs(params["conv_0"]["kernel"] - before["conv_0"]["kernel"])[:, :CLASSES].min(axis=0).max() > 1e-3
    # Softmax is blind to what is added to all logits of a node; an axis that does not vary is none.
    flat = teacher._replace(logits=teacher.logits - teacher.logits.mean(axis=1, keepdims=True))
    narrow = fit(model, graph, flat, mask)["conv_0"]["kernel"]
    np.testing.assert_array_equal(narrow[:, CLASSES - 1], before["conv_0"]["kernel"][:, CLASSES - 1])


@pytest.mark.parametrize("name", ["gcnii", "gcn under a scan, linear residual", "graphsage, jumping", "mlp, dropout"])
def test_batch_normalisation_starts_as_the_identity(name):
    """In training, where it takes the statistics of the nodes; running ones are not there yet."""
    graph, teacher, mask = problem()
    plain = MODELS[name].clone(dropout=0.0)
    model = plain.clone(norm="batch")
    variables = jax.jit(model.init)(jax.random.key(0), graph)
    params = fit(model, graph, teacher, mask)
    assert jax.tree.structure(params) == jax.tree.structure(variables["params"])
    run = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))
    found, _ = run({**variables, "params": params}, graph)
    expected = predicted(plain, fit(plain, graph, teacher, mask), graph)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3), found, expected)
    before, _ = run(variables, graph)
    assert np.abs(before.logits - expected.logits).max() > 0.1


def test_logits_that_are_constant_and_nodes_that_are_masked_change_nothing():
    kept = np.arange(NODES) < 40
    graph, teacher, mask = problem(kept=kept)
    model = GCNII(2, 2, CLASSES)
    other = teacher._replace(logits=jnp.where(mask[:, None], teacher.logits, jnp.nan))
    jax.tree.map(np.testing.assert_array_equal, *(fit(model, graph, of, mask) for of in (teacher, other)))
    constant = teacher._replace(logits=jnp.full_like(teacher.logits, 0.1))  # whose mean is rounded
    params = fit(model, graph, constant, mask)
    np.testing.assert_array_equal(params["blocks"]["conv"]["kernel"], drawn(model, graph)["blocks"]["conv"]["kernel"])
    out = predicted(model, params, graph).logits
    np.testing.assert_allclose(out[:40], 0.1, atol=1e-2)
    nobody = fit(model, graph, teacher, jnp.zeros(NODES, bool))
    jax.tree.map(np.testing.assert_array_equal, nobody, drawn(model, graph))


def test_other_normalisations_are_refused():
    graph, teacher, mask = problem()
    with pytest.raises(InputError, match=r"^fitted: norm is 'layer', expected none or batch; choose another start$"):
        fitted({}, GCN(2, 2, CLASSES, norm="layer"), teacher, graph, mask)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_16_bit_parameters_and_layers_are_solved_in_float32(dtype):
    graph, teacher, mask = problem()
    model = GCN(2, 2, CLASSES)
    short = jax.tree.map(lambda leaf: leaf.astype(dtype), drawn(model, graph))
    found = programs(model.clone(dtype=dtype))[1](short, teacher=teacher, graph=graph, mask=mask)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), short)
    expected = programs(model)[1](wide, teacher=teacher, graph=graph, mask=mask)
    for value, right in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert value.dtype == dtype
        np.testing.assert_array_equal(value, right.astype(dtype))


@settings(quick, max_examples=5)
@given(edges=edge_lists([(9, 20)]))
def test_the_order_of_the_nodes_does_not_matter(edges):
    order = np.random.default_rng(0).permutation(edges.size)
    x, logits = features(1, edges.size, 4), features(2, edges.size, CLASSES)
    model = GCN(2, 2, CLASSES)
    found = []
    for of, rows in ((edges, np.arange(edges.size)), (relabelled(edges, order), np.argsort(order))):
        graph = prepare(raw_graph(of, x[rows]))
        found.append(fit(model, graph, GNNOutput(jnp.asarray(logits[rows]), ()), node_mask(graph)))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-2, atol=2e-3), *found)
