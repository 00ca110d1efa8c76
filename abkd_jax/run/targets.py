"""What labels ask of a model: their task, the units of real targets, and the score without a model."""

import numpy as np

from abkd_jax.layers.output import Units
from abkd_jax.training import tasks
from abkd_jax.training.tasks import Task
from abkd_jax.types import Dataset, GraphDataset

__all__ = ["TASKS", "mean_labels", "target_units", "task_of"]

TASKS = {"classification": tasks.classification, "multilabel": tasks.multitask_binary, "regression": tasks.regression}
ROUNDING = 1e-6  # of the largest target: targets that differ by less are one number


def target_units(dataset: Dataset | GraphDataset) -> Units | None:
    """Returns the deviations and the means of the real targets for training, column by column; None for other tasks.

    A column that is one number, or unknown, has deviation 1; one that is unknown has mean 0.

    Examples:
        >>> from abkd_jax import datasets
        >>> target_units(datasets.load("synthetic")) is None
        True
    """
    if dataset.task != "regression":
        return None
    known = np.ma.masked_invalid(dataset.labels[dataset.train_mask].astype(np.float64))
    spread, largest = known.std(axis=0).filled(0.0), np.abs(known).max(axis=0).filled(0.0)
    scale = np.where(spread > ROUNDING * largest, spread, 1.0)
    return Units(scale.astype(np.float32), known.mean(axis=0).filled(0.0).astype(np.float32))


def task_of(dataset: Dataset | GraphDataset) -> Task:
    """Returns the loss and the score of the labels; errors of real targets count by their deviations."""
    units = target_units(dataset)
    return TASKS[dataset.task]() if units is None else tasks.regression(units.scale)


def mean_labels(labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns the outputs of the best model that reads nothing: the share of each class, or the mean of each column.

    Args:
        labels: `[m]` classes, negative where unlabelled, or `[m, c]`, NaN where unknown.
        classes: number of outputs.

    Returns:
        `[c]` float32, NaN where nothing is known.

    Examples:
        >>> mean_labels(np.array([0, 1, 1, 1, -1]), 2).tolist()
        [0.25, 0.75]
        >>> mean_labels(np.array([[1.0, 2.0], [np.nan, 4.0]]), 2).tolist()
        [1.0, 3.0]
    """
    if labels.ndim == 1:
        labels = np.eye(classes, dtype=np.float32)[labels[labels >= 0]]
    known = np.ma.masked_invalid(labels.astype(np.float64))
    return known.mean(axis=0).filled(np.nan).astype(np.float32) if len(labels) else np.full(classes, np.nan, np.float32)
