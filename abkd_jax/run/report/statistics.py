"""Statistics over the records of a run: means over the seeds that finished, and comparisons paired by seed."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from abkd_jax.run.report.sign_flips import are_all_tried, settled, signed_rank_p, with_ties
from abkd_jax.run.report.trends import (
    Collapse,
    GradientShare,
    Record,
    Trend,
    collapse,
    gradient_shares,
    is_finite,
)
from abkd_jax.types import METRICS, InputError, Metric

__all__ = [
    "MIN_PAIRS",
    "Collapse",
    "Comparison",
    "Estimate",
    "GradientShare",
    "Record",
    "Summary",
    "Trend",
    "collapse",
    "comparisons",
    "estimate",
    "gradient_shares",
    "mean_score",
    "metric_named",
    "metric_of",
    "paired_tests",
    "stored_error",
    "stored_score",
    "summarise",
]

MIN_PAIRS = 3  # with fewer, no test is meaningful
DIGITS = 12  # of means that are compared
FLOAT32 = 2.0**-23  # of a score: the error of a difference of two that a device has computed
SCORES = ("test_accuracy", "val_accuracy", "test_accuracy_best_val")
NUMBERS = (*SCORES, "diverged", "parameters", "compression", "latency_ms", "seconds")
NUMBERS += ("embedding_parameters", "compression_with_embeddings")


class Estimate(NamedTuple):
    """Mean over seeds, and standard deviation (ddof 1), None for a single seed."""

    mean: float
    std: float | None

    def agrees(self, other: "Estimate") -> bool:
        """Tells whether two means differ by at most the larger of the deviations.

        Examples:
            >>> Estimate(0.8, 0.02).agrees(Estimate(0.83, 0.04)), Estimate(0.8, None).agrees(Estimate(0.81, None))
            (True, False)
        """
        most = max(self.std or 0.0, other.std or 0.0)
        gap, most, *_ = settled([abs(self.mean - other.mean), most, self.mean, other.mean])
        return bool(gap <= most)


class Summary(NamedTuple):
    """Summary of a method over its seeds; scores as stored, higher is better; None where the records have no value.

    Means are over the seeds that finished with a defined score.

    Attributes:
        method: its name.
        seeds: number of seeds, including those that diverged or have no score.
        test: test score after the last epoch.
        val: validation score after the last epoch.
        test_best_val: test score at the epoch of the best validation score.
        parameters: number of parameters.
        compression: parameters of the teacher / parameters.
        latency_ms: median time of one inference, milliseconds.
        seconds: training time, mean over the seeds that finished.
        diverged: seeds that diverged, each with the epoch at which it was found non-finite.
        undefined: seeds that finished without a test score, as with an empty test mask.
        metric: metric of the scores.
    """

    method: str
    seeds: int
    test: Estimate | None
    val: Estimate | None
    test_best_val: Estimate | None
    parameters: int | None
    compression: float | None
    latency_ms: float | None
    seconds: float | None
    diverged: tuple[tuple[int, int], ...] = ()
    undefined: tuple[int, ...] = ()
    metric: Metric = METRICS["accuracy"]


class Comparison(NamedTuple):
    """Test score of a method minus that of a baseline, paired by seed.

    Attributes:
        method: name of the method.
        baseline: name of the baseline.
        pairs: number of seeds for which both have a score.
        difference: mean and standard deviation of the differences of the stored scores; above 0 the method is better.
        t_p: two-sided p of the paired t-test; None below 3 pairs or where all differences are the same.
        wilcoxon_p: two-sided p of the Wilcoxon signed-rank test; None below 3 pairs or where all differences are zero.
    """

    method: str
    baseline: str
    pairs: int
    difference: Estimate
    t_p: float | None
    wilcoxon_p: float | None


def metric_named(name: str) -> Metric:
    """Returns the metric of a name in the records.

    Raises:
        InputError: there is none.
    """
    if name not in METRICS:
        raise InputError(f"metric is {name!r}, expected one of {', '.join(METRICS)}")
    return METRICS[name]


def metric_of(records: Sequence[Record]) -> Metric:
    """Returns the metric of the records; those of the first versions name none and are accuracies.

    Raises:
        InputError: there are no records, they name several metrics, or one that is unknown.

    Examples:
        >>> metric_of([{"method": "abkd", "seed": 0, "test_accuracy": 0.9}]).heading
        'accuracy %'
    """
    names = dict.fromkeys(str(record.get("metric", "accuracy")) for record in records)
    if len(names) != 1:
        raise InputError(f"records: expected one metric in all of them, got {', '.join(names) or 'none'}")
    return metric_named(next(iter(names)))


def summarise(records: Sequence[Record]) -> list[Summary]:
    """Returns one summary per method, in order of appearance.

    Args:
        records: one mapping per method and seed, with `"method"`, `"seed"` and `"test_accuracy"`, which is None (or not
            finite) where the score is not defined; `"diverged"` is the epoch at which training of the seed stopped.

    Raises:
        InputError: a record lacks one of these or holds something else than a number, a method has two records of one
            seed, or as for `metric_of`.

    Examples:
        >>> records = [{"method": "abkd", "seed": s, "test_accuracy": x} for s, x in enumerate((0.75, 0.5, 1.0))]
        >>> summarise(records)[0].test
        Estimate(mean=0.75, std=0.25)
    """
    methods = _by_method(records)
    return [_summary(method, by_seed, metric_of(records)) for method, by_seed in methods.items()]


def comparisons(records: Sequence[Record], baseline: str) -> list[Comparison]:
    """Returns the comparison of every other method with a baseline, over the seeds that both finished.

    Methods without such a seed are left out.

    Args:
        records: as for `summarise`.
        baseline: name of the method to compare with.

    Raises:
        InputError: no record belongs to the baseline, or as for `summarise`.

    Examples:
        >>> scores = {"soft_label": (0.5, 0.75), "abkd": (0.625, 0.875)}
        >>> records = [
        ...     {"method": method, "seed": seed, "test_accuracy": score}
        ...     for method, of_seeds in scores.items()
        ...     for seed, score in enumerate(of_seeds)
        ... ]
        >>> row = comparisons(records, "soft_label")[0]
        >>> row.method, row.pairs, row.difference.mean
        ('abkd', 2, 0.125)
    """
    methods = _by_method(records)
    if baseline not in methods:
        raise InputError(f"comparisons: expected the baseline {baseline!r} in the records, got {', '.join(methods)}")
    base = _scores(methods.pop(baseline), "test_accuracy")
    rows = []
    for method, by_seed in methods.items():
        scores = _scores(by_seed, "test_accuracy")
        differences = [score - base[seed] for seed, score in scores.items() if seed in base]
        if differences:
            error = FLOAT32 * max(map(abs, (*scores.values(), *base.values())))
            tested = paired_tests(with_ties(differences, error))
            rows.append(Comparison(method, baseline, len(differences), estimate(differences), *tested))
    return rows


def _by_method(records: Sequence[Record]) -> dict[str, dict[int, Record]]:
    methods: dict[str, dict[int, Record]] = {}
    for number, record in enumerate(records):
        _check(number, record)
        by_seed = methods.setdefault(record["method"], {})
        if record["seed"] in by_seed:
            raise InputError(f"records: expected one of {record['method']}, seed {record['seed']}, got two or more")
        by_seed[record["seed"]] = record
    return methods


def _check(number: int, record: Record) -> None:
    """Raises an InputError where a damaged file holds something else than a record."""
    missing = [key for key in ("method", "seed", "test_accuracy") if key not in record]
    if missing:
        raise InputError(f"record {number}: expected method, seed and test_accuracy, lacks {', '.join(missing)}")
    kinds = {"method": str, "seed": int} | dict.fromkeys(NUMBERS, int | float | None)
    for key, kind in kinds.items():
        value = record.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            expected = {"method": "a name", "seed": "a whole number"}.get(key, "a number or null")
            raise InputError(f"record {number}: {key} is {value!r}, expected {expected}")


def _summary(method: str, by_seed: dict[int, Record], metric: Metric) -> Summary:
    diverged = {seed: record["diverged"] for seed, record in by_seed.items() if record.get("diverged") is not None}
    finished = {seed: record for seed, record in by_seed.items() if seed not in diverged}
    test, val, best = (_scores(by_seed, key) for key in SCORES)
    seconds = [record["seconds"] for record in finished.values() if is_finite(record.get("seconds"))]

    def first(key: str) -> Any:
        return next((record[key] for record in by_seed.values() if is_finite(record.get(key))), None)

    return Summary(
        method=method,
        seeds=len(by_seed),
        test=estimate(list(test.values())) if test else None,
        val=estimate(list(val.values())) if val else None,
        test_best_val=estimate(list(best.values())) if best else None,
        parameters=first("parameters"),
        compression=first("compression"),
        latency_ms=first("latency_ms"),
        seconds=estimate(seconds).mean if seconds else None,
        diverged=tuple(diverged.items()),
        undefined=tuple(seed for seed in finished if seed not in test),
        metric=metric,
    )


def _scores(by_seed: dict[int, Record], key: str) -> dict[int, float]:
    """Returns the defined scores of the seeds that did not diverge."""
    return {
        seed: float(record[key])
        for seed, record in by_seed.items()
        if record.get("diverged") is None and is_finite(record.get(key))
    }


def estimate(values: Sequence[float]) -> Estimate:
    """Returns mean and standard deviation of at least one value."""
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


def mean_score(values: Sequence[float]) -> float:
    """Returns the mean of at least one score to 12 digits: whatever the order of the seeds, equal means are ties.

    Examples:
        >>> mean_score([0.853, 0.851, 0.842, 0.861]) == mean_score([0.853, 0.851, 0.861, 0.842])
        True
    """
    return float(f"{np.mean(values):.{DIGITS}g}")


def stored_score(value: float, metric: str, digits: int = 6) -> float:
    """Returns a share with so many decimals, an error, whose unit may be any, with so many digits; NaN as it is.

    Examples:
        >>> stored_score(0.85123456, "accuracy"), stored_score(-3.1234567e-7, "-RMSE")
        (0.851235, -3.12346e-07)
    """
    return round(value, digits) if metric_named(metric).unit == "%" else float(f"{value:.{digits}g}")


def stored_error(metric: Metric, largest: float = 1.0, digits: int = 6) -> float:
    """Returns the largest error of a difference of two scores of which `stored_score` has kept so many digits.

    Args:
        metric: their metric.
        largest: size of the largest score; shares have an error that does not depend on it.
        digits: of `stored_score`.

    Examples:
        >>> stored_error(METRICS["accuracy"]), stored_error(METRICS["-RMSE"], 123.456)
        (1e-06, 0.001)
    """
    exponent = 0 if metric.unit == "%" or not largest else 1 + math.floor(math.log10(largest))
    return float(f"1e{exponent - digits}")


def paired_tests(differences: Sequence[float]) -> tuple[float | None, float | None]:
    """Returns the two-sided p of the t-test and of the signed-rank test of differences against zero.

    Both are None below 3 differences or where all are zero, that of the t-test also where all are equal.
    """
    from scipy import stats  # takes half a second, and only a report needs it

    d = settled(differences)
    if len(d) < MIN_PAIRS or not d.any():
        return None, None
    exact = are_all_tried(len(d))  # SciPy's own takes a second where differences are equal
    wilcoxon_p = signed_rank_p(d.tolist()) if exact else cast("Any", stats.wilcoxon(d)).pvalue
    t_test: Any = stats.ttest_1samp(d, 0.0) if np.ptp(d) > 0.0 else None  # t is infinite for equal differences
    return float(t_test.pvalue) if t_test else None, float(wilcoxon_p)
