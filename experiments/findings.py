"""What all stored tables, and the draws of their tuning, decide: `python -m experiments.findings`.

One line for each claim: over all data sets in the one tuning of its table, tested over seeds, and over the draws of it,
tested over these. Bold is what is significant after Holm's correction, over the claims of the table or of its draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.run.report.tables import format_score
from abkd_jax.study.cells import load
from abkd_jax.study.report.claims import Claim, Decision, decide
from abkd_jax.study.report.excerpt import filled
from abkd_jax.study.report.grid import Grid, make_grid
from abkd_jax.study.report.score_tables import label
from experiments.configs.tables import CLAIMS, TABLES
from experiments.program import run_program
from experiments.study import RESULTS
from experiments.tuning_draws import BASELINE, decisions_of_draws

NAME = "findings"  # of the excerpt
HEADERS = ("table", "claim", "in one tuning", "tuned again", "each, tuned again")


@dataclass(frozen=True)
class Args:
    """Print what the stored tables and draws decide."""

    results: Path = RESULTS
    """Folder of stored tables."""
    readme: Path | None = None
    """Text with lines `<!-- study findings -->` and `<!-- end -->`, between which the table is put as well."""


def main(args: Args) -> None:
    """Prints the table.

    Raises:
        InputError: a damaged cell, or a text without a place for the table.
    """
    text = as_text(args.results)
    print(text, end="")
    if args.readme is not None:
        write_atomic(args.readme, filled(args.readme, NAME, text))


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
    grid = make_grid(load(results / name), BASELINE)
    seeds, draws = decide(grid, CLAIMS.get(name, ())), decisions_of_draws(name, results)
    for claim in dict.fromkeys([*(one.claim for one in seeds), *(one.claim for one, _ in draws)]):
        in_table = [one for one in seeds if one.claim == claim]
        again = [_over_draws(grid, *one) for one in draws if one[0].claim == claim]
        # The last decision on a claim is over all data sets, or its only one.
        over = [_over_seeds(grid, one) for one in in_table[-1:]]
        over += [f"{one.in_words} on {_where(grid, one)}" for one in in_table[:-1] if one.in_words != "undecided"]
        yield _in_words(claim), "; ".join(over) or "-", *(again[-1:] or ["-"]), "; ".join(again[:-1]) or "-"


def _in_words(claim: Claim) -> str:
    method, rival = (f"`{name.rpartition(':')[-1]}`" for name in (claim.method, claim.rivals[0]))
    return f"{method} above {claim.name or rival}{claim.where}"


def _where(grid: Grid, decision: Decision) -> str:
    """Returns the name of a column, or how many data sets there are."""
    columns = decision.comparison.columns
    return label(grid, columns[0]) if len(columns) == 1 else f"{len({column.dataset for column in columns})} data sets"


def _over_seeds(grid: Grid, decision: Decision) -> str:
    return f"{_difference(grid, decision)} on {_where(grid, decision)}, p {decision.comparison.holm_p:.2g}"


def _over_draws(grid: Grid, decision: Decision, gaps: Sequence[float]) -> str:
    ahead = f"{sum(gap > 0.0 for gap in gaps)} of {len(gaps)}"
    return f"{_difference(grid, decision)} on {_where(grid, decision)} ({ahead}, p {decision.comparison.holm_p:.2g})"


def _difference(grid: Grid, decision: Decision) -> str:
    """Returns a mean difference, bold where it is significant."""
    found = decision.comparison
    said = format_score(found.difference.estimate.mean, grid.metric(found.columns[0]), sign="+")
    return said if decision.in_words == "undecided" else f"**{said}**"


if __name__ == "__main__":
    run_program("experiments.findings", lambda: main(tyro.cli(Args, description=__doc__)))
