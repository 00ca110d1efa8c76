"""Reads and writes the neutral form as one npz file."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from abkd_jax.datasets.checks.node_level import validate
from abkd_jax.datasets.files.atomic import read_arrays, write_atomic
from abkd_jax.datasets.files.locations import expanded
from abkd_jax.types import Dataset, GraphDataset, InputError

__all__ = ["arrays_of", "read_npz", "save_npz"]

ALWAYS = 2**26  # bytes that any file may unpack to
MOST_PACKED = 100  # unpacked bytes per byte of a file; one-hot features are packed to a fiftieth


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an npz file, which may unpack to 64 MiB and a hundred times its size; no pickles.

    Raises:
        InputError: the file is missing or damaged, or unpacks to more.
    """
    size = path.stat().st_size if path.is_file() else 0
    return read_arrays(path, ALWAYS + MOST_PACKED * size)


def save_npz(dataset: Dataset | GraphDataset, path: str | Path) -> Path:
    """Writes a data set as one npz file in the neutral form; read back it is the same, array by array.

    Args:
        dataset: any, checked by `datasets.validate` first.
        path: ends in `.npz`; an existing file is replaced, once the new one is whole.

    Returns:
        The path.

    Raises:
        InputError: the data set is unsound, the path ends otherwise, or it cannot be written.

    Examples:
        >>> import tempfile
        >>> from abkd_jax import datasets
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_npz(datasets.load("synthetic"), Path(folder) / "mine.npz").name
        'mine.npz'
    """
    path = expanded(path)
    if path.suffix != ".npz":
        raise InputError(f"{path}: expected a name that ends in .npz")
    file = io.BytesIO()
    arrays: dict[str, Any] = arrays_of(validate(dataset))  # before NumPy 2.1 `allow_pickle` would be one more of them
    np.savez_compressed(file, **arrays)
    try:
        write_atomic(path, file.getvalue())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    return path


def arrays_of(dataset: Dataset | GraphDataset) -> dict[str, Any]:
    """Returns the arrays of the neutral form, by name."""
    arrays: dict[str, Any] = {
        "labels": dataset.labels,
        "train_mask": dataset.train_mask,
        "val_mask": dataset.val_mask,
        "test_mask": dataset.test_mask,
        "task": np.array(dataset.task),
        "source": np.array(dataset.source),
    }
    if dataset.edge_features is not None:
        arrays["edge_features"] = dataset.edge_features
    if dataset.classes:
        arrays["classes"] = np.array(dataset.classes)
    arrays |= {name: np.array(names) for name in ("columns", "edge_columns") if (names := getattr(dataset, name))}
    if isinstance(dataset, GraphDataset):
        return arrays | _of_graphs(dataset)
    ids = np.arange(dataset.num_nodes, dtype=np.int32) if dataset.node_ids is None else dataset.node_ids
    arrays |= {"senders": ids[dataset.senders], "receivers": ids[dataset.receivers], **_features(dataset.features)}
    optional = {
        "node_ids": dataset.node_ids,
        "edge_weights": dataset.edge_weights,
        "node_types": dataset.node_types,
        "relations": dataset.relations,
    }
    arrays |= {name: array for name, array in optional.items() if array is not None}
    arrays |= {name: np.array(True) for name in ("directed", "row_normalised") if getattr(dataset, name)}
    if dataset.schema is not None:
        names = {"node_type_names": dataset.schema.node_types, "relation_names": dataset.schema.relations}
        arrays |= {name: np.array(values) for name, values in names.items()}
        arrays["reverses"] = np.array(dataset.schema.reverses, np.int32)
    if dataset.task == "classification":
        arrays["num_classes"] = np.array(dataset.num_classes)
    return arrays


def _of_graphs(dataset: GraphDataset) -> dict[str, Any]:
    starts = np.cumsum(dataset.n_node) - dataset.n_node
    offsets = np.repeat(starts, dataset.n_edge)
    ids = np.arange(dataset.n_node.size) if dataset.graphs is None else dataset.graphs
    arrays = {
        "features": dataset.features,
        "senders": dataset.senders + offsets,
        "receivers": dataset.receivers + offsets,
        "graph_ids": np.repeat(ids, dataset.n_node),
    }
    arrays |= {} if dataset.graphs is None else {"graphs": ids}
    vocabularies = {"vocabulary": dataset.vocabulary, "edge_vocabulary": dataset.edge_vocabulary}
    arrays |= {name: np.array(sizes) for name, sizes in vocabularies.items() if sizes}
    return arrays | ({"num_classes": np.array(dataset.num_outputs)} if dataset.task == "classification" else {})


def _features(features: np.ndarray | sp.csr_matrix) -> dict[str, Any]:
    if isinstance(features, np.ndarray):
        return {"features": features} if features.size else {}
    parts = {"data": features.data, "indices": features.indices, "indptr": features.indptr, "shape": features.shape}
    return {f"features_{part}": np.asarray(values) for part, values in parts.items()}
