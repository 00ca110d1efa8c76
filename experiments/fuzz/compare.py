"""Reduces a reading to what two readings of the same files must have in common: counts, and a digest of all."""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from abkd_jax.types import Dataset, GraphDataset

__all__ = ["Reading", "reading"]


class Reading(NamedTuple):
    """Counts by name, and the SHA-256 of every number and text."""

    counts: dict[str, Any]
    digest: str


def reading(value: Any) -> Reading:
    """Reduces a data set, or any tree of arrays and texts. Where a data set comes from is left out."""
    digest = hashlib.sha256()
    for path, leaf in _leaves("", value):
        array = np.asarray(leaf)
        digest.update(f"{path} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes() if array.dtype != object else repr(leaf).encode())
    return Reading(dict(_counts("", value)), digest.hexdigest())


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yields every array, number and text below a value, by its path."""
    if sp.issparse(value):
        value = {"data": value.data, "indices": value.indices, "indptr": value.indptr, "shape": value.shape}
    if isinstance(value, Dataset | GraphDataset):
        value = {key: part for key, part in value._asdict().items() if key != "source"}
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(f"{path}.{key}", part)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _leaves(f"{path}.{number}", part)
    else:
        yield path, value


def _counts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Counts of a data set; shapes of other arrays, numbers of other entries."""
    if isinstance(value, Dataset):
        yield f"{path}nodes", value.labels.shape
        yield f"{path}classes", value.num_classes
        yield f"{path}types", None if value.node_types is None else np.bincount(value.node_types).tolist()
        yield f"{path}relations", None if value.schema is None else len(value.schema.relations)
    if isinstance(value, GraphDataset):
        yield f"{path}graphs", value.labels.shape
        yield f"{path}outputs", value.num_outputs
    if isinstance(value, Dataset | GraphDataset):
        yield (
            f"{path}features",
            np.shape(value.features) if isinstance(value.features, np.ndarray) else value.features.shape,
        )
        yield f"{path}edges", value.senders.shape
        yield f"{path}split", [int(mask.sum()) for mask in (value.train_mask, value.val_mask, value.test_mask)]
    elif isinstance(value, dict | list | tuple):
        yield f"{path}entries", len(value)
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _counts(f"{path}{key}.", part)
    elif isinstance(value, np.ndarray):
        yield path, value.shape
