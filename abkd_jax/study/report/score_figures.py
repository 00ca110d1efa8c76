"""Figures of scores: dots with intervals, the critical difference of ranks, curves."""

from collections.abc import Callable
from functools import partial

import numpy as np

from abkd_jax.run.report.canvas import COLOURS, canvas, footer, svg
from abkd_jax.run.report.figures import learning_curves
from abkd_jax.run.report.tables import format_score
from abkd_jax.run.report.trends import is_finite
from abkd_jax.study.report.axes import WIDTH, at_the_border, least_drawn
from abkd_jax.study.report.blocks import Picture, picture_file
from abkd_jax.study.report.grid import Column, Grid, scores_of
from abkd_jax.study.report.ranks import Ranks, cliques
from abkd_jax.study.report.score_tables import label
from abkd_jax.study.report.statistics import bootstrap_interval

__all__ = ["column_pictures", "critical_difference", "curves", "dots", "score_pictures"]

MAX_CURVES = 6  # of the methods with the best last validation scores: as many as colours


def column_pictures(grid: Grid, what: str, caption: str, draw: Callable[[Grid, Column], bytes | None]) -> list[Picture]:
    """Returns a figure of every column of which there is one.

    Args:
        grid: the cells.
        what: is drawn: the first part of each file's name.
        caption: of all figures; the column's label follows.
        draw: returns the SVG of a column, None where it has nothing to show.
    """
    drawn = ((column, draw(grid, column)) for column in grid.columns)
    return [
        Picture(picture_file(what, *column), f"{caption}: {label(grid, column)}", made)
        for column, made in drawn
        if made
    ]


def score_pictures(grid: Grid, view: str = "test") -> list[Picture]:
    """Returns a figure of the test scores of every column that has some, see `dots`."""
    main = view == "test"
    what, named = ("scores", "Test scores") if main else (f"scores {view}", f"{view.capitalize()},")
    return column_pictures(grid, what, f"{named} with 95 % intervals", partial(dots, view=view))


def dots(grid: Grid, column: Column, view: str = "test") -> bytes | None:
    """Draws the mean test score of every method with its 95 % interval and the teacher as a line; None without any.

    Methods far below the others are numbers at the border.
    """
    metric, factor = grid.metric(column), grid.metric(column).factor
    scored = {method: list(scores_of(cell, view).values()) for method, cell in grid.of_column(column).items()}
    means = {method: float(np.mean(values)) for method, values in scored.items() if values}
    if not means:
        return None
    order, least = sorted(means, key=lambda method: means[method]), least_drawn(list(means.values()))
    teacher = list(scores_of(grid.teacher(column), view).values())
    with canvas(WIDTH, 0.2 * len(order) + 1.1) as figure:
        axis = figure.subplots()
        if teacher:
            axis.axvline(factor * np.mean(teacher), color="black", linewidth=1.0)
        for row, method in enumerate(order):
            interval = bootstrap_interval([scored[method]])
            if interval and means[method] >= least:
                axis.plot(np.multiply(interval, factor), [row, row], color="0.5")
            if means[method] >= least:
                colour = COLOURS[1] if method == grid.methods[0] else COLOURS[0]
                axis.plot(factor * means[method], row, "o", markersize=4, color=colour)
        beyond = {row: format_score(means[m], metric) for row, m in enumerate(order) if means[m] < least}
        at_the_border(axis, beyond, factor)
        axis.set_yticks(range(len(order)), labels=order)
        axis.set_ylim(-0.6, len(order) - 0.4)
        axis.set_xlabel(f"{view} {metric.heading}, mean and 95 % interval")
        axis.set_title(label(grid, column))
        line = "line: teacher; " if teacher else ""
        footer(figure, f"{line}orange: {grid.methods[0]}; {max(map(len, scored.values()))} seeds")
        return svg(figure)


def critical_difference(found: Ranks) -> bytes | None:
    """Draws average ranks, the best on top; bars join methods that Nemenyi's test does not tell apart.

    None without a test.
    """
    if found.critical is None:
        return None
    names = list(found.ranks)
    with canvas(WIDTH, 0.2 * len(names) + 1.1) as figure:
        axis = figure.subplots()
        best = found.ranks[names[0]]
        axis.axvspan(best, best + found.critical, color="0.93", linewidth=0)
        axis.plot(list(found.ranks.values()), range(len(names)), "o", markersize=4, color=COLOURS[0])
        for number, group in enumerate(cliques(found)):
            ends = [names.index(group[0]) - 0.2, names.index(group[-1]) + 0.2]
            at = [1.02 + 0.03 * number] * 2
            axis.plot(at, ends, color="black", linewidth=3, transform=axis.get_yaxis_transform(), clip_on=False)
        axis.set_yticks(range(len(names)), labels=names)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_xlim(0.7, len(names) + 0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlabel("average rank, 1 is best")
        footer(figure, f"grey: less than the critical difference, {found.critical:.2f}, behind the best")
        return svg(figure)


def curves(grid: Grid, column: Column) -> bytes | None:
    """Draws validation scores over epochs of the baseline and the best others; None where no cell has a curve.

    Percentages start five points below the lowest end: untrained students would press all others into one line.
    """
    with_curve = {m: cell["curve"] for m, cell in grid.of_column(column).items() if cell.get("curve", {}).get("epoch")}
    ends = {m: [v for v in curve["validation"][-1] if is_finite(v)] for m, curve in with_curve.items()}
    last = {m: float(np.mean(values)) for m, values in ends.items() if values}
    if not last:
        return None
    baseline = grid.methods[0]
    chosen = [m for m in (baseline,) if m in last] + sorted(last.keys() - {baseline}, key=lambda m: (-last[m], m))
    rows = [
        {"method": method, "seed": seed, "epoch": epoch, "val_accuracy": value}
        for method in chosen[:MAX_CURVES]
        for epoch, values in zip(with_curve[method]["epoch"], with_curve[method]["validation"], strict=True)
        for seed, value in enumerate(values)
    ]
    metric = grid.metric(column)
    figure = learning_curves(rows, metric=metric)
    figure.axes[0].set_title(label(grid, column))
    if metric.unit == "%":
        figure.axes[0].set_ylim(bottom=max(0.0, 100.0 * min(last[m] for m in chosen[:MAX_CURVES]) - 5.0))
    return svg(figure)
