"""What the advised settings gain over the best other loss, where soft labels leave a gap to the teacher.

`python -m experiments.recommended`. Tables, settings and losses are those of `RECOMMENDED` in `configs/tables.py`. Each
draw of the tuning gives one difference: on a graph the mean over its tables, over all graphs the mean over tables of
the mean over graphs. All of it is over as many draws as every graph has in every table, the first ones. p is of sign
flips over the draws, on single graphs with Holm's correction over them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from abkd_jax.run.report.statistics import stored_error
from abkd_jax.run.report.tables import format_score
from abkd_jax.study.report.claims import Claim
from abkd_jax.study.report.comparisons import ALPHA, gap_to_teacher
from abkd_jax.study.report.draws import gaps_required
from abkd_jax.study.report.grid import Column, Grid
from abkd_jax.study.report.statistics import Difference, difference, holm
from abkd_jax.types import METRICS, InputError
from experiments.configs.tables import BEST_OTHER, CLAIMS_OF_DRAWS, RECOMMENDED
from experiments.excerpts import run_excerpt
from experiments.tuning_draws import grids_of_draws

ACCURACY, ALL = METRICS["accuracy"], "all"


class Found(NamedTuple):
    """What the draws say of one table and graph, as scores are stored.

    Attributes:
        gains: of each draw, the advised settings less the best other loss.
        left: the teachers less the advised settings, the mean over all draws.
    """

    gains: list[float]
    left: float


def as_text(results: Path) -> str:
    """Returns the gains as a Markdown table, with the gap to the teacher that the best other loss leaves.

    Args:
        results: folder of tables.

    Raises:
        InputError: there are no draws, or see `tuning_draws`.
    """
    tables = of_tables(results)
    if not tables:
        raise InputError(f"{results}: expected draws of the tuning of {' or '.join(RECOMMENDED)}, got none")
    graphs = dict.fromkeys(graph for of_graphs in tables.values() for graph in of_graphs)
    rows = {graph: {name: [some[graph]] for name, some in tables.items() if graph in some} for graph in graphs}
    rows[ALL] = {name: [*of_graphs.values()] for name, of_graphs in tables.items()}
    gains = {name: _over_tables(row) for name, row in rows.items()}
    over = {name: difference(of_draws, stored_error(ACCURACY)) for name, of_draws in gains.items()}
    p = [*holm([over[graph].permutation_p for graph in graphs]), over[ALL].permutation_p]
    lines = [("graph", *map(_heading, tables), "mean of tables", "p", "ahead in")]
    lines += [("---",) * len(lines[0])]
    for (name, row), of_row in zip(rows.items(), p, strict=True):
        shown = (_of_gap(row.get(table, ())) for table in tables)
        ahead = sum(gain > 0.0 for gain in gains[name])
        lines += [(name, *shown, *_tested(over[name], of_row), f"{ahead} of {len(gains[name])}")]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def of_tables(results: Path) -> dict[str, dict[str, Found]]:
    """Returns what the stored draws say of the advised settings, by table and graph, each over the same number.

    Raises:
        InputError: a draw has not all that is compared, or see `tuning_draws`.
    """
    drawn = {table: grids for table in RECOMMENDED if (grids := grids_of_draws(table, results)[0])}
    gaps = {table: gaps_required(grids, claim_of(table)) for table, grids in drawn.items()}
    least = min((len(gains) for of_graphs in gaps.values() for gains in of_graphs.values()), default=0)
    return {
        table: {
            column.dataset: Found(gains[:least], _left(drawn[table][:least], claim_of(table), column))
            for column, gains in of_graphs.items()
        }
        for table, of_graphs in gaps.items()
    }


def claim_of(table: str) -> Claim:
    """Returns the claim that the advised settings of a table are above its best other loss."""
    return next(one for one in CLAIMS_OF_DRAWS[table] if (one.method, one.name) == (RECOMMENDED[table], BEST_OTHER))


def _left(grids: Sequence[Grid], claim: Claim, column: Column) -> float:
    """Returns the scores of the teachers less those of the advised settings, the mean over the draws."""
    gaps = [gap_to_teacher(grid, column, claim.method, claim.view) for grid in grids]
    return -float(np.mean([gap.estimate.mean for gap in gaps if gap is not None]))


def _over_tables(row: dict[str, list[Found]]) -> list[float]:
    """Returns the mean over tables of the mean over graphs, of each draw."""
    return np.mean([np.mean([one.gains for one in found], 0) for found in row.values()], 0).tolist()


def _heading(table: str) -> str:
    return f"[{table}](results/{table}/README.md), `{RECOMMENDED[table]}`"


def _of_gap(found: Sequence[Found]) -> str:
    """Returns the mean gain and the mean gap that the best other loss leaves."""
    if not found:
        return "-"
    gain = float(np.mean([np.mean(one.gains) for one in found]))
    gap = gain + float(np.mean([one.left for one in found]))
    return f"{format_score(gain, ACCURACY, sign='+')} of {format_score(gap, ACCURACY)}"


def _tested(over: Difference, p: float | None) -> tuple[str, str]:
    """Returns the mean difference over the draws, bold where it is significant, and p."""
    said = format_score(over.estimate.mean, ACCURACY, over.estimate.std, "+")
    if p is None:  # too few draws
        return said, "-"
    return f"**{said}**" if p < ALPHA else said, f"{p:.2g}"


if __name__ == "__main__":
    run_excerpt("experiments.recommended", as_text, __doc__)
