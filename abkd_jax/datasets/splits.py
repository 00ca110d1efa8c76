"""Splits for data sets that come without an official one."""

import numpy as np
from jaxtyping import Bool, Int

from abkd_jax.types import InputError

__all__ = ["folds", "in_shares", "per_class"]


def per_class(
    labels: Int[np.ndarray, " n"], train_per_class: int, val_per_class: int, rng: np.random.Generator
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Draws the same number of training and of validation nodes from every class; the rest is the test set.

    The protocol of Shchur et al. 2018 (arXiv 1811.05868, section 3), which takes 20 and 30 per class. Every class must
    leave at least one node to the test set; unlabelled nodes (-1) are in no mask.

    Args:
        labels: `[n]` classes, -1 where unlabelled.
        train_per_class: training nodes of each class.
        val_per_class: validation nodes of each class.
        rng: the source of the draw.

    Returns:
        The disjoint train, validation and test masks, each `[n]`.

    Raises:
        InputError: a class has too few nodes.

    Examples:
        >>> labels = np.arange(30) % 3
        >>> train, val, test = per_class(labels, 2, 3, np.random.default_rng(0))
        >>> np.bincount(labels[train]).tolist(), int(val.sum()), int(test.sum())
        ([2, 2, 2], 9, 15)
    """
    needed = train_per_class + val_per_class + 1
    order = rng.permutation(labels.shape[0])
    train, val, test = (np.zeros(labels.shape, bool) for _ in range(3))
    for label in np.unique(labels[labels >= 0]):
        members = order[labels[order] == label]
        if members.size < needed:
            raise InputError(
                f"split: class {label} has {members.size} nodes; {train_per_class} for training, {val_per_class} for "
                f"validation and at least 1 for testing make {needed}"
            )
        train[members[:train_per_class]] = True
        val[members[train_per_class : needed - 1]] = True
        test[members[needed - 1 :]] = True
    return train, val, test


def in_shares(
    known: Bool[np.ndarray, " n"], rng: np.random.Generator
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Draws 60 percent of the labelled items for training, up to 80 percent for validation; the rest is tests.

    Both ends are rounded down: of 4 items 2 are for training, 1 for validation and 1 for tests.

    Args:
        known: `[n]` the items with a label.
        rng: the source of the draw.

    Returns:
        The disjoint train, validation and test masks, each `[n]`.

    Examples:
        >>> masks = in_shares(np.arange(12) < 10, np.random.default_rng(0))
        >>> [int(mask.sum()) for mask in masks]
        [6, 2, 2]
    """
    order = rng.permutation(np.flatnonzero(known))
    ends = len(order) * 3 // 5, len(order) * 4 // 5
    masks = np.zeros((3, known.size), bool)
    for mask, members in zip(masks, np.split(order, ends), strict=True):
        mask[members] = True
    return masks[0], masks[1], masks[2]


def folds(labels: Int[np.ndarray, " n"], count: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Divides items into folds of equal size and equal class shares; both differ by at most one item.

    Args:
        labels: `[n]` classes.
        count: number of folds.
        rng: the source of the draw.

    Returns:
        `[n]` the fold of each item, in `[0, count)`.

    Examples:
        >>> np.bincount(folds(np.arange(20) % 2, 5, np.random.default_rng(0))).tolist()
        [4, 4, 4, 4, 4]
    """
    order = rng.permutation(labels.shape[0])
    by_class = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(labels.shape, np.int64)
    fold[by_class] = np.arange(labels.shape[0]) % count
    return fold
