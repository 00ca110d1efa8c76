"""Reads node-level sets in the raw layout of the Open Graph Benchmark that are not in the list, as `ogbn-products`.

Nodes of one type with features and one class each; the split is that below `split/`. Files are
`<root>/ogb/ogbn_<name>`.
"""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.datasets.checks.common import count_categories
from abkd_jax.datasets.files.cache import cached, write_rows
from abkd_jax.datasets.files.csv_gz import chunks, count_columns, integers
from abkd_jax.datasets.files.reading import reading
from abkd_jax.datasets.ogb_files import SPLITS, fetch_missing, find_files, own_split, split_masks
from abkd_jax.types import Dataset

__all__ = ["DESCRIPTIONS", "files", "load"]

DESCRIPTIONS: dict[str, str] = {}
RAW = ("num-node-list", "num-edge-list", "node-feat", "node-label", "edge")


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns the paths of all files that `load` reads, whether they exist or not.

    Args:
        name: with a dash, `ogbn-products`.
        root: the data root.
    """
    return find_files(name, root, _parts(name, root))


def _parts(name: str, root: Path) -> tuple[str, ...]:
    split = own_split(name, root, "time")
    return (*(f"raw/{part}" for part in RAW), *(f"split/{split}/{part}" for part in SPLITS))


def load(name: str, root: Path, seed: int = 0) -> Dataset:
    """Reads a set whose folder is there; edges are those of the files, self loops and repeated ones too.

    Args:
        name: with a dash, `ogbn-products`.
        root: the data root.
        seed: not read: the split is that of the files.

    Returns:
        The data set, features `[n, f]` float32, a read-only `np.memmap`.

    Raises:
        InputError: a file is missing, damaged, or does not agree with the others.
    """
    paths = fetch_missing(name, root, _parts(name, root), None)
    split = next(reversed(paths.values())).parent.name
    arrays: dict[str, Any] = cached(name, list(paths.values()), partial(_read, paths), mapped=["features"])
    return Dataset(
        name=name,
        num_classes=int(arrays["labels"].max()) + 1,
        source=f"own files in the layout of the Open Graph Benchmark, {name}, {split} split",
        **arrays,
    )


def _read(paths: dict[str, Path], folder: Path) -> dict[str, np.ndarray]:
    n, e = (int(integers(paths[f"raw/num-{what}-list"], 1, rows=1)[0, 0]) for what in ("node", "edge"))
    edges = integers(paths["raw/edge"], 2, e, below=n)
    labels = integers(paths["raw/node-label"], 1, n)[:, 0]
    with reading(paths["raw/node-label"], "classes that are numbered from 0 on"):
        count_categories(labels)
    masks = split_masks(list(paths.values())[-len(SPLITS) :], n)
    path = paths["raw/node-feat"]
    columns = count_columns(path)
    with closing(chunks(path, columns, np.float32, n)) as parts:  # ends the progress bar before an error shows
        write_rows(folder / "features.npy", np.float32, (n, columns), parts)
    return {"senders": edges[:, 0], "receivers": edges[:, 1], "labels": labels, **masks}
