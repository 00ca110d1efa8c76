"""Layer attention by hand and against NumPy, with masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import EDGELESS, make_output, random_params
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax.distill import (
    all_to_last,
    closed_form,
    depth_proportional,
    fixed,
    fixed_axes,
    greedy,
    last_layer,
    last_to_all,
    layer_attention,
    learned,
    uniform,
)
from abkd_jax.types import GNNOutput, InputError

KEY = jax.random.key(0)
MASK = np.arange(12) % 3 > 0


def evaluate(attention, params, teacher: GNNOutput, student: GNNOutput, mask=MASK) -> np.ndarray:
    def apply(params, teacher, student, mask):
        targets = attention.targets(teacher, graph=EDGELESS, mask=mask)
        return attention.apply(params, targets, student, graph=EDGELESS, mask=mask, key=None)[0]

    return np.asarray(jax.jit(apply)(params, teacher, student, jnp.asarray(mask)))


def numpy_scores(params, teacher: GNNOutput, student: GNNOutput, query: str) -> np.ndarray:
    """`a_i . c_j / sqrt(dim)` in float64, pair by pair."""
    pool = {"mean": np.mean, "max": np.max}[query]

    def project(side: str, layer: int, hidden) -> np.ndarray:
        kernel, bias = (np.asarray(params[side][name][layer], np.float64) for name in ("kernel", "bias"))
        pooled = pool(np.asarray(hidden, np.float64)[MASK], axis=0)
        return pooled @ kernel[: len(pooled)] + bias

    a = [project("teacher", i, h) for i, h in enumerate(teacher.hiddens)]
    c = [project("student", j, h) for j, h in enumerate(student.hiddens)]
    return np.array([[x @ y / np.sqrt(len(x)) for y in c] for x in a])


@pytest.mark.parametrize("query", ["mean", "max"])
@pytest.mark.parametrize("over", ["student", "teacher", "pairs"])
def test_learned_equals_numpy(over, query):
    teacher, student = make_output(0, (5, 3, 4)), make_output(1, (2, 4))
    attention = learned(6, over=over, query=query)
    params = random_params(attention, teacher, student)
    e = np.exp(numpy_scores(params, teacher, student, query))
    expected = {
        "student": e / e.sum(axis=1, keepdims=True),
        "teacher": 3 / 2 * e / e.sum(axis=0, keepdims=True),
        "pairs": 3 * e / e.sum(),
    }[over]
    a = evaluate(attention, params, teacher, student)
    assert_allclose(a, expected, rtol=2e-5)
    assert np.ptp(a) > 0.05


@pytest.mark.parametrize("over", ["student", "teacher", "pairs"])
@pytest.mark.parametrize("make", [uniform, last_layer, all_to_last, last_to_all, depth_proportional, learned])
def test_total_mass_is_the_number_of_teacher_layers(make, over):
    attention = learned(4, over=over) if make is learned else make()
    teacher, student = make_output(0, (5, 3, 4)), make_output(1, (2, 4))
    a = evaluate(attention, random_params(attention, teacher, student), teacher, student)
    assert a.shape == (3, 2)
    assert_allclose(a.sum(), 3.0, rtol=1e-6)


def test_constant_maps():
    teacher, student = make_output(0, (5, 3, 4)), make_output(1, (2, 4))
    assert uniform().init(KEY, teacher, student) == {}
    assert_array_equal(evaluate(uniform(), {}, teacher, student), [[0.5, 0.5]] * 3)
    assert_array_equal(evaluate(last_layer(), {}, teacher, student), [[0.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    assert_array_equal(evaluate(all_to_last(), {}, teacher, student), [[0.0, 1.0]] * 3)
    assert_array_equal(evaluate(last_to_all(), {}, teacher, student), [[0.0, 0.0], [0.0, 0.0], [1.5, 1.5]])


# Depths of the layers from 1 / count to 1: halves and thirds meet as 1/3 -> 1/2, 2/3 -> 1, 1 -> 1, and so on.
@pytest.mark.parametrize(
    ("layers", "partners"),
    [
        ((3, 2), [0, 1, 1]),
        ((6, 3), [0, 0, 1, 1, 2, 2]),
        ((2, 3), [1, 2]),
        ((4, 4), [0, 1, 2, 3]),
        ((5, 1), [0] * 5),
        ((1, 3), [2]),
        ((7, 3), [0, 0, 1, 1, 2, 2, 2]),
    ],
)
def test_layers_meet_at_the_same_relative_depth(layers, partners):
    teacher, student = make_output(0, (2,) * layers[0]), make_output(1, (2,) * layers[1])
    assert_array_equal(evaluate(depth_proportional(), {}, teacher, student), np.eye(layers[1])[partners])


@pytest.mark.parametrize("kind", [np.array, jnp.array, list], ids=["numpy", "jax", "lists"])
def test_a_given_map_is_used_as_it_is(kind):
    rows = [[0.0, 2.0], [0.5, 0.25], [0.0, 0.0]]
    attention = fixed(kind(rows))
    assert attention.init(KEY, make_output(0, (5, 3, 4)), make_output(1, (2, 4))) == {}
    assert_array_equal(evaluate(attention, {}, make_output(0, (5, 3, 4)), make_output(1, (2, 4))), rows)


def test_a_given_map_is_copied():
    array = np.ones((2, 1))
    attention = fixed(array)
    array[:] = 7.0
    assert_array_equal(evaluate(attention, {}, make_output(0, (5, 3)), make_output(1, (2,))), [[1.0], [1.0]])


def test_a_given_map_must_fit_the_layers():
    teacher, student = make_output(0, (5, 3, 4)), make_output(1, (2, 4))
    message = r"fixed: array has shape \(2, 3\), expected \(teacher layers, student layers\) = \(3, 2\)"
    with pytest.raises(InputError, match=message):
        evaluate(fixed(np.ones((2, 3))), {}, teacher, student)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ([1.0, 2.0], r"array has shape \(2,\), expected \[teacher layers, student layers\]"),
        ([[1.0, 2.0], [3.0]], "array is no table of numbers, expected"),
        ([["a", "b"]], "array is no table of numbers, expected"),
        ([[1.0, 0.0], [2.0, -0.5]], r"array\[1, 1\] is -0.5, expected a finite number >= 0"),
        ([[np.nan, 1.0]], r"array\[0, 0\] is nan, expected a finite"),
        ([[1.0], [np.inf]], r"array\[1, 0\] is inf, expected a finite"),
        ([[0.0, 0.0]], r"array of shape \(1, 2\) has no entry above 0"),
        (np.zeros((0, 3)), r"array of shape \(0, 3\) has no entry above 0"),
    ],
)
def test_maps_that_cannot_be_are_refused(unchecked, array, message):
    with pytest.raises(InputError, match=f"fixed: {message}"):
        fixed(array)


def test_map_by_hand():
    heads = {"kernel": jnp.ones((2, 1, 4)), "bias": jnp.zeros((2, 4))}
    student = GNNOutput(jnp.zeros((2, 2)), (jnp.zeros((2, 1)), jnp.array([[1.0], [3.0]])))
    targets = jnp.array([[0.0], [np.log(3.0) / 4.0]])
    a = layer_attention({"teacher": heads, "student": heads}, targets, student, mask=jnp.ones(2, bool))
    # The student's layers pool to 0 and 2; scores = 4 * t * s / sqrt(4) = 0 and log 3.
    assert_allclose(a, [[0.5, 0.5], [0.25, 0.75]], rtol=1e-6)


@pytest.mark.parametrize("detach", [False, True])
def test_detached_map_moves_its_heads_alone(detach):
    teacher, student = make_output(0, (5, 3)), make_output(1, (2, 4))
    attention = learned(4, detach=detach)
    params, mask = random_params(attention, teacher, student), jnp.asarray(MASK)
    targets = attention.targets(teacher, graph=EDGELESS, mask=mask)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def slope(params, student):
        return attention.apply(params, targets, student, graph=EDGELESS, mask=mask, key=None)[0][0, 0]

    to_params, to_student = slope(params, student)
    assert np.abs(to_params["student"]["kernel"]).max() > 1e-3
    assert (max(np.abs(h).max() for h in to_student.hiddens) > 0) is not detach


def test_heads_start_as_linear_layers_and_stay_zero_beyond_a_width():
    teacher, student = make_output(0, (100, 4)), make_output(1, (3,))
    init = jax.jit(learned(64).init)
    kernel = np.asarray(init(KEY, teacher, student)["teacher"]["kernel"])
    assert kernel.shape == (2, 100, 64)
    assert_array_equal(kernel[1, 4:], 0.0)
    assert 0.09 < np.abs(kernel[0]).max() <= 0.1  # 1 / sqrt(100)
    assert 0.45 < np.abs(kernel[1, :4]).max() <= 0.5


def test_bad_arguments_are_refused(unchecked):
    with pytest.raises(InputError, match="learned: dim is 0, expected a whole number of at least 1"):
        learned(0)
    with pytest.raises(InputError, match="learned: over is 'rows', expected one of student, teacher, pairs"):
        learned(over="rows")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="learned: query is 'sum', expected one of mean, max"):
        learned(query="sum")  # pyright: ignore[reportArgumentType]


def test_greedy_takes_the_most_similar_student_layer(x64):
    """Brute force: CKA from centred `n x n` kernels, the largest of every row."""
    double = lambda x: jnp.asarray(np.asarray(x), "float64")  # noqa: E731
    teacher, student = jax.tree.map(double, (make_output(0, (5, 3, 4, 6, 2)), make_output(1, (2, 4, 3))))
    kept = MASK.sum()
    centring = np.eye(kept) - 1.0 / kept

    def kernel(hidden) -> np.ndarray:
        x = np.asarray(hidden)[MASK]
        k = centring @ x @ x.T @ centring
        return k / np.linalg.norm(k)

    likeness = np.array([[(kernel(t) * kernel(s)).sum() for s in student.hiddens] for t in teacher.hiddens])
    a = evaluate(greedy(), {}, teacher, student)
    assert_array_equal(a, np.eye(3)[likeness.argmax(axis=1)])
    assert len(set(likeness.argmax(axis=1))) > 1  # the example tells layers apart


def test_greedy_follows_the_dissimilarity_it_is_given():
    rng = np.random.default_rng(0)
    ours = [jnp.asarray(rng.normal(size=(12, 2)), jnp.float32) for _ in range(3)]
    student = GNNOutput(jnp.zeros((12, 2)), tuple(ours))
    teacher = GNNOutput(jnp.zeros((12, 2)), (5.0 * ours[2] + 1.0, ours[0] @ jnp.ones((2, 1)), -ours[2]))
    for attention in (greedy(closed_form(2)), greedy()):
        assert_array_equal(evaluate(attention, {}, teacher, student), np.eye(3)[[2, 0, 2]])


def test_greedy_is_hard_and_takes_the_first_of_equals():
    teacher, student = make_output(0, (3, 2)), make_output(1, (2, 3))
    dead = student._replace(hiddens=(0.0 * student.hiddens[0], 0.0 * student.hiddens[1]))
    assert_array_equal(evaluate(greedy(), {}, teacher, dead), [[1.0, 0.0], [1.0, 0.0]])

    def weighed(student):
        targets = greedy().targets(teacher, graph=EDGELESS, mask=jnp.asarray(MASK))
        a, _ = greedy().apply({}, targets, student, graph=EDGELESS, mask=jnp.asarray(MASK), key=None)
        return jnp.sum(a * jnp.arange(4.0).reshape(2, 2))

    for gradient in jax.tree.leaves(jax.grad(weighed)(student)):
        assert_array_equal(gradient, 0.0)


def test_greedy_refuses_trained_heads():
    with pytest.raises(InputError, match="greedy: the dissimilarity has trained projections, expected one without"):
        greedy(fixed_axes(2)).init(KEY, make_output(0, (3,)), make_output(1, (2,)))
