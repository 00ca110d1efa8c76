"""Tables of numbers in `.csv.gz` files, read in chunks and checked: the files of the Open Graph Benchmark."""

import csv
import gzip
import os
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.progress import bar
from abkd_jax.types import InputError

__all__ = ["chunks", "integers", "reals", "strings"]

CHUNK_NUMBERS = 2**23  # 64 MiB of float64 while a chunk is parsed
SHOWN_FROM = 8 * 2**20  # bytes of a compressed file that takes long enough for a progress bar


def chunks(
    path: Path, columns: int, dtype: type, rows: int | None = None, gaps: bool = False
) -> Generator[np.ndarray, None, None]:
    """The rows of a table without a header, a chunk of at most 2^23 numbers at a time.

    A progress bar on stderr counts the compressed bytes of large files.

    Args:
        path: the `.csv.gz` file.
        columns: the number of columns it must have.
        dtype: `np.int64` or `np.float32`.
        rows: the number of rows it must have; None for any.
        gaps: whether an empty field is allowed; it becomes NaN.

    Yields:
        `[chunk, columns]` of `dtype`.

    Raises:
        InputError: the file is missing, truncated or not gzip, has other columns or rows, or holds something that is
            not a number; or pandas is not installed.
    """
    done = 0
    try:
        for part in _frames(path, dtype):
            if part.shape[1] != columns:
                raise InputError(f"{path}: has {part.shape[1]} columns; expected {columns}")
            if not gaps and dtype is np.float32 and np.isnan(part).any():
                row, column = np.argwhere(np.isnan(part))[0]
                raise InputError(
                    f"{path}, line {done + row + 1}: column {column + 1} is empty or NaN; expected {columns} numbers"
                )
            done += part.shape[0]
            yield part
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: {_first_line(error)}; expected a whole gzip file") from error
    except InputError:
        raise
    except (ValueError, OverflowError) as error:
        kind = "whole numbers" if dtype is np.int64 else "numbers"
        raise InputError(f"{path}: {_first_line(error)}; expected {columns} {kind} a line") from error
    if rows is not None and done != rows:
        raise InputError(f"{path}: has {done} rows; expected {rows}, as announced in the files beside it")


def integers(path: Path, columns: int, rows: int | None = None, below: int | tuple[int, ...] = 2**31) -> np.ndarray:
    """A table of whole numbers that are not negative.

    Args:
        path: the `.csv.gz` file, without a header.
        columns: the number of columns it must have.
        rows: the number of rows it must have; None for any.
        below: what the numbers must stay below, one bound for all columns or one for each.

    Returns:
        `[rows, columns]` int32.

    Raises:
        InputError: see `chunks`; or a number is out of range.
    """
    bounds = np.broadcast_to(np.asarray(below, np.int64), (columns,))
    parts, done = [np.zeros((0, columns), np.int32)], 0
    with closing(chunks(path, columns, np.int64, rows)) as table:  # ends the progress bar before an error shows
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
    """A table of real numbers, `[rows, columns]` float32; arguments and errors as in `chunks`."""
    return np.concatenate([np.zeros((0, columns), np.float32), *chunks(path, columns, np.float32, rows, gaps)])


def strings(path: Path) -> list[list[str]]:
    """The lines of a small table of words.

    Args:
        path: the `.csv.gz` file.

    Returns:
        One list of fields for each line, a header included.

    Raises:
        InputError: the file is missing, truncated or not a gzip file of text.
    """
    try:
        with gzip.open(path, "rt", newline="") as file:
            return list(csv.reader(file))
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise InputError(f"{path}: {_first_line(error)}; expected a whole gzip file of text") from error


def _frames(path: Path, dtype: type) -> Iterator[np.ndarray]:
    pandas = _pandas()
    size = path.stat().st_size
    with (
        open(path, "rb") as raw,
        gzip.GzipFile(fileobj=raw) as text,
        bar(total=size, desc=path.name, unit="B", unit_scale=True, leave=False, disable=size < SHOWN_FROM) as progress,
    ):
        try:
            columns = pandas.read_csv(text, header=None, nrows=1).shape[1]
        except pandas.errors.EmptyDataError:
            return
        text.seek(0)
        rows = max(1, CHUNK_NUMBERS // columns)
        with pandas.read_csv(text, header=None, dtype=dtype, chunksize=rows, skip_blank_lines=False) as reader:
            for frame in reader:
                progress.update(raw.tell() - progress.n)
                yield frame.to_numpy()


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise InputError("pandas is not installed; .csv.gz tables are read with it: pip install pandas") from error
    return pandas


def _first_line(error: BaseException) -> str:
    text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return (text.strip() or type(error).__name__).splitlines()[0]
