"""Reads tables of numbers in text files, gzipped or not, with one clear line when they are damaged."""

import csv
import gzip
import io
import warnings
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from abkd_jax.datasets.files.reading import read_bytes, reading

__all__ = ["LARGE_TEXT", "MAX_TEXT", "count_records", "parse", "read_lines", "read_table"]

MAX_TEXT = 2**23
"""Most bytes of a file, packed and unpacked; the largest published one (`PROTEINS_A.txt`) has 2 MB."""

LARGE_TEXT = 2**30
"""Likewise, of a file that is not among the published ones."""

MAX_LINE = 10_000  # characters


def read_table(
    path: Path, columns: int | None, dtype: type = np.int64, *, delimiter: str | None = None, limit: int = MAX_TEXT
) -> Shaped[np.ndarray, "rows columns"]:
    r"""Reads a text file with the same number of columns in every line; blank lines are skipped.

    Args:
        path: the file; `.gz` is unpacked.
        columns: numbers per line; None for as many as in the first.
        dtype: of the numbers.
        delimiter: between two numbers; None for white space.
        limit: most bytes of the file, packed and unpacked.

    Returns:
        `[rows, columns]`, at least one row.

    Raises:
        InputError: the file cannot be read, is larger than `limit`, has no row, or a line has other columns or
            something else than numbers.

    Examples:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     _ = Path(file.name).write_text("1, 2\n2, 3\n")
        ...     read_table(Path(file.name), 2, delimiter=",").tolist()
        [[1, 2], [2, 3]]
    """
    kind = "whole numbers" if np.issubdtype(dtype, np.integer) else "numbers"
    with reading(path, f"{columns or 'the same count of'} {kind} per line"):
        lines = _lines(_unpacked(path, limit))
        first = next(lines, None)
        if first is None:
            raise ValueError("it holds no line")
        table = parse(chain([first], lines), dtype, delimiter)
        if columns is not None and table.shape[1] != columns:
            raise ValueError(f"it has {table.shape[1]} columns")
    return table


def parse(lines: Iterable[str], dtype: type = np.int64, delimiter: str | None = None) -> np.ndarray:
    """Returns the numbers of lines, `[rows, columns]`; arguments as of `read_table`.

    Raises:
        ValueError: a line has other columns or something else than numbers.
    """
    with warnings.catch_warnings(action="error", category=DeprecationWarning):  # NumPy before 2.4 on 1.7 as an integer
        return np.loadtxt(lines, dtype, comments=None, delimiter=delimiter, ndmin=2)


def read_lines(path: Path, limit: int = MAX_TEXT) -> list[str]:
    """Reads the lines of a text file of at most `limit` bytes, blank ones left out; `.gz` is unpacked.

    Raises:
        InputError: the file cannot be read, is larger, no UTF-8, or has a line of over 10,000 characters.
    """
    with reading(path, "lines of text"):
        return [line.rstrip("\r\n") for line in _lines(_unpacked(path, limit))]


def count_records(path: Path, limit: int = MAX_TEXT) -> int:
    """Counts the records of a comma-separated file below its header; quoted text may span several lines.

    Blank lines are skipped. The first field of every record is its number, from 0 on. `.gz` is unpacked.

    Raises:
        InputError: the file cannot be read, is larger than `limit`, or a record has another number or width.
    """
    with reading(path, "comma-separated records below a header, numbered from 0 on"):
        records = filter(None, csv.reader(_text(_unpacked(path, limit), newline=""), strict=True))
        width, count = len(next(records)), 0
        for record in records:
            if len(record) != width or record[0] != str(count):
                raise ValueError(f"record {count} has {len(record)} fields and begins with {record[0][:40]!r}")
            count += 1
    return count


def _unpacked(path: Path, limit: int) -> bytes:
    content = read_bytes(path, limit)
    if path.suffix != ".gz":
        return content
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        text = file.read(limit + 1)
    if len(text) > limit:
        raise ValueError(f"it unpacks to more than {limit} bytes")
    return text


def _lines(content: bytes) -> Iterator[str]:
    for line in _text(content):
        if len(line) > MAX_LINE:
            raise ValueError(f"a line of {len(line)} characters")
        if line.strip():
            yield line


def _text(content: bytes, newline: str | None = None) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline=newline)
