"""Report of a run in Markdown: provenance of its records, tables with notes on their meaning, and figures."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.datasets.files.atomic import read_arrays, read_json, read_json_lines, write_atomic
from abkd_jax.datasets.files.manifest import check_seal
from abkd_jax.run.report import figures
from abkd_jax.run.report.canvas import MISSING, can_draw
from abkd_jax.run.report.latency import latency_section, read_latency
from abkd_jax.run.report.origin import data_facts, data_title, program_facts
from abkd_jax.run.report.statistics import comparisons, metric_of, summarise
from abkd_jax.run.report.tables import (
    collapse_table,
    comparison_table,
    format_score,
    gradient_table,
    remarks,
    table,
)
from abkd_jax.run.report.trends import Record, collapse, gradient_shares
from abkd_jax.types import InputError, Metric

__all__ = ["format_score", "remarks", "table", "write_report"]

log = logging.getLogger(__name__)

BASELINES = ("supervised", "soft_label")

SCORE_NOTE = """\
The {metric} is {unit}, {direction} is better, mean +- standard deviation (ddof 1) over the seeds. Seeds that diverged
or have no score are counted in brackets and left out of the means. Test and validation {metric} are those after the
last epoch; "at best validation" is the test {metric} at the epoch with the best validation {metric}. Compression is the
parameters of the teacher over those of the method, latency the median time of one inference. Seeds that train side by
side share one training time."""
EMBEDDING_NOTE = """\
Parameters and compression leave out the learned node embeddings of nodes without features, as the paper does. Their
number, and the compression with them:"""
COMPARISON_NOTE = """\
Test {metric} after the last epoch of the method less that of the baseline, in {unit}, paired by the
seeds that both finished, mean +- standard deviation (ddof 1) of the differences; {sign} differences are better.
Both p are two-sided and not corrected for the number of comparisons; "-" stands where there are fewer than three pairs
or the differences do not vary."""
COLLAPSE_NOTE = """\
Values before the first and after the last epoch, mean over seeds, over layer pairs weighted by the attention. D is the
dissimilarity of the layers, the variance is that of the projected teacher; a row entropy of 1 is uniform attention, 0
one-hot. Criterion: the alignment counts as collapsed when D has fallen below 1 % of its first value; it then matches
constants or a few easy directions."""
GRADIENT_NOTE = """\
Norm of the gradient that each weighted term sends to the student's parameters over the sum of these norms, before the
first and after the last epoch, mean over seeds. "task" is the loss on the labels. A term of small share moves the
student little, whatever its value."""
DIVERGED_NOTE = "Seeds that diverged are left out here and in the learning curves."
FIGURE_NOTE = """\
Lines are means over seeds, bands one standard deviation. The training losses of different methods are sums of different
terms and cannot be compared; the validation losses can."""
MAP_NOTE = """\
Layer maps are those of single seeds. Where there are more seeds than shown and attention is one-hot, a last row gives
for every pair the share of seeds that put the whole weight of a teacher layer on it."""


def write_report(run_folder: str | os.PathLike[str]) -> Path:
    """Writes `report.md` and its figures into the folder of a run, finished or not.

    Reads `results.json`, `metrics.jsonl` and `maps.npz`, as far as they exist. Files are written whole or not at all.
    Without matplotlib, the report has no figures and the log says so; a later call draws them.

    Args:
        run_folder: the folder.

    Returns:
        The path of `report.md`.

    Raises:
        InputError: the folder holds none of the three files, one of them is damaged, or the report cannot be written.
    """
    folder = Path(run_folder)
    results_path, metrics_path, maps_path = (folder / name for name in ("results.json", "metrics.jsonl", "maps.npz"))
    if not any(path.exists() for path in (results_path, metrics_path, maps_path)):
        raise InputError(f"{folder}: expected the folder of a run, with results.json, metrics.jsonl or maps.npz")
    check_seal(folder, [path.name for path in (results_path, metrics_path, maps_path)])
    timed = read_latency(folder)
    results, records = _read_results(results_path) if results_path.exists() else ({}, [])
    metrics = _read_metrics(metrics_path) if metrics_path.exists() else []
    diverged = {(r["method"], r["seed"]) for r in records if r.get("diverged") is not None}
    maps = _read_maps(maps_path, diverged) if maps_path.exists() else {}
    finished = [row for row in metrics if (row["method"], row["seed"]) not in diverged]
    metric = metric_of(records) if records else figures.UNKNOWN
    title = data_title(records, results.get("dataset", "an unknown data set"))
    one_ms = {row["method"]: row["one"]["p50"] for row in timed[1] if row["one"]}
    summaries = summarise(records) if records else []
    images = figures.run_figures(finished, maps, metric, title, summaries, one_ms) if can_draw() else []
    if not can_draw():
        log.warning("%s: report.md has no figures: %s", folder, MISSING)
    sections = [
        f"# Distillation on {title}",
        *_heading(results, records, metrics),
        *(_score_section(records, metric) if records else ["No method has finished yet."]),
        *_comparison_section(records, metric),
        *latency_section(timed),
        *_collapse_section(finished),
        *_gradient_section(finished),
        *([DIVERGED_NOTE] if len(finished) < len(metrics) else []),
        *(["## Figures", f"{FIGURE_NOTE} {MAP_NOTE}" if maps else FIGURE_NOTE] if images else []),
        *([] if can_draw() else ["## Figures", f"There are none: {MISSING}"]),
        *(f"![{image.caption}]({image.name})" for image in images),
    ]
    try:
        for image in images:
            write_atomic(folder / image.name, image.png)
        write_atomic(folder / "report.md", "\n\n".join(sections) + "\n")
    except OSError as error:
        raise InputError(f"{folder}: the report cannot be written: {error.strerror}") from error
    return folder / "report.md"


def _read_results(path: Path) -> tuple[Mapping[str, Any], Sequence[Record]]:
    """Returns the content of `results.json`, and its records, checked by `summarise`."""
    results = read_json(path)
    records = results.get("records", []) if isinstance(results, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InputError(f"{path}: expected a JSON object with the records of a run, but it is damaged")
    try:
        summarise(records)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return results, records


def _read_metrics(path: Path) -> Sequence[Record]:
    rows = read_json_lines(path)
    for number, row in enumerate(rows, start=1):
        keys = {"method": str, "seed": int, "epoch": int}
        wrong = [key for key, kind in keys.items() if not isinstance(row.get(key), kind)]
        wrong += [key for key, value in row.items() if key not in keys and not isinstance(value, int | float | None)]
        if wrong:
            raise InputError(f"{path}, line {number}: expected method, seed, epoch and numbers, got a bad {wrong[0]}")
    return rows


def _read_maps(path: Path, diverged: set[tuple[str, int]]) -> Mapping[str, np.ndarray]:
    """Returns the layer maps `[k, seeds, T_l, S_l]`, NaN for diverged seeds, and the epochs `[k]` of each method."""
    maps = read_arrays(path)
    for key, values in maps.items():
        method, _, quantity = key.rpartition(":")
        kinds, axes = ("iu", 1) if quantity == "epochs" else ("f", 4)
        if values.dtype.kind not in kinds or values.ndim != axes:
            expected = f"{'whole' if axes == 1 else 'real'} numbers on {axes} axes"
            raise InputError(f"{path}: {key} is {values.dtype} {values.shape}, expected {expected}")
        if quantity != "epochs":
            gone = [seed for name, seed in diverged if name == method and seed < values.shape[1]]
            values[:, gone] = np.nan
    return maps


def _heading(results: Mapping[str, Any], records: Sequence[Record], metrics: Sequence[Record]) -> list[str]:
    runs = [*records, *metrics]
    seeds, methods = sorted({r["seed"] for r in runs}), dict.fromkeys(r["method"] for r in runs)
    facts = {"Methods": ", ".join(methods), "Seeds": ", ".join(map(str, seeds))}
    facts |= data_facts(records) | program_facts(records, results)
    incomplete = "**This run is not complete: the numbers below are those of what has finished.**"
    return [
        *([] if results.get("complete", False) else [incomplete]),
        "\n".join(f"- {name}: {fact or 'unknown'}" for name, fact in facts.items()),
    ]


def _score_section(records: Sequence[Record], metric: Metric) -> list[str]:
    """Returns the table and its notes; with learned node embeddings, compression is given with and without them."""
    summaries = summarise(records)
    unit = "in percent" if metric.unit == "%" else "in the units of the targets"
    direction = "higher" if metric.higher_is_better else "lower"
    lines = [
        f"## {metric.name[0].upper()}{metric.name[1:]}",
        table(summaries, "github"),
        *(["\n".join(f"- {line}" for line in remarks(summaries))] if remarks(summaries) else []),
        SCORE_NOTE.format(metric=metric.name, unit=unit, direction=direction),
    ]
    with_embeddings = {r["method"]: r for r in records if r.get("compression_with_embeddings") is not None}
    if not with_embeddings:
        return lines
    counts = ", ".join(
        f"{name} {r.get('embedding_parameters') or 0:,} ({r['compression_with_embeddings']:.3f}x"
        f"{': larger than its teacher' if r['compression_with_embeddings'] < 1.0 else ''})"
        for name, r in with_embeddings.items()
    )
    return [*lines, f"{EMBEDDING_NOTE} {counts}."]


def _comparison_section(records: Sequence[Record], metric: Metric) -> list[str]:
    methods = {record["method"] for record in records}
    rows = [row for baseline in BASELINES if baseline in methods for row in comparisons(records, baseline)]
    unit = "percentage points" if metric.unit == "%" else "the units of the targets"
    sign = "positive" if metric.higher_is_better else "negative"
    note = COMPARISON_NOTE.format(metric=metric.name, unit=unit, sign=sign)
    return ["## Paired comparisons", comparison_table(rows, metric), note] if rows else []


def _collapse_section(metrics: Sequence[Record]) -> list[str]:
    rows = collapse(metrics)
    return ["## Collapse of the layer alignment", collapse_table(rows), COLLAPSE_NOTE] if rows else []


def _gradient_section(metrics: Sequence[Record]) -> list[str]:
    rows = gradient_shares(metrics)
    return ["## Gradient shares", gradient_table(rows), GRADIENT_NOTE] if rows else []
