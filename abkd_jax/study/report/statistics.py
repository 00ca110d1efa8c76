"""Statistics of paired differences: intervals, tests, effect size, and Holm's correction for many tests."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from abkd_jax.run.report.sign_flips import RESAMPLES, settled, sign_flip_p, with_ties
from abkd_jax.run.report.statistics import MIN_PAIRS, Estimate, estimate, paired_tests

__all__ = ["Difference", "bootstrap_interval", "difference", "holm", "pooled"]

CONFIDENCE = 0.95
DIGITS = 12  # of means, which differ by the order of sums alone


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


def difference(differences: Sequence[float], error: float = 0.0) -> Difference:
    """Returns the statistics of the differences of one data set.

    Args:
        differences: one per pair, at least one.
        error: of a difference, as `stored_error` has it; what may differ by errors alone are ties of the tests.

    Examples:
        >>> found = difference([0.03, 0.01, 0.02, 0.02])
        >>> found.pairs, found.permutation_p, round(found.effect, 2)
        (4, 0.125, 2.45)
    """
    d = settled(differences)
    found = estimate(d.tolist())
    if len(d) < MIN_PAIRS:
        return Difference(len(d), found, None, None)
    t_p, wilcoxon_p = paired_tests(with_ties(d.tolist(), error))
    effect = found.mean / found.std if found.std and np.ptp(d) > 0.0 else None
    return Difference(len(d), found, bootstrap_interval([d]), sign_flip_p([d], error), wilcoxon_p, t_p, effect)


def pooled(groups: Sequence[Sequence[float]], error: float = 0.0) -> Difference:
    """Returns the statistics of the mean over data sets of their mean differences: every data set weighs the same.

    The standard deviation is that of the means of the data sets; resamples and sign flips are those of pairs, so p and
    interval are about these data sets, not about all that could be.

    Args:
        groups: for every data set its differences, three or more.
        error: of a difference, as for `difference`.
    """
    arrays = [settled(group) for group in groups]
    means = estimate([float(np.mean(d)) for d in arrays])
    pairs = sum(map(len, arrays))
    return Difference(pairs, means, bootstrap_interval(arrays), sign_flip_p(arrays, error))


def bootstrap_interval(groups: Sequence[Any]) -> tuple[float, float] | None:
    """Returns the 95 % interval of the mean of the means of groups: BCa bootstrap within every group.

    Groups of fewer than three values have none; where no group varies it has no width. The resamples are drawn here,
    because releases of SciPy draw others: the same groups have the same interval wherever it is reported.

    Sources: Efron (1987), Better Bootstrap Confidence Intervals.
    """
    if not groups or min(map(len, groups)) < MIN_PAIRS:
        return None
    rng = np.random.default_rng(0)
    arrays = [np.asarray(group, float) for group in groups]
    mean = float(np.mean([array.mean() for array in arrays]))
    if all(np.ptp(array) == 0.0 for array in arrays):
        return mean, mean
    resampled = [array[rng.integers(0, len(array), (RESAMPLES, len(array)))].mean(axis=1) for array in arrays]
    found = settled(np.append(np.mean(resampled, axis=0), mean), DIGITS)  # equal means shall be ties
    means, at = found[:-1], found[-1]
    normal = NormalDist()
    bias = normal.inv_cdf(float(np.mean(means < at) + np.mean(means <= at)) / 2.0)
    influence = np.concatenate([(array - array.mean()) / len(array) for array in arrays])  # that of the jackknife
    acceleration = np.sum(influence**3) / (6.0 * np.sum(influence**2) ** 1.5)
    shifts = [bias + normal.inv_cdf(tail) for tail in (0.5 - CONFIDENCE / 2.0, 0.5 + CONFIDENCE / 2.0)]
    low, high = np.quantile(means, [normal.cdf(bias + z / (1.0 - acceleration * z)) for z in shifts])
    return float(low), float(high)


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
