"""Tensors of PyTorch Geometric's `Data`, or of a part of `HeteroData`, as arrays."""

from typing import Any

import numpy as np

from abkd_jax.datasets.convert.arrays import to_numpy
from abkd_jax.types import InputError

__all__ = ["classes_or_targets", "edge_ends", "needed", "optional", "stored_masks"]

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


def optional(store: Any, key: str) -> np.ndarray | None:
    """Returns a tensor as an array; None where it is not there."""
    value = getattr(store, key, None)
    return None if value is None else to_numpy(value)


def edge_ends(name: str, store: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns senders and receivers of `edge_index`.

    Raises:
        InputError: it is not there, or of another shape or type.
    """
    edges = needed(name, store, "edge_index")
    if edges.ndim != 2 or edges.shape[0] != 2 or edges.dtype.kind not in "iu":
        raise InputError(f"{name}: edge_index has shape {edges.shape} of {edges.dtype}; expected (2, e) whole numbers")
    if edges.size and edges.min() < 0:
        raise InputError(f"{name}: edge_index holds {edges.min()}; expected node numbers from 0 on")
    return edges[0], edges[1]


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
