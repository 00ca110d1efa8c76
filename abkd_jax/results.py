"""What the records of a run say: means over seeds, paired comparisons, signs of a collapse, shares of the gradient."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from abkd_jax.types import InputError

__all__ = [
    "Collapse",
    "Comparison",
    "Estimate",
    "GradientShare",
    "Record",
    "Summary",
    "Trend",
    "collapse",
    "comparisons",
    "gradient_shares",
    "summarise",
]

MIN_PAIRS = 3  # below, no test can tell anything
COLLAPSED_SHARE = 0.01  # of the first dissimilarity
ROUNDING = 12  # decimals: 0.853 - 0.851 and 0.743 - 0.741 are the same difference
SHARE_PREFIX = "gradient_share/"  # of the logged shares, before the name of the term

Record = Mapping[str, Any]


class Estimate(NamedTuple):
    """A mean over seeds and its standard deviation (ddof 1), None for a single seed."""

    mean: float
    std: float | None


class Summary(NamedTuple):
    """One method over its seeds. Accuracies in [0, 1]; None where the records do not tell.

    Attributes:
        method: its name.
        seeds: number of seeds.
        test: test accuracy after the last epoch.
        val: validation accuracy after the last epoch.
        test_best_val: test accuracy at the epoch of the best validation accuracy.
        parameters: number of parameters.
        compression: parameters of the teacher / parameters.
        latency_ms: median time of one inference, milliseconds.
        seconds: training time, mean over seeds.
    """

    method: str
    seeds: int
    test: Estimate
    val: Estimate | None
    test_best_val: Estimate | None
    parameters: int | None
    compression: float | None
    latency_ms: float | None
    seconds: float | None


class Comparison(NamedTuple):
    """The test accuracy of a method less that of a baseline, paired by seed.

    Attributes:
        method: the method.
        baseline: what it is compared with.
        pairs: number of seeds that both have.
        difference: mean and standard deviation of the differences, as a share of 1.
        t_p: two-sided p of the paired t-test; None below 3 pairs or where all differences are the same.
        wilcoxon_p: two-sided p of the Wilcoxon signed-rank test; None below 3 pairs or where all differences are zero.
    """

    method: str
    baseline: str
    pairs: int
    difference: Estimate
    t_p: float | None
    wilcoxon_p: float | None


class Trend(NamedTuple):
    """A logged quantity at the first and at the last logged epoch of each seed, mean over seeds."""

    first: float
    last: float


class Collapse(NamedTuple):
    """What tells whether the layer alignment of a method has collapsed; None where a quantity was not logged.

    Attributes:
        method: its name.
        variance: variance of the projected teacher layers.
        dissimilarity: D.
        unexplained: D / variance.
        row_entropy: entropy of the attention rows, 1 uniform, 0 one-hot.
    """

    method: str
    variance: Trend
    dissimilarity: Trend | None
    unexplained: Trend | None
    row_entropy: Trend | None

    @property
    def verdict(self) -> str:
        """`"collapsed"` when D has fallen below 1 % of its first value, `"no collapse"`, or `"unknown"` without D."""
        d = self.dissimilarity
        if d is None or not (math.isfinite(d.first) and math.isfinite(d.last)):
            return "unknown"
        return "collapsed" if d.last < COLLAPSED_SHARE * d.first else "no collapse"


class GradientShare(NamedTuple):
    """The share of one term in the gradient of a method.

    Attributes:
        method: its name.
        term: name of the term; "task" is the loss on the labels.
        share: in [0, 1]; the terms of a method sum to 1.
    """

    method: str
    term: str
    share: Trend


def summarise(records: Sequence[Record]) -> list[Summary]:
    """One row a method, in order of appearance.

    Args:
        records: one mapping for every method and seed, with `"method"`, `"seed"` and `"test_accuracy"`.

    Raises:
        InputError: a record lacks one of these, or a method has two records of one seed.
    """
    return [_summary(method, list(by_seed.values())) for method, by_seed in _by_method(records).items()]


def comparisons(records: Sequence[Record], baseline: str) -> list[Comparison]:
    """Every other method against a baseline, over the seeds that both have; methods without a common seed are left out.

    Args:
        records: as for `summarise`.
        baseline: the method to compare with.

    Raises:
        InputError: no record belongs to the baseline, or as for `summarise`.
    """
    methods = _by_method(records)
    if baseline not in methods:
        raise InputError(f"comparisons: expected the baseline {baseline!r} in the records, got {', '.join(methods)}")
    base = methods.pop(baseline)
    rows = []
    for method, by_seed in methods.items():
        seeds = [seed for seed in by_seed if seed in base]
        if seeds:
            differences = [by_seed[seed]["test_accuracy"] - base[seed]["test_accuracy"] for seed in seeds]
            rows.append(Comparison(method, baseline, len(seeds), _estimate(differences), *_p_values(differences)))
    return rows


def collapse(metrics: Sequence[Record]) -> list[Collapse]:
    """How the layer alignment went, for every method that logs `"abkd/attended_variance"`.

    A fall of the dissimilarity D alone does not show that the student has learnt: the trained projections can move both
    sides to constants, or onto one easy direction. The variance of the projected teacher, and D over it, tell which.

    Args:
        metrics: one mapping for every method, seed and epoch: `"method"`, `"seed"`, `"epoch"` and the logged scalars.
    """
    rows = []
    for method in dict.fromkeys(row["method"] for row in metrics):
        log = [row for row in metrics if row["method"] == method]
        variance = _trend(log, "abkd/attended_variance")
        if variance is not None:
            others = (
                _trend(log, f"abkd/{name}")
                for name in ("attended_dissimilarity", "attended_unexplained", "row_entropy")
            )
            rows.append(Collapse(method, variance, *others))
    return rows


def gradient_shares(metrics: Sequence[Record]) -> list[GradientShare]:
    """How the gradient of every method divides among its terms, for the methods that log `"gradient_share/<term>"`.

    Args:
        metrics: as for `collapse`.
    """
    rows = []
    for method in dict.fromkeys(row["method"] for row in metrics):
        log = [row for row in metrics if row["method"] == method]
        keys = dict.fromkeys(key for row in log for key in row if key.startswith(SHARE_PREFIX))
        trends = {key.removeprefix(SHARE_PREFIX): _trend(log, key) for key in keys}
        rows += [GradientShare(method, term, trend) for term, trend in trends.items() if trend is not None]
    return rows


def _by_method(records: Sequence[Record]) -> dict[str, dict[int, Record]]:
    methods: dict[str, dict[int, Record]] = {}
    for number, record in enumerate(records):
        missing = [key for key in ("method", "seed", "test_accuracy") if record.get(key) is None]
        if missing:
            raise InputError(f"record {number}: expected method, seed and test_accuracy, lacks {', '.join(missing)}")
        by_seed = methods.setdefault(record["method"], {})
        if record["seed"] in by_seed:
            raise InputError(f"records: expected one of {record['method']}, seed {record['seed']}, got two or more")
        by_seed[record["seed"]] = record
    return methods


def _summary(method: str, records: list[Record]) -> Summary:
    def values(key: str) -> list[Any]:
        return [record[key] for record in records if record.get(key) is not None]

    def first(key: str) -> Any:
        return next(iter(values(key)), None)

    return Summary(
        method=method,
        seeds=len(records),
        test=_estimate(values("test_accuracy")),
        val=_estimate(values("val_accuracy")) if values("val_accuracy") else None,
        test_best_val=_estimate(values("test_accuracy_best_val")) if values("test_accuracy_best_val") else None,
        parameters=first("parameters"),
        compression=first("compression"),
        latency_ms=first("latency_ms"),
        seconds=_estimate(values("seconds")).mean if values("seconds") else None,
    )


def _estimate(values: Sequence[float]) -> Estimate:
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


def _p_values(differences: Sequence[float]) -> tuple[float | None, float | None]:
    """Two-sided p of the t-test and of the signed-rank test of differences against zero."""
    from scipy import stats  # half a second, which only a report needs

    d = np.round(differences, ROUNDING)
    if len(d) < MIN_PAIRS or not d.any():
        return None, None
    signed_rank: Any = stats.wilcoxon(d)
    t_test: Any = stats.ttest_1samp(d, 0.0) if np.ptp(d) > 0.0 else None  # t is infinite for equal differences
    return float(t_test.pvalue) if t_test else None, float(signed_rank.pvalue)


def _trend(log: Sequence[Record], key: str) -> Trend | None:
    by_seed: dict[int, dict[int, float]] = {}
    for row in log:
        if row.get(key) is not None:
            by_seed.setdefault(row["seed"], {})[row["epoch"]] = row[key]
    if not by_seed:
        return None
    first, last = (float(np.mean([v[end(v)] for v in by_seed.values()])) for end in (min, max))
    return Trend(first, last)
