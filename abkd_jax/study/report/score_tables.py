"""Main table of a study, the comparisons behind its bold entries, and what each method costs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from abkd_jax.run.report.statistics import Estimate, estimate, mean_score
from abkd_jax.run.report.tables import format_score
from abkd_jax.run.report.trends import is_finite
from abkd_jax.study.cells import Cell
from abkd_jax.study.report.blocks import Entry, Table, plain
from abkd_jax.study.report.comparisons import Comparison
from abkd_jax.study.report.grid import TEACHER, Column, Grid, metric_of_cell, paired, scores_of
from abkd_jax.study.report.ranks import Ranks, average_ranks
from abkd_jax.types import Metric

__all__ = [
    "TESTS",
    "comparison_table",
    "cost_table",
    "difference_entries",
    "groups",
    "interval_text",
    "label",
    "lengths_table",
    "main_table",
    "median_epoch",
    "ranks",
]

FAILED = 0.05  # five points below the median seed; of real targets five percent of its RMSE
TESTS = ("95 % interval", "pairs", "permutation p", "Wilcoxon p", "t-test p", "Holm p", "d_z")


def groups(grid: Grid) -> list[tuple[str, tuple[Column, ...]]]:
    """Returns title and columns of every main table: one per regime, and per student where data sets have several."""
    found = []
    for regime in dict.fromkeys(column.regime for column in grid.columns):
        columns = tuple(column for column in grid.columns if column.regime == regime)
        if len({column.dataset for column in columns}) == len(columns):
            found.append((regime, columns))
            continue
        for student in dict.fromkeys(column.student for column in columns):
            found.append((f"{regime}, {student}", tuple(column for column in columns if column.student == student)))
    return found


def label(grid: Grid, column: Column) -> str:
    """Returns the name of a column, with the regime and the student where the study has several of them."""
    several = [len({other[part] for other in grid.columns}) > 1 for part in range(3)]
    return ", ".join([column.dataset, *(column[part] for part in (1, 2) if several[part])])


def place_of(grid: Grid, columns: Sequence[Column]) -> str:
    """Returns the name of a column, or what several are of all."""
    return label(grid, columns[0]) if len(columns) == 1 else grid.together(columns)


def ranks(grid: Grid, columns: Sequence[Column], view: str = "test") -> Ranks:
    """Returns the average ranks of the methods that have a score in every column, by their mean scores."""
    means = {
        method: [scores_of(grid.cells.get((column, method)), view) for column in columns] for method in grid.methods
    }
    complete = {method: scores for method, scores in means.items() if all(scores)}
    return average_ranks({m: [mean_score(list(s.values())) for s in scores] for m, scores in complete.items()})


def main_table(
    grid: Grid, title: str, columns: Sequence[Column], rows: Sequence[Comparison], view: str = "test"
) -> Table:
    """Returns the scores: rows are methods below what is measured, the student and the teacher; columns are data sets.

    Args:
        grid: the cells.
        title: as from `groups`.
        columns: of this table.
        rows: comparisons of all cells; their verdicts mark the entries.
        view: name of the scores.
    """
    marks = {(row.column, row.method): row.verdict for row in rows}
    of_ranks = ranks(grid, columns, view).ranks
    headers = ["method", *(column.dataset for column in columns)]
    headers += ["average rank" if len(columns) > 1 else "rank", "epochs to .5", "failed"]
    heads = {
        "measured": plain(*(grid.metric(column).heading for column in columns)),
        "student, times smaller": plain(*(_size(grid, column) for column in columns)),
        TEACHER: [_score(grid.teacher(column), view) for column in columns],
    }
    lines = [(Entry(name), *entries, *plain("-", "-", "-")) for name, entries in heads.items()]
    for method in grid.methods:
        cells = [grid.cells.get((column, method)) for column in columns]
        if not any(cells):
            continue
        scores = (
            _score(cell, view)._replace(mark=marks.get((column, method), "open"))
            for column, cell in zip(columns, cells, strict=True)
        )
        rank = f"{of_ranks[method]:.2f}" if method in of_ranks else "-"
        costs = [cell.get("cost", {}) for cell in cells if cell]
        starts = ((cell, grid.teacher(column)) for column, cell in zip(columns, cells, strict=True) if cell)
        lines.append((Entry(method), *scores, *plain(rank, _epochs(costs), _failed(starts))))
    what = "test scores" if view == "test" else view
    named = title if title.startswith(grid.name) else f"{grid.name}, {title}"  # a table may be named for its regime
    return Table(f"{named}: {what}", tuple(headers), lines, f"{grid.name} {title} {view}")


def comparison_table(grid: Grid, baseline: str, rows: Sequence[Comparison], view: str = "test") -> Table:
    """Returns all comparisons, or those over all data sets, with their tests."""
    headers = ("method", "data set", f"less {baseline}", *TESTS)
    lines = []
    for row in rows:
        lines.append((*plain(row.method, place_of(grid, row.columns)), *difference_entries(grid, row)))
    over = f"over {grid.together(grid.columns)}" if rows and rows[0].column is None else "on every data set"
    said = "" if view == "test" else f", {view}"
    return Table(
        f"Difference to {baseline} {over}{said}", headers, lines, f"{grid.name} differences {over} {view}", texts=2
    )


def difference_entries(grid: Grid, row: Comparison) -> tuple[Entry, ...]:
    """Returns the difference of a comparison and what `TESTS` names."""
    d = row.difference
    metrics = [grid.metric(column) for column in grid.columns]
    over_all = next((metric for metric in metrics if metric.unit == "%"), metrics[0])
    metric = over_all if row.column is None else grid.metric(row.column)
    found = Entry(format_score(d.estimate.mean, metric, d.estimate.std, "+"), row.verdict)
    p_values = (_number(p, ".2g") for p in (d.permutation_p, d.wilcoxon_p, d.t_p, row.holm_p))
    return (found, *plain(interval_text(d.interval, metric), str(d.pairs), *p_values, _number(d.effect, ".2f")))


def cost_table(grid: Grid) -> Table:
    """Returns size, epochs and times of every cell."""
    headers = ("method", "data set", "parameters", "compression", "epochs", "latency ms", "training s", "tuning s")
    headers += ("epochs to .5", "seconds to .5", "failed")
    lines = []
    for (column, method), cell in grid.cells.items():
        times, reached = cell.get("times", {}), median_epoch(cell.get("cost", {}))
        per_epoch = times.get("seconds_per_epoch")
        seconds = reached * per_epoch if reached is not None and is_finite(per_epoch) else None
        lines.append(
            plain(
                method,
                label(grid, column),
                _number(cell.get("parameters"), ",d"),
                _number(cell.get("compression"), ".1f"),
                _number(cell.get("epochs"), "d"),
                _number(times.get("latency_ms"), ".3g"),
                *(_number(times.get(key), ",.0f") for key in ("training_seconds", "tuning_seconds")),
                _number(reached, "g"),
                _number(seconds, ".3g"),
                _failed([(cell, grid.teacher(column))]),
            )
        )
    return Table("Size, epochs and times", headers, lines, texts=2)


def lengths_table(grid: Grid) -> Table | None:
    """Returns the test scores at every number of epochs that was trained, the chosen one marked; None without any."""
    lengths = sorted({int(length) for cell in grid.cells.values() for length in cell.get("lengths", {})})
    lines = []
    for (column, method), cell in grid.cells.items():
        trained = {int(length): scores for length, scores in cell.get("lengths", {}).items()}
        entries = []
        for length in lengths:
            values = [value for value in trained.get(length, {}).get("test", []) if is_finite(value)]
            text = _estimate(estimate(values), metric_of_cell(cell)) if values else "-"
            entries.append(text + (" *" if values and length == cell.get("epochs") else ""))
        if trained:
            lines.append(plain(method, label(grid, column), *entries))
    headers = ("method", "data set", *(f"{length:,} epochs" for length in lengths))
    caption = "Test scores by number of epochs; * is the number that validation chose"
    return Table(caption, headers, lines, texts=2) if lines else None


def interval_text(interval: tuple[float, float] | None, metric: Metric) -> str:
    """Returns the bounds of an interval in the unit of the metric, the lower one first."""
    if interval is None:
        return "-"
    bounds = sorted(interval, key=lambda bound: metric.factor * bound)
    return " to ".join(format_score(bound, metric, sign="+") for bound in bounds)


def _size(grid: Grid, column: Column) -> str:
    ratio = grid.compression(column)
    return column.student if ratio is None else f"{column.student}, {ratio:.1f}x"


def _score(cell: Cell | None, view: str) -> Entry:
    values = list(scores_of(cell, view).values())
    return Entry(_estimate(estimate(values), metric_of_cell(cell)) if cell and values else "-")


def _estimate(found: Estimate, metric: Metric) -> str:
    return format_score(found.mean, metric, found.std)


def median_epoch(cost: Mapping[str, Any]) -> float | None:
    """Returns the median number of epochs to within half a point of the last score; None where no seed has one."""
    epochs = [epoch for epoch in cost.get("epochs_to_half_point", []) if is_finite(epoch)]
    return float(np.median(epochs)) if epochs else None


def _epochs(costs: Iterable[Mapping[str, Any]]) -> str:
    """Returns the mean over data sets of the median epoch."""
    medians = [epoch for epoch in map(median_epoch, costs) if epoch is not None]
    return f"{np.mean(medians):.0f}" if medians else "-"


def _failed(starts: Iterable[tuple[Cell, Cell | None]]) -> str:
    """Returns how many of the seeds failed: they diverged, or ended far below the median one.

    Of validation scores less those of the seed's teacher, as both have its split and its labelled nodes.

    Args:
        starts: cells with those of their teachers.
    """
    failed, seeds = 0, 0
    for cell, teacher in starts:
        scores = scores_of(cell, "validation")
        if not scores and not any(at is not None for at in cell.get("diverged") or []):
            continue  # a cell without validation scores
        seeds += len(cell["seeds"])
        failed += len(cell["seeds"]) - len(scores)
        gaps = [*(paired(cell, teacher, "validation") or scores).values()]
        if gaps:
            unit = 1.0 if metric_of_cell(cell).unit == "%" else abs(float(np.median([*scores.values()])))
            failed += int(np.sum(np.array(gaps) < np.median(gaps) - FAILED * unit))
    return f"{failed} of {seeds}" if seeds else "-"


def _number(value: float | int | None, spec: str) -> str:
    return "-" if value is None else f"{value:{spec}}"
