"""The checks that every data set passes before anything is computed from it."""

from itertools import combinations

import numpy as np
import scipy.sparse as sp

from abkd_jax.types import Dataset, InputError

__all__ = ["validate"]


def validate(dataset: Dataset) -> Dataset:
    """Check that a data set keeps the promises of `types.Dataset`.

    Shapes, lengths and number types agree; edges stay inside the nodes; features are finite; labels are -1 or a class;
    the masks are not empty, do not overlap and hold labelled nodes only.

    Args:
        dataset: from any loader, or made by hand.

    Returns:
        The same data set, untouched.

    Raises:
        InputError: one line with the name of the data set, what is wrong and what was expected.
    """
    try:
        _check_shapes(dataset)
        _check_features(dataset)
        _check_edges(dataset)
        _check_labels(dataset)
        _check_masks(dataset)
    except ValueError as error:
        raise InputError(f"{dataset.name}: {error}") from None
    return dataset


def _masks(dataset: Dataset) -> dict[str, np.ndarray]:
    return {"train": dataset.train_mask, "val": dataset.val_mask, "test": dataset.test_mask}


def _check_array(what: str, array: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype:
        raise ValueError(f"{what} has dtype {array.dtype}; expected {np.dtype(dtype)}")
    if array.shape != shape:
        raise ValueError(f"{what} has shape {array.shape}; expected {shape}")


def _check_shapes(dataset: Dataset) -> None:
    if dataset.labels.ndim != 1:
        raise ValueError(f"labels has shape {dataset.labels.shape}; expected one label for each node")
    n = dataset.num_nodes
    _check_array("labels", dataset.labels, np.int32, (n,))
    _check_array("senders", dataset.senders, np.int32, (dataset.senders.size,))
    _check_array("receivers", dataset.receivers, np.int32, (dataset.senders.size,))
    for split, mask in _masks(dataset).items():
        _check_array(f"{split}_mask", mask, np.bool_, (n,))


def _check_features(dataset: Dataset) -> None:
    features, n = dataset.features, dataset.num_nodes
    if not isinstance(features, np.ndarray | sp.csr_matrix):
        raise ValueError(
            f"features is a {type(features).__name__}; expected a numpy.ndarray or scipy.sparse.csr_matrix"
        )
    shape = np.shape(features) if isinstance(features, np.ndarray) else features.get_shape()
    if len(shape) != 2 or shape[0] != n or shape[1] == 0:
        raise ValueError(f"features has shape {shape}; expected ({n}, at least 1): one row for each label")
    if features.dtype != np.float32:
        raise ValueError(f"features has dtype {features.dtype}; expected float32")
    if isinstance(features, np.ndarray):
        bad_rows = np.nonzero(~np.isfinite(features))[0]
    else:
        features.check_format(full_check=True)
        bad_rows = np.repeat(np.arange(n), np.diff(features.indptr))[~np.isfinite(features.data)]
    bad_nodes = np.unique(bad_rows)
    if bad_nodes.size:
        raise ValueError(
            f"features of {bad_nodes.size} of {n} nodes are NaN or infinite (first: node {bad_nodes[0]}); "
            "expected finite numbers"
        )


def _check_edges(dataset: Dataset) -> None:
    n = dataset.num_nodes
    ends = np.stack([dataset.senders, dataset.receivers])
    outside = np.nonzero(((ends < 0) | (ends >= n)).any(axis=0))[0]
    if outside.size:
        sender, receiver = ends[:, outside[0]]
        raise ValueError(
            f"{outside.size} of {ends.shape[1]} edges point outside the {n} nodes "
            f"(first: edge {outside[0]}, {sender} -> {receiver}); expected node numbers in [0, {n})"
        )


def _check_labels(dataset: Dataset) -> None:
    if dataset.num_classes < 2:
        raise ValueError(f"num_classes is {dataset.num_classes}; expected at least 2")
    bad = np.nonzero((dataset.labels < -1) | (dataset.labels >= dataset.num_classes))[0]
    if bad.size:
        raise ValueError(
            f"{bad.size} labels out of range (first: node {bad[0]}, label {dataset.labels[bad[0]]}); "
            f"expected -1 or a class in [0, {dataset.num_classes})"
        )


def _check_masks(dataset: Dataset) -> None:
    masks = _masks(dataset)
    for split, mask in masks.items():
        if not mask.any():
            raise ValueError(f"{split}_mask selects none of the {dataset.num_nodes} nodes; expected at least 1")
        unlabelled = np.nonzero(mask & (dataset.labels < 0))[0]
        if unlabelled.size:
            raise ValueError(
                f"{split}_mask holds {unlabelled.size} unlabelled nodes (first: node {unlabelled[0]}); "
                "expected labelled nodes only"
            )
    for (first, first_mask), (second, second_mask) in combinations(masks.items(), 2):
        shared = np.nonzero(first_mask & second_mask)[0]
        if shared.size:
            raise ValueError(
                f"{shared.size} nodes are in both {first}_mask and {second}_mask (first: node {shared[0]}); "
                "expected disjoint masks"
            )
