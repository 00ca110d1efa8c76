"""Reads and writes one table of the neutral form: a csv or parquet file, column by column, through pandas."""

import csv
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.datasets.files.reading import reading
from abkd_jax.datasets.neutral.values import whole_numbers
from abkd_jax.types import InputError

__all__ = ["FORMS", "as_numbers", "read_columns", "write_columns"]

FORMS = ("csv", "parquet")
REAL = ("label", "split")  # text, whole numbers, or floats: `neutral.labels` says which
UNKNOWN = ["", "nan", "NaN", "NA"]  # of a column of numbers
WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
ALWAYS, MOST_PACKED = 2**26, 100  # bytes that parquet may unpack to: in any case, and per byte of the file
CELL = 8  # bytes of a number; runs of equal numbers are packed to nothing


def read_columns(path: Path, text: Collection[str], check: Callable[[list[str]], None]) -> dict[str, np.ndarray]:
    """Reads the columns of a table.

    Args:
        path: ends in `.csv` or `.parquet`.
        text: names of columns that may hold text: they are read as strings, or where parquet says so as integers;
            labels and split also as floats.
        check: is given the names of all columns, `Unnamed: k` where one is empty, and raises an InputError where they
            are not as they should be.

    Returns:
        Arrays by column, in the order of the file; columns beside `text` are numbers or booleans.

    Raises:
        InputError: pandas (or pyarrow) is not installed, or the file is damaged, holds another kind of values, or has a
            blank identifier, type or relation.
    """
    pandas = _pandas(path)
    with reading(path, "a table with a header, one node, edge or graph per line"):
        frame = _csv(pandas, path, text) if path.suffix == ".csv" else _parquet(pandas, path)
        check(list(frame.columns))
        columns = {name: _array(name, frame[name], name in text) for name in frame.columns}
    return columns


def write_columns(columns: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes a table; the ending of the path decides the form.

    Raises:
        InputError: pandas (or pyarrow) is not installed.
        OSError: it cannot be written.
    """
    frame = _pandas(path).DataFrame(dict(columns))
    if path.suffix == ".csv":
        frame.to_csv(path, index=False, lineterminator="\n")
    else:
        frame.to_parquet(path, index=False)


def as_numbers(*columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns columns of text as int64 where all of them hold whole numbers alone, as written without leading zeros.

    Examples:
        >>> as_numbers(np.array(["1", "20"]), np.array(["3"]))
        (array([ 1, 20]), array([3]))
        >>> as_numbers(np.array(["1", "20"]), np.array(["a3"]))
        (array(['1', '20'], dtype='<U2'), array(['a3'], dtype='<U2'))
    """
    text = [column for column in columns if column.dtype.kind == "U"]
    if len(text) < len(columns) and any(not _whole(column) for column in text):
        return tuple(column.astype(str) for column in columns)
    if not all(_whole(column) for column in text):
        return columns
    return tuple(column.astype(np.int64) for column in columns)  # those that are no text are whole numbers


def _whole(column: np.ndarray) -> bool:
    return all(WHOLE.fullmatch(value) for value in column.tolist())


def _pandas(path: Path) -> Any:
    try:
        import pandas

        if path.suffix == ".parquet":
            import pyarrow  # noqa: F401 - pandas reads parquet with it
    except ImportError as error:
        extra = "data,parquet" if path.suffix == ".parquet" else "data"
        raise InputError(
            f"{path}: needs {error.name}, which is not installed: pip install 'abkd_jax[{extra}]'"
        ) from error
    return pandas


def _csv(pandas: Any, path: Path, text: Collection[str]) -> Any:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = next(csv.reader(file), [])
    repeated = {name for name in header if name and header.count(name) > 1}
    if repeated:
        raise ValueError(f"columns {header[:20]}, {min(repeated)!r} more than once")
    with warnings.catch_warnings(action="error", category=pandas.errors.ParserWarning):
        return pandas.read_csv(
            path,
            encoding="utf-8-sig",
            dtype={name: str for name in header if name in text},
            keep_default_na=False,
            na_values={name: UNKNOWN for name in header if name not in text},
            **({"float_precision": "round_trip"} if pandas.__version__ < "3" else {}),  # from 3 on always exact
            index_col=False,  # else lines with one field too many would make an index
            low_memory=False,
        )


def _parquet(pandas: Any, path: Path) -> Any:
    import pyarrow.parquet

    known = pyarrow.parquet.ParquetFile(path).metadata
    groups = (known.row_group(number) for number in range(known.num_row_groups))
    size = max(sum(group.total_byte_size for group in groups), CELL * known.num_rows * known.num_columns)
    if size > ALWAYS + MOST_PACKED * path.stat().st_size:
        raise ValueError(f"it unpacks to {size} bytes")
    return pandas.read_parquet(path, engine="pyarrow")


def _array(name: str, column: Any, text: bool) -> np.ndarray:
    values = column.to_numpy()
    if values.dtype.kind in "biuf":
        return values if not text or name in REAL else whole_numbers(f"column {name!r}", values)
    if not text:
        raise ValueError(f"column {name!r} holds {column.dtype}, and not numbers")
    known = np.where(column.isna(), "", values.astype(object)).tolist()
    if not all(isinstance(value, str) for value in known):
        raise ValueError(f"column {name!r} holds {column.dtype}, and not text or whole numbers")
    if name not in REAL and "" in known:  # a label or a part may be unknown; an identifier, a type, a relation may not
        raise ValueError(f"column {name!r} is blank in row {known.index('') + 1}")
    return np.array(known, dtype=str) if known else np.zeros(0, "U1")
