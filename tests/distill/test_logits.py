"""Soft labels and weighted sums, against the published criterion's values and by hand."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from distill_samples import EDGELESS, make_output
from numpy.testing import assert_allclose

from abkd_jax.distill import Term, output_error, soft_label, weighted_sum
from abkd_jax.types import GNNOutput, InputError, NodeMasks, Objective

KEY = jax.random.key(0)


def output(logits, dtype="float32") -> GNNOutput:
    return GNNOutput(jnp.asarray(logits, dtype), ())


def evaluate(objective: Objective, teacher: GNNOutput, student: GNNOutput, mask=None):
    mask = jnp.ones(len(student.logits), bool) if mask is None else jnp.asarray(mask)
    targets = objective.targets(teacher, graph=EDGELESS, mask=mask)
    return objective.apply({}, targets, student, graph=EDGELESS, mask=mask, key=None)


@pytest.mark.parametrize(("temperature", "alpha"), [(1, 0.9), (4, 0.9)])
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-6), ("float32", 2e-5)])
def test_equals_the_reference_values(golden_root: Path, dtype, rtol, temperature, alpha):
    with np.load(golden_root / "golden_losses.npz") as file:
        arrays = dict(file)
    case = f"kd_T{temperature}_a{alpha}"
    with jax.enable_x64(dtype == "float64"):
        teacher, labels = output(arrays["in_teacher_logits"], dtype), jnp.asarray(arrays["in_labels"], "int32")
        objective = soft_label(float(temperature), "all")

        @jax.jit
        @functools.partial(jax.value_and_grad, has_aux=True)
        def total(logits):
            loss, metrics = evaluate(objective, teacher, GNNOutput(logits, ()))
            ce = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            return alpha * loss + (1.0 - alpha) * ce, metrics["kl"]

        (value, kl), gradient = total(jnp.asarray(arrays["in_student_logits"], dtype))
        assert_allclose(kl, arrays[f"{case}_kl"], rtol=rtol)
        assert_allclose(value, arrays[f"{case}_total"], rtol=rtol)
        expected = arrays[f"{case}_grad_logits"]
        assert_allclose(gradient, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


# Teacher (1/2, 1/2), student (1/4, 3/4): KL = 1/2 log((1/2) / (1/4)) + 1/2 log((1/2) / (3/4)) = 1/2 log(4/3).
HALVES, QUARTERS = [[0.0, 0.0]], [[0.0, math.log(3.0)]]


@pytest.mark.parametrize(("reduction", "classes"), [("node", 1), ("all", 2)])
def test_value_by_hand(reduction, classes):
    loss, metrics = evaluate(soft_label(1.0, reduction), output(HALVES), output(QUARTERS))
    assert_allclose(loss, 0.5 * math.log(4.0 / 3.0) / classes, rtol=1e-6)
    assert_allclose(metrics["kl"], loss)


@pytest.mark.parametrize(
    ("temperature", "scale", "factor"),
    [(2.0, "auto", 4.0), (0.5, "auto", 0.5), (1.0, "auto", 1.0), (0.5, "square", 0.25), (2.0, "none", 1.0)],
)
def test_factor_of_the_temperature(temperature, scale, factor):
    student = [[0.0, temperature * math.log(3.0)]]  # so that the softened probabilities are (1/4, 3/4) again
    loss, metrics = evaluate(soft_label(temperature, scale=scale), output(HALVES), output(student))
    assert_allclose(metrics["kl"], 0.5 * math.log(4.0 / 3.0), rtol=1e-6)
    assert_allclose(loss, factor * 0.5 * math.log(4.0 / 3.0), rtol=1e-6)


def test_mean_is_over_the_masked_nodes():
    teacher, student = output(HALVES * 3), output(QUARTERS + HALVES + [[50.0, 0.0]])
    loss, _ = evaluate(soft_label(), teacher, student, [True, True, False])
    assert_allclose(loss, 0.25 * math.log(4.0 / 3.0), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.125, 1.0, 4.0])
def test_student_equal_to_the_teacher_gives_zero(temperature):
    teacher = output(100.0 * make_output(0, (), classes=5).logits)  # nearly hard targets too
    assert_allclose(evaluate(soft_label(temperature), teacher, teacher)[0], 0.0, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_bad_temperature_is_refused(temperature):
    with pytest.raises(InputError, match=r"soft_label: temperature is .*, expected a finite number above 0"):
        soft_label(temperature)


def test_unknown_choices_are_refused(unchecked):
    with pytest.raises(InputError, match="soft_label: reduction is 'batch', expected one of node, all"):
        soft_label(reduction="batch")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="soft_label: scale is 'T', expected one of auto, square, none"):
        soft_label(scale="T")  # pyright: ignore[reportArgumentType]


def test_different_numbers_of_classes_are_refused():
    with pytest.raises(InputError, match="the student has 2 classes, expected the teacher's 3"):
        soft_label().init(KEY, make_output(0, (), classes=3), make_output(1, (), classes=2))


MASKS = NodeMasks(all=jnp.array([True, True]), train=jnp.array([True, False]))


def test_weighted_sum_weighs_and_gives_each_term_its_nodes():
    objective = weighted_sum(Term("wide", 2.0, soft_label()), Term("narrow", 10.0, soft_label(), "train"))
    teacher, student = output(HALVES * 2), output(QUARTERS + HALVES)
    targets = objective.targets(teacher, graph=EDGELESS, mask=MASKS)
    params = objective.init(KEY, teacher, student)
    assert params == {"wide": {}, "narrow": {}}
    loss, metrics = objective.apply(params, targets, student, graph=EDGELESS, mask=MASKS, key=None)
    unit = 0.5 * math.log(4.0 / 3.0)
    assert sorted(metrics) == ["narrow/kl", "narrow/loss", "wide/kl", "wide/loss"]
    assert_allclose(metrics["wide/loss"], unit / 2.0, rtol=1e-6)  # one of two nodes differs
    assert_allclose(metrics["narrow/loss"], unit, rtol=1e-6)
    assert_allclose(loss, 11.0 * unit, rtol=1e-6)


def test_weighted_sum_gives_each_term_its_own_key():
    def draw(key, *_):
        return {"drawn": jax.random.uniform(key)}

    drawing = Objective(draw, lambda *_, **__: {}, lambda *_, key, **__: (jnp.zeros(()), draw(key)))
    objective = weighted_sum(Term("a", 1.0, drawing), Term("b", 1.0, drawing))
    params = objective.init(KEY, output(HALVES), output(HALVES))
    _, metrics = objective.apply(params, {"a": {}, "b": {}}, output(HALVES), graph=EDGELESS, mask=MASKS, key=KEY)
    drawn = [jax.random.uniform(jax.random.fold_in(KEY, i)) for i in range(2)]
    assert_allclose([params["a"]["drawn"], params["b"]["drawn"]], drawn)
    assert_allclose([metrics["a/drawn"], metrics["b/drawn"]], drawn)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([], "no term was given, expected at least one"),
        ([Term("kd", 1.0, soft_label())] * 2, "2 terms are called 'kd', expected different names"),
        ([Term("kd", -0.1, soft_label())], "weight of the term 'kd' is -0.1, expected a finite number >= 0"),
        ([Term("kd", math.nan, soft_label())], "weight of the term 'kd' is nan"),
        ([Term("kd", 1.0, soft_label(), "test")], "nodes of the term 'kd' is 'test', expected one of all, train"),  # pyright: ignore
    ],
)
def test_bad_terms_are_refused(terms, message):
    with pytest.raises(InputError, match=message):
        weighted_sum(*terms)


def test_the_error_of_outputs_by_hand_and_for_a_teacher_of_other_width():
    teacher, student = output([[1.0, 2.0], [0.0, 0.0]]), output([[0.0, 4.0], [9.0, 9.0]])
    loss, _ = evaluate(output_error(), teacher, student, [True, False])
    assert float(loss) == pytest.approx((1.0 + 4.0) / 2)
    loss, _ = evaluate(output_error([1.0, 4.0]), teacher, student, [True, False])
    assert float(loss) == pytest.approx((1.0 + 4.0 / 16) / 2)
    with pytest.raises(InputError, match="output_error: the student has 2 classes, expected the teacher's 1"):
        output_error().init(KEY, output([[1.0]]), student)
    with pytest.raises(InputError, match="one number per output"):
        evaluate(output_error([1.0]), teacher, student, [True, False])
