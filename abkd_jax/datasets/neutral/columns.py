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
REQUIRED = {"nodes": ("id",), "edges": ("source", "target"), "graphs": ("id", "label")}
LABEL = "label_"
NO_NAME = re.compile(r"|Unnamed: \d+|__index_level_\d+__")  # of an index that pandas wrote; of an empty name too


def check_columns(path: Path, table: str, owner: str, columns: list[str]) -> None:
    """Checks the names of the columns of a table.

    Args:
        path: of the table, for the message.
        table: nodes, edges or graphs.
        owner: the table whose items have labels and split: nodes, or graphs where there is such a table.
        columns: their names.

    Raises:
        InputError: one is missing, has no name, belongs to another table, or contradicts another one.
    """
    given = {"label" if name.startswith(LABEL) else name for name in columns}
    required = (*REQUIRED[table], "graph") if table == "nodes" and owner == "graphs" else REQUIRED[table]
    missing = [name for name in required if name not in given]
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
    `0` or `0.0` in it, as pandas misses no label or one.
    """
    if column.dtype.kind == "U":
        unknown = column == ""
        (whole,) = as_numbers(np.where(unknown, "-1", column))
        if whole.dtype.kind == "i" and task in (None, "classification"):
            return whole
        try:
            column = np.where(unknown, "nan", column).astype(np.float64)
        except ValueError:
            return column
    if column.dtype.kind == "f" and task is None and look_like_classes(column):
        return np.where(np.isnan(column), -1, column).astype(np.int64)
    return column
