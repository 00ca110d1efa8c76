"""Trains cells of a stored table anew: `python -m experiments.reproduce main --datasets cora --methods abkd`.

Prints stored and new test scores; the exit status is 1 where one is not reproduced: its mean is outside the deviation
over the seeds, or, with the same code, versions and hardware, a seed has another score. Nothing stored is changed.
"""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from abkd_jax.study.cells import load
from abkd_jax.study.options import Table
from abkd_jax.study.reproduce import compare, table
from abkd_jax.types import InputError
from experiments.configs.tables import TABLES
from experiments.study import RESULTS, Run, train


@dataclass(frozen=True)
class Reproduce:
    """Stored cells, trained anew."""

    table: Annotated[Table, tyro.conf.arg(name="")]
    """The table."""
    stored: Path = RESULTS
    """Folder of the stored tables."""
    retrain_teachers: bool = False
    """Train the teachers anew as well, where they are stored."""


def main() -> None:
    """Reads the options, trains, compares."""
    arguments = sys.argv[1:]
    name = arguments.pop(0) if arguments and arguments[0] in TABLES else "main"
    config = (tyro.conf.AvoidSubcommands,)
    options = tyro.cli(Reproduce, default=Reproduce(TABLES[name]), description=__doc__, args=arguments, config=config)
    try:
        sys.exit(reproduce(options))
    except InputError as error:
        sys.exit(f"experiments.reproduce: {error}")


def reproduce(options: Reproduce) -> int:
    """Returns 0 where all new scores are those that were stored, 1 otherwise.

    Raises:
        InputError: no cell of the table is stored.
    """
    folder = options.stored / options.table.name
    stored = [cell for cell in load(folder) if cell["method"] in (*options.table.methods, "teacher")]
    if not stored:
        raise InputError(f"{folder} holds no cell of these methods, expected a stored table")
    with tempfile.TemporaryDirectory(prefix="reproduce_") as fresh:
        for dataset in () if options.retrain_teachers else options.table.datasets:
            teachers = Path("teachers") / dataset
            if (options.stored / teachers).is_dir():
                shutil.copytree(options.stored / teachers, fresh / teachers)
        train(Run(options.table, Path(fresh), Path(fresh) / "work"))
        found = compare(stored, load(Path(fresh) / options.table.name))
    print(table(found))
    return 0 if all(one.reproduced for one in found) else 1


if __name__ == "__main__":
    main()
