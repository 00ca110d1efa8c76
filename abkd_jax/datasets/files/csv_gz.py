"""Reads tables of numbers in `.csv.gz` files in chunks, and checks them: the files of the Open Graph Benchmark."""

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.datasets.files.progress import bar
from abkd_jax.types import InputError

__all__ = ["chunks", "integers", "reals", "strings"]

CHUNK_NUMBERS = 2**23  # 64 MiB of float64 while a chunk is parsed
SHOWN_FROM = 8 * 2**20  # compressed bytes from which on a file takes long enough for a progress bar
FIELD = 40  # most bytes of a number and its comma
MOST_ROWS = 2**28  # of a table of unknown length: 2 GiB of pairs
MOST_WORDS = 2**20  # bytes of a table of words
SLACK = 2**16  # bytes of a file besides the table: headers, and what cannot be compressed

GAPS = ("", '""')
WHOLE, REAL = (re.compile(text) for text in (r"[+-]?\d{1,18}", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"))


def chunks(
    path: Path, columns: int, dtype: type, rows: int | None = None, gaps: bool = False, most: int = MOST_ROWS
) -> Generator[np.ndarray, None, None]:
    """Yields the rows of a table without a header, in chunks of at most 2^23 numbers.

    A progress bar on stderr counts the compressed bytes of large files. Nothing is unpacked beyond the chunk in which
    the table is found to be too long or to have a bad line.

    Args:
        path: the `.csv.gz` file.
        columns: the number of columns it must have.
        dtype: `np.int64` or `np.float32`.
        rows: the number of rows it must have; None for any up to `most`.
        gaps: whether an empty field is allowed; it becomes NaN.
        most: the largest number of rows it may have.

    Yields:
        `[chunk, columns]` of `dtype`, finite but for the gaps.

    Raises:
        InputError: the file is missing, truncated or not gzip, has other columns or rows, a blank line, or a field that
            is not a number; or pandas is not installed.
    """
    parse, done, limit = partial(_parse, _pandas(), columns, dtype, gaps), 0, most if rows is None else rows
    rest = ""
    try:
        with closing(_blocks(path, columns, limit)) as blocks:
            for block in blocks:
                if done == 0 and (found := 1 + block[: block.find(b"\n")].count(b",")) != columns:
                    raise InputError(f"{path}: has {found} columns; expected {columns}")
                part = parse(block)
                if part is None:
                    row, what = _first_bad(block, parse, columns, WHOLE if dtype is np.int64 else REAL)
                    kind = "whole numbers" if dtype is np.int64 else "numbers"
                    raise InputError(f"{path}, line {done + row + 1}: {what}; expected {columns} {kind} per line")
                done += part.shape[0]
                if done > limit:
                    rest = " or more" if next(blocks, None) else ""
                    break
                yield part
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: {_first_line(error)}; expected a whole gzip file") from error
    if done > limit or (rows is not None and done != rows):
        expected = f"at most {most}" if rows is None else f"{rows}, as announced in the files beside it"
        raise InputError(f"{path}: has {done} rows{rest}; expected {expected}")


def integers(
    path: Path, columns: int, rows: int | None = None, below: int | tuple[int, ...] = 2**31, most: int = MOST_ROWS
) -> np.ndarray:
    r"""Reads a table of whole numbers that are not negative.

    Args:
        path: the `.csv.gz` file, without a header.
        columns: the number of columns it must have.
        rows: the number of rows it must have; None for any up to `most`.
        below: upper bound of the numbers, exclusive; one for all columns or one per column.
        most: the largest number of rows it may have.

    Returns:
        `[rows, columns]` int32.

    Raises:
        InputError: see `chunks`; or a number is out of range.

    Examples:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".csv.gz") as file:
        ...     _ = Path(file.name).write_bytes(gzip.compress(b"0,1\n1,2\n"))
        ...     integers(Path(file.name), columns=2, below=3).tolist()
        [[0, 1], [1, 2]]
    """
    bounds = np.broadcast_to(np.asarray(below, np.int64), (columns,))
    parts, done = [np.zeros((0, columns), np.int32)], 0
    with closing(chunks(path, columns, np.int64, rows, most=most)) as table:  # the bar ends before an error
        for part in table:
            outside = (part < 0) | (part >= bounds)
            if outside.any():
                row, column = np.argwhere(outside)[0]
                raise InputError(
                    f"{path}, line {done + row + 1}: {part[row, column]} is out of range; "
                    f"expected whole numbers in [0, {bounds[column]})"
                )
            parts.append(part.astype(np.int32))
            done += part.shape[0]
    return np.concatenate(parts)


def reals(path: Path, columns: int, rows: int | None = None, gaps: bool = False) -> np.ndarray:
    """Reads a table of real numbers, `[rows, columns]` float32; arguments and errors as in `chunks`."""
    return np.concatenate([np.zeros((0, columns), np.float32), *chunks(path, columns, np.float32, rows, gaps)])


def count_columns(path: Path) -> int:
    """Counts the columns of the first line of a `.csv.gz` table.

    Raises:
        InputError: the file is missing, truncated or not gzip, or its first line has over a megabyte.
    """
    try:
        with gzip.open(path) as file:
            line = file.readline(MOST_WORDS + 1)
        if len(line) > MOST_WORDS or not line.strip():
            raise ValueError(f"a first line of {len(line)} bytes")
        return line.count(b",") + 1
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: {_first_line(error)}; expected a whole gzip file of numbers") from error


def strings(path: Path) -> list[list[str]]:
    """Reads a small table of text.

    Args:
        path: the `.csv.gz` file.

    Returns:
        One list of fields per line, a header included.

    Raises:
        InputError: the file is missing, truncated, not a gzip file of text, or of more than a megabyte.
    """
    try:
        _checked_size(path, MOST_WORDS)
        with gzip.open(path) as file:
            content = file.read(MOST_WORDS + 1)
        if len(content) > MOST_WORDS:
            raise ValueError(f"more than {MOST_WORDS} bytes")
        return list(csv.reader(io.StringIO(content.decode(), newline="")))
    except InputError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise InputError(f"{path}: {_first_line(error)}; expected a whole gzip file of text") from error


def _blocks(path: Path, columns: int, rows: int) -> Generator[bytes, None, None]:
    """Yields blocks of whole lines, each a little longer than the shortest text of `CHUNK_NUMBERS` numbers."""
    size = _checked_size(path, FIELD * columns * rows)
    with (
        open(path, "rb") as raw,
        gzip.GzipFile(fileobj=raw) as text,
        bar(total=size, desc=path.name, unit="B", unit_scale=True, leave=False, disable=size < SHOWN_FROM) as progress,
    ):
        while block := text.read(2 * CHUNK_NUMBERS):
            block += text.readline(FIELD * columns)
            if not block.endswith(b"\n"):
                if text.read(1):
                    raise InputError(f"{path}: has a line of over {FIELD * columns} bytes; expected {columns} numbers")
                block += b"\n"
            progress.update(raw.tell() - progress.n)
            yield block.replace(b"\r\n", b"\n")


def _checked_size(path: Path, unpacked: int) -> int:
    """Returns the size of a file, at most 64 KiB above that of its content: gzip can have headers of any size."""
    size = path.stat().st_size
    if size > unpacked + SLACK:
        raise InputError(f"{path}: has {size} bytes; expected at most {unpacked + SLACK}")
    return size


def _parse(pandas: Any, columns: int, dtype: type, gaps: bool, block: bytes) -> np.ndarray | None:
    """Parses lines of numbers; returns None where one of them is bad."""
    lines = block.count(b"\n")
    if block.startswith(b"\n") or b"\n\n" in block or block.count(b",") != lines * (columns - 1):
        return None  # pandas would fill what is missing
    if block.translate(None, b'0123456789+-.eE,\n"'):
        return None  # pandas reads "nan", "True" and what comes before a zero byte
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what the type cannot hold is refused
            frame = pandas.read_csv(
                io.BytesIO(block),
                header=None,
                dtype=dtype,
                skip_blank_lines=False,
                quoting=csv.QUOTE_NONE,
                keep_default_na=False,
                na_values=GAPS,
            )
    except (ValueError, OverflowError):
        return None
    part = frame.to_numpy()
    bad = np.isinf(part) if gaps else ~np.isfinite(part)
    if part.dtype != dtype or part.shape != (lines, columns) or bad.any():  # older pandas: floats beyond int64
        return None
    return part


def _first_bad(
    block: bytes, parse: Callable[[bytes], np.ndarray | None], columns: int, number: re.Pattern[str]
) -> tuple[int, str]:
    """Finds the first line that `parse` refuses, by bisection; returns its number and what is wrong with it."""
    first = 0
    while (end := block.find(b"\n") + 1) < len(block):
        cut = max(end, block.rfind(b"\n", 0, len(block) // 2) + 1)
        if parse(block[:cut]) is None:
            block = block[:cut]
        else:
            first, block = first + block.count(b"\n", 0, cut), block[cut:]
    fields = block[:-1].decode("ascii", "backslashreplace").split(",")
    if fields == [""]:
        return first, "is blank"
    if len(fields) > columns:
        return first, f"has {len(fields)} columns"
    for column, field in enumerate([*fields, ""][:columns], start=1):
        if field in GAPS or field.lower() == "nan":
            return first, f"column {column} is empty or NaN"
        if not number.fullmatch(field):
            return first, f"column {column} is {field[:40]!r}"
    return first, "has a number out of range"


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise InputError(".csv.gz tables need pandas, which is not installed: pip install 'abkd_jax[data]'") from error
    return pandas


def _first_line(error: BaseException) -> str:
    text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return (text.strip() or type(error).__name__).splitlines()[0]
