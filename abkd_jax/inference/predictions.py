"""Predictions as tables: rows chosen by the identifiers of nodes, written as csv, parquet or npz."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.types import InputError

__all__ = ["FORMATS", "Predictions", "check_format", "named_nodes", "rows_named", "to_csv", "write"]

MOST_NODES = 256 << 20  # bytes of a file of identifiers


class Predictions(NamedTuple):
    """What a model says of some nodes, or graphs.

    Attributes:
        ids: `[k]` identifiers, integers or strings.
        values: `[k, c]` probabilities, or targets of a regression.
        names: `c` names of the classes, labels or targets.
        one_class: whether the columns exclude each other, so that one of them is the prediction.
    """

    ids: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    one_class: bool

    @property
    def predicted(self) -> np.ndarray:
        """Returns `[k]` names of the likeliest classes."""
        return np.asarray(self.names)[self.values.argmax(axis=1)] if self.ids.size else np.zeros(0, str)

    @property
    def headings(self) -> tuple[str, ...]:
        """Returns the names of all columns of a table; a label that is called `node` or `predicted` is `label_node`."""
        headings = ["node", *(["predicted"] if self.one_class else [])]
        for name in self.names:
            heading = name
            while heading in headings or (heading != name and heading in self.names):
                heading = f"label_{heading}"
            headings.append(heading)
        return tuple(headings)


def named_nodes(words: Sequence[str]) -> list[str]:
    """Returns the identifiers of nodes that options name: the words themselves, or those in the file that one names.

    Args:
        words: identifiers, or the path of a text file with identifiers between spaces, commas or line ends.

    Raises:
        InputError: the file cannot be read, is no text or has no identifier.
    """
    if len(words) != 1 or not Path(words[0]).is_file():
        return list(words)
    path = Path(words[0])
    try:
        if path.stat().st_size > MOST_NODES:
            raise InputError(f"{path}: larger than {MOST_NODES >> 20} MiB, expected a list of nodes")
        found = path.read_text().replace(",", " ").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a text file of nodes, one a line: {error}") from error
    if not found:
        raise InputError(f"{path}: no node in it, expected one a line")
    return found


def rows_named(names: Sequence[str], ids: np.ndarray | None, count: int) -> np.ndarray:
    """Returns the rows that nodes have in a graph.

    Args:
        names: of the nodes, as text.
        ids: `[n]` identifiers of the nodes of the graph; None where they are the row numbers.
        count: number of nodes.

    Raises:
        InputError: no node has that name.

    Examples:
        >>> rows_named(["c", "a"], np.array(["a", "b", "c"]), 3).tolist()
        [2, 0]
    """
    known = np.arange(count) if ids is None else np.asarray(ids)
    try:
        wanted = np.asarray([int(name) for name in names] if known.dtype.kind in "iu" else list(names))
    except ValueError as error:
        raise InputError(f"nodes: {str(error).rpartition(': ')[2]} is none, expected whole numbers") from error
    order = np.argsort(known, kind="stable")
    places = np.searchsorted(known, wanted, sorter=order)
    rows = order[np.minimum(places, known.shape[0] - 1)]
    unknown = np.flatnonzero(known[rows] != wanted)
    if unknown.size:
        known_as = f"expected 0 to {count - 1}" if ids is None else f"expected an identifier such as {known[0]}"
        raise InputError(f"nodes: no node {names[unknown[0]]} in the graph, {known_as}")
    return rows


def to_csv(table: Predictions) -> str:
    """Returns the table as csv: `node`, `predicted` where one class is, and a column per class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.headings)
    predicted = table.predicted if table.one_class else None
    for row, (node, values) in enumerate(zip(table.ids.tolist(), table.values.tolist(), strict=True)):
        shown = [] if predicted is None else [predicted[row]]
        writer.writerow([node, *shown, *(f"{value:.9g}" for value in values)])  # as many digits as float32 has
    return text.getvalue()


def _to_npz(table: Predictions) -> bytes:
    arrays = {"nodes": table.ids, "values": table.values, "names": np.asarray(table.names)}
    if table.one_class:
        arrays["predicted"] = table.predicted
    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)  # type: ignore[arg-type]  # numpy's stub takes a name for its option
    return archive.getvalue()


def _to_parquet(table: Predictions) -> bytes:
    try:
        import pandas as pd
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise InputError(
            "parquet needs pandas and pyarrow, which are not installed: pip install 'abkd_jax[data,parquet]'"
        ) from error
    columns = [table.ids, *([table.predicted] if table.one_class else []), *table.values.T]
    content = io.BytesIO()
    pd.DataFrame(dict(zip(table.headings, columns, strict=True))).to_parquet(content, index=False)
    return content.getvalue()


FORMATS: dict[str, Callable[[Predictions], str | bytes]] = {".csv": to_csv, ".npz": _to_npz, ".parquet": _to_parquet}


def check_format(path: Path) -> None:
    """Checks that a file of predictions can be written: its suffix, and its folder.

    Raises:
        InputError: the suffix is none of `FORMATS`, or there is no such folder.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: suffix is {path.suffix or 'none'}, expected one of {', '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: no folder {path.parent}, expected one that exists")


def write(path: Path, table: Predictions) -> None:
    """Writes a table whole or not at all, in the format that the suffix names.

    Raises:
        InputError: the suffix is none of `FORMATS`, a library is missing, or the file cannot be written.
    """
    check_format(path)
    content = FORMATS[path.suffix](table)
    try:
        write_atomic(path, content)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
