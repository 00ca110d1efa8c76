"""Labels, task and split of the neutral form."""

from typing import NamedTuple, get_args

import numpy as np

from abkd_jax.datasets.neutral.parts import count_nodes
from abkd_jax.datasets.neutral.values import Arrays, categories, one_per, real_numbers, strings, whole_numbers, word
from abkd_jax.datasets.splits import in_shares, per_class
from abkd_jax.types import InputError, TaskName

__all__ = ["MASKS", "Labels", "look_like_classes", "read_labels", "read_mask", "read_split", "unlabelled"]

TRAIN_PER_CLASS, VAL_PER_CLASS = 20, 30
SPLITS = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "none": 3, "": 3}
OF_LABELS = ("labels", "classes", "num_classes", "task")
MASKS = ("train_mask", "val_mask", "test_mask")
ROWS_PER_CLASS = 3  # so many rows with a single 1 each are hardly several labels by chance
WHERE = "(an array of the npz file, in meta.json, or the argument)"
MANY = 100  # numbers that are held as floats: so many different ones are no longer taken for classes


def unlabelled(arrays: Arrays) -> dict[str, np.ndarray]:
    """Returns the arrays of a graph without its labels and split, if any: no node and no graph has a known one.

    Raises:
        ValueError: no array tells how many there are.
    """
    count = 0
    if "labels" in arrays and arrays["labels"].ndim:
        count = arrays["labels"].shape[0]
    elif "graphs" in arrays or "graph_ids" in arrays:
        count = arrays["graphs"].size if "graphs" in arrays else np.unique(arrays["graph_ids"]).size
    elif arrays.get("features_shape", np.zeros(0)).size == 2 and not {"node_types", "node_ids"} & arrays.keys():
        count = int(whole_numbers("features_shape", arrays["features_shape"].reshape(-1))[0])
    count = count or count_nodes(arrays)
    kept = {name: array for name, array in arrays.items() if name not in (*OF_LABELS, "split", *MASKS)}
    unknown = {"labels": np.full((count, 1), np.nan), "task": np.asarray("regression")}
    return kept | unknown | dict.fromkeys(MASKS, np.zeros(count, bool))


class Labels(NamedTuple):
    """Labels of nodes or graphs.

    Attributes:
        values: `[n]` int32 classes, -1 where unlabelled; of the other tasks `[n, k]` float32, NaN where unknown.
        width: number of classes, or of labels or targets.
        classes: their names; `()` where they have none.
        task: what they are.
    """

    values: np.ndarray
    width: int
    classes: tuple[str, ...]
    task: TaskName

    @property
    def known(self) -> np.ndarray:
        """Returns `[n]` bool, the items with a label."""
        return self.values >= 0 if self.values.ndim == 1 else np.any(~np.isnan(self.values), axis=1)


def read_labels(arrays: Arrays, count: int, item: str) -> Labels:
    """Reads the labels of `count` nodes or graphs.

    Where `task` is not given, `[n]` whole numbers, booleans or text are classes; other labels are several binary ones
    if all of them are 0, 1 or unknown, and else real targets.

    Raises:
        ValueError: no labels, or others than the task needs or `num_classes` says; or without a task one column that
            may be classes or targets, see `look_like_classes`, or columns that are one-hot classes.
    """
    found = _labels_of(arrays, count, item)
    given = arrays.get("num_classes", np.array(found.width))
    if (whole_numbers("num_classes", given) != found.width).any():
        raise ValueError(
            f"num_classes is {given.tolist()}; expected {found.width}, as many as labels and classes have, or classes, "
            "the names of all"
        )
    return found


def _labels_of(arrays: Arrays, count: int, item: str) -> Labels:
    if "labels" not in arrays:
        raise ValueError(f"no labels; expected one for each {item}, -1, NaN or an empty text where it has none")
    labels = one_per("labels", arrays["labels"], count, item, axes=(1, 2))
    names = tuple(strings("classes", arrays["classes"].reshape(-1)).tolist()) if "classes" in arrays else ()
    task = _task(arrays, labels)
    if task == "classification":
        labels = labels.reshape(count) if labels.size == count else labels
        return _classes(arrays, one_per("labels", labels, count, item), names)
    values = real_numbers("labels", labels).reshape(count, -1)
    return Labels(values, values.shape[1], names, task)


def _task(arrays: Arrays, labels: np.ndarray) -> TaskName:
    given = word(arrays, "task")
    for task in get_args(TaskName):
        if given == task:
            return task
    if given is not None:
        raise ValueError(f"task is {given!r}; expected one of {', '.join(get_args(TaskName))}")
    if labels.ndim == 1 and labels.dtype.kind in "biuUS":
        return "classification"
    values = real_numbers("labels", labels)
    unknown = np.isnan(values)
    binary = bool((unknown | np.isin(values, (0, 1))).all())
    if binary and labels.ndim == 2 and _is_one_hot(values[~unknown.all(axis=1)]):
        raise ValueError(
            f"labels {labels.shape} hold a single 1 in each row, as one-hot classes do; expected labels.argmax(1) for "
            f"classes, or task: 'multilabel' {WHERE}"
        )
    named = "classes" in arrays and arrays["classes"].size == 1  # a matrix of one target
    single = labels.ndim == 1 or (labels.shape[1] == 1 and not binary and not named)
    if single and look_like_classes(labels.reshape(-1).astype(np.float64)):
        tasks = "'classification', 'multilabel'" if binary else "'classification'"
        raise ValueError(
            f"labels {labels.shape} of {labels.dtype} are whole numbers, which may be classes or targets; expected "
            f"integers [n] for classes, or task: {tasks}, 'regression' {WHERE}"
        )
    return "multilabel" if binary else "regression"


def _is_one_hot(known: np.ndarray) -> bool:
    """Tells whether `[m, k]` labels are one-hot: a single 1 in each of many rows; NaN is in none."""
    rows, columns = known.shape
    return columns > 1 and rows >= ROWS_PER_CLASS * columns and bool((known.sum(axis=1) == 1).all())


def look_like_classes(values: np.ndarray) -> bool:
    """Tells whether `[n]` floats look like numbers of classes, which are floats as soon as pandas misses one of them.

    They are whole numbers from 0 on, at most a hundred different ones, and at most half as many as labels or
    without a gap; -1 and NaN are unknown.

    Examples:
        >>> [look_like_classes(np.array(values)) for values in ([0, 2, np.nan, 1], [7, 7, 9, 9], [7, 8, 9], [0.5, 1])]
        [True, True, False, False]
    """
    known = values[~np.isnan(values) & (values != -1)]
    found = np.unique(known)
    whole = bool(((found >= 0) & (found < 2**31) & (np.trunc(found) == found)).all())
    few = 2 * found.size <= known.size or np.array_equal(found, np.arange(found.size))
    return found.size <= MANY and whole and few


def _classes(arrays: Arrays, labels: np.ndarray, names: tuple[str, ...]) -> Labels:
    """Numbers classes; whole numbers from 0 without gaps stay as they are, others become names."""
    if labels.dtype.kind in "US":
        text = strings("labels", labels)
        known = text != ""
        numbers, names = categories("labels", text[known], names)
        return Labels(_placed(numbers, known), len(names), names, "classification")
    unknown = np.isnan(labels) if labels.dtype.kind == "f" else labels < 0
    below = labels[labels < -1]
    if below.size:
        raise ValueError(f"labels hold {below[0]}; expected classes from 0 on, -1 where unknown, or text")
    values = whole_numbers("labels", np.where(unknown, -1, labels))
    known = values >= 0
    if names or "num_classes" in arrays:
        width = len(names) or int(whole_numbers("num_classes", arrays["num_classes"]).item())
        if values.size and values.max() >= width:
            raise ValueError(f"labels reach {values.max()}; expected numbers below {width}, the number of classes")
        return Labels(values.astype(np.int32), width, names, "classification")
    numbers, found = categories("labels", values[known])
    contiguous = found == tuple(map(str, range(len(found))))
    return Labels(_placed(numbers, known), len(found), () if contiguous else found, "classification")


def _placed(numbers: np.ndarray, known: np.ndarray) -> np.ndarray:
    values = np.full(known.shape, -1, np.int32)
    values[known] = numbers
    return values


def read_split(
    arrays: Arrays, labels: Labels, item: str, seed: int | np.random.Generator
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], str]:
    """Reads the three masks, or draws them, of labelled items alone.

    Nodes of a classification are drawn 20 and 30 per class, the rest for tests; graphs, and items of other tasks, 60,
    20 and 20 percent.

    Args:
        arrays: of the file.
        labels: of its nodes or graphs.
        item: node or graph.
        seed: of the draw, or its generator.

    Returns:
        The train, validation and test masks; and a remark on their origin, empty where they are given.

    Raises:
        ValueError: some of the three are missing, of other values, or cannot be drawn.
    """
    count = labels.values.shape[0]
    given = [name for name in (*MASKS, "split") if name in arrays]
    if given == ["split"]:
        parts = _parts(one_per("split", arrays["split"], count, item))
        return (parts == 0, parts == 1, parts == 2), ""
    if given == list(MASKS):
        train, val, test = (read_mask(name, arrays[name], count, item) for name in MASKS)
        return (train, val, test), ""
    if given:
        raise ValueError(f"{', '.join(given)} alone; expected all of {', '.join(MASKS)}, or split, or none of them")
    rng = np.random.default_rng(seed)
    remark = "split drawn" if rng is seed else f"split seed {seed}"
    if labels.task == "classification" and item == "node":
        try:
            return per_class(labels.values, TRAIN_PER_CLASS, VAL_PER_CLASS, rng), remark
        except InputError as error:
            raise ValueError(f"{error}; expected larger classes, or masks or a split in the file") from None
    return in_shares(labels.known, rng), remark


def _parts(split: np.ndarray) -> np.ndarray:
    """Returns `[n]` 0, 1, 2 for train, validation and test, 3 for none."""
    if split.dtype.kind not in "US":
        parts = whole_numbers("split", split)
        bad = np.flatnonzero((parts < -1) | (parts > 3))
        if bad.size:
            raise ValueError(f"split holds {parts[bad[0]]}; expected 0 (train), 1 (validation), 2 (test) or 3 (none)")
        return parts
    values, inverse = np.unique(np.char.lower(strings("split", split)), return_inverse=True)
    unknown = [value for value in values.tolist() if value not in SPLITS]
    if unknown:
        raise ValueError(f"split holds {unknown[0]!r}; expected one of {', '.join(filter(None, SPLITS))}")
    return np.array([SPLITS[value] for value in values.tolist()])[inverse]


def read_mask(name: str, mask: np.ndarray, count: int, item: str) -> np.ndarray:
    """Reads a mask of `count` nodes or graphs: booleans, or 0 and 1.

    Raises:
        ValueError: it has another shape or other values, as indices have.
    """
    values = mask if mask.dtype.kind == "b" else whole_numbers(name, mask)
    other = values[(values != 0) & (values != 1)]
    if other.size:
        raise ValueError(f"{name} holds {other[0]}; expected booleans of all {count} {item}s, and no indices")
    return one_per(name, values, count, item).astype(bool)
