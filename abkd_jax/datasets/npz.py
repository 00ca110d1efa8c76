"""Reads graphs in the gnn-benchmark layout: one `.npz` of adjacency and attributes as CSR arrays, and labels.

Layout of Shchur et al. 2018 (arXiv 1811.05868, github.com/shchur/gnn-benchmark). Files are
`<root>/gnn_benchmark/<name>.npz`; github.com/EdisonLeeeeee/GraphData publishes all of them.
"""

from pathlib import Path

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from abkd_jax.datasets.checks.common import count_categories
from abkd_jax.datasets.files.arrays import from_npz
from abkd_jax.datasets.files.csr import csr_from_parts, row_normalize
from abkd_jax.datasets.files.reading import LARGE_BYTES, MAX_BYTES, read_bytes, reading, require_files
from abkd_jax.datasets.splits import per_class
from abkd_jax.types import Dataset

__all__ = ["DESCRIPTIONS", "files", "load"]

DESCRIPTIONS = {
    "cora_ml": "2,995 machine-learning papers, 2,879 words, 7 topics, citations; 20/30/rest of each class",
    "amazon_photo": "7,650 goods, 745 words of reviews, 8 categories, bought together; 20/30/rest of each class",
    "coauthor_cs": "18,333 authors, 6,805 keywords, 15 fields, joint papers; 20/30/rest of each class",
    "acm": "3,025 papers, 1,870 words, 3 fields, shared authors; 20/30/rest of each class",
}

PAPERS = {
    "cora_ml": "arXiv 1707.03815",
    "amazon_photo": "arXiv 1811.05868",
    "coauthor_cs": "arXiv 1811.05868",
    "acm": "arXiv 2002.01633",
}
PUBLISHED = "https://github.com/EdisonLeeeeee/GraphData"
TRAIN_PER_CLASS = 20
VAL_PER_CLASS = 30
CSR_PARTS = ("data", "indices", "indptr", "shape")


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns the path of the one file of a data set, whether it exists or not.

    Args:
        name: of the file, without its suffix.
        root: the data root.
    """
    return (root / "gnn_benchmark" / f"{name}.npz",)


def load(name: str, root: Path, seed: int = 0) -> Dataset:
    """Reads a gnn-benchmark file and draws a split: 20 training and 30 validation nodes per class, the rest for tests.

    Features are divided by their row sums. Self loops are dropped. The values of the adjacency are weights of
    the edges, unless all are 1, as in the sets of the list.

    Args:
        name: of the file, without its suffix.
        root: the data root.
        seed: of the split.

    Returns:
        The data set, features `[n, f]` CSR float32.

    Raises:
        InputError: the file is missing or damaged, or a class is too small for the split.
    """
    (path,) = files(name, root)
    require_files(name, (path,), PUBLISHED)
    adjacency, attributes, labels, classes = _read(path, MAX_BYTES if name in DESCRIPTIONS else LARGE_BYTES)
    edges = adjacency.tocoo()
    between_two = edges.row != edges.col
    weights = edges.data[between_two].astype(np.float32)
    train, val, test = per_class(labels, TRAIN_PER_CLASS, VAL_PER_CLASS, np.random.default_rng(seed))
    return Dataset(
        name=name,
        features=row_normalize(attributes),
        senders=edges.row[between_two].astype(np.int32),
        receivers=edges.col[between_two].astype(np.int32),
        labels=labels.astype(np.int32),
        num_classes=classes,
        train_mask=train,
        val_mask=val,
        test_mask=test,
        source=f"{_origin(name)}, split seed {seed}",
        edge_weights=None if (weights == 1).all() else weights,
        row_normalised=True,
    )


def _origin(name: str) -> str:
    if name not in PAPERS:
        return f"own file in the layout of gnn-benchmark, {name}.npz"
    return f"gnn-benchmark ({PAPERS[name]}, {PUBLISHED.removeprefix('https://')})"


def _read(path: Path, limit: int) -> tuple[sp.csr_matrix, sp.csr_matrix, Int[np.ndarray, " n"], int]:
    """Reads adjacency, attributes and labels; returns also the number of classes."""
    with reading(path, "a gnn-benchmark archive"):
        names = ("labels", *(f"{matrix}_{part}" for matrix in ("adj", "attr") for part in CSR_PARTS))
        arrays = from_npz(read_bytes(path, limit), names, limit)
        adjacency, attributes = _csr(arrays, "adj"), _csr(arrays, "attr")
        labels, shape = arrays["labels"], adjacency.get_shape()
        n = labels.size
        if labels.shape != (n,) or labels.dtype.kind not in "iu" or n == 0 or shape != (n, n):
            raise ValueError(
                f"labels have shape {labels.shape} and type {labels.dtype}, the adjacency matrix has shape {shape}, "
                "and not n whole numbers and (n, n)"
            )
        if not np.isfinite(adjacency.data).all():
            raise ValueError("NaN or infinity in the adjacency matrix")
        adjacency.eliminate_zeros()
        return adjacency, attributes, labels, count_categories(labels)


def _csr(arrays: dict[str, np.ndarray], prefix: str) -> sp.csr_matrix:
    data, indices, indptr, shape = (arrays[f"{prefix}_{part}"] for part in CSR_PARTS)
    return csr_from_parts(data, indices, indptr, tuple(shape.tolist()))
