"""Structural dissimilarity pair by pair: against NumPy, against the plain objectives, in a bounded memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import EDGELESS, make_output, random_params
from numpy.testing import assert_allclose, assert_array_equal
from relation_samples import EDGES, MASK, edge_graph, features, gram, shares

from abkd_jax.distill import attention_transfer, fitnet, gcrd, gsp, lsp, mustad, structure
from abkd_jax.types import GNNOutput, InputError

KEY = jax.random.key(0)
GRAPH = edge_graph(EDGES, 14)
KEPT = EDGES[:, MASK[EDGES].all(axis=0)]


def layers(*widths: int, seed: int) -> list[np.ndarray]:
    """Rectified layers of 14 nodes with a zero row and two equal ones."""
    rng = np.random.default_rng(seed)
    hiddens = [np.maximum(rng.normal(0.3, 1.0, (14, width)), 0.0) for width in widths]
    for x in hiddens:
        x[3], x[8] = 0.0, x[7]
    return hiddens


def evaluate(objective, params, teacher: GNNOutput, student: GNNOutput, mask=MASK):
    """`(D, details)`, compiled."""
    part = structure(objective)

    @jax.jit
    def compiled(params, teacher, student, mask):
        targets = part.targets(teacher, graph=GRAPH, mask=mask)
        return part.apply(params, targets, student, graph=GRAPH, mask=mask, key=KEY)

    return compiled(params, teacher, student, jnp.asarray(mask))


def numpy_head(head: dict, layer: int, x: np.ndarray) -> np.ndarray:
    """Linear map, batch norm over the masked nodes with the biased variance, rectifier: as far as the head goes."""
    if not head:
        return x
    own = {name: np.asarray(leaf[layer], np.float64) for name, leaf in head.items()}
    y = x @ own["kernel"][: x.shape[1]] + own["bias"]
    if "scale" not in own:
        return y
    normalised = (y - y.mean(axis=0)) / np.sqrt(y.var(axis=0) + 1e-5)
    return np.maximum(own["scale"] * normalised + own["shift"], 0.0)


def contrast(s: np.ndarray, t: np.ndarray, temperature: float) -> float:
    unit = lambda x: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)  # noqa: E731
    logits = unit(s) @ unit(t).T / temperature
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))


CASES = {
    "gcrd": (gcrd(0.3, dim=5), lambda s, t: contrast(s, t, 0.3)),
    "gcrd-linear": (gcrd(0.1, head="linear", dim=3), lambda s, t: contrast(s, t, 0.1)),
    "gsp": (gsp(), lambda s, t: np.mean((gram("cosine", s) - gram("cosine", t)) ** 2)),
    "gsp-l2": (gsp("l2", head="linear", dim=4), lambda s, t: np.mean((gram("l2", s) - gram("l2", t)) ** 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_pair_of_nodes_and_layers_equals_the_formula(x64, name):
    objective, formula = CASES[name]
    t, s = layers(6, 4, 5, seed=0), layers(3, 4, seed=1)
    teacher, student = features(*t, dtype="float64"), features(*s, dtype="float64")
    params = random_params(structure(objective), teacher, student)
    heads = params or {"teacher": {}, "student": {}}
    ours = [numpy_head(heads["student"], j, x[MASK]) for j, x in enumerate(s)]
    theirs = [numpy_head(heads["teacher"], i, x[MASK]) for i, x in enumerate(t)]
    d, details = evaluate(objective, params, teacher, student)
    assert_allclose(d, [[formula(y, x) for y in ours] for x in theirs], rtol=1e-9)
    assert_array_equal(details["variance"], np.ones(3))


@pytest.mark.parametrize(("kernel", "divergence"), [("cosine", "kl"), ("rbf", "mse")])
def test_every_pair_of_edges_and_layers_equals_the_formula(x64, kernel, divergence):
    t, s = layers(6, 4, 5, seed=0), layers(3, 4, seed=1)
    q = {name: [shares(kernel, x, KEPT) for x in side] for name, side in (("t", t), ("s", s))}
    gap = {"kl": lambda a, b: np.mean(a * np.log(a / b)), "mse": lambda a, b: np.mean((a - b) ** 2)}[divergence]
    d, _ = evaluate(lsp(kernel, divergence), {}, features(*t, dtype="float64"), features(*s, dtype="float64"))
    assert_allclose(d, [[gap(a, b) for b in q["s"]] for a in q["t"]], rtol=1e-9)


@pytest.mark.parametrize(
    "objective",
    [gcrd(), gcrd(max_nodes=5, head="linear"), lsp(), gsp("rbf"), gsp(max_nodes=4), fitnet(), attention_transfer()],
    ids=["gcrd", "gcrd-drawn", "lsp", "gsp", "gsp-drawn", "fitnet", "attention_transfer"],
)
def test_one_layer_a_side_is_the_objective_itself(x64, objective):
    teacher, student = (features(*layers(width, seed=width), dtype="float64") for width in (5, 4))
    part = structure(objective)
    stacked = random_params(part, teacher, student)
    plain = jax.tree.map(lambda x: x[0], stacked) or objective.init(KEY, teacher, student)
    mask = jnp.asarray(MASK)

    def of(loss, params, student):
        targets = loss.targets(teacher, graph=GRAPH, mask=mask)
        return jnp.sum(loss.apply(params, targets, student, graph=GRAPH, mask=mask, key=KEY)[0])

    compiled = jax.jit(jax.value_and_grad(of, argnums=(1, 2)), static_argnums=0)
    value, (to_params, to_student) = compiled(part, stacked, student)
    expected, (to_plain, to_student2) = compiled(objective, plain, student)
    assert_allclose(value, expected, rtol=1e-10)
    assert_allclose(to_student.hiddens[0], to_student2.hiddens[0], rtol=1e-8, atol=1e-12)
    for ours, theirs in zip(jax.tree.leaves(to_params), jax.tree.leaves(to_plain), strict=True):
        assert_allclose(ours[0], theirs, rtol=1e-8, atol=1e-12)


def test_all_pairs_see_the_nodes_that_the_key_draws():
    objective = gcrd(0.2, max_nodes=4, head="none")
    teacher, student = features(*layers(4, 4, seed=0)), features(*layers(4, 4, 4, seed=1))
    d, _ = evaluate(objective, {"teacher": {}, "student": {}}, teacher, student)
    drawn = np.argsort(-np.where(MASK, jax.random.uniform(KEY, (14,)), -1.0))[:4]
    pairs = [[contrast(np.asarray(y)[drawn], np.asarray(x)[drawn], 0.2) for y in student.hiddens] for x in teacher[1]]
    assert_allclose(d, pairs, rtol=1e-5)


def test_heads_are_one_a_layer_and_side():
    teacher, student = make_output(0, (6, 4, 5)), make_output(1, (4, 4))
    params = structure(gcrd()).init(KEY, teacher, student)
    for side, count, widest in (("teacher", 3, 6), ("student", 2, 4)):
        shapes = jax.tree.map(jnp.shape, params[side])
        assert shapes == {"kernel": (count, widest, 4)} | dict.fromkeys(("bias", "scale", "shift"), (count, 4))
    assert np.all(np.abs(params["teacher"]["kernel"][2, :5]) > 0.0)
    assert_array_equal(params["teacher"]["kernel"][1, 4:], 0.0)
    assert structure(lsp()).init(KEY, teacher, student) == {}


def test_gradients_reach_every_layer_and_head_but_not_the_rows_below_a_narrow_layer():
    teacher, student = make_output(0, (6, 4, 5), 14), make_output(1, (3, 4), 14)
    part = structure(gcrd(dim=5))
    params, mask = random_params(part, teacher, student), jnp.asarray(MASK)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def slope(params, student):
        targets = part.targets(teacher, graph=EDGELESS, mask=mask)
        return jnp.sum(part.apply(params, targets, student, graph=EDGELESS, mask=mask, key=None)[0])

    heads, to_student = slope(params, student)
    for gradient in (*to_student.hiddens, *heads["teacher"]["kernel"], *heads["student"]["kernel"]):
        assert np.abs(gradient).max() > 1e-4
    assert_array_equal(heads["teacher"]["kernel"][1, 4:], 0.0)
    assert_array_equal(heads["student"]["kernel"][0, 3:], 0.0)


@pytest.mark.parametrize("objective", [gcrd(dim=8), gsp("l2"), lsp()], ids=["gcrd", "gsp", "lsp"])
def test_loss_and_gradient_hold_one_pair_at_a_time(objective):
    """32 x 8 pairs of 2,048 nodes; compiled from the shapes alone, and not run."""
    n, t, s, width = 2048, 32, 8, 64
    shapes = lambda count: tuple(jax.ShapeDtypeStruct((n, width), "float32") for _ in range(count))  # noqa: E731
    teacher, student = (GNNOutput(jax.ShapeDtypeStruct((n, 2), "float32"), shapes(count)) for count in (t, s))
    graph, mask = edge_graph(np.stack([np.arange(n), np.arange(n)[::-1]]), n), jnp.ones(n, bool)
    part = structure(objective)
    params = jax.eval_shape(part.init, KEY, teacher, student)
    targets = jax.eval_shape(lambda teacher: part.targets(teacher, graph=graph, mask=mask), teacher)

    def loss(params, student, targets):
        return jnp.sum(part.apply(params, targets, student, graph=graph, mask=mask, key=None)[0])

    lowered = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(params, student, targets)
    temporary = lowered.compile().memory_analysis().temp_size_in_bytes
    rows = n * width * 4  # bytes of one layer
    block = 1024 * n * 4  # of the pairs of nodes that are there at a time
    assert temporary < 4 * block + (2 * s + 8) * rows < t * s * rows


@pytest.mark.parametrize(
    ("objective", "teacher", "student", "message"),
    [
        (gcrd(), (), (3,), "structure: the teacher returns no hidden layers"),
        (lsp(), (3,), (), "structure: the student returns no hidden layers"),
        (
            gcrd(),
            (5, 5),
            (3, 4),
            "structure: projections of the student's layers have output widths 3, 4, expected one",
        ),
        (
            gcrd(head="none"),
            (4, 5),
            (4, 4),
            "gcrd: the student's last hidden layer has width 4, expected the teacher's 5",
        ),
        (
            mustad(),
            (4, 5),
            (3, 3),
            "structure: the objective has parameters of another kind, expected none, or one projection",
        ),
    ],
)
def test_what_does_not_fit_is_refused(objective, teacher, student, message):
    with pytest.raises(InputError, match=message):
        structure(objective).init(KEY, make_output(0, teacher), make_output(1, student))
