"""What all stored tables, and the draws of their tuning, decide: `python -m experiments.findings`.

One line for each claim: over all data sets in the one tuning of its table, tested over seeds, and over the draws of it,
tested over these. Bold is what is significant after Holm's correction, over the claims of the table or of its draws.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from abkd_jax.run.report.tables import format_score
from abkd_jax.study.report.claims import Decision, decide
from abkd_jax.study.report.grid import Grid, make_grid
from abkd_jax.study.report.score_tables import label
from experiments.configs.tables import CLAIMS, TABLES
from experiments.excerpts import cells_of, run_excerpt
from experiments.tuning_draws import BASELINE, decisions_of_draws

HEADERS = ("table", "claim", "in one tuning", "tuned again", "each, tuned again")


def as_text(results: Path) -> str:
    """Returns the claims of all stored tables as a Markdown table.

    Args:
        results: folder of tables.
    """
    lines = [HEADERS, ("---",) * len(HEADERS)]
    for name in TABLES:
        if (results / name).is_dir():
            link = f"[{name}](results/{name}/README.md)"
            lines += [("" if number else link, *line) for number, line in enumerate(_of_table(name, results))]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _of_table(name: str, results: Path) -> Iterator[tuple[str, ...]]:
    """Yields a line for each claim of a table or of its draws."""
    grid = make_grid(cells_of(results / name), BASELINE)
    seeds, draws = decide(grid, CLAIMS.get(name, ())), decisions_of_draws(name, results)
    for claim in dict.fromkeys([*(one.claim for one in seeds), *(one.claim for one, _ in draws)]):
        in_table = sorted((one for one in seeds if one.claim == claim), key=_is_alone)
        again = sorted((one for one in draws if one[0].claim == claim), key=lambda one: _is_alone(one[0]))
        said = [_over_seeds(grid, one) for one in in_table[:1]]
        said += [f"{one.in_words} on {_where(grid, one)}" for one in in_table[1:] if one.in_words != "undecided"]
        first, *each = [_over_draws(grid, *one) for one in again] or ["-"]
        yield f"{claim.short('`')}{claim.where}", "; ".join(said) or "-", first, "; ".join(each) or "-"


def _is_alone(decision: Decision) -> bool:
    """Returns whether it is on one data set, and not over several."""
    return decision.comparison.column is not None


def _where(grid: Grid, decision: Decision) -> str:
    """Returns the name of a column, or how many data sets there are."""
    columns = decision.comparison.columns
    return label(grid, columns[0]) if len(columns) == 1 else f"{len({column.dataset for column in columns})} data sets"


def _over_seeds(grid: Grid, decision: Decision) -> str:
    return f"{_difference(grid, decision)} on {_where(grid, decision)}, {_p(decision)}"


def _over_draws(grid: Grid, decision: Decision, gaps: Sequence[float]) -> str:
    ahead = f"{sum(gap > 0.0 for gap in gaps)} of {len(gaps)}"
    return f"{_difference(grid, decision)} on {_where(grid, decision)} ({ahead}, {_p(decision)})"


def _p(decision: Decision) -> str:
    """Returns p; a dash where there are too few seeds or draws for a test."""
    p = decision.comparison.holm_p
    return "p -" if p is None else f"p {p:.2g}"


def _difference(grid: Grid, decision: Decision) -> str:
    """Returns a mean difference, bold where it is significant."""
    found = decision.comparison
    said = format_score(found.difference.estimate.mean, grid.metric(found.columns[0]), sign="+")
    return said if decision.in_words == "undecided" else f"**{said}**"


if __name__ == "__main__":
    run_excerpt("experiments.findings", as_text, __doc__)
