"""How much of a difference is the tuning's: `python -m experiments.tuning_draws layers_differ --datasets cora`.

A table tunes each method once, and its tests take the settings as given. Here the same budget is drawn again and again,
and the differences of the draws are tested. Draw 0 is the table itself; the cells of draw k are those of a table
`tuning_draws/<table>_<k>`. Cells that exist are skipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.run.report.canvas import can_draw
from abkd_jax.study.options import Table
from abkd_jax.study.report.claims import Claim, Decision
from abkd_jax.study.report.draw_figures import draws_figure
from abkd_jax.study.report.draws import decide_draws, draws_blocks, gaps_of
from abkd_jax.study.report.excerpt import filled
from abkd_jax.study.report.grid import TEACHER, Grid, make_grid
from abkd_jax.study.report.markdown import block_text
from abkd_jax.study.report.score_tables import label
from abkd_jax.types import InputError
from experiments.configs.tables import CLAIMS, CLAIMS_OF_DRAWS, TABLES
from experiments.excerpts import cells_of
from experiments.program import run_program, table_named
from experiments.study import RESULTS, RUNS, Run, train

BASELINE = "soft_label"
FOLDER = "tuning_draws"
PICTURE = "draws.svg"  # of all stored draws


@dataclass(frozen=True)
class Args:
    """Tune methods of a table again and again, with the same budget."""

    table: tyro.conf.Positional[str]
    """Name of the table."""
    datasets: tuple[str, ...] = ("cora",)
    """Data sets."""
    students: tuple[str, ...] = ()
    """Students; default: those of the table."""
    methods: tuple[str, ...] = (BASELINE, "abkd")
    """Baseline, and methods that are compared with it, or with each other where the table claims something of them."""
    draws: int = 8
    """Draws, that of the table included; with fewer than 6 no difference can be significant."""
    results: Path = RESULTS
    """Folder of stored tables."""
    work: Path = RUNS
    """Folder of checkpoints."""
    smoke: bool = False
    """Few seeds, trials and epochs, to see that everything runs; cells go below the folder of checkpoints."""
    readme: Path | None = None
    """Text with lines `<!-- study TABLE -->` and `<!-- end -->`, between which the result is put as well, and a
    picture of all stored draws beside it."""


def main(args: Args) -> None:
    """Trains the draws that are missing, and prints what they say.

    Raises:
        InputError: an unknown table, fewer than one draw or than two methods, a text without a place for it, or see
            `experiments.study.train` and `draws_blocks`.
    """
    table_named([args.table])
    if args.draws < 1:
        raise InputError(f"draws {args.draws}: expected at least 1")
    if len(args.methods) < 2:
        raise InputError(f"methods {' '.join(args.methods) or '(none)'}: expected a baseline and at least one other")
    if args.readme is not None:
        filled(args.readme, args.table, "")  # what is wrong with it is said before hours of training
    results = args.work / "smoke" if args.smoke else args.results
    tables = [draw(args, number) for number in range(args.draws)]
    for number, table in enumerate(tables):
        print(f"draw {number}", flush=True)
        train(Run(table, args.results, args.work, args.smoke))
    names = [(table.small() if args.smoke else table).name for table in tables]
    text = as_text(names, claims_of(args.table, args.methods), results)
    print(f"\n{text}", end="")
    if args.readme is not None:
        write_atomic(args.readme, filled(args.readme, args.table, text))
        if can_draw() and not args.smoke:
            write_atomic(args.readme.parent / PICTURE, picture(results))


def draw(args: Args, number: int) -> Table:
    """Returns the table of a draw."""
    table = TABLES[args.table]
    name = f"{FOLDER}/{table.name}_{number}" if number else table.name
    tuning, students = replace(table.tuning, draw=number), args.students or table.students
    return replace(table, name=name, datasets=args.datasets, students=students, methods=args.methods, tuning=tuning)


def claims_of(table: str, methods: Sequence[str]) -> list[Claim]:
    """Returns the claims of a table and of its draws on some methods; all other methods are compared with the first.

    Args:
        table: its name.
        methods: the baseline, then others.
    """
    of_table = (*CLAIMS.get(table, ()), *CLAIMS_OF_DRAWS.get(table, ()))
    found = [claim for claim in of_table if {claim.method, *claim.rivals} <= set(methods)]
    named = {name for claim in found for name in (claim.method, *claim.rivals)}
    view = of_table[0].view if of_table else "test"
    return found + [Claim(name, (methods[0],), view=view) for name in methods[1:] if name not in named]


def as_text(names: Sequence[str], claims: Sequence[Claim], results: Path) -> str:
    """Returns what the stored cells of these draws say, as Markdown, of the columns that all draws have.

    Args:
        names: of the tables, one for each draw.
        claims: what is asked of the draws.
        results: folder of tables.
    """
    return "\n\n".join(map(block_text, draws_blocks(_grids(names, claims, results), claims))) + "\n"


def _grids(names: Sequence[str], claims: Sequence[Claim], results: Path) -> list[Grid]:
    return [make_grid(cells_of(results / name), claims[0].rivals[0]) for name in names]


def stored(table: str, results: Path) -> tuple[list[str], list[Claim]]:
    """Returns the names of a table and of its stored draws, and the claims on all methods that were drawn again."""
    again = [f"{FOLDER}/{table}_{number}" for number in range(1, 1 + len([*(results / FOLDER).glob(f"{table}_*")]))]
    methods = {cell["method"] for name in again for cell in cells_of(results / name)} - {TEACHER}
    return [table, *again], claims_of(table, sorted(methods, key=lambda method: (method != BASELINE, method)))


def decisions_of_draws(table: str, results: Path) -> list[tuple[Decision, list[float]]]:
    """Returns what the stored draws of a table decide, with the differences of the draws; nothing without draws.

    Args:
        table: its name.
        results: folder of tables.
    """
    grids, claims = grids_of_draws(table, results)
    return decide_draws(grids, claims) if grids else []


def grids_of_draws(table: str, results: Path) -> tuple[list[Grid], list[Claim]]:
    """Returns the stored draws of a table, its own first, none where it alone is stored, and the claims on them.

    Raises:
        InputError: a draw that was begun has no cell of the baseline, or none has a method that is compared with it.
    """
    names, claims = stored(table, results)
    if len(names) > 1 and not claims:
        raise InputError(f"{results / names[1]}: expected cells of {BASELINE} and of another method")
    return (_grids(names, claims, results) if len(names) > 1 else []), claims


def picture(results: Path) -> bytes:
    """Returns a figure of all claims on which there are stored draws, as SVG.

    Args:
        results: folder of tables.
    """
    rows = {}
    for table in TABLES:
        grids, claims = grids_of_draws(table, results)
        for claim in claims if grids else ():
            for column, gaps in gaps_of(grids, claim).items():
                said = f"{table}, {label(grids[0], column)}{claim.where}:\n{claim.short()}"
                rows[said] = [grids[0].metric(column).factor * gap for gap in gaps]
    return draws_figure(rows)


if __name__ == "__main__":
    run_program("experiments.tuning_draws", lambda: main(tyro.cli(Args, description=__doc__)), resumes=True)
