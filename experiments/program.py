"""How the programs of this folder run: progress on standard error, bad input and interrupts in one line."""

import logging
from collections.abc import Callable
from typing import TypeVar

from abkd_jax.cli.endings import in_one_line, output
from abkd_jax.datasets.files.progress import logging_to_stderr
from abkd_jax.study.options import Table
from abkd_jax.types import InputError
from experiments.configs.tables import TABLES

__all__ = ["run_program", "table_named"]

Result = TypeVar("Result")


def table_named(arguments: list[str]) -> Table:
    """Takes the name of a table from the front of the arguments of a program, `main` where there is none.

    Args:
        arguments: of the command line; the name is removed.

    Raises:
        InputError: there is no such table.
    """
    named = bool(arguments) and not arguments[0].startswith("-")
    name = arguments.pop(0) if named else "main"
    if name not in TABLES:
        raise InputError(f"table {name!r}: expected one of {', '.join(TABLES)}")
    return TABLES[name]


def run_program(name: str, work: Callable[[], Result], *, resumes: bool = False) -> Result:
    """Returns what the work of a program returns.

    Args:
        name: of the program, as `python -m` takes it.
        work: its work. Bad input (`InputError`), errors of the system and an interrupt end it with one line, a closed
            pipe without any.
        resumes: the program goes on where an interrupt has ended it: that line says so.
    """
    with logging_to_stderr(logging.INFO), output():
        return in_one_line(name, work, resumes=resumes)
