"""Columns of the tables of the neutral form: which there may be, and labels and split taken out of them."""

import re
from pathlib import Path

import numpy as np

from abkd_jax.datasets.neutral.labels import MASKS, look_like_classes
from abkd_jax.datasets.neutral.tables import as_numbers
from abkd_jax.datasets.neutral.values import real_numbers
from abkd_jax.types import InputError

__all__ = ["LABEL", "REQUIRED", "TEXT", "check_columns", "stacked", "take_labels"]

TEXT = {
    "nodes": ("id", "type", "graph", "label", "split"),
    "edges": ("source", "target", "relation"),
    "graphs": ("id", "label", "split"),
}
REQUIRED = {"nodes": ("id",), "edges": ("source", "target"), "graphs": ("id",)}
LABEL = "label_"
NUMBER = re.compile(r"\s*[-+]?(0|[1-9][0-9]*|(?=\.[0-9]))(\.[0-9]*)?([eE][-+]?[0-9]+)?\s*|(?i:nan)")  # not 01, 1_0, inf
NO_NAME = re.compile(r"|Unnamed: \d+|__index_level_\d+__")  # of an index that pandas wrote; of an empty name too


def check_columns(path: Path, table: str, owner: str, columns: list[str], *, labelled: bool = True) -> None:
    """Checks the names of the columns of a table.

    Args:
        path: of the table, for the message.
        table: nodes, edges or graphs.
        owner: the table whose items have labels and split: nodes, or graphs where there is such a table.
        columns: their names.
        labelled: False asks for no labels of graphs.

    Raises:
        InputError: one is missing, has no name, belongs to another table, or contradicts another one.
    """
    given = {"label" if name.startswith(LABEL) else name for name in columns}
    of_graphs = {"nodes": ("graph",), "graphs": ("label",) if labelled else ()} if owner == "graphs" else {}
    missing = [name for name in (*REQUIRED[table], *of_graphs.get(table, ())) if name not in given]
    if missing:
        raise InputError(f"{path}: no column {' and no '.join(missing)}; it has {', '.join(columns[:10])}")
    unnamed = [name for name in columns if NO_NAME.fullmatch(name)]
    if unnamed:
        raise InputError(
            f"{path}: column {unnamed[0]!r} is an index of pandas, or has no name; expected named columns alone: "
            "write the table with index=False"
        )
    labels = [name for name in columns if name == "label" or name.startswith(LABEL)]
    parts = [name for name in columns if name in ("split", *MASKS)]
    if table == owner and "label" in labels and len(labels) > 1:
        raise InputError(
            f"{path}: columns {' and '.join(labels[:2])}; expected label alone, or {LABEL}... alone, one for each "
            "target: a feature needs another name"
        )
    astray = [] if table == owner else parts if table == "edges" else labels + parts
    if astray:
        raise InputError(f"{path}: column {astray[0]}; expected it in the table of {owner}")
    unknown = [name for name in columns if table == "graphs" and name not in (*TEXT[table], *labels, *parts)]
    if unknown:
        raise InputError(f"{path}: column {unknown[0]!r}; expected id, label (or {LABEL}...), split or masks alone")


def take_labels(path: Path, table: dict[str, np.ndarray], task: str | None) -> dict[str, np.ndarray]:
    """Takes labels and split out of a table: a column `label`, or several that begin with `label_`.

    Args:
        path: of the table, for messages.
        table: arrays by column; those that are taken are no longer in it.
        task: as `meta.json` states it, or None.

    Returns:
        `labels`, `split` or the masks, and `classes` where targets have names: what there is of it.

    Raises:
        InputError: see `stacked`.
    """
    arrays = {name: table.pop(name) for name in ("split", *MASKS) if name in table}
    several = [name for name in table if name.startswith(LABEL)]
    if several:
        arrays["labels"] = stacked(path, {name: table.pop(name) for name in several})
        names = [name.removeprefix(LABEL) for name in several]
        if names != list(map(str, range(len(names)))):
            arrays["classes"] = np.array(names)
    elif "label" in table:
        arrays["labels"] = _label(table.pop("label"), task)
    return arrays


def stacked(path: Path, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Stacks columns of a table side by side: whole numbers where all columns hold these, else real numbers.

    Raises:
        InputError: whole numbers that float32 rounds, beside real ones.
    """
    if any(column.dtype.kind == "f" for column in columns.values()):
        for name, column in columns.items():
            try:
                real_numbers(f"column {name}", column)
            except ValueError as error:
                raise InputError(f"{path}: {error}") from None
    return np.column_stack(list(columns.values()))


def _label(column: np.ndarray, task: str | None) -> np.ndarray:
    """Returns whole numbers, -1 where unknown; else real numbers, NaN where unknown; else text.

    Of targets all are real numbers. Without a task floats that look like classes are whole numbers: the same table has
    `0` or `0.0` in it, as pandas misses no label or one. Classes such as `01` and `1e3` are text.
    """
    if column.dtype.kind != "U":
        return _as_classes(column) if task is None else column
    unknown = column == ""
    if task in (None, "classification"):
        (whole,) = as_numbers(np.where(unknown, "-1", column))
        if whole.dtype.kind == "i":
            return whole
        if not all(map(NUMBER.fullmatch, column[~unknown].tolist())):
            return column
    try:
        values = np.where(unknown, "nan", column).astype(np.float64)
    except ValueError:
        return column
    found = _as_classes(values) if task is None else values
    classes = task == "classification" or found.dtype.kind == "i"
    return column if classes and any("e" in label.lower() for label in column.tolist()) else found


def _as_classes(column: np.ndarray) -> np.ndarray:
    if column.dtype.kind == "f" and look_like_classes(column):
        return np.where(np.isnan(column), -1, column).astype(np.int64)
    return column
