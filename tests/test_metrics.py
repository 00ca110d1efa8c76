"""Against the evaluators of the Open Graph Benchmark on the same predictions."""

import numpy as np
import ogb_samples
import pytest

from abkd_jax import metrics
from abkd_jax.types import InputError


def evaluated(level, name, predictions, labels) -> float:
    evaluator = ogb_samples.ogb_module(f"{level}/evaluate.py").Evaluator(name)
    (score,) = evaluator.eval({"y_true": labels, "y_pred": predictions}).values()
    return float(score)


def sample(tasks: int, gaps: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and answers of which the last task has only one kind."""
    rng = np.random.default_rng(tasks)
    scores, labels = rng.normal(size=(50, tasks)).round(1), rng.integers(0, 2, (50, tasks)).astype(np.float32)
    if gaps:
        labels[rng.random(labels.shape) < 0.3] = np.nan
        labels[labels[:, -1] == 0, -1] = np.nan
    return scores, labels


@pytest.mark.parametrize("name", ["ogbn-arxiv", "ogbn-mag"])
def test_accuracy(name):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 3, 60)
    expected = evaluated("nodeproppred", name, np.argmax(logits, axis=1)[:, None], labels[:, None])
    assert 0.0 < expected < 1.0
    assert metrics.accuracy(logits, labels) == expected


@pytest.mark.parametrize(("name", "tasks", "gaps"), [("ogbg-molbace", 1, False), ("ogbg-moltox21", 12, True)])
def test_rocauc(name, tasks, gaps):
    scores, labels = sample(tasks, gaps)
    assert metrics.rocauc(scores, labels) == pytest.approx(
        evaluated("graphproppred", name, scores, labels), rel=1e-12, abs=0
    )


def test_rmse():
    rng = np.random.default_rng(0)
    predictions, labels = rng.normal(size=(40, 1)), rng.normal(size=(40, 1))
    labels[3:9] = np.nan
    expected = evaluated("graphproppred", "ogbg-molesol", predictions, labels)
    assert metrics.rmse(predictions, labels) == pytest.approx(expected, rel=1e-12, abs=0)


def test_rmse_is_a_mean_of_roots():
    assert metrics.rmse(np.array([[1.0, 3.0], [-1.0, 3.0]]), np.array([[0.0, 0.0], [0.0, np.nan]])) == 2.0


def test_what_cannot_be_scored_is_one_line():
    with pytest.raises(InputError, match="rocauc: none of 2 tasks has both answers"):
        metrics.rocauc(np.zeros((3, 2)), np.array([[1.0, np.nan]] * 3))
    with pytest.raises(InputError, match="rocauc: 1 scores are not finite"):
        metrics.rocauc(np.array([[np.nan], [0.0]]), np.array([[1.0], [0.0]]))
    with pytest.raises(InputError, match="rmse: a task has no label"):
        metrics.rmse(np.zeros((2, 1)), np.full((2, 1), np.nan))
    with pytest.raises(InputError, match="accuracy: no rows"):
        metrics.accuracy(np.zeros((0, 2)), np.zeros(0, np.int32))
