"""Tensors of PyTorch Geometric's `Data`, or of a part of `HeteroData`, as arrays."""

from typing import Any

import numpy as np

from abkd_jax.datasets.convert.arrays import sparse_of, to_numpy
from abkd_jax.types import InputError

__all__ = ["classes_or_targets", "edges_of", "features_of", "needed", "optional", "stored_masks"]

MASKS = ("train_mask", "val_mask", "test_mask")


def needed(name: str, store: Any, key: str) -> np.ndarray:
    """Returns a tensor of `Data` or of a part of `HeteroData` as an array.

    Raises:
        InputError: it is not there.
    """
    found = optional(store, key)
    if found is None:
        raise InputError(f"{name}: no {key}; expected a tensor")
    return found


def features_of(name: str, store: Any) -> np.ndarray:
    """Returns `x` as an array.

    Raises:
        InputError: it is not there, is sparse, or has other than two axes.
    """
    features = needed(name, store, "x")
    if features.ndim != 2:
        raise InputError(f"{name}: x has shape {features.shape}; expected (nodes, features)")
    return features


def optional(store: Any, key: str) -> np.ndarray | None:
    """Returns a tensor as an array; None where it is not there.

    Raises:
        InputError: it is sparse.
    """
    value = getattr(store, key, None)
    try:
        return None if value is None else to_numpy(value)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def edges_of(name: str, store: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns senders and receivers of `edge_index`, and weights, if any; or those of `adj_t`, whose rows receive.

    Raises:
        InputError: neither is there, or it is of another shape or type.
    """
    weights = optional(store, "edge_weight")
    weights = None if weights is None else weights.reshape(-1)
    transposed = sparse_of(getattr(store, "adj_t", None))
    if transposed is not None and optional(store, "edge_index") is None:
        if weights is None and (transposed.data != 1).any():
            weights = transposed.data
        return transposed.col, transposed.row, weights
    edges = needed(name, store, "edge_index")
    if edges.ndim != 2 or edges.shape[0] != 2 or edges.dtype.kind not in "iu":
        raise InputError(f"{name}: edge_index has shape {edges.shape} of {edges.dtype}; expected (2, e) whole numbers")
    if edges.size and edges.min() < 0:
        raise InputError(f"{name}: edge_index holds {edges.min()}; expected node numbers from 0 on")
    return edges[0], edges[1], weights


def classes_or_targets(labels: np.ndarray) -> np.ndarray:
    """Returns `y` as classes where it is one column of whole numbers; otherwise as it is."""
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 and labels.dtype.kind in "iu" else labels


def stored_masks(name: str, store: Any, split: int) -> dict[str, Any]:
    """Returns the masks that there are, of several splits the one of this number.

    Raises:
        InputError: there are fewer splits.
    """
    found = {key: optional(store, key) for key in MASKS}
    masks = {}
    for key, mask in found.items():
        if mask is not None and mask.ndim == 2:
            if not 0 <= split < mask.shape[1]:
                raise InputError(f"{name}: {key} has {mask.shape[1]} splits; expected split in [0, {mask.shape[1]})")
            masks[key] = mask[:, split]
        elif mask is not None:
            masks[key] = mask
    return masks
