"""Claims of a study: a few comparisons that were chosen before it was trained, corrected among themselves alone."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from abkd_jax.run.report.statistics import mean_score
from abkd_jax.study.report.blocks import Entry, Table, plain
from abkd_jax.study.report.comparisons import ALPHA, Comparison, Test, best_attainable, comparable, over_columns, p_of
from abkd_jax.study.report.grid import Column, Grid, Pair, paired, scores_of
from abkd_jax.study.report.score_tables import TESTS, difference_entries, label, place_of
from abkd_jax.study.report.statistics import difference, holm

__all__ = ["Claim", "Decision", "claims_table", "claims_text", "compared", "decide"]

OUTCOMES = {"better": ("holds", "hold"), "worse": ("is the other way round", "are the other way round")}


class Claim(NamedTuple):
    """That a method has higher test scores than another one.

    Attributes:
        method: its name.
        rivals: the other one, or several, of which each data set takes that of the highest mean validation score.
        name: of the rivals in tables; empty where there is one.
        view: name of the test scores, see `Grid.views`.
        by_validation: the method counts where its mean validation score is the higher one, elsewhere the other one
            does, and the difference is 0.
    """

    method: str
    rivals: tuple[str, ...]
    name: str = ""
    view: str = "test"
    by_validation: bool = False

    def __str__(self) -> str:
        return f"{self.method}{self.chosen} above {self.against}{self.where}"

    @property
    def chosen(self) -> str:
        """Returns what is said of the method that validation may choose; empty for others."""
        return " where validation chooses it" if self.by_validation else ""

    @property
    def against(self) -> str:
        """Returns what the rivals are called together."""
        return self.name or self.rivals[0]

    @property
    def where(self) -> str:
        """Returns the nodes of the scores, `" on unseen nodes"`; empty for all test nodes."""
        return self.view.removeprefix("test").replace(": ", " on ", 1)

    def short(self, mark: str = "") -> str:
        """Returns the methods, without the modules of losses from outside, their names between marks."""
        method, rival = (mark + name.rpartition(":")[-1] + mark for name in (self.method, self.rivals[0]))
        return f"{method}{self.chosen} above {self.name or rival}"


class Decision(NamedTuple):
    """What the scores say of a claim on one data set, or over all.

    Attributes:
        claim: the claim.
        rivals: those that it was compared with, one for each data set.
        comparison: its method against them; Holm's correction is over all decisions on one data set, and over all
            others.
    """

    claim: Claim
    rivals: tuple[str, ...]
    comparison: Comparison

    @property
    def in_words(self) -> str:
        """Returns the verdict."""
        return {"better": "holds", "worse": "the opposite holds", "open": "undecided"}[self.comparison.verdict]


def decide(grid: Grid, claims: Sequence[Claim], test: Test = "permutation") -> list[Decision]:
    """Returns the decision on every claim for every column with scores of both, then those over all columns.

    Args:
        grid: the cells.
        claims: the claims, in the order of the table.
        test: whose p is corrected on one data set; over all it is the permutation test.
    """
    alone, over = [], []
    for claim in claims:
        found = compared(grid, claim)
        for column, (rival, differences) in found.items():
            found_here = difference([*differences.values()], grid.error(column))
            alone.append((claim, (rival,), (column,), found_here))
        kept = comparable(grid, {column: differences for column, (_, differences) in found.items()})
        if len(kept) > 1:
            over.append((claim, tuple(found[column][0] for column in kept), tuple(kept), over_columns(grid, kept)))
    corrected = holm([p_of(one[-1], test) for one in alone]) + holm([one[-1].permutation_p for one in over])
    return [
        Decision(claim, rivals, Comparison(columns, claim.method, found, p))
        for (claim, rivals, columns, found), p in zip(alone + over, corrected, strict=True)
    ]


def compared(grid: Grid, claim: Claim) -> dict[Column, tuple[str, dict[Pair, float]]]:
    """Returns the rival on every column with scores of both methods, and their differences by seed and split."""
    found = {}
    for column in grid.columns:
        rival, cell = _rival(grid, column, claim.rivals), grid.cells.get((column, claim.method))
        if rival and cell and (differences := paired(cell, grid.cells[column, rival], claim.view)):
            if claim.by_validation and not _validation(grid, column, claim.method) > _validation(grid, column, rival):
                differences = dict.fromkeys(differences, 0.0)
            found[column] = rival, differences
    return found


def claims_table(
    grid: Grid, decisions: Sequence[Decision], title: str = "Claims fixed beforehand, and their tests"
) -> Table:
    """Returns every decision with its tests and in words."""
    lines = []
    for decision in decisions:
        claim, rivals, found = decision
        compared = rivals[0] if len(set(rivals)) == 1 else ", ".join(rivals)
        entries = difference_entries(grid, found)
        lines.append(
            (Entry(str(claim)), *plain(place_of(grid, found.columns), compared), *entries, *plain(decision.in_words))
        )
    headers = ("claim", "data set", "compared with", "difference", *TESTS, "decision")
    return Table(title, headers, lines, f"{grid.name} claims", texts=3)


def claims_text(grid: Grid, decisions: Sequence[Decision], test: Test) -> str:
    """Returns in one paragraph which claims hold where, and what the number of pairs allows."""
    alone = [one for one in decisions if one.comparison.column is not None]
    said = []
    for verdict, (one_does, do) in OUTCOMES.items():
        found = [
            f"{claim} on {label(grid, one.column)}" for claim, _, one in alone if one.column and one.verdict == verdict
        ]
        said.append(f"{len(found)} {one_does if len(found) == 1 else do}" + (f" ({'; '.join(found)})" if found else ""))
    text = f"Of {len(alone)} claims fixed beforehand {said[0]} and {said[1]}; the others are undecided"
    text += f" ({test} test, Holm p < {ALPHA} over these claims)."
    for claim, _, one in decisions:
        if one.column is None:
            mean = 100.0 * one.difference.estimate.mean
            text += f" Over {grid.together(one.columns)}, {claim}: {mean:+.2f}, Holm p {one.holm_p:.2g}."
    least = best_attainable([one.comparison for one in alone], test)
    return text + (f" The smallest p that the pairs allow is {least:.2g}." if least else "")


def _rival(grid: Grid, column: Column, names: Sequence[str]) -> str | None:
    """Returns the rival of the highest mean validation score on a column; None where it has none."""
    means = {name: mean for name in names if (mean := _validation(grid, column, name)) > -math.inf}
    return max(means, key=lambda name: means[name]) if means else None


def _validation(grid: Grid, column: Column, name: str) -> float:
    """Returns the mean validation score of a method, minus infinity where it has none."""
    scores = [*scores_of(grid.cells.get((column, name)), "validation").values()]
    return mean_score(scores) if scores else -math.inf
