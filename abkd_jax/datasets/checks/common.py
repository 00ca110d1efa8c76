"""Checks that node-level and graph-level data sets have in common. Each raises a ValueError of one line."""

import logging
from collections.abc import Mapping
from itertools import combinations, islice
from typing import Any

import numpy as np
import scipy.sparse as sp

from abkd_jax.types import Dataset, GraphDataset, shape_of

__all__ = [
    "LARGEST",
    "check_array",
    "check_columns",
    "check_disjoint",
    "check_finite",
    "check_ids",
    "check_names",
    "check_outputs",
    "check_range",
    "check_targets",
    "check_vector",
    "count_categories",
    "warn_of_unlabelled",
]

CHUNK = 2**23
"""Numbers per chunk: temporary memory for large and memory-mapped arrays stays at 8 MB."""

SHOWN = 10  # classes in a warning

MANY_CLASSES = 10_000
"""Most classes where there are fewer nodes or graphs; a damaged label must not make a model of gigabytes."""

LARGEST = 1e18
"""Largest magnitude of features and of real-valued labels: squares of larger ones soon overflow float32."""


def check_array(what: str, array: Any, dtype: type, shape: tuple[int, ...]) -> None:
    """Checks type and shape of an array."""
    _check_numpy(what, array)
    if array.dtype != dtype:
        raise ValueError(f"{what} has dtype {array.dtype}; expected {np.dtype(dtype)}")
    if array.shape != shape:
        raise ValueError(f"{what} has shape {array.shape}; expected {shape}")


def check_vector(what: str, array: Any) -> None:
    """Checks that an array has one axis."""
    _check_numpy(what, array)
    if array.ndim != 1:
        raise ValueError(f"{what} has shape {array.shape}; expected one number for each node, edge or graph")


def check_ids(what: str, ids: Any, items: int, item: str) -> None:
    """Checks identifiers, where there are any: whole numbers or strings, a different one for each node or graph."""
    if ids is None:
        return
    check_vector(what, ids)
    if ids.size != items or ids.dtype.kind not in "iuU":
        raise ValueError(f"{what} are {ids.size} of type {ids.dtype}; expected {items} whole numbers or strings")
    distinct = np.unique(ids).size
    if distinct < items:
        raise ValueError(
            f"{what} are {items}, of which {distinct} are distinct; expected a different one for each {item}"
        )


def _check_numpy(what: str, array: Any) -> None:
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{what} is a {type(array).__name__}; expected a numpy.ndarray")


def check_outputs(what: str, classes: Any, items: int, of: str) -> None:
    """Checks a number of classes: at least 2, and at most 10,000 or the number of nodes or graphs."""
    most = max(items, MANY_CLASSES)
    if not isinstance(classes, int | np.integer) or not 2 <= classes <= most:
        raise ValueError(f"{what} is {classes}; expected at least 2 classes, and at most {most} for {items} {of}")


def check_range(what: str, numbers: np.ndarray, low: int, high: int, expected: str, item: str = "node") -> None:
    """Checks that all of `[n]` whole numbers lie in `[low, high)`; `item` names what each of them belongs to.

    Examples:
        >>> check_range("label", np.array([0, 3, 1]), 0, 3, "a class in [0, 3)")
        Traceback (most recent call last):
        ValueError: 1 labels out of range (first: node 1, label 3); expected a class in [0, 3)
    """
    if numbers.size == 0 or (numbers.min() >= low and numbers.max() < high):
        return
    bad = np.nonzero((numbers < low) | (numbers >= high))[0]
    raise ValueError(
        f"{bad.size} {what}s out of range (first: {item} {bad[0]}, {what} {numbers[bad[0]]}); expected {expected}"
    )


def check_finite(what: str, features: np.ndarray | sp.csr_matrix) -> None:
    """Checks that no number of `[rows, columns]` is NaN or beyond `LARGEST`; dense arrays chunk by chunk of rows."""
    if isinstance(features, sp.csr_matrix):
        rows = len(features.indptr) - 1
        bad_rows = np.repeat(np.arange(rows), np.diff(features.indptr))[~(np.abs(features.data) <= LARGEST)]
    else:
        rows, columns = features.shape
        step = max(1, CHUNK // max(1, columns))
        bad_rows = np.concatenate(
            [
                start + np.nonzero(~(np.abs(features[start : start + step]) <= LARGEST))[0]
                for start in range(0, rows, step)
            ]
            or [np.zeros(0, np.int64)]
        )
    bad = np.unique(bad_rows)
    if bad.size:
        row = features[[bad[0]]].data if isinstance(features, sp.csr_matrix) else features[bad[0]]
        fault = f"beyond {LARGEST:g}" if np.isfinite(row).all() else "NaN or infinite"
        raise ValueError(
            f"features of {bad.size} of {rows} {what}s are {fault} (first: {what} {bad[0]}); "
            "expected finite numbers with squares that float32 can hold"
        )


def count_categories(numbers: np.ndarray) -> int:
    """Counts categories or classes, which must be numbered from 0 without gaps.

    A damaged number then makes a gap, and not a model with as many outputs as the number says.

    Args:
        numbers: `[n]` whole numbers, at least one.

    Raises:
        ValueError: a number is missing.

    Examples:
        >>> count_categories(np.array([0, 2, 1, 2]))
        3
    """
    present = np.unique(numbers)
    low, high = int(present[0]), int(present[-1])
    if low < 0 or high != present.size - 1:
        raise ValueError(f"{present.size} different categories from {low} to {high}; expected every number from 0 on")
    return high + 1


def check_names(what: str, names: tuple[str, ...], count: int) -> None:
    """Checks the names of `count` classes or columns, of which there may be none."""
    if names and (len(names) != count or not all(isinstance(name, str) for name in names)):
        raise ValueError(f"{what} are {len(names)} names; expected {count} strings, or none")
    if len(set(names)) < len(names):
        raise ValueError(f"{what} are {len(names)} names, {len(set(names))} of them distinct; expected all")


def check_columns(dataset: Dataset | GraphDataset) -> None:
    """Checks the names of the columns of features of nodes and edges."""
    edges = dataset.edge_features
    check_names("columns", dataset.columns, shape_of(dataset.features)[1])
    check_names("edge_columns", dataset.edge_columns, 0 if edges is None else edges.shape[1])


def warn_of_unlabelled(name: str, what: str, count: int, labelled: np.ndarray) -> None:
    """Logs a warning that names the classes or tasks, out of `count`, that have no training label.

    Args:
        name: of the data set.
        what: class or task.
        count: how many there are.
        labelled: `[k]` those that training nodes or graphs have, in any order.
    """
    present = set(np.unique(labelled).tolist())
    missing = count - len(present)
    if missing:
        first = ", ".join(map(str, islice((number for number in range(count) if number not in present), SHOWN)))
        logging.getLogger(__name__).warning(
            "%s: no training label for %d of %d (%s %s%s)",
            name,
            missing,
            count,
            what,
            first,
            ", ..." * (missing > SHOWN),
        )


def check_targets(name: str, labels: np.ndarray, masks: Mapping[str, np.ndarray], item: str, *, binary: bool) -> None:
    """Checks `[n, tasks]` labels of several tasks, and that every mask selects rows with a known one.

    Args:
        name: of the data set; tasks without a training label are named in a logged warning.
        labels: 0 or 1, or real numbers; NaN where unknown.
        masks: by name of the split, as in `check_disjoint`.
        item: node or graph.
        binary: whether labels are 0 or 1.
    """
    allowed = np.isnan(labels) | (np.isin(labels, (0, 1)) if binary else np.abs(labels) <= LARGEST)
    bad = np.argwhere(~allowed)
    if bad.size:
        row, task = bad[0]
        raise ValueError(
            f"{len(bad)} labels out of range (first: {item} {row}, task {task}, label {labels[row, task]}); "
            f"expected {'0, 1' if binary else f'a finite number within {LARGEST:g}'} or NaN"
        )
    check_disjoint(masks, np.asarray(np.isnan(labels).all(axis=1)), item)
    if masks["train"].any():
        known = ~np.isnan(labels[masks["train"]]).all(axis=0)
        warn_of_unlabelled(name, "task", labels.shape[1], np.nonzero(known)[0])


def check_disjoint(masks: Mapping[str, np.ndarray], unlabelled: np.ndarray, what: str) -> None:
    """Checks that every `[n]` mask selects something, nothing unlabelled, and nothing that another one selects.

    Where nothing is labelled, as in a graph to predict on, no mask selects anything.

    Args:
        masks: by name of the split.
        unlabelled: `[n]` bool.
        what: nodes or graphs, in the singular.
    """
    if unlabelled.all() and not any(mask.any() for mask in masks.values()):
        return
    for split, mask in masks.items():
        if not mask.any():
            raise ValueError(f"{split}_mask selects none of the {mask.size} {what}s; expected at least 1")
        without = np.nonzero(mask & unlabelled)[0]
        if without.size:
            raise ValueError(
                f"{split}_mask holds {without.size} unlabelled {what}s (first: {what} {without[0]}); "
                f"expected labelled {what}s only"
            )
    for (first, first_mask), (second, second_mask) in combinations(masks.items(), 2):
        shared = np.nonzero(first_mask & second_mask)[0]
        if shared.size:
            raise ValueError(
                f"{shared.size} {what}s are in both {first}_mask and {second}_mask (first: {what} {shared[0]}); "
                "expected disjoint masks"
            )
