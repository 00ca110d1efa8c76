"""What losses and scores do with labels, masks and logits that are missing, wrong, or of 16 bits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from abkd_jax.training.tasks import classification, multilabel, multitask_binary, regression
from abkd_jax.types import InputError

CLASSES, MATRIX = np.array([0, 2, 1, 0], np.int32), np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]], np.float32)
LOGITS = np.array([[0, 1, 3], [2, 5, -1], [-1, 4, 0], [1, -2, 3]], np.float32)
MASK = np.array([True, True, False, True])
TASKS = {
    "classification": (classification(), CLASSES),
    "multilabel": (multilabel(), MATRIX),
    "binary": (multitask_binary(), MATRIX),
    "regression": (regression(), MATRIX),
}
every_task = pytest.mark.parametrize("name", TASKS)
of_numbers = pytest.mark.parametrize("name", ["multilabel", "binary", "regression"])


def _all(task, *arguments):
    """Loss, gradient and score."""
    loss, gradient, score = _compiled(task, *arguments)
    return float(loss), np.asarray(gradient), float(score)


@functools.partial(jax.jit, static_argnums=0)
def _compiled(task, *arguments):
    return *jax.value_and_grad(task.loss)(*arguments), task.score(*arguments)


def _wrong_arguments(labels):
    """Arguments of which one has another shape or type, by what is wrong, and the start of the message."""
    n = LOGITS.shape[0]
    good = {"logits": LOGITS, "labels": labels, "mask": MASK}
    classes = labels.ndim == 1
    others = {
        "labels of another rank": ("labels", labels[:, None] if classes else labels[:, 0], "labels are"),
        "labels in a column": ("labels", labels.reshape(n, -1)[:, :1], "labels are"),
        "labels of one row": ("labels", labels[:1], "labels are"),
        "labels of more rows": ("labels", np.concatenate([labels, labels]), "labels are"),
        "labels of another type": ("labels", labels.astype(np.float32 if classes else np.complex64), "labels are"),
        "no labels": ("labels", None, "labels: NoneType"),
        "text as labels": ("labels", np.full(labels.shape, "1"), "labels: ndarray"),
        "a mask of one": ("mask", MASK[:1], "the mask is"),
        "a mask of two ranks": ("mask", MASK[:, None], "the mask is"),
        "a mask of integers": ("mask", MASK.astype(np.int32), "the mask is int32"),
        "a mask of floats": ("mask", MASK.astype(np.float32), "the mask is float32"),
        "flat logits": ("logits", LOGITS[:, 0], "logits are"),
        "integer logits": ("logits", LOGITS.astype(np.int32), "logits are int32"),
        "no logits": ("logits", LOGITS[:, :0], "logits are"),
    }
    return {what: (list((good | {place: value}).values()), message) for what, (place, value, message) in others.items()}


@every_task
@pytest.mark.parametrize("what", _wrong_arguments(CLASSES))
def test_arguments_that_would_be_broadcast_or_cast_are_refused(name, what):
    task, labels = TASKS[name]
    arguments, message = _wrong_arguments(labels)[what]
    for function in (task.loss, task.score):
        with pytest.raises(InputError, match=f"^{message}") as caught:
            function(*arguments)
        assert "\n" not in str(caught.value)


def test_they_are_refused_under_jit():
    with pytest.raises(InputError, match=r"^labels are float32 \(4,\), expected numbers \(4, 1\) for logits \(4, 1\)"):
        jax.jit(regression().loss)(LOGITS[:, :1], MATRIX[:, 0], MASK)


def test_a_scale_for_other_columns_is_refused():
    with pytest.raises(InputError, match=r"^the scale is \(2,\), expected \(3,\), one number per output$"):
        regression([1.0, 2.0]).loss(LOGITS, MATRIX, MASK)


@of_numbers
@pytest.mark.parametrize("dtype", [bool, np.int32, np.uint8, np.float16])
def test_numbers_of_any_type_are_labels(name, dtype):
    task, labels = TASKS[name]
    got, expected = (_all(task, LOGITS, y, MASK) for y in (labels.astype(dtype), labels))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@every_task
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
def test_what_is_outside_the_mask_reaches_nothing(name, garbage):
    task, labels = TASKS[name]
    logits, spoiled = LOGITS.copy(), labels.copy()
    logits[~MASK] = garbage
    spoiled[~MASK] = -7 if labels.ndim == 1 else garbage
    got, expected = (_all(task, *arguments, MASK) for arguments in ((logits, spoiled), (LOGITS, labels)))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not got[1][~MASK].any()


def test_unlabelled_nodes_in_the_mask_are_left_out_of_the_mean():
    for hidden in (-1, -100):
        got = _all(classification(), LOGITS, np.where(MASK, CLASSES, hidden), np.ones(4, bool))
        for a, b in zip(got, _all(classification(), LOGITS, CLASSES, MASK), strict=True):
            np.testing.assert_array_equal(a, b)
    loss, gradient, score = _all(classification(), LOGITS, np.full(4, -1), MASK)
    assert (loss, np.isnan(score)) == (0.0, True)
    assert not gradient.any()


@of_numbers
def test_missing_labels_are_left_out_of_the_mean(name):
    """Means over the known labels by hand, on labels of which a row and single entries are missing."""
    labels = np.concatenate([MATRIX, 1 - MATRIX])
    logits, mask = np.concatenate([LOGITS, LOGITS[::-1]]), np.ones(8, bool)
    labels[2], labels[0, 1], labels[5, 0] = np.nan, np.nan, np.nan
    known = ~np.isnan(labels)
    z, y = logits.astype(np.float64), np.where(known, labels, 0.0)
    losses = (z - y) ** 2 if name == "regression" else np.log1p(np.exp(z)) - y * z
    slopes = 2 * (z - y) if name == "regression" else 1 / (1 + np.exp(-z)) - y
    hits, set_or_predicted = np.sum(known & (z > 0) & (y > 0.5)), np.sum(known & (z > 0)) + np.sum(known & (y > 0.5))
    scores = {
        "regression": lambda: -np.mean([np.sqrt(losses[known[:, c], c].mean()) for c in range(3)]),
        "binary": lambda: np.mean([roc_auc_score(y[known[:, c], c], z[known[:, c], c]) for c in range(3)]),
        "multilabel": lambda: 2 * hits / set_or_predicted,
    }
    loss, gradient, score = _all(TASKS[name][0], logits, labels, mask)
    assert loss == pytest.approx(losses[known].mean(), rel=1e-6)
    np.testing.assert_allclose(gradient, np.where(known, slopes / known.sum(), 0.0), rtol=1e-5, atol=1e-7)
    assert score == pytest.approx(scores[name](), rel=1e-6)


def test_a_column_without_a_target_is_left_out_of_the_score():
    labels = MATRIX.copy()
    labels[:, 1] = np.nan
    kept = [0, 2]
    expected = _all(regression(), LOGITS[:, kept], MATRIX[:, kept], MASK)
    got = _all(regression(), LOGITS, labels, MASK)
    assert got[0] == pytest.approx(expected[0], rel=1e-6)
    assert got[2] == pytest.approx(expected[2], rel=1e-6)
    assert np.isnan(regression().score(LOGITS, np.full_like(MATRIX, np.nan), MASK))


@pytest.mark.parametrize(
    ("name", "value"), [("classification", 3), ("classification", 1000), ("multilabel", 2.0), ("binary", -1.0)]
)
def test_a_label_that_is_none_makes_everything_nan(name, value):
    """Under `jit` no value can be refused, and training on it must not look ordinary."""
    task, labels = TASKS[name]
    labels = labels.copy()
    labels[(0, *[0] * (labels.ndim - 1))] = value
    loss, gradient, score = _all(task, LOGITS, labels, MASK)
    assert np.isnan([loss, score]).all()
    assert np.isnan(gradient).any()
    assert np.isfinite(_all(task, LOGITS, labels, MASK & (np.arange(4) > 0))[0])


@every_task
def test_a_logit_of_nan_in_the_mask_is_no_score(name):
    task, labels = TASKS[name]
    logits = LOGITS.copy()
    logits[0, 1] = np.nan
    loss, _, score = _all(task, logits, labels, MASK)
    assert np.isnan([loss, score]).all()


def test_classes_beyond_the_type_of_the_labels():
    """Class 257 is 1 in 8 bits."""
    logits = np.zeros((2, 300), np.float32)
    logits[0, 257] = logits[1, 1] = 1.0
    assert float(classification().score(logits, np.array([1, 1], np.uint8), np.ones(2, bool))) == 0.5


def test_an_infinite_logit_ranks_above_all_others():
    """And not with the unknown answers."""
    logits, labels = np.array([[np.inf], [1.0], [0.0], [2.0]], np.float32), np.array([[1.0], [0.0], [1.0], [np.nan]])
    assert float(multitask_binary().score(logits, labels.astype(np.float32), np.ones(4, bool))) == 0.5


ROWS = 5000  # more than float16 (2,048) and bfloat16 (256) can count


@every_task
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_16_bits_count_and_add_up_in_32(name, dtype):
    rng = np.random.default_rng(0)
    task, classes = TASKS[name][0], name == "classification"
    scale = 300.0 if name == "regression" else 3.0  # squares beyond 65,504
    logits = jnp.asarray(scale * rng.normal(size=(ROWS, 3)), dtype)
    labels = jnp.asarray(rng.integers(0, 3, ROWS) if classes else rng.integers(0, 2, (ROWS, 3)).astype(np.float32))
    mask = jnp.asarray(rng.random(ROWS) < 0.9)
    narrow, wide = (_compiled(task, z, labels, mask) for z in (logits, logits.astype(jnp.float32)))
    assert (narrow[0].dtype, narrow[1].dtype, narrow[2].dtype) == (jnp.float32, dtype, jnp.float32)
    assert (float(narrow[0]), float(narrow[2])) == (float(wide[0]), float(wide[2]))
    np.testing.assert_array_equal(np.asarray(narrow[1], np.float32), np.asarray(wide[1].astype(dtype), np.float32))
    assert np.isfinite(float(wide[0]))
