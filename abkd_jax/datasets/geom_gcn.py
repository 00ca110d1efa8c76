"""Reads graphs in the layout of Geom-GCN: two text files and ten splits.

Pei et al. 2020 (arXiv 2002.05287), https://github.com/graphdml-uiuc-jlu/geom-gcn. Files are `<root>/geom_gcn/<name>/`
with `out1_graph_edges.txt`, `out1_node_feature_label.txt` and `splits/<name>_split_0.6_0.2_<k>.npz`. No set of it is in
the list.
"""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from abkd_jax.datasets.checks.common import count_categories
from abkd_jax.datasets.files.arrays import from_npz
from abkd_jax.datasets.files.csr import csr_from_entries
from abkd_jax.datasets.files.reading import read_bytes, reading, require_files
from abkd_jax.datasets.files.text import LARGE_TEXT, parse, read_lines
from abkd_jax.types import Dataset

__all__ = ["DESCRIPTIONS", "files", "load"]

DESCRIPTIONS: dict[str, str] = {}
PUBLISHED = "https://github.com/graphdml-uiuc-jlu/geom-gcn"
MASKS = ("train_mask", "val_mask", "test_mask")
NUM_SPLITS = 10


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns the paths of edges, nodes and ten splits, whether they exist or not.

    Args:
        name: of the folder.
        root: the data root.
    """
    folder = root / "geom_gcn" / name
    splits = (f"splits/{name}_split_0.6_0.2_{number}.npz" for number in range(NUM_SPLITS))
    return tuple(folder / part for part in ("out1_graph_edges.txt", "out1_node_feature_label.txt", *splits))


def load(name: str, root: Path, seed: int = 0) -> Dataset:
    """Reads a graph; the seed chooses one of its ten splits, `seed % 10`.

    Features of a node are either all its values, 0 or 1, or the numbers of those that are 1 (as in `film`): the latter
    where the nodes do not all have the same count of values 0 and 1.

    Args:
        name: of the folder.
        root: the data root.
        seed: of the split.

    Returns:
        The data set, features `[n, f]` CSR float32.

    Raises:
        InputError: a file is missing or damaged, or the files do not belong together.
    """
    paths = files(name, root)
    require_files(name, paths, PUBLISHED)
    edges, nodes, split = paths[0], paths[1], paths[2 + seed % NUM_SPLITS]
    features, labels = _read_nodes(nodes)
    with reading(edges, f"a header, then two node numbers in [0, {labels.size}) per line"):
        ends = parse(read_lines(edges, LARGE_TEXT)[1:])
        if ends.shape[1] != 2 or ends.min() < 0 or ends.max() >= labels.size:
            raise ValueError(f"{ends.shape[1]} columns, numbers from {ends.min()} to {ends.max()}")
    with reading(split, f"masks of 0 and 1 of shape ({labels.size},)"):
        masks = from_npz(read_bytes(split), MASKS)
        if any(mask.shape != labels.shape or not np.isin(mask, (0, 1)).all() for mask in masks.values()):
            raise ValueError(f"shapes {[mask.shape for mask in masks.values()]}, or other values")
    return Dataset(
        name=name,
        features=features,
        senders=ends[:, 0].astype(np.int32),
        receivers=ends[:, 1].astype(np.int32),
        labels=labels.astype(np.int32),
        num_classes=int(labels.max()) + 1,
        source=f"own files in the layout of Geom-GCN (arXiv 2002.05287), {split.stem}",
        train_mask=masks["train_mask"].astype(np.bool_),
        val_mask=masks["val_mask"].astype(np.bool_),
        test_mask=masks["test_mask"].astype(np.bool_),
    )


def _read_nodes(path: Path) -> tuple[sp.csr_matrix, np.ndarray]:
    """Reads features and class of every node, in any order of the lines."""
    with reading(path, "a header, then number, features with commas and class of each node, with tabs"):
        records = [line.split("\t") for line in read_lines(path, LARGE_TEXT)[1:]]
        ids, labels = (np.array([int(record[column]) for record in records]) for column in (0, 2))
        if any(len(record) != 3 for record in records) or not np.array_equal(np.sort(ids), np.arange(ids.size)):
            raise ValueError("nodes that are not numbered from 0 on, each once, or other than three fields")
        values = [np.array([int(word) for word in record[1].split(",") if word], np.int64) for record in records]
        counts = np.array([value.size for value in values])
        flat = np.concatenate(values)
        if np.unique(counts).size == 1 and np.isin(flat, (0, 1)).all():
            rows, columns = np.nonzero(flat.reshape(ids.size, -1))
            width = int(counts[0])
        else:
            rows, columns, width = np.repeat(np.arange(ids.size), counts), flat, int(flat.max()) + 1
        count_categories(labels)
        order = np.argsort(ids)
        features = csr_from_entries(np.ones(rows.size, np.float32), rows, columns, (ids.size, width))[order]
        features.data[:] = 1  # a number that is there twice
        return sp.csr_matrix(features), labels[order]
