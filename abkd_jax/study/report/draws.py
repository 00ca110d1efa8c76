"""How much of a difference is the tuning's: the same cells, each method tuned in several draws of one budget."""

from collections.abc import Mapping, Sequence

import numpy as np

from abkd_jax.run.report.statistics import estimate
from abkd_jax.run.report.tables import format_score
from abkd_jax.study.report.blocks import Block, Entry, Table, Text, plain
from abkd_jax.study.report.claims import Claim, Decision, claims_table, compared
from abkd_jax.study.report.comparisons import Comparison, by_dataset
from abkd_jax.study.report.grid import Column, Grid, scores_of
from abkd_jax.study.report.score_tables import label
from abkd_jax.study.report.statistics import difference, holm
from abkd_jax.types import InputError

__all__ = ["decide_draws", "draws_blocks", "gaps_of", "gaps_required"]

NOTE = """\
Each draw tunes every method anew with the same budget: other points of the Sobol sequence, other tried students.
The preset's setting, the teachers and the reported seeds are those of all draws. The tests have one mean difference per
draw: they are about a method with its tuning, those of a table about the settings that its one draw chose."""


def draws_blocks(draws: Sequence[Grid], claims: Sequence[Claim]) -> list[Block]:
    """Returns what the draws say of claims: in words, by draw, and tested over the draws, see `decide_draws`.

    Args:
        draws: the cells of each draw.
        claims: at least one.

    Raises:
        InputError: a claim has no column of all draws, or draws have other teachers.
    """
    draws = _of_common_columns(draws)
    decided = _decide(draws, claims)
    alone = [(decision, gaps) for decision, gaps in decided if decision.comparison.column is not None]
    by_draw = [_by_draw(draws, claim, [one for one in alone if one[0].claim == claim]) for claim in claims]
    said = " ".join(_in_words(draws[0], *one) for one in decided)
    tested = claims_table(draws[0], [decision for decision, _ in decided], "Tested over the draws")
    return [Text(said), *by_draw, tested, Text(NOTE)]


def decide_draws(draws: Sequence[Grid], claims: Sequence[Claim]) -> list[tuple[Decision, list[float]]]:
    """Returns decisions over the draws, each with the differences of the draws as scores are stored.

    A claim is decided on every column where each draw has all its methods, and over those of these columns that are
    scored in percent where there are several; Holm's correction is over the decisions on one column, and over all
    others.

    Args:
        draws: the cells of each draw.
        claims: at least one.

    Raises:
        InputError: a claim has no such column, or draws have other teachers.
    """
    return _decide(_of_common_columns(draws), claims)


def _decide(draws: Sequence[Grid], claims: Sequence[Claim]) -> list[tuple[Decision, list[float]]]:
    """Returns the decisions of `decide_draws` for draws of the same columns."""
    found = {claim: gaps_required(draws, claim) for claim in claims}
    alone = [(claim, (column,), values) for claim, gaps in found.items() for column, values in gaps.items()]
    percent = {column for gaps in found.values() for column in gaps if draws[0].metric(column).unit == "%"}
    shares = ((claim, {c: values for c, values in gaps.items() if c in percent}) for claim, gaps in found.items())
    over = [(claim, tuple(gaps), _over_all(gaps)) for claim, gaps in shares if len(gaps) > 1]
    decided = []
    for part in (alone, over):
        differences = [difference(values, draws[0].error(*columns)) for _, columns, values in part]
        corrected = holm([one.permutation_p for one in differences])
        for (claim, columns, values), of_draws, p in zip(part, differences, corrected, strict=True):
            comparison = Comparison(columns, claim.method, of_draws, p)
            decided.append((Decision(claim, (claim.against,), comparison), values))
    return decided


def _of_common_columns(draws: Sequence[Grid]) -> list[Grid]:
    columns = tuple(column for column in draws[0].columns if all(column in grid.columns for grid in draws))
    draws = [grid._replace(columns=columns) for grid in draws]
    for number, grid in enumerate(draws):
        if _teachers(grid) != _teachers(draws[0]):
            raise InputError(f"draw {number}: expected the teachers of draw 0")
    return draws


def gaps_of(draws: Sequence[Grid], claim: Claim) -> dict[Column, list[float]]:
    """Returns the mean difference of each draw, as scores are stored, on every column where all draws have a claim."""
    names = (claim.method, *claim.rivals)
    columns = [c for c in draws[0].columns if all((c, name) in grid.cells for grid in draws for name in names)]
    found = [compared(grid, claim) for grid in draws]
    kept = [column for column in columns if all(column in of_draw for of_draw in found)]
    return {column: [float(np.mean([*of_draw[column][1].values()])) for of_draw in found] for column in kept}


def gaps_required(draws: Sequence[Grid], claim: Claim) -> dict[Column, list[float]]:
    """Returns `gaps_of`.

    Raises:
        InputError: there is no such column.
    """
    found = gaps_of(draws, claim)
    if not found:
        names, of = ", ".join((claim.method, *claim.rivals)), draws[0].name
        raise InputError(f"draws of {of}: expected scores of {names} in each, on one data set at least")
    return found


def _over_all(gaps: Mapping[Column, Sequence[float]]) -> list[float]:
    """Returns the mean of each draw over data sets."""
    return np.mean(by_dataset({column: dict(enumerate(values)) for column, values in gaps.items()}), 0).tolist()


def _by_draw(draws: Sequence[Grid], claim: Claim, decided: Sequence[tuple[Decision, list[float]]]) -> Table:
    """Returns a row for every column and draw, then their means with the deviation over the draws."""
    first, names, lines = draws[0], (*claim.rivals, claim.method), list[tuple[Entry, ...]]()
    for decision, of_column in decided:
        column = decision.comparison.columns[0]
        metric, where = first.metric(column), label(first, column)
        scores = [
            [estimate([*scores_of(grid.cells[column, name], claim.view).values()]) for name in names] for grid in draws
        ]
        for number, (of_draw, gap) in enumerate(zip(scores, of_column, strict=True)):
            entries = [format_score(one.mean, metric, one.std) for one in of_draw]
            lines.append(plain(where, str(number), *entries, format_score(gap, metric, sign="+")))
        means = [estimate([one.mean for one in of_method]) for of_method in zip(*scores, strict=True)]
        entries = [format_score(one.mean, metric, one.std) for one in means]
        over = decision.comparison.difference.estimate
        lines.append(plain(where, "mean of draws", *entries, format_score(over.mean, metric, over.std, "+")))
    return Table(f"{first.name}: {claim}, by draw", ("data set", "draw", *names, "difference"), lines, texts=2)


def _in_words(grid: Grid, decision: Decision, values: Sequence[float]) -> str:
    """Returns one sentence on a decision and the differences of its draws."""
    claim, found = decision.claim, decision.comparison
    where = label(grid, found.column) if found.column else grid.together(found.columns).capitalize()
    mean = format_score(found.difference.estimate.mean, grid.metric(found.columns[0]), sign="+")
    ahead = sum(value > 0.0 for value in values)
    return f"{where}, {claim}: {mean} over {len(values)} draws, ahead in {ahead} of them: {decision.in_words}."


def _teachers(grid: Grid) -> list[object]:
    """Returns the weights of the teachers of each column."""
    return [(grid.teacher(column) or {}).get("weights") for column in grid.columns]
