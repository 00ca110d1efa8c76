"""Files in the layout of HeCo: which node types, edge lists and features a folder holds, and how they are read."""

from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Int

from abkd_jax.datasets.checks.common import count_categories
from abkd_jax.datasets.files.arrays import from_npy, from_npz
from abkd_jax.datasets.files.csr import csr_from_entries, csr_from_parts, row_normalize
from abkd_jax.datasets.files.reading import LARGE_BYTES, read_bytes, reading
from abkd_jax.datasets.files.text import LARGE_TEXT, read_table
from abkd_jax.types import InputError

__all__ = ["Layout", "discover", "read_edges", "read_features", "read_labels", "read_mask", "with_sizes"]

_FORMATS = {b"csr": (csr_from_parts, ("data", "indices", "indptr")), b"coo": (csr_from_entries, ("data", "row", "col"))}
UNKNOWN = -1
"""Size of a node type that only the files tell."""


class Layout(NamedTuple):
    """Content of a folder.

    Attributes:
        types: node types and their sizes, those with features first.
        target: the type that has the labels.
        edges: edge lists: type of the first column, type of the second, name of the file.
        features: names of the files of features, of the first types.
    """

    types: dict[str, int]
    target: str
    edges: tuple[tuple[str, str, str], ...]
    features: tuple[str, ...]


def discover(folder: Path) -> Layout:
    """Returns what a folder holds, by the names of its files; types are the letters there, sizes are not known yet.

    `pa.txt` lists edges from type p to type a, and `p_feat.npz` holds features of type p. The target is the type at
    which meta-paths begin, such as `pap.npz`; without meta-paths it is the first that all edge lists have in common.
    It comes first, but for types with features where it has none.

    Args:
        folder: that need not exist: then there are no types.
    """
    lists = sorted(path.name for path in folder.glob("[a-z][a-z].txt"))
    letters = list(dict.fromkeys(chain.from_iterable(name[:2] for name in lists)))
    paths = [path.stem for path in sorted(folder.glob("[a-z]*[a-z].npz")) if path.stem[0] == path.stem[-1]]
    starts = [path[0] for path in paths if path[0] in letters and set(path) <= set(letters)]
    common = [letter for letter in letters if all(letter in name[:2] for name in lists)]
    target = next(iter([*starts, *common, *letters]), "")
    featured = [letter for letter in letters if (folder / f"{letter}_feat.npz").is_file()]
    order = sorted(letters, key=lambda letter: (letter not in featured, letter != target))
    return Layout(
        dict.fromkeys(order, UNKNOWN),
        target,
        tuple((name[0], name[1], name) for name in lists),
        tuple(f"{letter}_feat.npz" for letter in order if letter in featured),
    )


def with_sizes(
    layout: Layout, targets: int, blocks: list[sp.csr_matrix], lists: list[Int[np.ndarray, "_ 2"]]
) -> Layout:
    """Returns the layout with the sizes of its types: rows of labels or features, else the largest number in a list."""
    highest = dict.fromkeys(layout.types, 0)
    for (first, second, _), pairs in zip(layout.edges, lists, strict=True):
        for kind, column in zip((first, second), pairs.T, strict=True):
            highest[kind] = max(highest[kind], int(column.max()) + 1)
    rows = {kind: block.get_shape()[0] for kind, block in zip(layout.types, blocks, strict=False)}
    return layout._replace(types={**highest, **rows, layout.target: targets})


def read_edges(path: Path, rows: int, columns: int) -> Int[np.ndarray, "edges 2"]:
    """Reads pairs of node numbers; `UNKNOWN` bounds nothing.

    Raises:
        InputError: the file is damaged, or a number is outside.
    """
    pairs = read_table(path, 2, limit=LARGE_TEXT)
    limits = np.array([np.iinfo(np.int32).max if size == UNKNOWN else size for size in (rows, columns)])
    outside = np.nonzero(((pairs < 0) | (pairs >= limits)).any(axis=1))[0]
    if outside.size:
        first, second = pairs[outside[0]]
        raise InputError(
            f"{path}: damaged; {outside.size} lines point outside (first: line {outside[0] + 1}, {first} {second}); "
            f"expected numbers in [0, {limits[0]}) and [0, {limits[1]})"
        )
    return pairs


def read_labels(path: Path, targets: int) -> tuple[Int[np.ndarray, " targets"], int]:
    """Reads the class of each target node, `UNKNOWN` for any number of them; returns also the number of classes.

    Raises:
        InputError: the file is damaged, has another number of labels, or classes with gaps.
    """
    shape = "(nodes,)" if targets == UNKNOWN else f"({targets},)"
    with reading(path, f"whole numbers of shape {shape}, one class for each node"):
        labels = _integers(path)
        if targets not in (UNKNOWN, labels.size):
            raise ValueError(f"shape {labels.shape}")
        return labels, count_categories(labels)


def read_mask(path: Path, targets: int) -> Bool[np.ndarray, " targets"]:
    """Reads the target nodes of a part of the split as a mask.

    Raises:
        InputError: the file is damaged, or names nodes outside or twice.
    """
    with reading(path, f"node numbers in [0, {targets}), each once"):
        ids = _integers(path)
        if ids.size == 0 or ids.min() < 0 or ids.max() >= targets or np.unique(ids).size < ids.size:
            raise ValueError(f"{ids.size} numbers, some outside or there twice" if ids.size else "no number")
        mask = np.zeros(targets, bool)
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


def read_features(paths: tuple[Path, ...], sizes: list[int]) -> list[sp.csr_matrix]:
    """Reads the features of the first types, each row divided by its sum; `UNKNOWN` sizes allow any number of rows.

    Raises:
        InputError: a file is damaged, or they do not have the same number of columns.
    """
    blocks = [_read_sparse(path, size) for path, size in zip(paths, sizes, strict=False)]
    widths = {block.get_shape()[1] for block in blocks}
    if len(widths) > 1:
        raise InputError(f"{paths[0].parent}: features have {sorted(widths)} columns; expected the same number")
    return [row_normalize(block) for block in blocks]


def _read_sparse(path: Path, rows: int) -> sp.csr_matrix:
    with reading(path, "a sparse matrix" + ("" if rows == UNKNOWN else f" of {rows} rows")):
        content = read_bytes(path, LARGE_BYTES)
        header = from_npz(content, ("format", "shape"))
        shape = tuple(header["shape"].tolist())
        if rows not in (UNKNOWN, shape[0]):
            raise ValueError(f"shape {shape}")
        build, names = _FORMATS[header["format"].item()]
        arrays = from_npz(content, names, LARGE_BYTES)
        return build(*(arrays[name] for name in names), shape)
