"""Average ranks of methods over data sets, with the test of Friedman and the critical difference of Nemenyi.

Sources: Demsar (2006), Statistical Comparisons of Classifiers over Multiple Data Sets.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Ranks", "average_ranks", "cliques"]

ALPHA = 0.05


class Ranks(NamedTuple):
    """Average ranks.

    Attributes:
        ranks: average rank of every method, the best first; 1 is best, equal scores share the mean of their ranks.
        datasets: number of data sets.
        friedman_p: p of Friedman's test that no method differs; None below three methods or two data sets, or where
            all scores of every data set are equal.
        critical: difference of two average ranks from which methods differ at 5 % by Nemenyi's test; None below two
            methods or two data sets.
    """

    ranks: dict[str, float]
    datasets: int
    friedman_p: float | None
    critical: float | None


def average_ranks(scores: Mapping[str, Sequence[float]]) -> Ranks:
    """Returns the average ranks over data sets.

    Args:
        scores: of every method, at least two, its score on each data set, higher is better, the data sets in one order.

    Examples:
        >>> average_ranks({"a": [0.9, 0.8], "b": [0.7, 0.8]}).ranks
        {'a': 1.25, 'b': 1.75}
    """
    from scipy import stats  # takes a second, and only a report needs it

    if len(scores) < 2:  # a method alone has no rank
        return Ranks({}, 0, None, None)
    values = np.array(list(scores.values()), float)  # [methods, data sets]
    methods, datasets = values.shape
    ranks = stats.rankdata(-values, axis=0)
    order = np.argsort(ranks.mean(axis=1), kind="stable")
    names = list(scores)
    averages = {names[index]: float(ranks[index].mean()) for index in order}
    tested = methods > 2 and datasets > 1 and bool(np.ptp(ranks, axis=0).any())
    friedman: Any = stats.friedmanchisquare(*values) if tested else None
    critical = None
    if methods > 1 and datasets > 1:
        quantile = stats.studentized_range.ppf(1.0 - ALPHA, methods, np.inf) / np.sqrt(2.0)
        critical = float(quantile * np.sqrt(methods * (methods + 1) / (6.0 * datasets)))
    return Ranks(averages, datasets, None if friedman is None else float(friedman.pvalue), critical)


def cliques(found: Ranks) -> list[tuple[str, ...]]:
    """Returns the largest groups of neighbouring methods whose ranks differ by less than the critical difference.

    Examples:
        >>> cliques(Ranks({"a": 1.0, "b": 1.5, "c": 3.0}, 4, 0.01, critical=1.0))
        [('a', 'b')]
    """
    if found.critical is None:
        return []
    names, ranks = list(found.ranks), list(found.ranks.values())
    groups: list[tuple[str, ...]] = []
    end = 0
    for start, rank in enumerate(ranks):
        last = max(index for index, other in enumerate(ranks) if other - rank < found.critical)
        if last > max(start, end):
            groups.append(tuple(names[start : last + 1]))
            end = last
    return groups
