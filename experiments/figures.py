"""Figure of the README, from the results of both citation graphs: `python -m experiments.figures`.

The layer maps are those of the last run of Cora in this checkout: `maps.npz` is not under version control. Without it
the figure shows only the scores.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from abkd_jax.datasets.files.atomic import read_arrays, read_json, write_atomic
from abkd_jax.run.report.canvas import COLOURS, canvas, footer, png
from abkd_jax.run.report.heatmaps import draw_layer_maps
from abkd_jax.run.report.origin import data_title
from abkd_jax.run.report.statistics import Record, metric_of, summarise
from experiments.program import run_program

RESULTS = Path("experiments/results")
DATASETS = {"cora": "Cora", "citeseer": "Citeseer"}
METHODS = {
    "teacher": "teacher, 64 layers x 64",
    "directions_abkd": "soft labels + ABKD, teacher directions",
    "directions": "soft labels, teacher directions",
    "abkd": "soft labels + ABKD",
    "abkd_paper": "soft labels + literal ABKD",
    "soft_label": "soft labels",
    "labels_abkd": "labels + ABKD",
    "labels_paper": "labels + literal ABKD",
    "supervised": "labels, 4 layers x 4",
}
MAP_EPOCHS = (0, -1)  # indices into the stored epochs


def main() -> None:
    """Draws the scores by method, and the attention of single seeds at the first and the last stored epoch."""
    records = {dataset: read_json(RESULTS / dataset / "results.json")["records"] for dataset in DATASETS}
    scored = [{s.method for s in summarise(stored) if s.test is not None} for stored in records.values()]
    names = [name for name in reversed(METHODS) if all(name in methods for methods in scored)]
    maps_path = RESULTS / "cora" / "maps.npz"
    maps = read_arrays(maps_path) if maps_path.exists() else {}
    if not maps:
        logging.getLogger(__name__).warning("%s does not exist: the figure has no layer maps", maps_path)
    with canvas(11.0 if maps else 8.4, 4.2) as figure:
        parts = figure.subfigures(1, 2, width_ratios=(8, 3)) if maps else [figure]
        axes = parts[0].subplots(1, len(DATASETS), sharey=True)
        notes = [
            _scores(a, records[name], names, title) for a, (name, title) in zip(axes, DATASETS.items(), strict=True)
        ]
        if maps:
            epochs, attention = (maps[f"abkd:{name}"][list(MAP_EPOCHS)] for name in ("epochs", "attention"))
            seeds = draw_layer_maps(parts[1], epochs, attention, "attention")
            parts[1].suptitle("layer attention, Cora, soft labels + ABKD", fontsize="medium")
            notes.append(seeds)
        footer(figure, *notes)
        write_atomic(RESULTS / "overview.png", png(figure))


def _scores(axis: Any, records: Sequence[Record], names: Sequence[str], title: str) -> str:
    """Draws mean and standard deviation of the test score, the teacher on top; returns the number of seeds."""
    metric = metric_of(records)
    summaries = {s.method: s for s in summarise(records)}
    mean = np.array([metric.factor * summaries[name].test.mean for name in names])
    std = np.array([abs(metric.factor) * (summaries[name].test.std or 0.0) for name in names])
    rows = np.arange(len(names))
    colours = [COLOURS[1] if "ABKD" in METHODS[name] else COLOURS[0] for name in names]
    axis.axvline(mean[-1], color="0.8", zorder=0)
    axis.errorbar(mean, rows, xerr=std, fmt="none", ecolor="0.5", capsize=2)
    axis.scatter(mean, rows, c=colours, zorder=2)
    for row, value in zip(rows, mean, strict=True):
        axis.annotate(f"{value:.1f}", (value, row), xytext=(0, 5), textcoords="offset points", ha="center")
    axis.set_yticks(rows, labels=[METHODS[name] for name in names])
    axis.set_ylim(-0.6, len(names) - 0.3)
    axis.set_xlabel(f"test {metric.heading}")
    compression = max(summary.compression or 1.0 for summary in summaries.values())
    axis.set_title(f"{data_title(records, title)}, {compression:.1f}x smaller")
    axis.grid(visible=False)
    seeds = {summaries[name].seeds - len(summaries[name].diverged) for name in names}
    return f"{title}: {' to '.join(map(str, sorted({min(seeds), max(seeds)})))} seeds"


if __name__ == "__main__":
    run_program("experiments.figures", lambda: tyro.cli(main, description=__doc__))
