"""Adjacency matrices of SciPy to data sets."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from abkd_jax.datasets.convert.arrays import Masks, Rng, build, feature_arrays, mask_arrays
from abkd_jax.types import Dataset, InputError, TaskName

__all__ = ["from_scipy"]


def from_scipy(
    adjacency: Any,
    features: Any,
    labels: Any,
    masks: Masks | None = None,
    *,
    rng: Rng = None,
    task: TaskName | None = None,
    directed: bool = False,
    row_normalise: bool = False,
    node_ids: Any = None,
    name: str = "graph",
) -> Dataset:
    """Makes a data set of a SciPy adjacency matrix.

    Args:
        adjacency: `[n, n]`, any sparse format, or dense; entry `[u, v]` is the edge from u to v. Zeros are no edges;
            other values are weights, unless all are 1. Repeated entries of a COO matrix stay repeated edges.
        features: `[n, f]`, dense, or sparse of SciPy or PyTorch.
        labels: `[n]` classes, whole numbers or text, -1 or empty where unknown; or `[n, k]` binary labels or real
            targets, NaN where unknown.
        masks: train, validation and test, `[n]` booleans each; None draws them: 20 and 30 nodes per class and the rest,
            of other tasks 60, 20 and 20 percent.
        rng: of that draw, or its seed.
        task: what the labels are, where they do not tell: whole numbers and text `[n]` are classes, columns of 0 and 1
            several labels, other numbers targets. One column of floats that looks like classes needs it.
        directed: keeps the edges as they are; else each counts in both directions.
        row_normalise: divides the features of each node by their sum.
        node_ids: `[n]` identifiers, whole numbers or text.
        name: of the data set.

    Returns:
        The data set, checked by `validate`.

    Raises:
        InputError: one line that names what is wrong.

    Examples:
        >>> ring = sp.eye_array(6, k=1)
        >>> data = from_scipy(ring, np.eye(6), np.arange(6) % 2, np.arange(6) // 2 == np.arange(3)[:, None])
        >>> data.senders.tolist(), data.edge_weights, data.num_classes
        ([0, 1, 2, 3, 4], None, 2)
    """
    matrix = _coo(name, "adjacency", adjacency)
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"{name}: adjacency has shape {matrix.shape}; expected as many rows as columns")
    edges = matrix.data != 0
    values = matrix.data[edges]
    arrays = {
        "senders": matrix.row[edges],
        "receivers": matrix.col[edges],
        "edge_weights": None if (values == 1).all() else values,
        "labels": labels,
        "node_ids": np.arange(matrix.shape[0]) if node_ids is None else node_ids,
        "task": task,
        "directed": directed,
        "row_normalise": row_normalise,
        **feature_arrays(features),
        **mask_arrays(masks),
    }
    found = build(name, "SciPy", arrays, rng)
    assert isinstance(found, Dataset)
    if matrix.shape[0] != found.num_nodes:
        raise InputError(f"{name}: adjacency has {matrix.shape[0]} rows; expected one for each of node_ids")
    return found


def _coo(name: str, what: str, matrix: Any) -> Any:
    """Returns a matrix as COO, entry by entry as it is."""
    try:
        coo = matrix.tocoo() if sp.issparse(matrix) else sp.coo_matrix(np.asarray(matrix))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {what} is a {type(matrix).__name__}; expected a matrix of numbers") from error
    if coo.ndim != 2 or coo.data.dtype.kind not in "biuf":
        raise InputError(f"{name}: {what} has shape {coo.shape} of {coo.data.dtype}; expected a matrix of numbers")
    return coo
