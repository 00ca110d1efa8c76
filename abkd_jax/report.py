"""The report of a run: a table of the methods, paired comparisons, collapse of ABKD, gradient shares, and figures."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tabulate

from abkd_jax import figures
from abkd_jax.files import read_arrays, read_json, read_json_lines, write_atomic
from abkd_jax.results import Estimate, Record, Summary, Trend, collapse, comparisons, gradient_shares, summarise
from abkd_jax.types import InputError

__all__ = ["table", "write_report"]

BASELINES = ("supervised", "soft_label")

ACCURACY_NOTE = """\
Accuracies are in percent, mean +- standard deviation (ddof 1) over the seeds. Test and validation accuracy are those
after the last epoch; "at best validation" is the test accuracy at the epoch with the best validation accuracy.
Compression is the parameters of the teacher over those of the method, latency the median time of one inference.
Seeds that train side by side share one training time."""
EMBEDDING_NOTE = """\
Parameters and compression leave out the trained vectors of nodes without features, as the paper does. Their number, and
the compression that counts them in:"""
COMPARISON_NOTE = """\
Test accuracy after the last epoch of the method less that of the baseline, in percentage points, paired by seed, mean
+- standard deviation (ddof 1) of the differences. Both p are two-sided and not corrected for the number of comparisons;
"-" stands where there are fewer than three pairs or the differences do not vary."""
COLLAPSE_NOTE = """\
Values before the first and after the last epoch, mean over seeds, over layer pairs weighted by the attention. D is the
dissimilarity of the layers, the variance is that of the projected teacher; a row entropy of 1 is uniform attention, 0
one-hot. Criterion: the alignment counts as collapsed when D has fallen below 1 % of its first value; it then matches
constants or a few easy directions."""
GRADIENT_NOTE = """\
Norm of the gradient that each weighted term sends to the student's parameters over the sum of these norms, before the
first and after the last epoch, mean over seeds. "task" is the loss on the labels. A term of small share moves the
student little, whatever its value."""
FIGURE_NOTE = """\
Lines are means over seeds, bands one standard deviation. The training losses of different methods are sums of different
terms and cannot be compared; the validation losses can."""


def table(summaries: Sequence[Summary], fmt: str = "simple", metric: str = "accuracy") -> str:
    """The summaries as text; accuracies, or what else the metric is, in percent as mean +- standard deviation.

    Args:
        summaries: as `summarise` gives them.
        fmt: a table format of `tabulate`: `"simple"` for a terminal, `"github"` for Markdown.
        metric: name of the score, for the heading.
    """
    headers = ("method", f"test {metric} %", "at best validation %", "validation %", "parameters", "compression")
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
    sections = [
        *_heading(results, records, metrics),
        *_accuracy_section(records),
        *_comparison_section(records),
        *_collapse_section(metrics),
        *_gradient_section(metrics),
        *(["## Figures", FIGURE_NOTE] if images else []),
        *(f"![{image.caption}]({image.name})" for image in images),
    ]
    for image in images:
        write_atomic(folder / image.name, image.png)
    write_atomic(folder / "report.md", "\n\n".join(sections) + "\n")
    return folder / "report.md"


def _accuracy_section(records: Sequence[Record]) -> list[str]:
    """The table and what its numbers are; compression has two readings where nodes have trained vectors."""
    if not records:
        return ["No method has finished yet."]
    rows = table(summarise(records), "github", records[0].get("metric", "accuracy"))
    with_vectors = {r["method"]: r for r in records if "compression_with_embeddings" in r}
    if not with_vectors:
        return ["## Accuracy", rows, ACCURACY_NOTE]
    counts = ", ".join(
        f"{name} {r['embedding_parameters']:,} ({r['compression_with_embeddings']:.3f}x)"
        for name, r in with_vectors.items()
    )
    return ["## Accuracy", rows, ACCURACY_NOTE, f"{EMBEDDING_NOTE} {counts}."]


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


def _gradient_section(metrics: Sequence[Record]) -> list[str]:
    rows = [(*g[:2], _arrow(g.share)) for g in gradient_shares(metrics)]
    headers = ("method", "term", "share")
    return ["## Gradient shares", _tabulate(rows, headers, "github"), GRADIENT_NOTE] if rows else []


def _tabulate(rows: Sequence[tuple[str, ...]], headers: tuple[str, ...], fmt: str) -> str:
    align = ("left", *["right"] * (len(headers) - 1))
    return tabulate.tabulate(rows, headers, tablefmt=fmt, disable_numparse=True, colalign=align if rows else None)


def _percent(estimate: Estimate | None, sign: str = "") -> str:
    if estimate is None:
        return "-"
    std = "" if estimate.std is None else f" +- {100 * estimate.std:.2f}"
    return f"{100 * estimate.mean:{sign}.2f}{std}"


def _text(value: float | int | None, spec: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{spec}}{unit}"


def _arrow(trend: Trend | None) -> str:
    return "-" if trend is None else f"{trend.first:.3g} -> {trend.last:.3g}"
