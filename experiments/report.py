"""Writes the report of a study table from its cells: `python -m experiments.report experiments/results/main`.

`report.html` (one file), `report.md` with its figures, and `tables.tex` are written into the folder of the table.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.study.cells import Cell, load
from abkd_jax.study.report.blocks import Picture
from abkd_jax.study.report.claims import Claim
from abkd_jax.study.report.comparisons import Test
from abkd_jax.study.report.excerpt import excerpt, filled
from abkd_jax.study.report.write import write_report
from experiments.configs.tables import CLAIMS
from experiments.program import run_program


@dataclass(frozen=True)
class Args:
    """Write the report of a study table."""

    results: tyro.conf.Positional[Path]
    """Folder of the table, with a file per cell: `<dataset>/<regime>/<student>/<method>.json`."""
    baseline: str = "soft_label"
    """Method that all others are compared with."""
    test: Test = "permutation"
    """Test whose p is corrected; sign flips and ranks of ten pairs cannot be significant among over 25 comparisons."""
    out: Path | None = None
    """Folder of the report; without it that of the table."""
    readme: Path | None = None
    """Text with lines `<!-- study NAME -->` and `<!-- end -->`, between which scores and claims are put as well; its
    pictures are in the folder of the table."""


def main(args: Args) -> None:
    """Reads the cells, writes the report and prints its path."""
    run_program("experiments.report", lambda: _report(args))


def _report(args: Args) -> None:
    cells = load(args.results)
    claims = CLAIMS.get(str(cells[0]["table"]), ())
    made = None if args.readme is None else _with_cells(args.readme, cells, claims, args)
    print(write_report(cells, args.out or args.results, args.baseline, args.test, claims))
    if args.readme is not None and made is not None:
        for picture in made[1]:
            write_atomic(args.results / picture.name, picture.svg)
        write_atomic(args.readme, made[0])


def _with_cells(readme: Path, cells: Sequence[Cell], claims: Sequence[Claim], args: Args) -> tuple[str, list[Picture]]:
    """Returns a text with the excerpt of these cells, and the pictures that it shows in the folder of the table.

    Raises:
        InputError: it cannot be read or has no place for them.
    """
    folder = Path(os.path.relpath(args.results, readme.parent)).as_posix()
    made, pictures = excerpt(cells, args.baseline, args.test, claims, folder)
    return filled(readme, str(cells[0]["table"]), made), pictures


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
