"""Reads graphs in the layout of the heterophilous-graphs benchmark: one `.npz` with ten splits.

Platonov et al. 2023 (arXiv 2302.11640), https://github.com/yandex-research/heterophilous-graphs. Files are
`<root>/heterophilous/<name>.npz`. No set of it is in the list.
"""

from pathlib import Path

import numpy as np

from abkd_jax.datasets.checks.common import count_categories
from abkd_jax.datasets.files.arrays import from_npz
from abkd_jax.datasets.files.reading import LARGE_BYTES, read_bytes, reading, require_files
from abkd_jax.types import Dataset

__all__ = ["DESCRIPTIONS", "files", "load"]

DESCRIPTIONS: dict[str, str] = {}
PUBLISHED = "https://github.com/yandex-research/heterophilous-graphs"
PARTS = ("train", "val", "test")
ARRAYS = ("node_features", "node_labels", "edges", *(f"{part}_masks" for part in PARTS))


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns the path of the one file of a data set, whether it exists or not.

    Args:
        name: of the file, without its suffix.
        root: the data root.
    """
    return (root / "heterophilous" / f"{name}.npz",)


def load(name: str, root: Path, seed: int = 0) -> Dataset:
    """Reads a graph; the seed chooses one of its splits, `seed % splits`.

    Two classes are one binary label, whose score is ROC-AUC as in the benchmark.

    Args:
        name: of the file, without its suffix.
        root: the data root.
        seed: of the split.

    Returns:
        The data set, features `[n, f]` float32 as they are in the file.

    Raises:
        InputError: the file is missing or damaged.
    """
    (path,) = files(name, root)
    require_files(name, (path,), PUBLISHED)
    with reading(path, f"an archive of {', '.join(ARRAYS)}"):
        arrays = from_npz(read_bytes(path, LARGE_BYTES), ARRAYS, LARGE_BYTES)
        features, labels, edges = (arrays[key] for key in ARRAYS[:3])
        _check(arrays)
        masks = [arrays[f"{part}_masks"] for part in PARTS]
        split = seed % len(masks[0])
        classes = count_categories(labels)
    return Dataset(
        name=name,
        features=features.astype(np.float32),
        senders=edges[:, 0].astype(np.int32),
        receivers=edges[:, 1].astype(np.int32),
        labels=labels[:, None].astype(np.float32) if classes == 2 else labels.astype(np.int32),
        num_classes=1 if classes == 2 else classes,
        task="multilabel" if classes == 2 else "classification",
        train_mask=masks[0][split],
        val_mask=masks[1][split],
        test_mask=masks[2][split],
        source=f"own file in the layout of heterophilous-graphs (arXiv 2302.11640), {name}.npz, split {split}",
    )


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Checks types and shapes before anything is cast or indexed."""
    features, labels, edges = (arrays[key] for key in ARRAYS[:3])
    n = labels.size
    if features.ndim != 2 or len(features) != n or features.dtype.kind not in "biuf":
        raise ValueError(f"node_features: shape {features.shape}, {features.dtype}; expected {n} rows of numbers")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or n == 0:
        raise ValueError(f"node_labels: shape {labels.shape}, {labels.dtype}; expected a vector of integers")
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        raise ValueError(f"edges: shape {edges.shape}, {edges.dtype}; expected pairs of integers")
    if edges.size and (edges.min() < 0 or edges.max() >= n):
        raise ValueError(f"edges reach from {edges.min()} to {edges.max()}; expected node numbers in [0, {n})")
    for part in PARTS:
        masks = arrays[f"{part}_masks"]
        if (
            masks.dtype != np.bool_
            or masks.ndim != 2
            or masks.shape != (len(arrays["train_masks"]), n)
            or not len(masks)
        ):
            raise ValueError(f"{part}_masks: shape {masks.shape}, {masks.dtype}; expected booleans, (splits, {n})")
