"""Figures of scores: dots with intervals, the critical difference of ranks, scores against cost, curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from abkd_jax.run.report.canvas import COLOURS, canvas, footer, svg
from abkd_jax.run.report.figures import learning_curves
from abkd_jax.run.report.pareto import MARKERS, frontier, logarithmic
from abkd_jax.run.report.trends import is_finite
from abkd_jax.study.cells import Cell
from abkd_jax.study.report.grid import TEACHER, Column, Grid, scores_of
from abkd_jax.study.report.ranks import Ranks, cliques
from abkd_jax.study.report.score_tables import label
from abkd_jax.study.report.statistics import bootstrap_interval

__all__ = ["costs", "critical_difference", "curves", "dots"]

MAX_CURVES = 8  # of the methods with the best last validation scores; more lines cannot be told apart


def dots(grid: Grid, column: Column, rng: np.random.Generator) -> bytes | None:
    """Draws the mean test score of every method with its 95 % interval and the teacher as a line; None without any."""
    metric, factor = grid.metric(column), grid.metric(column).factor
    scored = {method: list(scores_of(cell).values()) for method, cell in grid.of_column(column).items()}
    scored = {method: values for method, values in scored.items() if values}
    if not scored:
        return None
    order = sorted(scored, key=lambda method: np.mean(scored[method]))
    teacher = list(scores_of(grid.teacher(column)).values())
    with canvas(4.8, 0.22 * len(order) + 1.1) as figure:
        axis = figure.subplots()
        if teacher:
            axis.axvline(factor * np.mean(teacher), color="black", linewidth=1.0, label="teacher")
            axis.legend(loc="upper left", frameon=False)
        for row, method in enumerate(order):
            mean, interval = factor * np.mean(scored[method]), bootstrap_interval([scored[method]], rng)
            if interval:
                axis.plot(np.multiply(interval, factor), [row, row], color="0.5")
            axis.plot(mean, row, "o", markersize=4, color=COLOURS[1] if method == grid.methods[0] else COLOURS[0])
        axis.set_yticks(range(len(order)), labels=order)
        axis.set_ylim(-0.6, len(order) - 0.4)
        axis.set_xlabel(f"test {metric.heading}, mean and 95 % interval")
        axis.set_title(label(grid, column))
        footer(figure, f"{max(map(len, scored.values()))} seeds; orange: {grid.methods[0]}")
        return svg(figure)


def critical_difference(found: Ranks) -> bytes | None:
    """Draws average ranks on a line; bars join methods that Nemenyi's test does not tell apart. None without a test."""
    if found.critical is None:
        return None
    ranks = list(found.ranks.items())
    half, groups = (len(ranks) + 1) // 2, cliques(found)
    with canvas(6.0, 0.2 * half + 0.13 * len(groups) + 1.0) as figure:
        axis = figure.subplots()
        low, high = 1, len(ranks)
        axis.hlines(0, low, high, color="black", linewidth=1.0)
        for number, group in enumerate(groups):
            ends = [found.ranks[group[0]] - 0.03, found.ranks[group[-1]] + 0.03]
            axis.plot(ends, [-0.35 - 0.35 * number] * 2, color="black", linewidth=3)
        for number, (method, rank) in enumerate(ranks):
            left = number < half
            level = -1.2 - 0.35 * len(groups) - (number if left else len(ranks) - 1 - number)
            end = low - 0.1 if left else high + 0.1
            axis.plot([rank, rank, end], [0, level, level], color="0.5", linewidth=0.8)
            axis.text(end, level, f"{method} {rank:.2f}", ha="right" if left else "left", va="center")
        axis.plot([low, low + found.critical], [0.9, 0.9], color="black", linewidth=1.5, clip_on=False)
        axis.text(low + found.critical / 2, 1.0, f"critical difference {found.critical:.2f}", ha="center", va="bottom")
        for tick in range(low, high + 1):
            axis.text(tick, 0.15, str(tick), ha="center", va="bottom", fontsize="small")
        axis.set_xlim(low - 0.45 * (high - low), high + 0.45 * (high - low))
        axis.set_axis_off()
        return svg(figure)


def costs(grid: Grid, dataset: str, regime: str) -> bytes | None:
    """Draws test scores against parameters and milliseconds, all students of a data set; None without a cost.

    The students of a method are joined by a line, grey steps join what nothing else beats in both respects.
    """
    columns = [column for column in grid.columns if column[:2] == (dataset, regime)]
    cells = {m: [grid.cells[c, m] for c in columns if (c, m) in grid.cells] for m in grid.methods}
    teacher = grid.teachers.get((dataset, regime))
    cells = ({TEACHER: [teacher]} if teacher else {}) | {m: of for m, of in cells.items() if of}
    readers = {
        "parameters": lambda cell: cell.get("parameters"),
        "latency, ms": lambda cell: cell.get("times", {}).get("latency_ms"),
    }
    panels = {name: {m: _points(of, read) for m, of in cells.items()} for name, read in readers.items()}
    panels = {name: of for name, of in panels.items() if any(of.values())}
    if not panels:
        return None
    metric = grid.metric(columns[0])
    with canvas(3.0 * len(panels) + 0.4, 2.9 + 0.04 * len(cells)) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        axes[0].set_ylabel(f"test {metric.heading}")
        for axis, (name, points) in zip(axes, panels.items(), strict=True):
            axis.set_xlabel(name)
            _panel(axis, points, metric.factor)
        handles = {line.get_label(): line for axis in axes for line in axis.get_lines() if line.get_label()[0] != "_"}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle(f"{dataset}, {regime}", fontsize="medium")
        return svg(figure)


def curves(grid: Grid, column: Column) -> bytes | None:
    """Draws validation scores over epochs of the baseline and the best others; None where no cell has a curve.

    Percentages start ten points below the lowest end: untrained students would press all others into one line.
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
    figure = learning_curves(rows, metric=metric, data=label(grid, column))
    if metric.unit == "%":
        figure.axes[0].set_ylim(bottom=max(0.0, 100.0 * min(last[m] for m in chosen[:MAX_CURVES]) - 10.0))
    return svg(figure)


def _points(cells: list[Cell], cost_of: Any) -> list[tuple[float, float]]:
    """Returns cost and mean score of the cells that have both, the cheapest first."""
    found = []
    for cell in cells:
        values, cost = list(scores_of(cell).values()), cost_of(cell)
        if values and is_finite(cost) and cost > 0:
            found.append((float(cost), float(np.mean(values))))
    return sorted(found)


def _panel(axis: Any, points: Mapping[str, list[tuple[float, float]]], factor: float) -> None:
    logarithmic(axis, [cost for of in points.values() for cost, _ in of])
    flat = {f"{method} {i}": point for method, of in points.items() for i, point in enumerate(of)}
    best = [flat[name] for name in frontier([(cost, score, name) for name, (cost, score) in flat.items()])]
    axis.step([cost for cost, _ in best], [factor * score for _, score in best], where="post", color="0.7", zorder=1)
    for number, (method, of) in enumerate(points.items()):
        if of:
            axis.plot(
                [cost for cost, _ in of],
                [factor * score for _, score in of],
                marker=MARKERS[number % len(MARKERS)],
                color="black" if method == TEACHER else COLOURS[number % len(COLOURS)],
                linewidth=0.6,
                markersize=4,
                label=method,
            )
