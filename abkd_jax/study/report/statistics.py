"""Statistics of paired differences: intervals, tests, effect size, and Holm's correction for many tests."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from abkd_jax.run.report.statistics import MIN_PAIRS, ROUNDING, Estimate, estimate, paired_tests

__all__ = ["Difference", "bootstrap_interval", "difference", "holm", "least_p", "pooled", "sign_flip_p"]

RESAMPLES = 9999  # of bootstrap and permutation; all sign flips are tried where they are no more than these
CONFIDENCE = 0.95


class Difference(NamedTuple):
    """Paired differences of stored scores; above 0 the first is better. None where there are fewer than 3 pairs.

    Attributes:
        pairs: number of pairs.
        estimate: mean and standard deviation (ddof 1) of the differences.
        interval: bounds of the mean, as of `bootstrap_interval`.
        permutation_p: two-sided p of `sign_flip_p`.
        wilcoxon_p: two-sided p of the signed-rank test; None also where all differences are zero.
        t_p: two-sided p of the t-test; None also where all differences are equal.
        effect: Cohen's d_z, mean over standard deviation; None where the latter is 0.
    """

    pairs: int
    estimate: Estimate
    interval: tuple[float, float] | None
    permutation_p: float | None
    wilcoxon_p: float | None = None
    t_p: float | None = None
    effect: float | None = None


def difference(differences: Sequence[float], rng: np.random.Generator) -> Difference:
    """Returns the statistics of the differences of one data set.

    Args:
        differences: one per pair, at least one.
        rng: draws the resamples.

    Examples:
        >>> found = difference([0.03, 0.01, 0.02, 0.02], np.random.default_rng(0))
        >>> found.pairs, found.permutation_p, round(found.effect, 2)
        (4, 0.125, 2.45)
    """
    d = np.round(differences, ROUNDING)
    found = estimate(d.tolist())
    if len(d) < MIN_PAIRS:
        return Difference(len(d), found, None, None)
    t_p, wilcoxon_p = paired_tests(d.tolist())
    effect = found.mean / found.std if found.std and np.ptp(d) > 0.0 else None
    return Difference(len(d), found, bootstrap_interval([d], rng), sign_flip_p([d], rng), wilcoxon_p, t_p, effect)


def pooled(groups: Sequence[Sequence[float]], rng: np.random.Generator) -> Difference:
    """Returns the statistics of the mean over data sets of their mean differences: every data set weighs the same.

    The standard deviation is that of the means of the data sets; resamples and sign flips are those of pairs, so p and
    interval are about these data sets, not about all that could be.

    Args:
        groups: for every data set its differences, three or more.
        rng: draws the resamples.
    """
    arrays = [np.round(group, ROUNDING) for group in groups]
    means = estimate([float(np.mean(d)) for d in arrays])
    pairs = sum(map(len, arrays))
    return Difference(pairs, means, bootstrap_interval(arrays, rng), sign_flip_p(arrays, rng))


def bootstrap_interval(groups: Sequence[Any], rng: np.random.Generator) -> tuple[float, float] | None:
    """Returns the 95 % interval of the mean of the means of groups: BCa bootstrap within every group.

    Groups of fewer than three values have none; where no group varies it has no width.

    Sources: Efron (1987), Better Bootstrap Confidence Intervals.
    """
    from scipy import stats  # takes a second, and only a report needs it

    if not groups or min(map(len, groups)) < MIN_PAIRS:
        return None
    if all(np.ptp(group) == 0.0 for group in groups):
        mean = float(np.mean([np.mean(group) for group in groups]))
        return mean, mean

    def mean_of_means(*samples: Any, axis: int = -1) -> Any:
        return sum(np.mean(sample, axis=axis) for sample in samples) / len(samples)

    found = stats.bootstrap(
        tuple(groups), mean_of_means, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="BCa", rng=rng
    )
    low, high = found.confidence_interval
    return float(low), float(high)


def sign_flip_p(groups: Sequence[Any], rng: np.random.Generator) -> float:
    """Returns the two-sided p of the permutation test of the mean of the means of groups: signs of pairs are flipped.

    It is exact up to 13 pairs. With n pairs it cannot be below 2 / 2^n, see `least_p`.

    Examples:
        >>> sign_flip_p([[1.0, 2.0, 3.0, 4.0]], np.random.default_rng(0))
        0.125
    """
    from scipy import stats

    weighted = np.concatenate([np.asarray(group, float) / len(group) for group in groups])
    if not weighted.any():
        return 1.0

    def total(values: Any, axis: int = -1) -> Any:
        return np.round(np.sum(values, axis=axis), ROUNDING)  # flips with equal sums shall be ties

    found: Any = stats.permutation_test(
        (weighted,), total, permutation_type="samples", vectorized=True, n_resamples=RESAMPLES, rng=rng
    )
    return min(1.0, float(found.pvalue))


def least_p(pairs: int) -> float:
    """Returns the smallest two-sided p that sign flips of so many pairs can have.

    Examples:
        >>> least_p(10) * 100 > 0.05  # a hundred comparisons of ten pairs: none can be significant
        True
    """
    return max(2.0 ** (1 - pairs), 1.0 / (RESAMPLES + 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns p-values corrected for their number by Holm's step-down method; None is no test and counts for none.

    Sources: Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure.

    Examples:
        >>> holm([0.01, 0.04, None, 0.03])
        [0.03, 0.06, None, 0.06]
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        corrected[index] = largest
    return corrected
