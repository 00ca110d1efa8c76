"""Permutation tests of paired differences: every pair's sign may as well be the other one."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["RESAMPLES", "are_all_tried", "least_p", "settled", "sign_flip_p", "signed_rank_p", "with_ties"]

RESAMPLES = 9999  # of permutation and bootstrap; all sign flips are tried where they are no more than these
DIGITS = 9  # of the largest number: 0.853 - 0.851 and 0.743 - 0.741 shall be equal differences, in any unit


def settled(values: Any, digits: int = DIGITS) -> np.ndarray:
    """Rounds numbers to so many digits of the largest of them, so that those that differ by errors of floats are equal.

    Examples:
        >>> first, second = settled([8530.1 - 8510.1, 7430.1 - 7410.1])
        >>> bool(first == second)
        True
    """
    values = np.asarray(values, float)
    largest = float(np.max(np.abs(values), initial=0.0))
    return np.round(values, digits - 1 - math.floor(math.log10(largest))) if largest > 0.0 else values


def with_ties(differences: Sequence[float], error: float) -> list[float]:
    """Returns differences in which those that may differ by errors alone are equal: their sizes are next to each other.

    Args:
        differences: at least one.
        error: of a difference; sizes up to it are 0, and two equal ones are at most twice as far apart.

    Examples:
        >>> gain, _, loss = with_ties([0.008000016, 0.75, -0.007999956], 1e-7)  # 8 nodes of 1,000, in float32
        >>> gain == -loss
        True
    """
    d = np.asarray(differences, float)
    order = np.argsort(np.abs(d))
    sizes = np.abs(d)[order]
    group = np.cumsum(np.diff(sizes, prepend=-error) > 2.0 * error)  # 0: no difference
    means = np.bincount(group, sizes) / np.maximum(np.bincount(group), 1)
    means[0] = 0.0
    equal = np.empty_like(d)
    equal[order] = means[group]
    return (np.sign(d) * equal).tolist()


def sign_flip_p(groups: Sequence[Any], error: float = 0.0) -> float:
    """Returns the two-sided p of the permutation test of the mean of the means of groups: signs of pairs are flipped.

    It is exact up to 13 pairs; of more, the same signs are drawn every time. With n pairs it cannot be below `least_p`.

    Args:
        groups: values of each, one per pair.
        error: of a value; flips whose sums may differ by errors alone are ties.

    Examples:
        >>> sign_flip_p([[1.0, 2.0, 3.0, 4.0]])
        0.125
    """
    weighted = np.concatenate([np.asarray(group, float) / len(group) for group in groups])
    pairs = len(weighted)
    exact = are_all_tried(pairs)
    if exact:
        flips = np.arange(2**pairs)[:, None] >> np.arange(pairs) & 1
    else:
        flips = np.random.default_rng(0).integers(0, 2, (RESAMPLES, pairs))
    sums = np.append((1.0 - 2.0 * flips) @ weighted, weighted.sum())
    totals = np.abs(sums)
    noise = max(2.0 * error * len(groups), float(totals.max()) * 10.0**-DIGITS)  # of two sums of means
    as_large = np.count_nonzero(totals[:-1] >= totals[-1] - noise)
    return float(as_large / len(flips) if exact else (as_large + 1) / (len(flips) + 1))


def signed_rank_p(differences: Sequence[float]) -> float:
    """Returns the two-sided p of Wilcoxon's signed-rank test by sign flips, exact with ties; zeros are left out.

    Args:
        differences: not all zero.

    Sources: Wilcoxon (1945), Individual Comparisons by Ranking Methods.

    Examples:
        >>> signed_rank_p([0.3, -0.1, 0.2, 0.2, 0.0])
        0.25
    """
    from scipy import stats  # takes half a second, and only a report needs it

    d = np.asarray(differences, float)
    d = d[d != 0.0]
    return sign_flip_p([np.sign(d) * stats.rankdata(np.abs(d))])


def are_all_tried(pairs: int) -> bool:
    """Returns whether a test of so many pairs is exact."""
    return 2**pairs <= RESAMPLES


def least_p(pairs: int) -> float:
    """Returns the smallest two-sided p that sign flips of so many pairs can have.

    Examples:
        >>> least_p(10) * 100 > 0.05  # a hundred comparisons of ten pairs: none can be significant
        True
    """
    return max(2.0 ** (1 - pairs), 1.0 / (RESAMPLES + 1))
