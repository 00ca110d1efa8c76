"""Losses and scores of the tasks by hand and against NumPy, with masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from abkd_jax.training.tasks import classification, masked_mean, multilabel, multitask_binary, regression

TASK = classification()
LABELS = np.array([2, 0, -1, 1, -1], np.int32)  # -1: unlabelled
MASK = np.array([True, True, False, True, False])
LOGITS = np.array([[0, 1, 3], [2, 5, -1], [9, 9, 9], [-1, 4, 0], [1, 2, 3]], np.float32)


def _reference_loss(logits, labels, mask):
    logits = logits.astype(np.float64)
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -np.mean([logp[i, labels[i]] for i in np.flatnonzero(mask)])


def test_cross_entropy_is_the_mean_over_the_mask():
    loss = TASK.loss(jnp.asarray(LOGITS), jnp.asarray(LABELS), jnp.asarray(MASK))
    assert loss.shape == ()
    assert float(loss) == pytest.approx(_reference_loss(LOGITS, LABELS, MASK), rel=1e-6)


def test_cross_entropy_of_equal_logits_is_the_log_of_the_classes():
    loss = TASK.loss(jnp.zeros((5, 3)), jnp.asarray(LABELS), jnp.asarray(MASK))
    assert float(loss) == pytest.approx(np.log(3), rel=1e-6)


def test_accuracy_counts_hits_in_the_mask():
    score = TASK.score(jnp.asarray(LOGITS), jnp.asarray(LABELS), jnp.asarray(MASK))
    assert float(score) == pytest.approx(2 / 3)  # nodes 0 and 3 right, node 1 wrong


def test_nodes_outside_the_mask_have_no_say():
    """Neither their logits nor their labels, even where those are no classes at all."""
    wild = LOGITS.copy()
    wild[~MASK] = 1e30
    for labels in (LABELS, np.where(MASK, LABELS, 77).astype(np.int32)):
        arguments = jnp.asarray(wild), jnp.asarray(labels), jnp.asarray(MASK)
        assert float(TASK.loss(*arguments)) == pytest.approx(_reference_loss(LOGITS, LABELS, MASK), rel=1e-6)
        assert float(TASK.score(*arguments)) == pytest.approx(2 / 3)
        np.testing.assert_array_equal(jax.grad(TASK.loss)(*arguments)[~MASK], np.zeros((2, 3)))


def test_gradient_is_softmax_minus_one_hot_in_the_mask_and_zero_outside():
    gradient = jax.grad(TASK.loss)(jnp.asarray(LOGITS), jnp.asarray(LABELS), jnp.asarray(MASK))
    softmax = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    expected = np.where(MASK[:, None], softmax - np.eye(3)[LABELS], 0.0) / 3
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


def test_an_empty_mask_gives_a_loss_of_zero_without_gradient_and_no_score():
    arguments = jnp.asarray(LOGITS), jnp.asarray(LABELS), jnp.zeros(5, bool)
    assert float(TASK.loss(*arguments)) == 0.0
    assert np.isnan(TASK.score(*arguments))
    np.testing.assert_array_equal(jax.grad(TASK.loss)(*arguments), np.zeros((5, 3)))


def test_masked_mean_reads_only_the_mask():
    values = jnp.asarray([1.0, np.nan, 4.0, np.inf])
    mask = jnp.asarray([True, False, True, False])
    assert float(masked_mean(values, mask)) == 2.5
    np.testing.assert_array_equal(jax.grad(masked_mean)(values, mask), [0.5, 0.0, 0.5, 0.0])


SETS = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0], [0, 0, 0]], np.float32)
VALUES = np.array([[1, 1, 2], [2, 3, -1], [0, 0, 0], [-1, 0, 0], [5, 5, 5]], np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_binary_cross_entropy_is_the_mean_over_the_mask_and_the_classes(dtype):
    z, y = LOGITS[MASK].astype(np.float64), SETS[MASK]
    p = 1.0 / (1.0 + np.exp(-z))
    expected = -np.mean(y * np.log(p) + (1.0 - y) * np.log(1.0 - p))
    loss = multilabel().loss(jnp.asarray(LOGITS), jnp.asarray(SETS.astype(dtype)), jnp.asarray(MASK))
    assert loss.shape == ()
    assert loss.dtype == np.float32
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_binary_cross_entropy_by_hand():
    """At logit 0 every label costs log 2; at logit log 3 it costs log(4/3) if set and log 4 if not."""
    logits = jnp.asarray([[0.0, np.log(3.0)], [0.0, np.log(3.0)]], jnp.float32)
    labels = jnp.asarray([[1.0, 1.0], [0.0, 0.0]])
    loss = multilabel().loss(logits, labels, jnp.ones(2, bool))
    assert float(loss) == pytest.approx((2 * np.log(2) + np.log(4 / 3) + np.log(4)) / 4, rel=1e-6)


def test_micro_f1_counts_all_decisions_in_the_mask():
    """In the mask, logits above 0 are 011, 110, 010 and labels 101, 001, 010: TP = 2, predicted 5, set 4."""
    score = multilabel().score(jnp.asarray(LOGITS), jnp.asarray(SETS), jnp.asarray(MASK))
    assert float(score) == pytest.approx(2 * 2 / (5 + 4))


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        ([[1.0, -1.0]], [[1.0, 0.0]], 1.0),
        ([[-1.0, 1.0]], [[1.0, 0.0]], 0.0),
        ([[-1.0, -1.0]], [[0.0, 0.0]], 0.0),
        ([[0.0, 3.0]], [[1.0, 1.0]], 2 / 3),  # a logit of 0 predicts nothing
        ([[1.0, 1.0]], [[1.0, 0.0]], 2 / 3),
    ],
)
def test_micro_f1_by_hand(logits, labels, expected):
    score = multilabel().score(jnp.asarray(logits), jnp.asarray(labels), jnp.ones(1, bool))
    assert float(score) == pytest.approx(expected)


def test_squared_error_and_its_root_by_hand():
    """In the mask the errors are -1 0 1, 0 2 0 and 0 4 0: squares 22 over 9 numbers; by column 1, 20 and 1 over 3."""
    arguments = jnp.asarray(LOGITS), jnp.asarray(VALUES), jnp.asarray(MASK)
    assert float(regression().loss(*arguments)) == pytest.approx(22 / 9)
    assert float(regression().score(*arguments)) == pytest.approx(-(2 * np.sqrt(1 / 3) + np.sqrt(20 / 3)) / 3)
    expected = np.where(MASK[:, None], 2.0 * (LOGITS - VALUES) / 9.0, 0.0)
    np.testing.assert_allclose(jax.grad(regression().loss)(*arguments), expected, rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-30, 1e-20, 1.0, 1e20, 1e37])
def test_errors_in_any_unit_have_their_root(unit):
    """Squares of 1e-20 and of 1e20 are 0 and infinity in float32."""
    errors = np.array([[1.0], [-2.0], [3.0], [4.0]]) * unit
    score = regression().score(jnp.asarray(errors, jnp.float32), jnp.zeros((4, 1)), jnp.ones(4, bool))
    assert float(score) == pytest.approx(-np.sqrt(30 / 4) * unit, rel=1e-6, abs=0.0)


def test_errors_count_by_the_scale_of_their_column_and_scores_do_not():
    """The squares of the test before, 1, 20 and 1 by column, over the squares of 1, 2 and 4."""
    arguments = jnp.asarray(LOGITS), jnp.asarray(VALUES), jnp.asarray(MASK)
    scaled = regression([1.0, 2.0, 4.0])
    assert float(scaled.loss(*arguments)) == pytest.approx((1 + 20 / 4 + 1 / 16) / 9)
    assert float(scaled.score(*arguments)) == float(regression().score(*arguments))


def test_binary_is_what_scikit_learn_says_of_the_known_answers():
    """Unknown answers, ties, and a column with one answer alone."""
    rng = np.random.default_rng(0)
    logits = rng.integers(-3, 4, (40, 4)).astype(np.float32)
    labels = rng.integers(0, 2, (40, 4)).astype(np.float32)
    labels[rng.random((40, 4)) < 0.2] = np.nan
    labels[:, 3] = 1.0
    mask = rng.random(40) < 0.7
    known = mask[:, None] & ~np.isnan(labels)
    areas = [roc_auc_score(labels[known[:, c], c], logits[known[:, c], c]) for c in range(3)]
    arguments = jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(mask)
    assert float(multitask_binary().score(*arguments)) == pytest.approx(np.mean(areas), rel=1e-5)
    expected = log_loss(labels[known], 1 / (1 + np.exp(-logits[known].astype(np.float64))))
    assert float(multitask_binary().loss(*arguments)) == pytest.approx(expected, rel=1e-5)
    slope = jax.grad(multitask_binary().loss)(*arguments)
    assert np.isfinite(slope).all()
    assert not slope[~known].any()


@pytest.mark.parametrize("rare", [0.0, 1.0])
def test_the_area_is_exact_where_one_answer_is_rare(rare):
    rng = np.random.default_rng(0)
    labels = np.full((40_000, 1), 1.0 - rare, np.float32)
    labels[rng.choice(40_000, 50, replace=False)] = rare
    logits = (rng.normal(size=labels.shape) + labels).astype(np.float32)
    score = multitask_binary().score(jnp.asarray(logits), jnp.asarray(labels), jnp.ones(40_000, bool))
    assert float(score) == pytest.approx(roc_auc_score(labels, logits), abs=1e-6)


FLOAT_TASKS = pytest.mark.parametrize(
    ("task", "labels"), [(multilabel(), SETS), (regression(), VALUES), (multitask_binary(), SETS)]
)


@FLOAT_TASKS
@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e30])
def test_float_tasks_see_the_mask_alone(task, labels, garbage):
    spoil = lambda x: jnp.asarray(np.where(MASK[:, None], x, np.float32(garbage)))  # noqa: E731
    clean = jnp.asarray(LOGITS), jnp.asarray(labels), jnp.asarray(MASK)
    spoiled = spoil(LOGITS), spoil(labels), jnp.asarray(MASK)
    for function in (task.loss, task.score, jax.grad(task.loss)):
        np.testing.assert_array_equal(function(*spoiled), function(*clean))
    np.testing.assert_array_equal(jax.grad(task.loss)(*spoiled)[~MASK], np.zeros((2, 3)))


@FLOAT_TASKS
def test_float_tasks_have_no_loss_and_no_score_on_an_empty_mask(task, labels):
    arguments = jnp.asarray(LOGITS), jnp.asarray(labels), jnp.zeros(5, bool)
    assert float(task.loss(*arguments)) == 0.0
    assert np.isnan(task.score(*arguments))
    np.testing.assert_array_equal(jax.grad(task.loss)(*arguments), np.zeros((5, 3)))
