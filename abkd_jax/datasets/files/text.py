"""Reads tables of numbers in text files, gzipped or not, with one clear line when they are damaged."""

import csv
import gzip
import io
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from abkd_jax.datasets.files.reading import read_bytes, reading

__all__ = ["MAX_TEXT", "count_records", "read_table"]

MAX_TEXT = 2**23
"""Most bytes of a file, packed and unpacked; the largest published one (`PROTEINS_A.txt`) has 2 MB."""

MAX_LINE = 10_000  # characters


def read_table(
    path: Path, columns: int | None, dtype: type = np.int64, *, delimiter: str | None = None
) -> Shaped[np.ndarray, "rows columns"]:
    r"""Reads a text file with the same number of columns in every line; blank lines are skipped.

    Args:
        path: the file; `.gz` is unpacked.
        columns: numbers per line; None for as many as in the first.
        dtype: of the numbers.
        delimiter: between two numbers; None for white space.

    Returns:
        `[rows, columns]`, at least one row.

    Raises:
        InputError: the file cannot be read, is larger than `MAX_TEXT`, has no row, or a line has other columns or
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
        lines = _lines(_unpacked(path))
        first = next(lines, None)
        if first is None:
            raise ValueError("it holds no line")
        table = np.loadtxt(chain([first], lines), dtype, comments=None, delimiter=delimiter, ndmin=2)
        if columns is not None and table.shape[1] != columns:
            raise ValueError(f"it has {table.shape[1]} columns")
    return table


def count_records(path: Path) -> int:
    """Counts the records of a comma-separated file below its header; quoted text may span several lines.

    Blank lines are skipped. The first field of every record is its number, from 0 on.

    Raises:
        InputError: the file cannot be read, is larger than `MAX_TEXT`, or a record has another number or width.
    """
    with reading(path, "comma-separated records below a header, numbered from 0 on"):
        records = filter(None, csv.reader(_text(read_bytes(path, MAX_TEXT), newline=""), strict=True))
        width, count = len(next(records)), 0
        for record in records:
            if len(record) != width or record[0] != str(count):
                raise ValueError(f"record {count} has {len(record)} fields and begins with {record[0][:40]!r}")
            count += 1
    return count


def _unpacked(path: Path) -> bytes:
    content = read_bytes(path, MAX_TEXT)
    if path.suffix != ".gz":
        return content
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        text = file.read(MAX_TEXT + 1)
    if len(text) > MAX_TEXT:
        raise ValueError(f"it unpacks to more than {MAX_TEXT} bytes")
    return text


def _lines(content: bytes) -> Iterator[str]:
    for line in _text(content):
        if len(line) > MAX_LINE:
            raise ValueError(f"a line of {len(line)} characters")
        if line.strip():
            yield line


def _text(content: bytes, newline: str | None = None) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline=newline)
