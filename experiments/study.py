"""Runs a table of a study: `python -m experiments.study main --datasets cora citeseer`.

Each cell of the table (data set, regime, student, method) is one JSON file below the folder of results. Cells that
exist are skipped, a cell that was begun goes on; `--smoke` runs all of it in seconds, into a folder of its own.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from abkd_jax.cli import backend
from abkd_jax.run.report.markdown import format_score
from abkd_jax.study.cells import Cell
from abkd_jax.study.options import Table
from abkd_jax.study.runner import run_table
from abkd_jax.types import METRICS
from experiments.program import run_program, table_named

RESULTS, RUNS = Path("experiments/results"), Path("runs/studies")


@dataclass(frozen=True)
class Run:
    """A table, and where it is trained."""

    table: Annotated[Table, tyro.conf.arg(name="")]
    """The table."""
    results: Path = RESULTS
    """Folder of stored tables: the cells are in a folder of it of the table's name, the teachers in `teachers`."""
    work: Path = RUNS
    """Folder of checkpoints."""
    smoke: bool = False
    """Few seeds, trials and epochs, to see that everything runs; cells go below the folder of checkpoints."""


def main() -> None:
    """Reads the options and runs the table."""

    def work() -> None:
        arguments, config = sys.argv[1:], (tyro.conf.AvoidSubcommands,)
        run = Run(table_named(arguments))
        train(tyro.cli(Run, default=run, description=__doc__, args=arguments, config=config))

    run_program("experiments.study", work, resumes=True)


@backend.ready()
def train(run: Run) -> None:
    """Trains what the table lacks, with a line for each cell and an estimate of the time that is left, less teachers.

    Args:
        run: the table and its folders.

    Raises:
        InputError: see `runner.run_table`.
    """
    table = run.table.small() if run.smoke else run.table
    results = run.work / "smoke" if run.smoke else run.results
    total = len(table.datasets) * len(table.regimes) * len(table.students) * len(table.methods)
    spent = []
    for number, (_, cell, trained) in enumerate(run_table(table, results, run.work), start=1):
        if trained:
            spent.append(cell["times"]["seconds"])
        left = f", about {sum(spent) / len(spent) * (total - number) / 60:.0f} min left" if spent else ""
        print(f"[{number}/{total}{left}] {line(cell)}", flush=True)


def line(cell: Cell) -> str:
    """Returns a cell in one line: its test score, its epochs and the settings that validation chose."""
    scores = [score for score in cell["scores"]["test"] if score is not None]
    mean = format_score(sum(scores) / len(scores), METRICS[cell["metric"]]) if scores else "undefined"
    chosen = cell["tuning"]["trials"][cell["tuning"]["chosen"]]["numbers"]
    numbers = ", ".join(f"{path.split('.')[-1]} {value}" for path, value in chosen.items())
    names = " ".join(cell[part] for part in ("dataset", "regime", "student", "method"))
    return f"{names}: test {mean} at {cell['epochs']} epochs; {numbers}"


if __name__ == "__main__":
    main()
