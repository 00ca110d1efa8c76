"""LSP, GSP, G-CRD and GeometricKD against NumPy formulas, on masks and degenerate features; their messages."""

import functools

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from distill_samples import make_output, random_params
from numpy.testing import assert_allclose, assert_array_equal
from relation_samples import EDGES, KERNELS, MASK, edge_graph, evaluate, features, gram, pair, shares, small

from abkd_jax.distill import gcrd, geometric, gsp, lsp
from abkd_jax.distill.ops.pairwise_kernels import draw_nodes
from abkd_jax.graph.build import from_edges
from abkd_jax.types import GNNOutput, InputError

KEY = jax.random.key(0)


@pytest.mark.parametrize(("kernel", "divergence"), [*((k, "kl") for k in KERNELS), ("cosine", "mse"), ("rbf", "mse")])
def test_local_structure_equals_the_formula(x64, kernel, divergence):
    teacher, student, t, s = small()
    kept = EDGES[:, MASK[EDGES].all(axis=0)]
    p, q = shares(kernel, t, kept), shares(kernel, s, kept)
    expected = {"kl": np.mean(p * np.log(p / q)), "mse": np.mean((p - q) ** 2)}[divergence]
    loss, (_, gradient) = evaluate(lsp(kernel, divergence), teacher, student, graph=edge_graph(EDGES, 14), mask=MASK)
    assert_allclose(loss, expected, rtol=1e-10)
    assert np.isfinite(gradient).all()
    assert_array_equal(gradient[11:], 0.0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_global_structure_equals_the_formula(x64, kernel):
    teacher, student, t, s = small()
    expected = np.mean((gram(kernel, t[MASK]) - gram(kernel, s[MASK])) ** 2)
    loss, (_, gradient) = evaluate(gsp(kernel), teacher, student, mask=MASK)
    assert_allclose(loss, expected, rtol=1e-10)
    assert np.isfinite(gradient).all()
    assert_array_equal(gradient[11:], 0.0)


@pytest.mark.parametrize("kernel", ["sigmoid", "gaussian"])
@pytest.mark.parametrize("delta", [0.0, 0.25, 1.0])
def test_geometric_equals_the_formula(x64, kernel, delta):
    teacher, student, t, s = small()
    weights = np.full((14, 14), delta)
    weights[EDGES[0], EDGES[1]] = 1.0
    np.fill_diagonal(weights, 1.0)
    gap = (gram(kernel, t, 2.0) - gram(kernel, s, 2.0)) ** 2
    objective = geometric(kernel, delta, 2.0)
    typed = edge_graph(np.concatenate([EDGES, EDGES[:, ::2]], axis=1), 14)  # half of the neighbours by two types
    typed = typed._replace(edges={"relation": np.arange(typed.senders.size) // EDGES.shape[1]})
    loss, (_, gradient) = evaluate(objective, teacher, student, graph=typed, mask=MASK)
    assert_allclose(loss, (weights * gap)[np.ix_(MASK, MASK)].sum(), rtol=1e-10)
    assert np.isfinite(gradient).all()
    assert_array_equal(gradient[11:], 0.0)


def test_geometric_averages_over_the_pairs_of_layers(x64):
    rng = np.random.default_rng(2)
    t, s = [rng.normal(size=(5, 3)) for _ in range(3)], [rng.normal(size=(5, 2)) for _ in range(2)]
    teacher, student = features(*t, dtype="float64"), features(*s, dtype="float64")
    gap = lambda i, j: ((gram("sigmoid", t[i]) - gram("sigmoid", s[j])) ** 2).sum()  # noqa: E731
    loss, _ = evaluate(geometric(layers=((0, 0), (2, 0), (2, 1))), teacher, student)
    assert_allclose(loss, (gap(0, 0) + gap(2, 0) + gap(2, 1)) / 3.0, rtol=1e-10)
    loss, _ = evaluate(geometric(), teacher._replace(hiddens=teacher.hiddens[:2]), student)
    assert_allclose(loss, (gap(0, 0) + gap(1, 1)) / 2.0, rtol=1e-10)


def test_geometric_counts_layers_from_the_end_and_draws_nodes_with_their_edges(x64):
    rng = np.random.default_rng(2)
    t, s = [rng.normal(size=(14, 3)) for _ in range(3)], [rng.normal(size=(14, 2)) for _ in range(2)]
    teacher, student = features(*t, dtype="float64"), features(*s, dtype="float64")
    drawn = np.asarray(draw_nodes(KEY, jnp.asarray(MASK), 6))
    weights = np.full((14, 14), 0.25)
    weights[EDGES[0], EDGES[1]] = 1.0
    np.fill_diagonal(weights, 1.0)
    gap = (gram("gaussian", t[2]) - gram("gaussian", s[0])) ** 2
    objective = geometric("gaussian", 0.25, layers=((-1, -2),), max_nodes=6)
    loss, _ = evaluate(objective, teacher, student, graph=edge_graph(EDGES, 14), mask=MASK, key=KEY)
    assert_allclose(loss, (weights * gap)[np.ix_(drawn, drawn)].sum(), rtol=1e-10)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_contrast_equals_the_formula(x64, temperature):
    rng = np.random.default_rng(3)
    t, s = rng.normal(size=(14, 4)), rng.normal(size=(14, 4))
    logits = np.array([[pair("cosine", u, v) / temperature for v in t[MASK]] for u in s[MASK]])
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))
    teacher, student = features(t, dtype="float64"), features(s, dtype="float64")
    loss, (_, gradient) = evaluate(gcrd(temperature, head="none"), teacher, student, mask=MASK)
    assert_allclose(loss, expected, rtol=1e-10)
    assert_array_equal(gradient[11:], 0.0)


def test_contrast_by_hand():
    teacher, student = features([[2.0, 0.0], [0.0, 3.0]]), features([[1.0, 0.0], [5.0, 0.0]])
    loss, _ = evaluate(gcrd(1.0, head="none"), teacher, student)  # logits [1, 0] and [1, 0], classes 0 and 1
    assert_allclose(loss, np.log(1.0 + np.e) - 0.5, rtol=1e-6)


OBJECTIVES = {
    "lsp": lsp(),
    "lsp-l2": lsp("l2"),
    "gsp": gsp(),
    "gsp-l2": gsp("l2"),
    "gcrd": gcrd(dim=5),
    "geometric": geometric("gaussian", 0.1),
}


@pytest.mark.parametrize("name", ["lsp", "gcrd", "geometric"])
def test_masked_nodes_equal_the_sub_graph_of_them(x64, name):
    objective = OBJECTIVES[name]
    teacher, student, *_ = small()
    params = random_params(objective, teacher, student)
    whole = evaluate(objective, teacher, student, graph=edge_graph(EDGES, 14), mask=MASK, params=params)
    part = jax.tree.map(lambda x: x[:11], (teacher, student))
    kept = EDGES[:, (EDGES < 11).all(axis=0)]
    loss, (to_params, gradient) = evaluate(objective, *part, graph=edge_graph(kept, 11), params=params)
    assert_allclose(whole[0], loss, rtol=1e-9)
    jax.tree.map(functools.partial(assert_allclose, rtol=1e-7, atol=1e-10), whole[1][0], to_params)
    assert_allclose(whole[1][1][:11], gradient, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradient_through_a_rectifier_is_finite_at_zero_rows_and_equal_points(name):
    objective, graph = OBJECTIVES[name], edge_graph(EDGES, 14)
    teacher, student, *_ = small("float32")
    mask, params = jnp.ones(14, bool), random_params(objective, teacher, student)

    @jax.jit
    @jax.grad
    def gradient(x):
        targets = objective.targets(teacher, graph=graph, mask=mask)
        seen = GNNOutput(student.logits, (jax.nn.relu(x),))
        return objective.apply(params, targets, seen, graph=graph, mask=mask, key=None)[0]

    slope = gradient(student.hiddens[0] - 0.1)
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0.0
    assert_array_equal(slope[3], 0.0)


def test_padding_edges_and_an_empty_edge_list_count_for_nothing():
    teacher, student = make_output(0, (3,), 5), make_output(1, (2,), 5)
    plain = from_edges(np.array([0, 1, 2]), np.array([1, 2, 3]), 5, nodes=np.zeros((5, 1), np.float32), undirected=True)
    padded = jraph.pad_with_graphs(plain, n_node=9, n_edge=20)
    spoilt = jax.tree.map(lambda x: jnp.concatenate([x, jnp.full((4, *x.shape[1:]), jnp.nan)]), (teacher, student))
    loss, (_, gradient) = evaluate(lsp(), teacher, student, graph=plain)
    loss2, (_, gradient2) = evaluate(lsp(), *spoilt, graph=padded, mask=np.arange(9) < 5)
    assert_allclose(loss2, loss, rtol=1e-6)
    assert_allclose(gradient2[:5], gradient, rtol=1e-5, atol=1e-7)
    empty = edge_graph(np.zeros((2, 0)), 5)
    loss, (_, gradient) = evaluate(lsp(), teacher, student, graph=empty)
    assert_array_equal(loss, 0.0)
    assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("kernel", ["l2", "rbf"])
def test_kernels_so_far_apart_that_a_share_vanishes_stay_finite(kernel):
    teacher, student, *_ = small("float32")
    far = jax.tree.map(lambda x: 1e3 * x, student)
    loss, (_, gradient) = evaluate(lsp(kernel), teacher, far, graph=edge_graph(EDGES, 14))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lsp("dot"), "lsp: kernel is 'dot', expected one of cosine, poly, l2, rbf"),
        (lambda: lsp(divergence="js"), "lsp: divergence is 'js', expected one of kl, mse"),
        (lambda: gsp("dot"), "gsp: kernel is 'dot'"),
        (lambda: gsp(max_nodes=0), "gsp: max_nodes is 0, expected a whole number of at least 1"),
        (lambda: gsp(head="mlp"), "gsp: head is 'mlp', expected one of none, linear, bnrelu"),
        (lambda: gcrd(0.0), "gcrd: temperature is 0.0, expected a finite number above 0"),
        (lambda: gcrd(dim=0), "gcrd: dim is 0, expected a whole number"),
        (lambda: geometric("rbf"), "geometric: kernel is 'rbf', expected one of sigmoid, gaussian"),
        (lambda: geometric(delta=-0.1), "geometric: delta is -0.1, expected a finite number >= 0"),
        (lambda: geometric(scale=0.0), "geometric: scale is 0.0, expected a finite number above 0"),
        (lambda: geometric(layers=()), "geometric: layers is empty, expected at least one"),
    ],
)
def test_bad_arguments_are_refused(unchecked, make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("objective", "widths", "message"),
    [
        (lsp(), ((), (3,)), "lsp: the teacher returns no hidden layers"),
        (gsp(), ((3,), ()), "gsp: the student returns no hidden layers"),
        (gcrd(), ((3,), ()), "gcrd: the student returns no hidden layers"),
        (
            gcrd(head="none"),
            ((3,), (2,)),
            "gcrd: the student's last hidden layer has width 2, expected the teacher's 3",
        ),
        (
            geometric(),
            ((3, 3), (2,)),
            "geometric: the student has 1 hidden layers and the teacher 2, expected the same",
        ),
        (geometric(), ((), ()), "the student has 0 hidden layers"),
        (geometric(layers=((1, 0),)), ((3,), (3,)), r"layers holds \(1, 0\), expected a teacher layer in 0..0"),
    ],
)
def test_models_that_do_not_fit_are_refused(objective, widths, message):
    teacher, student = (make_output(i, w) for i, w in enumerate(widths))
    with pytest.raises(InputError, match=message):
        random_params(objective, teacher, student)
