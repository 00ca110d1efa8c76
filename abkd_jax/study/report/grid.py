"""Cells of a study as a grid: columns are data sets with their regime and student, rows are methods."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from abkd_jax.run.report.statistics import metric_named, stored_error
from abkd_jax.run.report.trends import is_finite
from abkd_jax.study.cells import Cell
from abkd_jax.types import InputError, Metric

__all__ = ["TEACHER", "Column", "Grid", "Pair", "make_grid", "metric_of_cell", "paired", "scores_of"]

TEACHER = "teacher"
PARTS = ("data sets", "regimes", "students")  # of columns

Pair = tuple[int, int]  # seed and split


class Column(NamedTuple):
    """Column of a table: a data set, what of it is known in training, and the size of the student."""

    dataset: str
    regime: str
    student: str

    def __str__(self) -> str:
        return ", ".join(self)


class Grid(NamedTuple):
    """Cells of one study table.

    Attributes:
        name: name of the table.
        columns: in order of appearance.
        methods: likewise.
        cells: the cell of a column and a method.
        teachers: the cell of the teachers of a data set and a regime.
    """

    name: str
    columns: tuple[Column, ...]
    methods: tuple[str, ...]
    cells: dict[tuple[Column, str], Cell]
    teachers: dict[tuple[str, str], Cell]

    def teacher(self, column: Column) -> Cell | None:
        """Returns the cell of the teachers of a column."""
        return self.teachers.get((column.dataset, column.regime))

    def of_column(self, column: Column) -> dict[str, Cell]:
        """Returns the cells of a column by method."""
        return {method: self.cells[column, method] for method in self.methods if (column, method) in self.cells}

    def metric(self, column: Column) -> Metric:
        """Returns the metric of a column, which all of its cells share."""
        return metric_of_cell(next(iter(self.of_column(column).values())))

    def error(self, *columns: Column) -> float:
        """Returns the largest error of a difference of two scores of these columns, by the digits that are stored."""
        return max(self._error(column) for column in columns)

    def _error(self, column: Column) -> float:
        sizes = [abs(score) for cell in self.of_column(column).values() for score in scores_of(cell).values()]
        return stored_error(self.metric(column), max(sizes, default=1.0))

    def compression(self, column: Column) -> float | None:
        """Returns how many times fewer parameters than their teachers the students of a column have, the median."""
        ratios = [cell.get("compression") for cell in self.of_column(column).values()]
        found = [float(ratio) for ratio in ratios if is_finite(ratio)]
        return float(np.median(found)) if found else None

    def together(self, columns: Collection[Column]) -> str:
        """Returns in words what some columns are of all: "all data sets", "3 of 4 students"."""
        counts = [[len({column[part] for column in some}) for some in (columns, self.columns)] for part in range(3)]
        part = next((part for part, (_, every) in enumerate(counts) if every > 1), 0)
        if len(columns) == len(self.columns):
            return f"all {PARTS[part]}"
        some, every = counts[part]
        return f"{some} of {every} {PARTS[part]}" if some < every else f"{len(columns)} of {len(self.columns)} columns"

    def views(self) -> tuple[str, ...]:
        """Returns the names of the test scores, `"test"` first: regimes have more than one."""
        found = dict.fromkeys(view for cell in self.cells.values() for view in cell["scores"])
        return ("test", *(view for view in found if view.startswith("test:")))


def make_grid(cells: Sequence[Cell], baseline: str) -> Grid:
    """Arranges the cells of one table.

    Args:
        cells: as read.
        baseline: name of the method to compare with; the first row.

    Raises:
        InputError: the cells belong to several tables, have no student or no cell of the baseline, a cell occurs
            twice, or one column has several metrics.
    """
    tables = list(dict.fromkeys(cell["table"] for cell in cells))
    if len(tables) != 1:
        raise InputError(f"report: expected cells of one table, got {', '.join(tables) or 'none'}")
    grid = Grid(tables[0], (), (), {}, {})
    for cell in cells:
        column, teacher = Column(cell["dataset"], cell["regime"], cell["student"]), cell["method"] == TEACHER
        place: Any = column[:2] if teacher else (column, cell["method"])
        kept: dict[Any, Cell] = grid.teachers if teacher else grid.cells
        if place in kept:
            raise InputError(f"report: {column}: expected one cell of {cell['method']}, got two")
        kept[place] = cell
    columns = dict.fromkeys(column for column, _ in grid.cells)
    methods = dict.fromkeys(method for _, method in grid.cells)
    if baseline not in methods:
        found = ", ".join(methods) or "none"
        raise InputError(f"report: {tables[0]}: expected the baseline {baseline!r} among the methods, got {found}")
    order = (baseline, *(method for method in methods if method != baseline))
    grid = grid._replace(columns=tuple(columns), methods=order)
    for column in columns:
        metrics = {cell["metric"] for cell in grid.of_column(column).values()}
        if len(metrics) > 1:
            raise InputError(f"report: {column}: expected one metric, got {', '.join(sorted(metrics))}")
    return grid


def metric_of_cell(cell: Cell) -> Metric:
    """Returns the metric of the scores of a cell."""
    return metric_named(cell["metric"])


def scores_of(cell: Cell | None, view: str = "test") -> dict[Pair, float]:
    """Returns the defined scores of a cell by seed and split; none of a seed that diverged, or without a cell."""
    if cell is None:
        return {}
    values = cell["scores"].get(view, [])
    diverged = cell.get("diverged") or [None] * len(values)
    rows = zip(cell["seeds"], cell["splits"], values, diverged, strict=True) if values else ()
    return {(seed, split): float(score) for seed, split, score, at in rows if is_finite(score) and at is None}


def paired(cell: Cell, other: Cell | None, view: str = "test") -> dict[Pair, float]:
    """Returns the scores of a cell less those of another one, of the seeds and splits that both have."""
    others = scores_of(other, view)
    return {pair: score - others[pair] for pair, score in scores_of(cell, view).items() if pair in others}
