"""Permutation tests of paired differences: every pair's sign may as well be the other one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["RESAMPLES", "ROUNDING", "are_all_tried", "least_p", "sign_flip_p", "signed_rank_p"]

RESAMPLES = 9999  # of permutation and bootstrap; all sign flips are tried where they are no more than these
ROUNDING = 12  # decimals: 0.853 - 0.851 and 0.743 - 0.741 shall be equal differences


def sign_flip_p(groups: Sequence[Any]) -> float:
    """Returns the two-sided p of the permutation test of the mean of the means of groups: signs of pairs are flipped.

    It is exact up to 13 pairs; of more, the same signs are drawn every time. With n pairs it cannot be below `least_p`.

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
    totals = np.round(np.abs((1.0 - 2.0 * flips) @ weighted), ROUNDING)  # flips with equal sums shall be ties
    as_large = np.count_nonzero(totals >= round(abs(weighted.sum()), ROUNDING))
    return float(as_large / len(totals) if exact else (as_large + 1) / (len(totals) + 1))


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
