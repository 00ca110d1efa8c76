"""Trials of tuning: a strip of their validation scores per method, and what was chosen."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from abkd_jax.run.report.canvas import COLOURS, canvas, footer, svg
from abkd_jax.run.report.tables import format_score
from abkd_jax.run.report.trends import is_finite
from abkd_jax.study.cells import Cell
from abkd_jax.study.report.axes import WIDTH, at_the_border, least_drawn
from abkd_jax.study.report.blocks import Table, plain
from abkd_jax.study.report.grid import Column, Grid
from abkd_jax.study.report.score_tables import label

__all__ = ["tuning_strip", "tuning_table"]


def tuning_table(grid: Grid) -> Table | None:
    """Returns what was chosen for every cell, with the validation scores of the preset, trial 0, and of the choice."""
    lines = []
    for (column, method), cell in grid.cells.items():
        trials, means, chosen = _trials(cell), _means(cell), cell.get("tuning", {}).get("chosen")
        if trials and chosen is not None:
            numbers = ", ".join(f"{name} {_short(value)}" for name, value in trials[chosen]["numbers"].items())
            scores = (format_score(means[i], grid.metric(column)) if i in means else "-" for i in (0, chosen))
            lines.append(plain(method, label(grid, column), numbers, str(len(trials)), *scores))
    headers = ("method", "data set", "chosen", "trials", "validation, preset", "validation, chosen")
    return Table("What tuning chose, with mean validation scores", headers, lines, texts=3) if lines else None


def tuning_strip(grid: Grid, column: Column) -> bytes | None:
    """Draws the mean validation score of every trial, a row per method; None without trials.

    Trials far below the others are counted at the border.
    """
    scored = {method: means for method, cell in grid.of_column(column).items() if (means := _means(cell))}
    if not scored:
        return None
    metric, factor = grid.metric(column), grid.metric(column).factor
    best = [max(means.values()) for means in scored.values()]
    least = least_drawn([*best, *(score for means in scored.values() for score in means.values())])
    with canvas(WIDTH, 0.2 * len(scored) + 1.1) as figure:
        axis = figure.subplots()
        for row, (method, means) in enumerate(scored.items()):
            drawn = {index: factor * score for index, score in means.items() if score >= least}
            chosen = grid.cells[column, method]["tuning"].get("chosen")
            for mark, size, colour, of in (
                ("o", 4, COLOURS[0], [score for index, score in drawn.items() if index not in (0, chosen)]),
                ("s", 4, COLOURS[0], [drawn[0]] if 0 in drawn else []),
                ("o", 8, COLOURS[1], [drawn[chosen]] if chosen in drawn else []),
            ):
                filled = "none" if size > 4 else colour
                axis.plot(of, [row] * len(of), mark, markersize=size, color=colour, markerfacecolor=filled, alpha=0.8)
        lost = {row: sum(s < least for s in means.values()) for row, means in enumerate(scored.values())}
        at_the_border(axis, {row: str(count) for row, count in lost.items() if count}, factor)
        axis.set_yticks(range(len(scored)), labels=list(scored))
        axis.set_ylim(len(scored) - 0.4, -0.6)
        axis.set_xlabel(f"trials: validation {metric.heading}")
        axis.set_title(label(grid, column))
        footer(figure, "ring: chosen; square: preset" + "; numbers: trials beyond the border" * any(lost.values()))
        return svg(figure)


def _trials(cell: Cell) -> list[Mapping[str, Any]]:
    return cell.get("tuning", {}).get("trials", [])


def _means(cell: Cell) -> dict[int, float]:
    """Returns the mean validation scores of trials, of those alone of which no student diverged: others come last."""
    found = {i: trial["validation"] for i, trial in enumerate(_trials(cell))}
    return {i: float(np.mean(scores)) for i, scores in found.items() if scores and all(map(is_finite, scores))}


def _short(value: Any) -> str:
    return f"{value:.3g}" if is_finite(value) else str(value)
