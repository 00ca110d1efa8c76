"""Writes the report of a study table from its cells: `python -m experiments.report experiments/results/main`.

`report.html` (one file), `report.md` with its figures, and `tables.tex` are written into the folder of the table.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from abkd_jax.study.cells import load
from abkd_jax.study.report.comparisons import Test
from abkd_jax.study.report.write import write_report
from abkd_jax.types import InputError
from experiments.configs.tables import CLAIMS


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


def main(args: Args) -> None:
    """Reads the cells, writes the report and prints its path."""
    try:
        cells = load(args.results)
        claims = CLAIMS.get(str(cells[0]["table"]), ())
        print(write_report(cells, args.out or args.results, args.baseline, args.test, claims))
    except InputError as error:
        sys.exit(f"experiments.report: {error}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
