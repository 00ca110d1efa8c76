"""What all converters share: arrays of other libraries as NumPy's, and the neutral form as a checked data set."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp

from abkd_jax.datasets.checks.node_level import validate
from abkd_jax.datasets.neutral.graph_level import graph_dataset
from abkd_jax.datasets.neutral.node_level import node_dataset
from abkd_jax.datasets.neutral.values import real_numbers
from abkd_jax.types import Dataset, GraphDataset, InputError, TaskName

__all__ = [
    "Masks",
    "Rng",
    "build",
    "feature_arrays",
    "mask_arrays",
    "sparse_of",
    "to_numpy",
    "unknown_label",
    "with_reverses",
]

Masks = Sequence[Any] | np.ndarray  # train, validation and test, booleans each
Rng = np.random.Generator | int | None  # draws a split, or its seed


def to_numpy(value: Any) -> np.ndarray:
    """Returns a tensor of any library, a list or an array as a NumPy array; tensors leave their device and gradient.

    bfloat16, which NumPy has not, becomes float32. Objects that are all text or all numbers, as pandas holds them,
    become text or numbers; those that are missing an empty text or NaN.

    Raises:
        InputError: it is a sparse matrix.
    """
    if _is_sparse(value):
        raise InputError(f"a sparse {type(value).__name__}; expected a dense one")
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    return _of_objects(array) if array.dtype.kind in ("O", "T") else array


def _of_objects(array: np.ndarray) -> np.ndarray:
    """Returns objects as strings or numbers; as they are where they are neither, or of both."""
    values = array.ravel().tolist()
    missing = [
        value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and value != value)
        for value in values
    ]
    known = [value for value, gone in zip(values, missing, strict=True) if not gone]
    for kinds, fill in ((str, ""), ((Real, np.bool_), np.nan)):
        if known and all(isinstance(value, kinds) for value in known):
            filled = [fill if gone else value for value, gone in zip(values, missing, strict=True)]
            return np.array(filled).reshape(array.shape)
    return array


def _is_sparse(value: Any) -> bool:
    return sp.issparse(value) or hasattr(value, "sparse_sizes") or "torch.sparse" in str(getattr(value, "layout", ""))


def sparse_of(value: Any) -> sp.coo_matrix | None:
    """Returns a sparse matrix of SciPy, PyTorch or torch_sparse, entry by entry as it is; None for anything else.

    Raises:
        InputError: it has other than two dimensions, or entries of several numbers.
    """
    if not _is_sparse(value):
        return None
    if sp.issparse(value):
        return sp.coo_matrix(value)
    if hasattr(value, "sparse_sizes"):  # torch_sparse, where no values mean ones
        rows, columns, values = value.coo()
        shape = tuple(value.sparse_sizes())
    else:
        entries = value.detach().cpu().to_sparse_coo()
        ends, values, shape = entries._indices(), entries._values(), tuple(value.shape)
        if len(ends) != 2 or values.ndim != 1:
            raise InputError(f"a sparse tensor of shape {shape}; expected two dimensions, and one number in each entry")
        rows, columns = ends
    data = np.ones(len(rows), np.float32) if values is None else to_numpy(values)
    return sp.coo_matrix((data, (to_numpy(rows), to_numpy(columns))), shape=shape)


def feature_arrays(features: Any) -> dict[str, Any]:
    """Returns features, dense, of SciPy or a sparse tensor, by their names in the neutral form."""
    found = features if sp.issparse(features) else sparse_of(features)
    if found is None:
        return {"features": features}
    matrix = sp.csr_matrix(found)
    parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": matrix.get_shape()}
    return {f"features_{part}": np.asarray(values) for part, values in parts.items()}


def mask_arrays(masks: Masks | None) -> dict[str, Any]:
    """Returns the three masks by their names in the neutral form; nothing for None.

    Raises:
        InputError: other than three.
    """
    if masks is None:
        return {}
    if len(masks) != 3:
        raise InputError(f"masks: {len(masks)} given; expected three: train, validation and test")
    return dict(zip(("train_mask", "val_mask", "test_mask"), masks, strict=True))


def unknown_label(name: str, known: np.ndarray, task: TaskName | None) -> Any:
    """Returns what stands for a missing label beside known ones: an empty text, -1 beside classes, else NaN.

    Args:
        name: for messages.
        known: labels, one or several of each item.
        task: as it is given; None takes whole numbers for classes.

    Raises:
        InputError: labels beside NaN are no numbers, or integers that float32 rounds.
    """
    if known.dtype.kind == "U":
        return ""
    if known.ndim == 1 and known.dtype.kind in "biu" and task in (None, "classification"):
        return -1
    try:
        real_numbers("labels", known)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    return np.nan


def build(name: str, origin: str, arrays: dict[str, Any], rng: Rng) -> Dataset | GraphDataset:
    """Builds a data set from the arrays of the neutral form and checks it.

    Args:
        name: of the data set.
        origin: the library, for `source`.
        arrays: by name, see `neutral.values.KEYS`, ends of edges by position; those that are None are left out.
        rng: draws the split where there are no masks, or its seed; not read otherwise.

    Raises:
        InputError: one line that names the array that is wrong; or there is neither split nor generator.
    """
    try:
        given = {key: _array(key, value) for key, value in arrays.items() if value is not None}
        if rng is None and not {"train_mask", "val_mask", "test_mask", "split"} & given.keys():
            raise ValueError(
                "no masks; expected those of training, validation and test, or rng, a generator that draws them"
            )
        if not isinstance(rng, np.random.Generator | None) and not (isinstance(rng, Integral) and rng >= 0):
            raise ValueError(f"rng is a {type(rng).__name__}; expected numpy.random.default_rng(0), or its seed")
        if "node_ids" in given:  # which the neutral form names the ends of edges by
            given |= {key: _named(key, given[key], given["node_ids"]) for key in ("senders", "receivers")}
        read = graph_dataset if "graph_ids" in given else node_dataset
        dataset = read(given, name, f"own graph, from {origin}", 0 if rng is None else rng)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: {' '.join(str(error).split())}") from error
    return validate(dataset)


def _array(key: str, value: Any) -> np.ndarray:
    try:
        return to_numpy(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key}: {error}") from error


def _named(key: str, ends: np.ndarray, ids: np.ndarray) -> np.ndarray:
    if ends.size and not 0 <= ends.min() <= ends.max() < len(ids):
        raise ValueError(f"{key} reach from {ends.min()} to {ends.max()}; expected nodes in [0, {len(ids)})")
    return ids[ends]


def with_reverses(senders: np.ndarray, receivers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns an edge list with the reverses of all edges that have none, and for each the edge that it comes from.

    Args:
        senders: `[e]`.
        receivers: `[e]`.
        count: number of nodes.

    Examples:
        >>> [part.tolist() for part in with_reverses(np.array([0, 1, 1]), np.array([1, 0, 2]), 3)]
        [[0, 1, 1, 2], [1, 0, 2, 1], [0, 1, 2, 2]]
    """
    forward, backward = (a.astype(np.int64) * count + b for a, b in ((senders, receivers), (receivers, senders)))
    alone = np.flatnonzero(~np.isin(backward, forward))
    ends = np.append(senders, receivers[alone]), np.append(receivers, senders[alone])
    return *ends, np.append(np.arange(senders.size), alone)
