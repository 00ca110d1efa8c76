"""Tables of a run as text: methods, paired comparisons, collapse of the alignment, gradient shares."""

from collections.abc import Mapping, Sequence
from typing import Any

import tabulate

from abkd_jax.run.report.statistics import Comparison, Estimate, Summary, metric_named
from abkd_jax.run.report.trends import Collapse, GradientShare, Trend, is_finite
from abkd_jax.types import InputError, Metric

__all__ = [
    "collapse_table",
    "comparison_table",
    "format_score",
    "gradient_table",
    "latency_table",
    "remarks",
    "table",
]


def table(summaries: Sequence[Summary], fmt: str = "simple", metric: str | Metric | None = None) -> str:
    """Returns the summaries as text; scores as mean +- standard deviation, in the unit of the metric.

    Args:
        summaries: as from `summarise`.
        fmt: a table format of `tabulate`: `"simple"` for a terminal, `"github"` for Markdown.
        metric: the metric or its stored name; None takes that of the summaries.

    Raises:
        InputError: the metric is unknown, or the summaries have several.

    Examples:
        >>> summary = Summary("abkd", 3, Estimate(0.8526, 0.0054), *[None] * 6)
        >>> table([summary]).splitlines()[-1].split()
        ['abkd', '85.26', '+-', '0.54', '-', '-', '-', '-', '-', '-', '3']
    """
    metric = _metric(summaries, metric)
    unit = f" {metric.unit}".rstrip()
    headers = ("method", f"test {metric.heading}", f"at best validation{unit}", f"validation{unit}", "parameters")
    headers += ("compression", "latency ms", "training s", "seeds")
    rows = [
        (
            s.method,
            *(_estimate(estimate, metric) for estimate in (s.test, s.test_best_val, s.val)),
            _text(s.parameters, ",d"),
            _text(s.compression, ".1f" if s.compression is None or s.compression >= 1.0 else ".3g", "x"),
            _text(s.latency_ms, ".3g"),
            _text(s.seconds, ".1f"),
            _seeds(s.seeds, diverged=len(s.diverged), undefined=len(s.undefined)),
        )
        for s in summaries
    ]
    return _tabulate(rows, headers, fmt)


def remarks(summaries: Sequence[Summary]) -> list[str]:
    """Returns remarks on single methods, one line each; usually none.

    These are seeds that diverged or have no score, and models that are larger than their teacher.
    """
    lines = []
    for s in summaries:
        lines += [
            f"{s.method}, seed {seed}: diverged at epoch {epoch}, left out of all means" for seed, epoch in s.diverged
        ]
        if s.undefined:
            seeds = f"seed{'s' * (len(s.undefined) > 1)} {', '.join(map(str, s.undefined))}"
            lines.append(f"{s.method}, {seeds}: the test {s.metric.name} is not defined, left out of its mean")
        if s.compression is not None and s.compression < 1.0:
            lines.append(f"{s.method}: {s.compression:.3g}x: larger than its teacher")
    return lines


def comparison_table(comparisons: Sequence[Comparison], metric: Metric) -> str:
    """Returns paired comparisons as Markdown, differences in the unit of the metric."""
    headers = ("method", "baseline", "difference", "seeds", "t-test p", "Wilcoxon p")
    rows = [
        (*c[:2], _estimate(c.difference, metric, "+"), str(c.pairs), _text(c.t_p, ".2g"), _text(c.wilcoxon_p, ".2g"))
        for c in comparisons
    ]
    return _tabulate(rows, headers, "github")


def collapse_table(rows: Sequence[Collapse]) -> str:
    """Returns the indicators of a collapse as Markdown, each quantity at its first and last epoch."""
    headers = ("method", "D", "D / variance", "variance", "row entropy", "seeds", "verdict")
    cells = [
        (
            c.method,
            *map(_arrow, (c.dissimilarity, c.unexplained, c.variance, c.row_entropy)),
            _seeds(c.seeds, not_finite=c.not_finite),
            c.verdict,
        )
        for c in rows
    ]
    return _tabulate(cells, headers, "github")


def gradient_table(rows: Sequence[GradientShare]) -> str:
    """Returns the shares of the gradient as Markdown, each at its first and last epoch."""
    cells = [(*g[:2], _arrow(g.share), _seeds(g.seeds, not_finite=g.not_finite)) for g in rows]
    return _tabulate(cells, ("method", "term", "share", "seeds"), "github")


def latency_table(rows: Sequence[Mapping[str, Any]], fmt: str = "simple") -> str:
    """Returns measured latencies as text, milliseconds; how many times faster than the first row in brackets.

    Args:
        rows: as `run.timing.time_model` returns them, the teacher first.
        fmt: a table format of `tabulate`.

    Examples:
        >>> one, cost = {"p50": 2.0, "p99": 3.0, "cold": 90.0}, {"warm": 4.0, "cold": 99.0, "flops": 2e6}
        >>> cost |= {"weight_bytes": 4096, "program_bytes": 2**20}
        >>> text = latency_table([{"method": "teacher", "one": one, "batch": None, "all": cost}])
        >>> text.splitlines()[-1].split()
        ['teacher', '2', '(1x)', '3', '90', '-', '-', '4', '(1x)', '99', '2', '4', '1']
    """
    headers = ("method", "one p50", "p99", "cold", "256 p50", "cold", "all", "cold", "MFLOP", "KiB", "MiB program")
    cells = []
    for row in rows:
        one, batch, cost = (row[part] or {} for part in ("one", "batch", "all"))
        cells.append(
            (
                row["method"],
                _faster(rows, row, "one", "p50"),
                *(_text(one.get(key), ".3g") for key in ("p99", "cold")),
                _faster(rows, row, "batch", "p50"),
                _text(batch.get("cold"), ".3g"),
                _faster(rows, row, "all", "warm"),
                _text(cost.get("cold"), ".3g"),
                *(
                    _text(cost[key] / unit if key in cost else None, ".4g")
                    for key, unit in (("flops", 1e6), ("weight_bytes", 2**10), ("program_bytes", 2**20))
                ),
            )
        )
    return _tabulate(cells, headers, fmt)


def _faster(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any], part: str, key: str) -> str:
    """Returns a time, and how many times faster it is than that of the first row."""
    first, own = ((of[part] or {}).get(key) for of in (rows[0], row))
    return _text(own, ".3g") + (f" ({first / own:.3g}x)" if first and own else "")


def format_score(score: float | None, metric: Metric, std: float | None = None, sign: str = "") -> str:
    """Returns a stored score, or a difference of two, in the unit of the metric; `"-"` where it is not defined.

    Args:
        score: the score as stored, or a mean of several.
        metric: metric of the score.
        std: standard deviation of the scores.
        sign: `"+"` writes the sign of positive values too.

    Examples:
        >>> format_score(0.8526, metric_named("accuracy"), std=0.0054)
        '85.26 +- 0.54'
    """
    if not is_finite(score):
        return "-"
    mean_spec, std_spec = (".2f", ".2f") if metric.unit == "%" else (".4g", ".2g")  # targets have any scale
    spread = "" if std is None else f" +- {abs(metric.factor) * std:{std_spec}}"
    return f"{metric.factor * score + 0.0:{sign}{mean_spec}}{spread}"  # + 0.0: no minus before a zero


def _estimate(estimate: Estimate | None, metric: Metric, sign: str = "") -> str:
    return "-" if estimate is None else format_score(estimate.mean, metric, estimate.std, sign)


def _metric(summaries: Sequence[Summary], metric: str | Metric | None) -> Metric:
    if isinstance(metric, str):
        return metric_named(metric)
    found = list(dict.fromkeys(s.metric for s in summaries)) if metric is None else [metric]
    if len(found) > 1:
        raise InputError(f"table: expected summaries of one metric, got {', '.join(m.name for m in found)}")
    return found[0] if found else metric_named("accuracy")


def _seeds(seeds: int | None, **left_out: int) -> str:
    """Returns the number of seeds, and in brackets how many of them are not in the means."""
    reasons = ", ".join(f"{number} {reason.replace('_', ' ')}" for reason, number in left_out.items() if number)
    return f"{_text(seeds, 'd')} ({reasons})" if reasons else _text(seeds, "d")


def _tabulate(rows: Sequence[tuple[str, ...]], headers: tuple[str, ...], fmt: str) -> str:
    align = ("left", *["right"] * (len(headers) - 1))
    return tabulate.tabulate(rows, headers, tablefmt=fmt, disable_numparse=True, colalign=align if rows else None)


def _text(value: float | int | None, spec: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{spec}}{unit}"


def _arrow(trend: Trend | None) -> str:
    return "-" if trend is None else f"{trend.first:.3g} -> {trend.last:.3g}"
