"""The report of a run: a table of the methods, paired comparisons, a look at the collapse of ABKD, and figures."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tabulate

from abkd_jax import figures
from abkd_jax.files import read_arrays, read_json, read_json_lines, write_atomic
from abkd_jax.types import InputError

__all__ = [
    "Collapse",
    "Comparison",
    "Estimate",
    "Summary",
    "Trend",
    "collapse",
    "comparisons",
    "summarise",
    "table",
    "write_report",
]

BASELINES = ("supervised", "soft_label")
MIN_PAIRS = 3  # below, no test can tell anything
COLLAPSED_SHARE = 0.01  # of the first dissimilarity
ROUNDING = 12  # decimals: 0.853 - 0.851 and 0.743 - 0.741 are the same difference

ACCURACY_NOTE = """\
Accuracies are in percent, mean +- standard deviation (ddof 1) over the seeds. Test and validation accuracy are those
after the last epoch; "at best validation" is the test accuracy at the epoch with the best validation accuracy.
Compression is the parameters of the teacher over those of the method, latency the median time of one inference."""
COMPARISON_NOTE = """\
Test accuracy after the last epoch of the method less that of the baseline, in percentage points, paired by seed, mean
+- standard deviation (ddof 1) of the differences. Both p are two-sided and not corrected for the number of comparisons;
"-" stands where there are fewer than three pairs or the differences do not vary."""
COLLAPSE_NOTE = """\
Values at the first and at the last logged epoch, mean over seeds. D is the dissimilarity of the layers, the variance is
that of the projected teacher; a row entropy of 1 is uniform attention, 0 one-hot. Criterion: the alignment counts as
collapsed when D has fallen below 1 % of its first value; it then matches constants or a few easy directions."""
FIGURE_NOTE = """\
Lines are means over seeds, bands one standard deviation. The training losses of different methods are sums of different
terms and cannot be compared; the validation losses can."""

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


def table(summaries: Sequence[Summary], fmt: str = "simple") -> str:
    """The summaries as text; accuracies in percent as mean +- standard deviation.

    Args:
        summaries: as `summarise` gives them.
        fmt: a table format of `tabulate`: `"simple"` for a terminal, `"github"` for Markdown.
    """
    headers = ("method", "test accuracy %", "at best validation %", "validation %", "parameters", "compression")
    headers += ("latency ms", "training s", "seeds")
    rows = [
        (
            s.method,
            _percent(s.test),
            _percent(s.test_best_val),
            _percent(s.val),
            _text(s.parameters, ",d"),
            _text(s.compression, ".1f", "x"),
            _text(s.latency_ms, ".3g"),
            _text(s.seconds, ".1f"),
            str(s.seeds),
        )
        for s in summaries
    ]
    return _tabulate(rows, headers, fmt)


def collapse(metrics: Sequence[Record]) -> list[Collapse]:
    """How the layer alignment went, for every method that logs `"abkd/variance"`.

    A fall of the dissimilarity D alone does not show that the student has learnt: the trained projections can move both
    sides to constants, or onto one easy direction. The variance of the projected teacher, and D over it, tell which.

    Args:
        metrics: one mapping for every method, seed and epoch: `"method"`, `"seed"`, `"epoch"` and the logged scalars.
    """
    rows = []
    for method in dict.fromkeys(row["method"] for row in metrics):
        log = [row for row in metrics if row["method"] == method]
        variance = _trend(log, "abkd/variance")
        if variance is not None:
            others = (_trend(log, f"abkd/{name}") for name in ("dissimilarity", "unexplained", "row_entropy"))
            rows.append(Collapse(method, variance, *others))
    return rows


def write_report(run_folder: str | os.PathLike[str]) -> Path:
    """Write `report.md` and its figures into the folder of a run, finished or not.

    Reads `results.json`, `metrics.jsonl` and `maps.npz`, whichever are there. Files are written whole or not at all.

    Args:
        run_folder: the folder.

    Returns:
        The path of `report.md`.

    Raises:
        InputError: the folder holds none of the three files, or one of them is damaged.
    """
    folder = Path(run_folder)
    results_path, metrics_path, maps_path = (folder / name for name in ("results.json", "metrics.jsonl", "maps.npz"))
    if not any(path.exists() for path in (results_path, metrics_path, maps_path)):
        raise InputError(f"{folder}: expected the folder of a run, with results.json, metrics.jsonl or maps.npz")
    results = read_json(results_path) if results_path.exists() else {}
    metrics = read_json_lines(metrics_path) if metrics_path.exists() else []
    images = figures.run_figures(metrics, read_arrays(maps_path) if maps_path.exists() else {})
    records = results.get("records", [])
    summaries = summarise(records)
    sections = [
        *_heading(results, records, metrics),
        *(["## Accuracy", table(summaries, "github"), ACCURACY_NOTE] if summaries else ["No method has finished yet."]),
        *_comparison_section(records),
        *_collapse_section(metrics),
        *(["## Figures", FIGURE_NOTE] if images else []),
        *(f"![{image.caption}]({image.name})" for image in images),
    ]
    for image in images:
        write_atomic(folder / image.name, image.png)
    write_atomic(folder / "report.md", "\n\n".join(sections) + "\n")
    return folder / "report.md"


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


def _heading(results: Mapping[str, Any], records: Sequence[Record], metrics: Sequence[Record]) -> list[str]:
    runs = [*records, *metrics]
    seeds, methods = sorted({r["seed"] for r in runs}), dict.fromkeys(r["method"] for r in runs)
    versions = ", ".join(f"{name} {version}" for name, version in results.get("versions", {}).items())
    facts = {
        "Methods": ", ".join(methods),
        "Seeds": ", ".join(map(str, seeds)),
        "Commit": results.get("commit"),
        "Hardware": results.get("hardware"),
        "Versions": versions,
    }
    lines = [f"# Distillation on {results.get('dataset', 'an unknown data set')}"]
    if not results.get("complete", False):
        lines.append("**This run is not complete: the numbers below are those of what has finished.**")
    return [*lines, "\n".join(f"- {name}: {fact or 'unknown'}" for name, fact in facts.items())]


def _comparison_section(records: Sequence[Record]) -> list[str]:
    headers = ("method", "baseline", "difference", "seeds", "t-test p", "Wilcoxon p")
    rows = [
        (*c[:2], _percent(c.difference, "+"), str(c.pairs), _text(c.t_p, ".2g"), _text(c.wilcoxon_p, ".2g"))
        for baseline in BASELINES
        if any(record["method"] == baseline for record in records)
        for c in comparisons(records, baseline)
    ]
    return ["## Paired comparisons", _tabulate(rows, headers, "github"), COMPARISON_NOTE] if rows else []


def _collapse_section(metrics: Sequence[Record]) -> list[str]:
    headers = ("method", "D", "D / variance", "variance", "row entropy", "verdict")
    rows = [
        (c.method, *map(_arrow, (c.dissimilarity, c.unexplained, c.variance, c.row_entropy)), c.verdict)
        for c in collapse(metrics)
    ]
    return ["## Collapse of the layer alignment", _tabulate(rows, headers, "github"), COLLAPSE_NOTE] if rows else []


def _tabulate(rows: Sequence[tuple[str, ...]], headers: tuple[str, ...], fmt: str) -> str:
    align = ("left", *["right"] * (len(headers) - 1))
    return tabulate.tabulate(rows, headers, tablefmt=fmt, disable_numparse=True, colalign=align if rows else None)


def _percent(estimate: Estimate | None, sign: str = "") -> str:
    if estimate is None:
        return "-"
    std = "" if estimate.std is None else f" +- {100 * estimate.std:.2f}"
    return f"{100 * estimate.mean:{sign}.2f}{std}"


def _text(value: float | None, spec: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{spec}}{unit}"


def _arrow(trend: Trend | None) -> str:
    return "-" if trend is None else f"{trend.first:.3g} -> {trend.last:.3g}"
