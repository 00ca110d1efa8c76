"""Comparisons of all methods of a study with a baseline, corrected for their number, and gaps to the teacher."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from abkd_jax.run.report.sign_flips import least_p
from abkd_jax.run.report.statistics import MIN_PAIRS
from abkd_jax.study.report.grid import Column, Grid, Pair, paired
from abkd_jax.study.report.statistics import Difference, difference, holm, pooled

__all__ = [
    "Comparison",
    "Test",
    "best_attainable",
    "by_dataset",
    "comparable",
    "compare",
    "compare_over_datasets",
    "gap_to_teacher",
    "over_columns",
    "p_of",
]

ALPHA = 0.05
Test = Literal["permutation", "wilcoxon", "t"]
Differences = Mapping[Column, Mapping[Pair, float]]  # by seed and split


class Comparison(NamedTuple):
    """Comparison of a method with the baseline.

    Attributes:
        columns: data sets, regimes and students of the scores.
        method: name of the method.
        difference: method less baseline, in the scores as stored.
        holm_p: p of the chosen test, corrected for all comparisons of the table; None without a test.
    """

    columns: tuple[Column, ...]
    method: str
    difference: Difference
    holm_p: float | None

    @property
    def column(self) -> Column | None:
        """Returns the column; None over several."""
        return self.columns[0] if len(self.columns) == 1 else None

    @property
    def verdict(self) -> Literal["better", "worse", "open"]:
        """Returns whether the method differs significantly from the baseline, and in which direction."""
        if self.holm_p is None or self.holm_p >= ALPHA:
            return "open"
        return "better" if self.difference.estimate.mean > 0.0 else "worse"


def compare(grid: Grid, baseline: str, test: Test = "permutation", view: str = "test") -> list[Comparison]:
    """Returns the comparison of every cell with that of the baseline in its column.

    Cells without a pair are left out. Holm's correction is over all that are returned.

    Args:
        grid: the cells.
        baseline: name of the method to compare with.
        test: whose p is corrected.
        view: name of the scores.
    """
    places, found = [], []
    for column in grid.columns:
        cells = grid.of_column(column)
        for method, cell in cells.items():
            differences = paired(cell, cells.get(baseline), view) if method != baseline else {}
            if differences:
                places.append((column, method))
                found.append(difference([*differences.values()], grid.error(column)))
    corrected = holm([p_of(one, test) for one in found])
    return [
        Comparison((column,), method, one, p) for (column, method), one, p in zip(places, found, corrected, strict=True)
    ]


def compare_over_datasets(grid: Grid, baseline: str, view: str = "test") -> list[Comparison]:
    """Returns the comparison of every method with the baseline over all columns that are scored in percent.

    Methods with three pairs on fewer than two columns are left out. Holm's correction is over all that are returned.
    """
    places, found = [], []
    for method in grid.methods:
        differences = {}
        for column in grid.columns if method != baseline else ():
            cells = grid.of_column(column)
            if method in cells:
                differences[column] = paired(cells[method], cells.get(baseline), view)
        kept = comparable(grid, differences)
        if len(kept) > 1:
            places.append((tuple(kept), method))
            found.append(over_columns(grid, kept))
    corrected = holm([one.permutation_p for one in found])
    return [
        Comparison(columns, method, one, p) for (columns, method), one, p in zip(places, found, corrected, strict=True)
    ]


def comparable(grid: Grid, differences: Differences) -> Differences:
    """Returns the differences of the columns that are scored in percent and have three pairs or more."""
    return {c: found for c, found in differences.items() if len(found) >= MIN_PAIRS and grid.metric(c).unit == "%"}


def over_columns(grid: Grid, differences: Differences) -> Difference:
    """Returns the statistics of differences over all columns; every data set weighs the same, see `by_dataset`.

    Args:
        grid: the cells.
        differences: of two columns or more, see `comparable`.
    """
    groups, error = by_dataset(differences), grid.error(*differences)
    return pooled(groups, error) if len(groups) > 1 else difference(groups[0], error)


def by_dataset(differences: Mapping[Column, Mapping[Any, float]]) -> list[list[float]]:
    """Returns the differences of every data set: by seed and split, or what else they have, the mean of its columns.

    Several columns of a data set have the same test nodes, and often the same teachers: they are one difference, not
    several.
    """
    groups = []
    for dataset in dict.fromkeys(column.dataset for column in differences):
        of_dataset = [found for column, found in differences.items() if column.dataset == dataset]
        keys = dict.fromkeys(key for found in of_dataset for key in found)
        groups.append([float(np.mean([found[key] for found in of_dataset if key in found])) for key in keys])
    return groups


def gap_to_teacher(grid: Grid, column: Column, method: str, view: str = "test") -> Difference | None:
    """Returns the scores of a student less those of its teachers; None without a pair."""
    differences = paired(grid.cells[column, method], grid.teacher(column), view)
    return difference([*differences.values()], grid.error(column)) if differences else None


def best_attainable(rows: Sequence[Comparison], test: Test) -> float:
    """Returns the smallest corrected p that any of the comparisons could have; 0 for the t-test, which has no bound."""
    tested = [row for row in rows if row.holm_p is not None]
    if test == "t" or not tested:
        return 0.0
    pairs = max(row.difference.pairs for row in tested)
    least = least_p(pairs) if test == "permutation" else 2.0 ** (1 - pairs)  # Wilcoxon's p is exact
    return min(1.0, len(tested) * least)


def p_of(found: Difference, test: Test) -> float | None:
    """Returns the p of a test."""
    return {"permutation": found.permutation_p, "wilcoxon": found.wilcoxon_p, "t": found.t_p}[test]
