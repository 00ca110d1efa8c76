"""The scores of the tasks against the evaluators of the Open Graph Benchmark, on the same predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import ogb_samples
import pytest

from abkd_jax.training import tasks


def evaluated(level, name, predictions, labels) -> float:
    evaluator = ogb_samples.ogb_module(f"{level}/evaluate.py").Evaluator(name)
    (score,) = evaluator.eval({"y_true": labels, "y_pred": predictions}).values()
    return float(score)


def score(task, logits, labels) -> float:
    """With rows outside the mask that must not count."""
    mask = jnp.arange(len(logits) + 5) < len(logits)
    extra = np.ones((5, *labels.shape[1:]), labels.dtype)
    padded = jnp.asarray(np.concatenate([logits, np.full((5, logits.shape[1]), 9.0)]), jnp.float32)
    return float(jax.jit(task.score)(padded, jnp.asarray(np.concatenate([labels, extra])), mask))


@pytest.mark.parametrize("name", ["ogbn-arxiv", "ogbn-mag"])
def test_accuracy(name):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    expected = evaluated("nodeproppred", name, np.argmax(logits, axis=1)[:, None], labels[:, None])
    assert 0.0 < expected < 1.0
    assert score(tasks.classification(), logits, labels.astype(np.int32)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("name", "columns", "gaps"), [("ogbg-molbace", 1, False), ("ogbg-moltox21", 12, True)])
def test_roc_auc(name, columns, gaps):
    """Scores with ties, unknown answers, and answers of which the last task has only one kind."""
    rng = np.random.default_rng(columns)
    logits, labels = rng.normal(size=(50, columns)).round(1), rng.integers(0, 2, (50, columns)).astype(np.float32)
    if gaps:
        labels[rng.random(labels.shape) < 0.3] = np.nan
        labels[labels[:, -1] == 0, -1] = np.nan
    expected = evaluated("graphproppred", name, logits, labels)
    assert score(tasks.multitask_binary(), logits, labels) == pytest.approx(expected, rel=1e-5)


def test_root_mean_squared_error():
    rng = np.random.default_rng(0)
    predictions, labels = rng.normal(size=(40, 1)), rng.normal(size=(40, 1)).astype(np.float32)
    expected = evaluated("graphproppred", "ogbg-molesol", predictions, labels)
    assert -score(tasks.regression(), predictions, labels) == pytest.approx(expected, rel=1e-5)
