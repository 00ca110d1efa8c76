"""Figures of test scores against what students cost: those that no other one beats are named."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from abkd_jax.run.report.canvas import COLOURS, canvas, footer, svg
from abkd_jax.run.report.pareto import frontier, logarithmic
from abkd_jax.run.report.statistics import mean_score
from abkd_jax.run.report.tables import format_score
from abkd_jax.run.report.trends import is_finite
from abkd_jax.study.cells import Cell
from abkd_jax.study.report.axes import WIDTH, least_drawn
from abkd_jax.study.report.blocks import Picture, picture_file
from abkd_jax.study.report.grid import Grid, scores_of

__all__ = ["cost_pictures"]

SAME = 1.1  # ratio of the largest to the smallest cost below which a figure says nothing
HEIGHT, HEIGHT_OF_NAME = 2.8, 0.16  # inches of a figure, at least, and of a line of its names
GAP = 0.075  # between names of a figure of the least height, of the height of the axes
COSTS = {
    "parameters": lambda cell: cell.get("parameters"),
    "milliseconds": lambda cell: cell.get("times", {}).get("latency_ms"),
}


class _Point(NamedTuple):
    """Student: its name in the figure, its method, cost, and mean test score as stored."""

    name: str
    method: str
    cost: float
    score: float


def cost_pictures(grid: Grid) -> list[Picture]:
    """Returns a figure for every data set, regime and cost in which its students differ."""
    pictures = []
    for place in dict.fromkeys((column.dataset, column.regime) for column in grid.columns):
        for cost in COSTS:
            points = _points(grid, *place, cost)
            costs = [point.cost for point in points]
            if costs and max(costs) >= SAME * min(costs):
                caption = f"Test scores against {cost}, grey steps the Pareto line: {', '.join(place)}"
                pictures.append(Picture(picture_file("costs", *place, cost), caption, _draw(grid, place, cost, points)))
    return pictures


def _points(grid: Grid, dataset: str, regime: str, cost: str) -> list[_Point]:
    """Returns the students that have a score and a cost."""
    columns = [column for column in grid.columns if column[:2] == (dataset, regime)]
    points = []
    for column in columns:
        for method, cell in grid.of_column(column).items():
            name = f"{method} {column.student}" if len(columns) > 1 else method
            found = _cost_and_score(cell, cost)
            points += [_Point(name, method, *found)] if found else []
    return points


def _cost_and_score(cell: Cell | None, cost: str) -> tuple[float, float] | None:
    values, of_cell = list(scores_of(cell).values()), COSTS[cost](cell) if cell else None
    return (float(of_cell), mean_score(values)) if values and is_finite(of_cell) and of_cell > 0 else None


def _draw(grid: Grid, place: tuple[str, str], cost: str, points: Sequence[_Point]) -> bytes:
    baseline, metric = grid.methods[0], grid.metric(next(c for c in grid.columns if c[:2] == place))
    least, factor = least_drawn([point.score for point in points]), metric.factor
    best = frontier([(point.cost, point.score, point.name) for point in points])
    steps = [next(point for point in points if point.name == name) for name in best]
    teacher = _cost_and_score(grid.teachers.get(place), cost)
    drawn = [point for point in points if point.score >= least]
    named = [point for point in drawn if point.name in best or point.method == baseline]
    with canvas(WIDTH, max(HEIGHT, HEIGHT_OF_NAME * len(named) + 1.0)) as figure:
        axis = figure.subplots()
        logarithmic(axis, [point.cost for point in points])
        if teacher:
            axis.axhline(factor * teacher[1], color="black", linewidth=1.0)
        line = [point for point in steps if point.score >= least]
        axis.step([p.cost for p in line], [factor * p.score for p in line], where="post", color="0.7", zorder=1)
        for point in drawn:
            colour = COLOURS[1] if point.method == baseline else COLOURS[0]
            alpha = 1.0 if point in named else 0.4
            axis.plot(point.cost, factor * point.score, "o", markersize=4, color=colour, alpha=alpha, markeredgewidth=0)
        _name(axis, named, factor)
        axis.set_ylabel(f"test {metric.heading}")
        axis.set_xlabel(cost + (f"; teacher, the line: {_short(teacher[0])}" if teacher else ""))
        axis.set_title(", ".join(place))
        below = [f"{p.name} {format_score(p.score, metric)} at {_short(p.cost)}" for p in points if p.score < least]
        footer(figure, f"orange: {baseline}", f"not drawn: {', '.join(below)}" if below else "")
        return svg(figure)


def _name(axis: Any, points: Sequence[_Point], factor: float) -> None:
    """Writes the names of points beside the axes, one below the other, joined to them by lines."""
    low, high = axis.get_ylim()
    ordered = sorted(points, key=lambda point: factor * point.score)
    gap, levels = min(GAP, 1.0 / max(1, len(points))), list[float]()
    for point in ordered:
        level = (factor * point.score - low) / (high - low)
        levels.append(max(level, levels[-1] + gap) if levels else level)
    for number, point in enumerate(ordered):
        level = min(levels[number], 1.0 - gap * (len(ordered) - 1 - number))
        axis.annotate(
            point.name,
            (point.cost, factor * point.score),
            (1.03, level),
            textcoords="axes fraction",
            va="center",
            fontsize="small",
            arrowprops={"arrowstyle": "-", "color": "0.75", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )


def _short(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100.0 else f"{cost:.3g}"
