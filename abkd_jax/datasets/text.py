"""Tables of numbers in text files, gzipped or not, read with one clear line when they are missing or damaged."""

import csv
import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from abkd_jax.types import InputError

__all__ = ["count_records", "read_table", "require_files"]

DAMAGED = (OSError, EOFError, UnicodeDecodeError, ValueError, csv.Error, zlib.error)
"""What reading a file that is cut off, is not text or holds something else than numbers raises."""


def require_files(name: str, paths: Iterable[Path], published: str) -> None:
    """Refuse to go on where a file is missing.

    Args:
        name: of the data set.
        paths: the files it needs.
        published: where they can be had, for the message.

    Raises:
        InputError: the first file that is missing, where it belongs and where it can be had.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"{name}: {path.name} is missing; put the file in {path.parent} by hand, from {published}")


def read_table(
    path: Path, columns: int | None, dtype: type = np.int64, *, delimiter: str | None = None
) -> Shaped[np.ndarray, "rows columns"]:
    """Read a text file with the same number of numbers in every line.

    Args:
        path: the file; `.gz` is unpacked on the way.
        columns: how many numbers a line has; None for as many as the first has.
        dtype: of the numbers.
        delimiter: what stands between two numbers; None for white space.

    Returns:
        `[rows, columns]`, at least one row.

    Raises:
        InputError: the file cannot be read, has no row, or a line has other columns or something else than numbers.
    """
    kind = "whole numbers" if np.issubdtype(dtype, np.integer) else "numbers"
    expected = f"{columns or 'the same count of'} {kind} a line"
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            lines = [line for line in file.read().splitlines() if line.strip()]
        if not lines:
            raise ValueError("it holds no line")
        table = np.loadtxt(lines, dtype, delimiter=delimiter, ndmin=2)
    except DAMAGED as error:
        raise InputError(f"{path}: damaged ({' '.join(str(error).split())}); expected {expected}") from error
    if columns is not None and table.shape[1] != columns:
        raise InputError(f"{path}: damaged; it has {table.shape[1]} columns; expected {expected}")
    return table


def count_records(path: Path) -> int:
    """Count the records of a comma-separated file below its header; quoted text may run over several lines.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return sum(1 for _ in csv.reader(file)) - 1
    except DAMAGED as error:
        raise InputError(f"{path}: damaged ({error}); expected comma-separated records below a header") from error
