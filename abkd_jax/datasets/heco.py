"""Reads the heterogeneous graphs ACM and Freebase in the layout of HeCo, with 20, 40 or 60 labels per class.

Source: Wang, Liu, Han, Shi 2021 (arXiv 2105.09111, section 5.1), https://github.com/liun-online/HeCo. Files are
`<root>/heco/<acm or freebase>/*`: text edge lists from the target type, which has the labels, and sparse features.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Int

from abkd_jax.datasets.checks.common import count_categories
from abkd_jax.datasets.files.arrays import from_npy, from_npz
from abkd_jax.datasets.files.csr import csr_from_entries, csr_from_parts, row_normalize
from abkd_jax.datasets.files.reading import read_bytes, reading, require_files
from abkd_jax.datasets.files.text import read_table
from abkd_jax.types import Dataset, InputError, Schema

__all__ = ["DESCRIPTIONS", "files", "load"]

LABELS_PER_CLASS = (20, 40, 60)
PUBLISHED = "https://github.com/liun-online/HeCo"
_FORMATS = {b"csr": (csr_from_parts, ("data", "indices", "indptr")), b"coo": (csr_from_entries, ("data", "row", "col"))}


class _Layout(NamedTuple):
    """Content of a folder: node types and their sizes, edge lists from the target type, features of the first types."""

    text: str
    types: dict[str, int]
    edges: dict[str, str]
    features: tuple[str, ...]


LAYOUTS = {
    "acm": _Layout(
        "4,019 papers in 3 fields (1,902 words), their 7,167 authors (same words) and 60 subjects",
        {"paper": 4019, "author": 7167, "subject": 60},
        {"author": "pa.txt", "subject": "ps.txt"},
        ("p_feat.npz", "a_feat.npz"),
    ),
    "freebase": _Layout(
        "3,492 films of 3 genres, their 33,401 actors, 2,502 directors and 4,459 writers; no features",
        {"movie": 3492, "actor": 33401, "director": 2502, "writer": 4459},
        {"actor": "ma.txt", "director": "md.txt", "writer": "mw.txt"},
        (),
    ),
}

_VARIANTS = {
    f"heco_{folder}" + ("" if labels == LABELS_PER_CLASS[0] else f"_{labels}"): (folder, labels)
    for folder in LAYOUTS
    for labels in LABELS_PER_CLASS
}

DESCRIPTIONS = {
    name: f"{LAYOUTS[folder].text}; {labels} of each class/1000/1000" for name, (folder, labels) in _VARIANTS.items()
}


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns the paths of the files of a data set, whether they exist or not.

    Args:
        name: a key of `DESCRIPTIONS`.
        root: the data root.

    Returns:
        Labels, train, validation and test nodes, the edge lists, the features.
    """
    folder, labels = _VARIANTS[name]
    layout = LAYOUTS[folder]
    parts = ("labels.npy", *(f"{split}_{labels}.npy" for split in ("train", "val", "test")))
    return tuple(root / "heco" / folder / part for part in (*parts, *layout.edges.values(), *layout.features))


def load(name: str, root: Path, seed: int = 0) -> Dataset:
    """Reads a heterogeneous graph with one of HeCo's splits: 20, 40 or 60 training nodes per class, 1000 and 1000.

    Features are divided by their row sums, as HeCo does. The authors of ACM have features too, in the words of the
    papers, which HeCo publishes and does not use. All other types have none.

    Args:
        name: a key of `DESCRIPTIONS`, which names the split.
        root: the data root.
        seed: not read: the split is HeCo's.

    Returns:
        The data set, features `[m, f]` CSR float32 of the first types; `[0, 0]` for Freebase.

    Raises:
        InputError: a file is missing or damaged, or the files do not belong together.
    """
    paths = files(name, root)
    require_files(name, paths, PUBLISHED)
    folder, _ = _VARIANTS[name]
    layout = LAYOUTS[folder]
    sizes = list(layout.types.values())
    target, *others = layout.types
    lists = paths[4 : 4 + len(others)]
    ends = [_read_edges(path, sizes[0], size) for path, size in zip(lists, sizes[1:], strict=True)]
    starts = np.repeat(np.cumsum(sizes)[:-1], [len(pairs) for pairs in ends])  # the first node of the receiver's type
    pairs = np.concatenate(ends)
    labels = np.full(sum(sizes), -1, np.int32)
    labels[: sizes[0]], classes = _read_labels(paths[0], sizes[0])
    train, val, test = (_read_mask(path, sizes[0], labels.size) for path in paths[1:4])
    return Dataset(
        name=name,
        features=_read_features(paths[4 + len(others) :], sizes),
        senders=pairs[:, 0].astype(np.int32),
        receivers=(pairs[:, 1] + starts).astype(np.int32),
        labels=labels,
        num_classes=classes,
        train_mask=train,
        val_mask=val,
        test_mask=test,
        source=f"HeCo (arXiv 2105.09111, {PUBLISHED.removeprefix('https://')}), {paths[1].stem}",
        schema=Schema(
            node_types=tuple(layout.types),
            relations=tuple(f"{target}-{other}" for other in others),
            reverses=tuple(range(len(others), 2 * len(others))),
        ),
        node_types=np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
        relations=np.repeat(np.arange(len(others), dtype=np.int32), [len(pairs) for pairs in ends]),
        row_normalised=bool(layout.features),
    )


def _read_edges(path: Path, rows: int, columns: int) -> Int[np.ndarray, "edges 2"]:
    pairs = read_table(path, 2)
    outside = np.nonzero(((pairs < 0) | (pairs >= (rows, columns))).any(axis=1))[0]
    if outside.size:
        first, second = pairs[outside[0]]
        raise InputError(
            f"{path}: damaged; {outside.size} lines point outside (first: line {outside[0] + 1}, {first} {second}); "
            f"expected numbers in [0, {rows}) and [0, {columns})"
        )
    return pairs


def _read_labels(path: Path, targets: int) -> tuple[Int[np.ndarray, " targets"], int]:
    """Reads the class of each target node; returns also the number of classes."""
    with reading(path, f"whole numbers of shape ({targets},), one class for each node"):
        labels = _integers(path)
        if labels.size != targets:
            raise ValueError(f"shape {labels.shape}")
        return labels, count_categories(labels)


def _read_mask(path: Path, targets: int, n: int) -> Bool[np.ndarray, " n"]:
    with reading(path, f"node numbers in [0, {targets}), each once"):
        ids = _integers(path)
        if ids.size == 0 or ids.min() < 0 or ids.max() >= targets or np.unique(ids).size < ids.size:
            raise ValueError(f"{ids.size} numbers, some outside or there twice" if ids.size else "no number")
        mask = np.zeros(n, bool)
        mask[ids] = True
        return mask


def _integers(path: Path) -> Int[np.ndarray, " k"]:
    """Reads whole numbers, which some of the files hold as floats."""
    stored = from_npy(read_bytes(path))
    if stored.ndim != 1 or stored.dtype.kind not in "iuf":
        raise ValueError(f"shape {stored.shape}, type {stored.dtype}")
    with np.errstate(invalid="ignore"):  # NaN becomes a number that differs from it
        values = stored.astype(np.int32)
    if (values != stored).any():
        raise ValueError("fractions, or numbers beyond int32")
    return values


def _read_features(paths: tuple[Path, ...], sizes: list[int]) -> sp.csr_matrix | np.ndarray:
    if not paths:
        return np.zeros((0, 0), np.float32)
    blocks = [_read_sparse(path, size) for path, size in zip(paths, sizes, strict=False)]
    widths = {block.get_shape()[1] for block in blocks}
    if len(widths) > 1:
        raise InputError(f"{paths[0].parent}: features have {sorted(widths)} columns; expected the same number")
    return row_normalize(sp.csr_matrix(sp.vstack(blocks, format="csr")))


def _read_sparse(path: Path, rows: int) -> sp.csr_matrix:
    with reading(path, f"a sparse matrix of {rows} rows"):
        content = read_bytes(path)
        header = from_npz(content, ("format", "shape"))
        shape = tuple(header["shape"].tolist())
        if shape[0] != rows:
            raise ValueError(f"shape {shape}")
        build, names = _FORMATS[header["format"].item()]
        arrays = from_npz(content, names)
        return build(*(arrays[name] for name in names), shape)
