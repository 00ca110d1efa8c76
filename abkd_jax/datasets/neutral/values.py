"""Arrays of the neutral form: their names, and casts that lose nothing. Errors are ValueErrors of one line."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

__all__ = [
    "KEYS",
    "Arrays",
    "categories",
    "check_keys",
    "flag",
    "names",
    "one_per",
    "real_numbers",
    "strings",
    "whole_numbers",
    "word",
]

Arrays = Mapping[str, np.ndarray]

KEYS = (
    *("edges", "senders", "receivers", "edge_weights", "edge_features", "edge_vocabulary", "relations"),
    *("features", "features_data", "features_indices", "features_indptr", "features_shape", "vocabulary"),
    *("labels", "train_mask", "val_mask", "test_mask", "split", "node_types", "node_ids", "graph_ids", "graphs"),
    *("node_type_names", "relation_names", "reverses", "classes", "num_classes", "columns", "edge_columns"),
    *("task", "directed", "row_normalise", "row_normalised", "source"),
)
"""Names of the arrays; the table in the package's README says what each holds."""

EXACT = 2**24  # integers that float32 holds
LAYOUTS = {"adj_data": "gnn_benchmark:NAME", "node_features": "heterophilous:NAME", "edge_index": "senders, receivers"}


def check_keys(arrays: Arrays) -> None:
    """Checks that all names are known: an array that nobody reads is a mistake.

    Raises:
        ValueError: names one that is not, with the nearest known name or the layout that it belongs to.

    Examples:
        >>> check_keys({"label": np.zeros(3)})
        Traceback (most recent call last):
        ValueError: unknown array 'label'; did you mean 'labels'?
    """
    for name in arrays:
        if name in KEYS:
            continue
        nearest = get_close_matches(name, KEYS, n=1)
        if name in LAYOUTS:
            raise ValueError(f"unknown array {name!r}; expected the neutral form; this looks like {LAYOUTS[name]}")
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"expected only {', '.join(KEYS)}"
        raise ValueError(f"unknown array {name!r}; {hint}")


def whole_numbers(what: str, array: np.ndarray) -> np.ndarray:
    """Casts to int64: integers and booleans, and floats without a fraction.

    Raises:
        ValueError: other values, or numbers beyond int64.

    Examples:
        >>> whole_numbers("labels", np.array([1.0, 2.0])).tolist()
        [1, 2]
    """
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} holds {array.dtype}; expected whole numbers")
    if array.dtype.kind == "f":
        bad = np.argwhere(~(np.abs(array) < 2**53) | (np.trunc(array) != array))
        if bad.size:
            raise ValueError(f"{what} holds {array[tuple(bad[0])]} at {bad[0].tolist()}; expected whole numbers")
    elif array.dtype == np.uint64 and array.size and array.max() >= 2**63:
        raise ValueError(f"{what} holds {array.max()}; expected at most {2**63 - 1}")
    return array.astype(np.int64)


def real_numbers(what: str, array: np.ndarray) -> np.ndarray:
    """Casts to float32: floats, booleans, and integers that float32 holds. What it cannot hold becomes infinite.

    Raises:
        ValueError: other values, or integers that would be rounded.
    """
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} holds {array.dtype}; expected numbers")
    if array.dtype.kind in "iu" and array.size and max(int(array.max()), -int(array.min())) > EXACT:
        raise ValueError(
            f"{what} holds integers beyond {EXACT}, which float32 rounds; expected smaller ones, or floats"
        )
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def strings(what: str, array: np.ndarray) -> np.ndarray:
    """Returns text, which may be bytes in UTF-8, as strings.

    Raises:
        ValueError: it is no text.
    """
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8")
    if array.dtype.kind != "U":
        raise ValueError(f"{what} holds {array.dtype}; expected text")
    return array


def categories(what: str, array: np.ndarray, names: tuple[str, ...] = ()) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers categories, which are given as whole numbers or text, from 0 on.

    Args:
        what: for the message.
        array: `[k]` values.
        names: of the categories by number, where they are known; text is then one of them, a whole number an index.

    Returns:
        `[k]` int32 numbers, and the names: without known ones the values in ascending order, as text.

    Raises:
        ValueError: a value that has no name, or other values.

    Examples:
        >>> numbers, names = categories("relations", np.array(["cites", "by", "cites"]))
        >>> numbers.tolist(), names
        ([1, 0, 1], ('by', 'cites'))
    """
    text = array.dtype.kind in "US"
    values, numbers = np.unique(strings(what, array) if text else whole_numbers(what, array), return_inverse=True)
    if not names:
        return numbers.astype(np.int32), tuple(map(str, values.tolist()))
    places = {name: number for number, name in enumerate(names)} if text else dict.fromkeys(range(len(names)))
    unknown = [value for value in values.tolist() if value not in places]
    if unknown:
        expected = ", ".join(names[:10]) if text else f"0 to {len(names) - 1}"
        raise ValueError(f"{what} holds {unknown[0]!r}; expected {expected}")
    order = [places[value] if text else value for value in values.tolist()]
    return np.array(order, np.int32)[numbers], names


def names(arrays: Arrays, key: str) -> tuple[str, ...]:
    """Returns the strings of an array; none where there is no such array.

    Raises:
        ValueError: it holds something else.
    """
    return tuple(strings(key, arrays[key].reshape(-1)).tolist()) if key in arrays else ()


def one_per(what: str, array: np.ndarray, count: int, item: str, axes: tuple[int, ...] = (1,)) -> np.ndarray:
    """Checks that an array has one row for each of `count` items, and one of the numbers of axes."""
    if array.ndim not in axes or array.shape[0] != count:
        shapes = " or ".join(str((count, *"kl"[: n - 1])).replace("'", "") for n in axes)
        raise ValueError(f"{what} has shape {array.shape}; expected {shapes}: one for each {item}")
    return array


def flag(arrays: Arrays, name: str) -> bool:
    """Returns a boolean array of no axis; False where there is none."""
    array = arrays.get(name)
    if array is None:
        return False
    if array.size != 1 or array.dtype.kind not in "biu" or array.item() not in (0, 1):
        raise ValueError(f"{name} is {_shown(array)}; expected true or false")
    return bool(array.item())


def word(arrays: Arrays, name: str) -> str | None:
    """Returns the text of an array of no axis; None where there is none."""
    array = arrays.get(name)
    if array is None:
        return None
    if array.size != 1 or array.dtype.kind not in "US":
        raise ValueError(f"{name} is {_shown(array)}; expected one text")
    return strings(name, array).item()


def _shown(array: np.ndarray) -> Any:
    return repr(array.item()) if array.size == 1 else f"{array.dtype} {array.shape}"
