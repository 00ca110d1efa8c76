"""Checks that data sets of one graph and of many have in common. Each raises a ValueError of one line."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import scipy.sparse as sp

__all__ = ["check_array", "check_disjoint", "check_finite", "check_range"]

CHUNK = 2**23
"""Numbers looked at in one go: memory for large and memory-mapped arrays stays at 8 MB."""


def check_array(what: str, array: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    """The array has the type and the shape."""
    if array.dtype != dtype:
        raise ValueError(f"{what} has dtype {array.dtype}; expected {np.dtype(dtype)}")
    if array.shape != shape:
        raise ValueError(f"{what} has shape {array.shape}; expected {shape}")


def check_range(what: str, numbers: np.ndarray, low: int, high: int, expected: str, item: str = "node") -> None:
    """All of `[n]` whole numbers lie in `[low, high)`; `item` is what each of them belongs to."""
    if numbers.size == 0 or (numbers.min() >= low and numbers.max() < high):
        return
    bad = np.nonzero((numbers < low) | (numbers >= high))[0]
    raise ValueError(
        f"{bad.size} {what}s out of range (first: {item} {bad[0]}, {what} {numbers[bad[0]]}); expected {expected}"
    )


def check_finite(what: str, features: np.ndarray | sp.csr_matrix) -> None:
    """No number of `[rows, columns]` is NaN or infinite; dense arrays are looked at in chunks of rows."""
    if isinstance(features, sp.csr_matrix):
        rows = len(features.indptr) - 1
        bad_rows = np.repeat(np.arange(rows), np.diff(features.indptr))[~np.isfinite(features.data)]
    else:
        rows, columns = features.shape
        step = max(1, CHUNK // max(1, columns))
        bad_rows = np.concatenate(
            [start + np.nonzero(~np.isfinite(features[start : start + step]))[0] for start in range(0, rows, step)]
            or [np.zeros(0, np.int64)]
        )
    bad = np.unique(bad_rows)
    if bad.size:
        raise ValueError(
            f"features of {bad.size} of {rows} {what}s are NaN or infinite (first: {what} {bad[0]}); "
            "expected finite numbers"
        )


def check_disjoint(masks: Mapping[str, np.ndarray], unlabelled: np.ndarray, what: str) -> None:
    """Every `[n]` mask selects something, nothing that is unlabelled, and nothing that another one selects.

    Args:
        masks: by name of the split.
        unlabelled: `[n]` bool.
        what: nodes or graphs, in the singular.
    """
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
