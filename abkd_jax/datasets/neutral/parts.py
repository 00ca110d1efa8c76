"""Edges, node identifiers and features of the neutral form."""

from statistics import mode
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from abkd_jax.datasets.files.csr import csr_from_parts, row_normalize
from abkd_jax.datasets.neutral.values import Arrays, flag, one_per, real_numbers, strings, whole_numbers

__all__ = ["Ends", "count_nodes", "normalised", "read_ends", "read_features", "read_ids"]

CSR_PARTS = ("features_data", "features_indices", "features_indptr", "features_shape")
NAMING = ("graph_ids", "node_types", "node_ids")
OF_NODES = ("labels", "features", "split", "train_mask")  # one of a wrong size is to be blamed itself, not the edges
ROUNDING = 1e-3  # by which the sum of a row that is divided by its sum may differ from 1


class Ends(NamedTuple):
    """Edges.

    Attributes:
        senders: `[e]` int64 positions of nodes.
        receivers: `[e]` int64.
        weights: `[e]` float32, or None.
    """

    senders: np.ndarray
    receivers: np.ndarray
    weights: np.ndarray | None


def count_nodes(arrays: Arrays) -> int:
    """Returns the number of nodes: by the arrays that name or number them, else as most arrays of nodes have it.

    Raises:
        ValueError: there is none, or no node.
    """
    sizes = {name: arrays[name].shape[0] for name in (*NAMING, *OF_NODES) if name in arrays and arrays[name].ndim}
    if not sizes:
        raise ValueError("no labels and no features; expected one row of each for every node")
    naming = [sizes[name] for name in NAMING if name in sizes]
    count = naming[0] if naming else mode([sizes[name] for name in OF_NODES if name in sizes])
    if count == 0:
        empty = next(name for name, size in sizes.items() if size == 0)
        raise ValueError(f"{empty} is empty; expected at least one node")
    return count


def read_ids(arrays: Arrays, count: int) -> np.ndarray | None:
    """Returns `[n]` identifiers of the nodes, int64 or strings; None where they are the numbers from 0 on.

    Raises:
        ValueError: other values, or one that is repeated.
    """
    if "node_ids" not in arrays:
        return None
    ids = one_per("node_ids", arrays["node_ids"], count, "node")
    ids = strings("node_ids", ids) if ids.dtype.kind in "US" else whole_numbers("node_ids", ids)
    ordered = np.sort(ids)
    repeated = np.flatnonzero(ordered[1:] == ordered[:-1])
    if repeated.size:
        raise ValueError(
            f"node_ids holds {ordered[repeated[0]].item()!r} more than once; expected a different one each"
        )
    return None if ids.dtype.kind == "i" and np.array_equal(ids, np.arange(count)) else ids


def read_ends(arrays: Arrays, count: int, ids: np.ndarray | None) -> Ends:
    """Reads the edges as positions of nodes, and their weights.

    Raises:
        ValueError: no edge list, or two, an end that is no node, or a weight that is no number.
    """
    if ("edges" in arrays) == ("senders" in arrays) or ("senders" in arrays) != ("receivers" in arrays):
        found = [name for name in ("edges", "senders", "receivers") if name in arrays]
        raise ValueError(f"{', '.join(found) or 'no edges'}; expected edges [e, 2], or senders [e] and receivers [e]")
    if "edges" in arrays:
        edges = arrays["edges"]
        if edges.ndim != 2 or edges.shape[1] != 2:
            hint = ": transpose it" if edges.ndim == 2 and edges.shape[0] == 2 else ""
            raise ValueError(f"edges has shape {edges.shape}; expected (e, 2), one pair for each edge{hint}")
        names, ends = ("edges", "edges"), (edges[:, 0], edges[:, 1])
    else:
        names, ends = ("senders", "receivers"), (arrays["senders"], arrays["receivers"])
        for name, end in zip(names, ends, strict=True):
            one_per(name, end, ends[0].shape[0], "edge")
    senders, receivers = (_positions(name, end, count, ids) for name, end in zip(names, ends, strict=True))
    weights = None
    if "edge_weights" in arrays:
        weights = real_numbers("edge_weights", one_per("edge_weights", arrays["edge_weights"], len(senders), "edge"))
    return Ends(senders, receivers, weights)


def _positions(name: str, end: np.ndarray, count: int, ids: np.ndarray | None) -> np.ndarray:
    text = end.dtype.kind in "US"
    if text and (ids is None or ids.dtype.kind != "U"):
        raise ValueError(f"{name} holds text and node_ids {'none' if ids is None else ids.dtype}; expected one of both")
    if ids is not None and not text and ids.dtype.kind == "U":
        raise ValueError(f"{name} holds {end.dtype} and node_ids text; expected one of both")
    values = strings(name, end) if text else whole_numbers(name, end)
    expected = "identifiers in node_ids"
    if ids is None:
        unknown, places = np.flatnonzero((values < 0) | (values >= count)), values
        expected = f"node numbers in [0, {count}), or the identifiers in node_ids"
    elif text:
        known = {name: place for place, name in enumerate(ids.tolist())}  # NumPy takes ten times as long to sort text
        places = np.array([known.get(name, -1) for name in values.tolist()], np.int64)
        unknown = np.flatnonzero(places < 0)
    else:
        order = np.argsort(ids)
        places = order[np.minimum(np.searchsorted(ids, values, sorter=order), count - 1)]
        unknown = np.flatnonzero(ids[places] != values)
    if unknown.size:
        first = values[unknown[0]].item()
        raise ValueError(
            f"{name}: {unknown.size} are no node (first: edge {unknown[0]}, {first!r}); expected {expected}"
        )
    return places


def read_features(arrays: Arrays) -> np.ndarray | sp.csr_matrix | None:
    """Reads the features, `[m, f]` float32, dense or CSR; integers where the file has integers; None without any.

    Raises:
        ValueError: two forms of them, parts of a CSR matrix that do not fit, or other values.
    """
    parts = [name for name in CSR_PARTS if name in arrays]
    if not parts:
        if "features" not in arrays:
            return None
        features = arrays["features"]
        if features.ndim != 2:
            raise ValueError(f"features has shape {features.shape}; expected (n, f): one row for each node")
        return features if features.dtype.kind in "iu" else real_numbers("features", features)
    if "features" in arrays or len(parts) < len(CSR_PARTS):
        raise ValueError(f"{', '.join(parts)}; expected features, or all of {', '.join(CSR_PARTS)} and no features")
    data, indices, indptr, shape = (arrays[name] for name in CSR_PARTS)
    values = real_numbers("features_data", data)
    size = tuple(whole_numbers("features_shape", shape).tolist())
    merged = csr_from_parts(values, indices, indptr, size)
    # As they are in the file, columns of a row in any order, unless one is there twice.
    return merged if merged.nnz < values.size else sp.csr_matrix((values, indices, indptr), shape=size)


def normalised(arrays: Arrays, features: np.ndarray | sp.csr_matrix) -> tuple[np.ndarray | sp.csr_matrix, bool]:
    """Divides the rows by their sums where the file says so; returns also whether they are divided.

    Raises:
        ValueError: rows are said to be divided already, and are not.
    """
    if flag(arrays, "row_normalised"):
        with np.errstate(invalid="ignore", over="ignore"):  # numbers that are not finite are refused later
            sums = np.asarray(features.sum(axis=1)).reshape(-1)
            bad = np.flatnonzero((sums != 0) & (np.abs(sums - 1.0) > ROUNDING))
        if bad.size:
            raise ValueError(
                f"row_normalised: row {bad[0]} of the features adds up to {sums[bad[0]]:g}; expected 1 or 0; "
                "row_normalise divides rows"
            )
        return features, True
    if not flag(arrays, "row_normalise"):
        return features, False
    sparse = row_normalize(sp.csr_matrix(features))
    return (sparse if isinstance(features, sp.csr_matrix) else sparse.toarray()), True
