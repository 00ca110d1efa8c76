"""How the programs of this folder run: progress on standard error, bad input and interrupts in one line."""

import logging
from collections.abc import Callable
from typing import TypeVar

from abkd_jax.cli.endings import in_one_line
from abkd_jax.datasets.files.progress import logging_to_stderr

__all__ = ["run_program"]

Result = TypeVar("Result")


def run_program(name: str, work: Callable[[], Result], *, resumes: bool = False) -> Result:
    """Returns what the work of a program returns.

    Args:
        name: of the program, as `python -m` takes it.
        work: its work. Bad input (`InputError`), errors of the system and an interrupt end it with one line.
        resumes: the program goes on where an interrupt has ended it: that line says so.
    """
    with logging_to_stderr(logging.INFO):
        return in_one_line(name, work, resumes=resumes)
