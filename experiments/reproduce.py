"""Trains cells of a stored table anew: `python -m experiments.reproduce main --datasets cora --methods abkd`.

They have the stored teachers, where there are any, and as many seeds as stored. Prints stored and new test scores; the
exit status is 1 where one is not reproduced: its mean is outside the deviation over the seeds, or, with the same code,
versions and hardware, a seed has another score. Nothing stored is changed. An interrupted command goes on where it was.
"""

import dataclasses
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from abkd_jax.configs.names import short_name
from abkd_jax.run.identity import digest
from abkd_jax.study.cells import Cell, data_name, load
from abkd_jax.study.options import Table
from abkd_jax.study.reproduce import as_text, compare, made_by
from abkd_jax.training.provenance import provenance
from abkd_jax.types import InputError
from experiments.program import run_program, table_named
from experiments.study import RESULTS, RUNS, Run, train


@dataclass(frozen=True)
class Reproduce:
    """Stored cells, trained anew."""

    table: Annotated[Table, tyro.conf.arg(name="")]
    """The table."""
    stored: Path = RESULTS
    """Folder of the stored tables."""
    retrain_teachers: bool = False
    """Train the teachers anew as well, where they are stored."""
    work: Path = RUNS / "reproduced"
    """Folder of what is being trained; nothing stays there once it is compared."""


def main() -> None:
    """Reads the options, trains, compares."""

    def work() -> int:
        arguments, config = sys.argv[1:], (tyro.conf.AvoidSubcommands,)
        options = Reproduce(table_named(arguments))
        return reproduce(tyro.cli(Reproduce, default=options, description=__doc__, args=arguments, config=config))

    sys.exit(run_program("experiments.reproduce", work, resumes=True))


def reproduce(options: Reproduce) -> int:
    """Returns 0 where all new scores are those that were stored, 1 otherwise.

    Raises:
        InputError: no cell of the table is stored.
    """
    stored, fresh = load(options.stored / options.table.name), _folder(options)
    for table in as_stored(options.table, stored):
        teachers = Path("teachers", *map(short_name, table.datasets))
        if (options.stored / teachers).is_dir() and not options.retrain_teachers:
            shutil.copytree(options.stored / teachers, fresh / teachers, dirs_exist_ok=True)
        train(Run(table, fresh, fresh / "work"))
    found = compare(stored, load(fresh / options.table.name))
    print(as_text(found))
    shutil.rmtree(fresh)
    return 0 if all(one.reproduced for one in found) else 1


def _folder(options: Reproduce) -> Path:
    """Returns the folder of this comparison: other code, versions or machines do not go on in it."""
    of = {"stored": str(options.stored.resolve()), "retrain_teachers": options.retrain_teachers}
    return options.work / digest(made_by(provenance()) | of)[:12]


def as_stored(table: Table, stored: Sequence[Cell]) -> list[Table]:
    """Returns the part of a table that is stored, one table for each data set: they may differ in methods and seeds.

    Raises:
        InputError: no cell of its data sets, regimes, students and methods is stored.
    """
    parts = []
    for dataset in table.datasets:
        chosen = {"regime": table.regimes, "student": table.students, "method": table.methods}
        name = data_name(dataset)
        cells = [cell for cell in stored if cell["dataset"] == name and all(cell[k] in v for k, v in chosen.items())]
        if cells:
            there = {
                f"{part}s": tuple(name for name in names if name in {cell[part] for cell in cells})
                for part, names in chosen.items()
            }
            parts.append(dataclasses.replace(table, datasets=(dataset,), seeds=len(cells[0]["seeds"]), **there))
    if not parts:
        raise InputError(
            f"table {table.name}: no cell of these data sets, regimes, students and methods is stored, expected one "
            "at least"
        )
    return parts


if __name__ == "__main__":
    main()
