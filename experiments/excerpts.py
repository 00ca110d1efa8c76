"""How the programs run that read all stored tables, and put what they make of them into a text."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tyro

from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.study.cells import Cell, load
from abkd_jax.study.report.excerpt import filled
from experiments.program import run_program
from experiments.study import RESULTS

__all__ = ["Args", "cells_of", "put", "run_excerpt"]


@dataclass(frozen=True)
class Args:
    """Options of such a program."""

    results: Path = RESULTS
    """Folder of stored tables."""
    readme: Path | None = None
    """Text with a line `<!-- study NAME -->`, NAME the last part of the program's name, and a line `<!-- end -->`,
    between which the result is put as well."""


def run_excerpt(name: str, as_text: Callable[[Path], str], description: str | None) -> None:
    """Runs a program with the options of `Args`.

    Args:
        name: of the program, as `python -m` takes it.
        as_text: makes Markdown of a folder of tables.
        description: of the program, for its help.
    """
    run_program(name, lambda: put(name.rpartition(".")[-1], as_text, tyro.cli(Args, description=description)))


@functools.cache
def cells_of(folder: Path) -> list[Cell]:
    """Reads the cells of a table as `study.cells.load`, but once: what reads many tables again and again changes none.

    Args:
        folder: of the table.
    """
    return load(folder)


def put(name: str, as_text: Callable[[Path], str], args: Args) -> None:
    """Prints a text, and puts it into another one.

    Raises:
        InputError: a damaged cell, or a text without a place for it.
    """
    text = as_text(args.results)
    print(text, end="")
    if args.readme is not None:
        write_atomic(args.readme, filled(args.readme, name, text))
