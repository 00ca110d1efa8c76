"""How much of a difference is the tuning's: the same cells, each method tuned in several draws of one budget."""

from collections.abc import Iterator, Sequence

import numpy as np

from abkd_jax.run.report.statistics import estimate
from abkd_jax.run.report.tables import format_score
from abkd_jax.study.report.blocks import Block, Entry, Table, Text, plain
from abkd_jax.study.report.comparisons import Comparison
from abkd_jax.study.report.grid import Column, Grid, paired, scores_of
from abkd_jax.study.report.score_tables import TESTS, difference_entries, label
from abkd_jax.study.report.statistics import difference, holm
from abkd_jax.types import InputError

__all__ = ["draws_blocks"]

NOTE = """\
Each draw tunes both methods anew with the same budget: other points of the Sobol sequence, other tried students.
The preset's setting, the teachers and the reported seeds are those of all draws. The tests have one mean difference per
draw: they are about a method with its tuning, those of a table about the settings that its one draw chose."""


def draws_blocks(draws: Sequence[Grid], method: str) -> list[Block]:
    """Returns what the draws say of a method beside the baseline: in words, by draw, and tested over the draws.

    Args:
        draws: the cells of each draw; the first method is the baseline.
        method: name of the method.

    Raises:
        InputError: draws differ in data sets, students or teachers, or lack a cell.
    """
    first = draws[0]
    baseline = first.methods[0]
    gaps = {
        column: [_gap(grid, number, column, method) for number, grid in enumerate(draws)] for column in first.columns
    }
    for number, grid in enumerate(draws):
        if grid.columns != first.columns or _teachers(grid) != _teachers(first):
            raise InputError(f"draw {number}: expected the data sets, students and teachers of draw 0")
    tested = {column: difference(of_column) for column, of_column in gaps.items()}
    corrected = holm([one.permutation_p for one in tested.values()])
    rows = {c: Comparison(c, method, one, p) for (c, one), p in zip(tested.items(), corrected, strict=True)}
    by_draw = [line for column, of_column in gaps.items() for line in _lines(draws, column, method, of_column)]
    lines = [(Entry(label(first, column)), *difference_entries(first, row)) for column, row in rows.items()]
    headers = ("data set", "draw", baseline, method, "difference")
    return [
        Text(" ".join(_in_words(first, column, row, gaps[column]) for column, row in rows.items())),
        Table(f"{first.name}: test scores by draw of the tuning budget", headers, by_draw, texts=2),
        Table("Tested over the draws", ("data set", f"{method} less {baseline}", *TESTS), lines),
        Text(NOTE),
    ]


def _gap(grid: Grid, number: int, column: Column, method: str) -> float:
    """Returns the mean difference of a draw."""
    cell, baseline = (grid.cells.get((column, name)) for name in (method, grid.methods[0]))
    pairs = paired(cell, baseline) if cell else []
    if not pairs:
        raise InputError(f"draw {number}: {column}: expected scores of {grid.methods[0]} and {method}")
    return float(np.mean(pairs))


def _lines(draws: Sequence[Grid], column: Column, method: str, gaps: Sequence[float]) -> Iterator[tuple[Entry, ...]]:
    """Yields a row for every draw, then their means with the deviation over the draws."""
    metric, where = draws[0].metric(column), label(draws[0], column)
    means: list[list[float]] = [[], []]
    for number, (grid, gap) in enumerate(zip(draws, gaps, strict=True)):
        found = [estimate([*scores_of(grid.cells[column, name]).values()]) for name in (grid.methods[0], method)]
        for values, one in zip(means, found, strict=True):
            values.append(one.mean)
        scores = [format_score(one.mean, metric, one.std) for one in found]
        yield plain(where, str(number), *scores, format_score(gap, metric, sign="+"))
    over = [estimate(values) for values in (*means, list(gaps))]
    texts = [format_score(one.mean, metric, one.std, sign) for one, sign in zip(over, ("", "", "+"), strict=True)]
    yield plain(where, "mean of draws", *texts)


def _in_words(grid: Grid, column: Column, row: Comparison, gaps: Sequence[float]) -> str:
    """Returns one sentence on a column."""
    mean = format_score(row.difference.estimate.mean, grid.metric(column), sign="+")
    ahead = sum(gap > 0.0 for gap in gaps)
    said = {"better": "it holds", "worse": "the opposite holds", "open": "undecided"}[row.verdict]
    return (
        f"{label(grid, column)}: {row.method} less {grid.methods[0]} is {mean} over {len(gaps)} draws, ahead in "
        f"{ahead} of them: {said}."
    )


def _teachers(grid: Grid) -> dict[tuple[str, str], object]:
    return {place: cell.get("weights") for place, cell in grid.teachers.items()}
