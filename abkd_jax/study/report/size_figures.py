"""Figures of test scores over the sizes of students: what is lost as they shrink."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from abkd_jax.run.report.canvas import COLOURS, LINE_STYLES, canvas, footer, svg
from abkd_jax.run.report.tables import format_score
from abkd_jax.study.options import STUDENT
from abkd_jax.study.report.axes import WIDTH, least_drawn
from abkd_jax.study.report.blocks import Picture, picture_file
from abkd_jax.study.report.grid import Column, Grid, scores_of
from abkd_jax.study.report.statistics import bootstrap_interval

__all__ = ["size_pictures"]

HEIGHT = 3.0  # inches
SPREAD = 0.4  # of the distance of two sizes, for the methods side by side


def size_pictures(grid: Grid) -> list[Picture]:
    """Returns a figure for every data set, regime and architecture of which there are students of several sizes.

    The methods drawn are those with a score at two sizes or more: the baseline and the best others, as many as there
    are colours.
    """
    pictures = []
    for place, found in groupby(sorted(grid.columns, key=_place), _place):
        columns = sorted(found, key=lambda column: grid.compression(column) or 0.0)
        methods = _methods(grid, columns)
        if methods:
            named = [part for part in place if part]
            caption = f"Test scores by size of the student, with 95 % intervals: {', '.join(named)}"
            made = _draw(grid, ", ".join(named), columns, methods)
            pictures.append(Picture(picture_file("sizes", *named), caption, made))
    return pictures


def _place(column: Column) -> tuple[str, str, str]:
    """Returns data set, regime, and what the student's name has beside the size, as in `mlp:2x128`."""
    return column.dataset, column.regime, _parts(column.student)[0]


def _parts(student: str) -> tuple[str, str]:
    """Returns architecture and normalisation, where a student's name has them, and its size."""
    found = STUDENT.fullmatch(student)
    if found is None:
        return "", student
    return ":".join(filter(None, found.group("name", "norm"))), f"{found['layers']}x{found['hidden']}"


def _methods(grid: Grid, columns: Sequence[Column]) -> list[str]:
    means = {
        method: [np.mean([*found.values()]) for column in columns if (found := _scores(grid, column, method))]
        for method in grid.methods
    }
    kept = {method: float(np.mean(values)) for method, values in means.items() if len(values) > 1}
    baseline = grid.methods[0]
    best = sorted(kept.keys() - {baseline}, key=lambda method: (-kept[method], method))
    return [*(name for name in (baseline,) if name in kept), *best[: len(COLOURS) - 1]]  # one colour is the baseline's


def _scores(grid: Grid, column: Column, method: str) -> dict[tuple[int, int], float]:
    return scores_of(grid.cells.get((column, method)))


def _draw(grid: Grid, title: str, columns: Sequence[Column], methods: Sequence[str]) -> bytes:
    metric, factor = grid.metric(columns[0]), grid.metric(columns[0]).factor
    scores = {
        (method, at): values
        for method in methods
        for at, column in enumerate(columns)
        if (values := [*_scores(grid, column, method).values()])
    }
    means = {key: float(np.mean(values)) for key, values in scores.items()}
    least, offsets = least_drawn([*means.values()]), np.linspace(-SPREAD / 2, SPREAD / 2, len(methods))
    others = (colour for colour in COLOURS if colour != COLOURS[1])  # which is the baseline's in all figures
    colours = {method: COLOURS[1] if method == grid.methods[0] else next(others) for method in methods}
    teacher = [*scores_of(grid.teacher(columns[0])).values()]
    with canvas(WIDTH, HEIGHT) as figure:
        axis = figure.subplots()
        if teacher:
            axis.axhline(factor * np.mean(teacher), color="black", linewidth=1.0, label="teacher")
        for number, method in enumerate(methods):
            shown = [means.get((method, at), np.nan) for at in range(len(columns))]
            shown = [factor * mean if mean >= least else np.nan for mean in shown]  # a line has a gap there
            where = np.arange(len(columns)) + offsets[number]
            if not np.isfinite(shown).any():
                continue
            style = {"color": colours[method], "linestyle": LINE_STYLES[number % len(LINE_STYLES)]}
            axis.plot(where, shown, marker="o", markersize=4, label=method, **style)
            for at, mean in enumerate(shown):
                interval = bootstrap_interval([scores[method, at]]) if np.isfinite(mean) else None
                if interval:
                    axis.plot([where[at]] * 2, np.multiply(interval, factor), color=colours[method], linewidth=0.8)
        axis.set_xticks(range(len(columns)), labels=[_size(grid, column) for column in columns])
        axis.set_ylabel(f"test {metric.heading}")
        axis.set_xlabel("layers x units, and how many times smaller than the teacher")
        axis.set_title(title)
        axis.legend(fontsize="small", frameon=False)
        below = [
            f"{method} {columns[at].student} {format_score(mean, metric)}"
            for (method, at), mean in means.items()
            if mean < least
        ]
        footer(figure, f"not drawn: {', '.join(below)}" if below else "")
        return svg(figure)


def _size(grid: Grid, column: Column) -> str:
    ratio = grid.compression(column)
    student = _parts(column.student)[1]
    return student if ratio is None else f"{student}\n{ratio:.1f}x"
