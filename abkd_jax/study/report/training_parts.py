"""What happened in training: terms of the losses, layer attention, CKA, and the trials of tuning."""

from typing import Any

import numpy as np

from abkd_jax.run.report.canvas import COLOURS, canvas, svg
from abkd_jax.run.report.heatmaps import layer_maps
from abkd_jax.run.report.pareto import logarithmic
from abkd_jax.run.report.trends import is_finite
from abkd_jax.study.cells import Cell
from abkd_jax.study.report.blocks import Picture, Table, picture_file, plain
from abkd_jax.study.report.grid import Column, Grid
from abkd_jax.study.report.score_tables import label

__all__ = ["attention_pictures", "cka_table", "terms_table", "tuning_picture"]

WIDE = 10.0  # ratio of the bounds of a range from which its axis is logarithmic
PANELS_PER_ROW = 3
NAMES = {
    "dissimilarity": "D",
    "dissimilarity_share": "D / variance",
    "attention_entropy": "row entropy",
}


def terms_table(grid: Grid) -> Table | None:
    """Returns terms, D, D / variance, row entropy and gradient shares, first to last; None where none was logged."""
    lines = [
        plain(method, label(grid, column), _name(term), *(_number(end) for end in ends))
        for (column, method), cell in grid.cells.items()
        for term, ends in cell.get("terms", {}).items()
    ]
    caption = "Logged numbers at the first recorded and at the last epoch, means over seeds"
    return Table(caption, ("method", "data set", "number", "first", "last"), lines) if lines else None


def cka_table(grid: Grid) -> Table | None:
    """Returns the CKA of the last hidden layers of teacher and student; None where no cell has it."""
    lines = []
    for (column, method), cell in grid.cells.items():
        parts = [[v for v in cell.get("cka", {}).get(when, []) if is_finite(v)] for when in ("before", "after")]
        if any(parts):
            lines.append(plain(method, label(grid, column), *(f"{np.mean(p):.3f}" if p else "-" for p in parts)))
    caption = "CKA of the last hidden layers of teacher and student, means over seeds"
    return Table(caption, ("method", "data set", "before training", "after"), lines) if lines else None


def attention_pictures(grid: Grid) -> list[Picture]:
    """Returns the layer attention after training of every cell that has it, seed by seed and never their mean."""
    pictures = []
    for (column, method), cell in grid.cells.items():
        if cell.get("attention"):
            maps = np.array(cell["attention"], float)[None]  # [1, seeds, T_l, S_l]; null is NaN
            title = f"{method}, {label(grid, column)}"
            figure = layer_maps(np.array([cell.get("epochs", 0)]), maps, "attention", title)
            pictures.append(
                Picture(picture_file("attention", *column, method), f"Layer attention of {title}", svg(figure))
            )
    return pictures


def tuning_picture(grid: Grid, column: Column) -> bytes | None:
    """Draws every trial of every method, each number against the mean validation score; None without trials.

    A ring marks the chosen trial, a square trial 0, the values of the preset.
    """
    tuned = {m: cell for m, cell in grid.of_column(column).items() if cell.get("tuning", {}).get("trials")}
    panels = [(m, number, cell) for m, cell in tuned.items() for number in cell["tuning"].get("ranges", {})]
    if not panels:
        return None
    metric = grid.metric(column)
    rows = -(-len(panels) // PANELS_PER_ROW)
    with canvas(2.2 * min(len(panels), PANELS_PER_ROW) + 0.3, 1.5 * rows + 0.6) as figure:
        axes = figure.subplots(rows, min(len(panels), PANELS_PER_ROW), squeeze=False).ravel()
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        for axis, (method, number, cell) in zip(axes, panels, strict=False):
            _trials(axis, cell, number, metric.factor)
            axis.set_title(method, fontsize="small")
        figure.supylabel(f"validation {metric.heading}", fontsize="medium")
        figure.suptitle(label(grid, column), fontsize="medium")
        return svg(figure)


def _trials(axis: Any, cell: Cell, number: str, factor: float) -> None:
    tuning = cell["tuning"]
    points = {}
    for index, trial in enumerate(tuning["trials"]):
        scores = [score for score in trial["validation"] if is_finite(score)]
        if scores and is_finite(trial["numbers"].get(number)):
            points[index] = trial["numbers"][number], factor * float(np.mean(scores))
    low, high = tuning["ranges"][number][0], tuning["ranges"][number][-1]
    if is_finite(low) and is_finite(high) and low > 0 and high / low >= WIDE:
        logarithmic(axis, [x for x, _ in points.values()] or [low, high])
    for index, (x, y) in points.items():
        axis.plot(x, y, "s" if index == 0 else "o", markersize=3, color=COLOURS[0])
        if index == tuning.get("chosen"):
            axis.plot(x, y, "o", markersize=8, markerfacecolor="none", color=COLOURS[1])
    axis.set_xlabel(number, fontsize="small")


def _name(term: str) -> str:
    return NAMES.get(term, term)


def _number(value: Any) -> str:
    return f"{value:.3g}" if is_finite(value) else "-"
