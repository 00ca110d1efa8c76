"""Scores of predictions on the host, in float64: those by which the Open Graph Benchmark ranks (arXiv 2005.00687)."""

import numpy as np
from jaxtyping import Float, Int

from abkd_jax.types import InputError

__all__ = ["accuracy", "rmse", "rocauc"]


def accuracy(logits: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """The share of rows whose largest logit is the right one, in [0, 1].

    Args:
        logits: `[n, classes]`.
        labels: `[n]` classes.

    Raises:
        InputError: there is no row.
    """
    if not labels.size:
        raise InputError("accuracy: no rows; expected at least 1")
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def rocauc(scores: Float[np.ndarray, "n tasks"], labels: Float[np.ndarray, "n tasks"]) -> float:
    """Area under the ROC curve, in [0, 1]: the mean over the tasks in which both answers occur.

    Args:
        scores: `[n, tasks]`, larger where the answer is rather yes: logits or probabilities.
        labels: `[n, tasks]` 0, 1, or NaN where unknown; these are left out.

    Raises:
        InputError: both answers occur in no task, or a score of a known answer is not finite.
    """
    from sklearn.metrics import roc_auc_score

    areas = []
    for score, label in zip(scores.T, labels.T, strict=True):
        known = ~np.isnan(label)
        if np.unique(label[known]).size < 2:
            continue
        if not np.isfinite(score[known]).all():
            raise InputError(f"rocauc: {np.sum(~np.isfinite(score[known]))} scores are not finite; expected numbers")
        areas.append(roc_auc_score(label[known], score[known]))
    if not areas:
        raise InputError(f"rocauc: none of {labels.shape[1]} tasks has both answers; expected at least one that has")
    return float(np.mean(areas))


def rmse(predictions: Float[np.ndarray, "n tasks"], labels: Float[np.ndarray, "n tasks"]) -> float:
    """Root mean squared error in the units of the labels: the mean over the tasks of each one's root.

    Args:
        predictions: `[n, tasks]`.
        labels: `[n, tasks]`, NaN where unknown; these are left out.

    Raises:
        InputError: a task has no label.
    """
    known = ~np.isnan(labels)
    if not known.any(axis=0).all():
        raise InputError("rmse: a task has no label; expected at least one in each")
    residuals = np.where(known, predictions.astype(np.float64) - labels, 0.0)
    return float(np.mean(np.sqrt(np.sum(residuals**2, axis=0) / np.sum(known, axis=0))))
