"""Numbers of what the text of a study says, computed from its stored cells and compared in the order of the text."""

import functools
import re
from typing import NamedTuple

import numpy as np

from abkd_jax.study.cells import Cell
from abkd_jax.study.report.claims import Claim, Decision, decide
from abkd_jax.study.report.draws import decide_draws
from abkd_jax.study.report.grid import Column, Grid, make_grid, scores_of
from experiments import tuning_draws
from experiments.configs.tables import CLAIMS
from experiments.excerpts import cells_of
from experiments.study import RESULTS

NUMBER = re.compile(r"(?<![\w.])-?\d*\.\d+(?![\w.]*\w)")  # written with a point: .5, -1.25
NEAR = 0.5  # points from the end of a run, where texts count epochs
EXACT = 1e-9  # what floats may add
WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
AROUND = 60  # characters beside a number that is wrong


def check_numbers(said: str, values: list[float]) -> None:
    """Checks that the numbers with a point in a text are these values, rounded, one after the other."""
    said = re.sub(r"\s+", " ", said)
    found = [*NUMBER.finditer(said)]
    wrong = []
    for match, value in zip(found, values, strict=False):
        digits = len(match[0].rpartition(".")[2])
        if abs(float(match[0]) - value) > 0.5 * 0.1**digits + EXACT:  # a half is rounded up or down
            wrong.append(
                f"computed {value:.{digits + 1}f}: {said[max(match.start() - AROUND, 0) : match.end() + AROUND]}"
            )
    assert not wrong, "\n".join(wrong)
    assert len(found) == len(values), f"{len(found)} numbers, {len(values)} values"


def check_words(said: str, *phrases: str) -> None:
    """Checks that a text has these words, with counts that were computed."""
    said = re.sub(r"\s+", " ", said)
    missing = [phrase for phrase in phrases if phrase not in said]
    assert not missing, f"{missing}: expected in {said}"


def what_it_shows(table: str) -> str:
    """Returns what the text of a table says before its excerpt."""
    text = (RESULTS / table / "README.md").read_text()
    return text.split("## What it shows")[1].split("<!-- study")[0]


def paragraphs(table: str) -> list[str]:
    """Returns the paragraphs and bullets of what the text of a table says."""
    return re.split(r"\n\n|\n(?=- )", what_it_shows(table).strip())


class Drawn(NamedTuple):
    """What the draws of the tuning say of a claim, in points.

    Attributes:
        mean: of the draws.
        std: over them.
        gaps: of each.
        p: Holm's.
    """

    mean: float
    std: float
    gaps: list[float]
    p: float

    @property
    def ahead(self) -> int:
        """Returns the number of draws in which the method was ahead."""
        return sum(gap > 0.0 for gap in self.gaps)


class Told:
    """Numbers of a stored table, in points.

    Args:
        name: of the table.
    """

    def __init__(self, name: str):
        self.name = name
        self.grid = make_grid(cells_of(RESULTS / name), "soft_label")

    def column(self, dataset: str, student: str = "", regime: str = "") -> Column:
        """Returns the one column of a data set, with a student and a regime where there are several."""
        (found,) = [
            column
            for column in self.grid.columns
            if column.dataset == dataset and student in ("", column.student) and regime in ("", column.regime)
        ]
        return found

    def score(self, method: str, dataset: str, student: str = "", *, regime: str = "", view: str = "test") -> float:
        """Returns the mean score of a method, or of the `"teacher"`."""
        return 100.0 * float(np.mean(self._scores(method, self.column(dataset, student, regime), view)))

    def std(self, method: str, dataset: str, student: str = "", *, regime: str = "") -> float:
        """Returns the standard deviation of a method over its seeds."""
        scores = self._scores(method, self.column(dataset, student, regime))
        return 100.0 * float(np.std(scores, ddof=1))

    def gain(
        self, method: str, other: str, dataset: str, student: str = "", *, regime: str = "", view: str = "test"
    ) -> float:
        """Returns the mean difference of two methods, one of which may be the `"teacher"`."""
        scores = [self.score(name, dataset, student, regime=regime, view=view) for name in (method, other)]
        return scores[0] - scores[1]

    def smaller(self, dataset: str, student: str = "") -> float:
        """Returns how many times fewer parameters the students have."""
        return float(self.grid.compression(self.column(dataset, student)) or 0.0)

    def claim(
        self, method: str, against: str, dataset: str = "", student: str = "", *, regime: str = "", view: str = "test"
    ) -> tuple[float, float]:
        """Returns mean difference and Holm's p of a claim of the table, over all data sets where none is named."""
        column = self.column(dataset, student, regime) if dataset else None
        one = _chosen(self._decisions, method, against, column, view)
        return 100.0 * one.comparison.difference.estimate.mean, one.comparison.holm_p

    @functools.cached_property
    def decisions_of_draws(self) -> list[tuple[Decision, list[float]]]:
        """Returns all that the draws decide, with the differences of each draw."""
        return decide_draws(*self._draws)

    def drawn(self, method: str, against: str, dataset: str = "", student: str = "", *, view: str = "test") -> Drawn:
        """Returns what the draws say of a claim, over all data sets where none is named."""
        column = self.column(dataset, student) if dataset else None
        one = _chosen([decision for decision, _ in self.decisions_of_draws], method, against, column, view)
        gaps = next(gaps for decision, gaps in self.decisions_of_draws if decision is one)
        found = one.comparison.difference.estimate
        return Drawn(100.0 * found.mean, 100.0 * found.std, [100.0 * gap for gap in gaps], one.comparison.holm_p)

    def score_of_draws(self, method: str, dataset: str, student: str = "", view: str = "test") -> float:
        """Returns the mean score of a method, or of the `"teacher"`, over the draws."""
        if method == "teacher":  # the same in all draws
            return self.score(method, dataset, student, view=view)
        return float(np.mean(self.scores_of_draws(method, dataset, student, view)))

    def scores_of_draws(self, method: str, dataset: str, student: str = "", view: str = "test") -> list[float]:
        """Returns the mean score of a method in each draw."""
        found = [scores_of(cell, view) for cell in self.cells_of_draws(method, dataset, student)]
        return [100.0 * float(np.mean([*scores.values()])) for scores in found]

    def gain_of_draws(self, method: str, other: str, dataset: str, student: str = "", *, view: str = "test") -> float:
        """Returns the mean difference of two methods over the draws, whether anything is claimed of it or not."""
        first, second = (self.score_of_draws(name, dataset, student, view) for name in (method, other))
        return first - second

    def cells_of_draws(self, method: str, dataset: str, student: str = "") -> list[Cell]:
        """Returns the cells of a method in all draws, the table's own first."""
        column = self.column(dataset, student)
        return [grid.cells[column, method] for grid in self._draws[0]]

    def _scores(self, method: str, column: Column, view: str = "test") -> list[float]:
        cell = self.grid.teacher(column) if method == "teacher" else self.grid.cells[column, method]
        return [*scores_of(cell, view).values()]

    @functools.cached_property
    def _decisions(self) -> list[Decision]:
        return decide(self.grid, CLAIMS.get(self.name, ()))

    @functools.cached_property
    def _draws(self) -> tuple[list[Grid], list[Claim]]:
        return tuning_draws.grids_of_draws(self.name, RESULTS)


told = functools.cache(Told)  # a table's cells, read once


def _chosen(decisions: list[Decision], method: str, against: str, column: Column | None, view: str) -> Decision:
    (found,) = [
        one
        for one in decisions
        if (one.claim.method, one.claim.against, one.claim.view) == (method, against, view)
        if one.comparison.column == column
    ]
    return found


def within(bound: float, *values: float) -> float:
    """Returns a bound of which the text says that no value is above it, checked."""
    assert max(values) <= bound + EXACT, f"{max(values)}: expected at most {bound}"
    return bound


def level(*values: float) -> None:
    """Checks that differences, of which the text gives no number, are 0 to the digit that it has elsewhere."""
    assert {abs(round(value, 1)) for value in values} == {0.0}, f"{values}: expected no difference"


def same(*values: float, digits: int = 1) -> float:
    """Returns one of several values that the text gives as one number, checked."""
    assert len({round(value, digits) for value in values}) == 1, f"{values}: expected one number"
    return values[0]
