import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abkd_jax.tasks import classification, masked_mean

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


def test_an_empty_mask_gives_zero_and_a_zero_gradient():
    arguments = jnp.asarray(LOGITS), jnp.asarray(LABELS), jnp.zeros(5, bool)
    assert float(TASK.loss(*arguments)) == 0.0
    assert float(TASK.score(*arguments)) == 0.0
    np.testing.assert_array_equal(jax.grad(TASK.loss)(*arguments), np.zeros((5, 3)))


def test_masked_mean_reads_only_the_mask():
    values = jnp.asarray([1.0, np.nan, 4.0, np.inf])
    mask = jnp.asarray([True, False, True, False])
    assert float(masked_mean(values, mask)) == 2.5
    np.testing.assert_array_equal(jax.grad(masked_mean)(values, mask), [0.5, 0.0, 0.5, 0.0])
