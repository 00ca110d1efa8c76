"""Reads heterogeneous graphs in the layout of HeCo, with 20, 40 or 60 labels per class: ACM, Freebase and any other.

Source: Wang, Liu, Han, Shi 2021 (arXiv 2105.09111, section 5.1), https://github.com/liun-online/HeCo. Files are
`<root>/heco/<folder>/*`: text edge lists, and labels and sparse features of node types.
"""

import re
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from abkd_jax.datasets.files.reading import require_files
from abkd_jax.datasets.heco_files import (
    Layout,
    discover,
    read_edges,
    read_features,
    read_labels,
    read_mask,
    with_sizes,
)
from abkd_jax.types import Dataset, InputError, Schema

__all__ = ["DESCRIPTIONS", "files", "load"]

LABELS_PER_CLASS = (20, 40, 60)
PUBLISHED = "https://github.com/liun-online/HeCo"

LAYOUTS = {
    "acm": Layout(
        {"paper": 4019, "author": 7167, "subject": 60},
        "paper",
        (("paper", "author", "pa.txt"), ("paper", "subject", "ps.txt")),
        ("p_feat.npz", "a_feat.npz"),
    ),
    "freebase": Layout(
        {"movie": 3492, "actor": 33401, "director": 2502, "writer": 4459},
        "movie",
        (("movie", "actor", "ma.txt"), ("movie", "director", "md.txt"), ("movie", "writer", "mw.txt")),
        (),
    ),
}
_TEXTS = {
    "acm": "4,019 papers in 3 fields (1,902 words), their 7,167 authors (same words) and 60 subjects",
    "freebase": "3,492 films of 3 genres, their 33,401 actors, 2,502 directors and 4,459 writers; no features",
}

_VARIANTS = {
    f"heco_{folder}" + ("" if labels == LABELS_PER_CLASS[0] else f"_{labels}"): (folder, labels)
    for folder in LAYOUTS
    for labels in LABELS_PER_CLASS
}

DESCRIPTIONS = {
    name: f"{_TEXTS[folder]}; {labels} of each class/1000/1000" for name, (folder, labels) in _VARIANTS.items()
}


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns the paths of the files of a data set, whether they exist or not.

    Args:
        name: a key of `DESCRIPTIONS`, or of another folder: `aminer`, or `aminer_40` for the split of 40 labels.
        root: the data root.

    Returns:
        Labels, train, validation and test nodes, the edge lists, the features.
    """
    folder, labels = _folder_and_labels(name, root)
    layout = _layout(name, folder)
    parts = ("labels.npy", *(f"{split}_{labels}.npy" for split in ("train", "val", "test")))
    return tuple(folder / part for part in (*parts, *(edges[2] for edges in layout.edges), *layout.features))


def _folder_and_labels(name: str, root: Path) -> tuple[Path, int]:
    """Returns the folder, and the labels per class: those that the name ends in, else the fewest that there are."""
    if name in _VARIANTS:
        folder, labels = _VARIANTS[name]
        return root / "heco" / folder, labels
    folder, split = root / "heco" / name, re.fullmatch("(.+)_([0-9]{1,6})", name)
    if split and not folder.is_dir():
        return root / "heco" / split[1], int(split[2])
    found = (re.fullmatch("train_([0-9]{1,6})", path.stem) for path in folder.glob("train_*.npy"))
    return folder, min((int(match[1]) for match in found if match), default=LABELS_PER_CLASS[0])


def _layout(name: str, folder: Path) -> Layout:
    return LAYOUTS[_VARIANTS[name][0]] if name in _VARIANTS else discover(folder)


def load(name: str, root: Path, seed: int = 0) -> Dataset:
    """Reads a heterogeneous graph with one of HeCo's splits: 20, 40 or 60 training nodes per class, 1000 and 1000.

    Features are divided by their row sums, as HeCo does. The authors of ACM have features too, in the words of the
    papers, which HeCo publishes and does not use. All other types have none. Of folders other than the listed ones
    types, edge lists and sizes are what their files say, see `heco_files.discover`.

    Args:
        name: see `files`.
        root: the data root.
        seed: not read: the split is HeCo's.

    Returns:
        The data set, features `[m, f]` CSR float32 of the first types; `[0, 0]` where no type has any.

    Raises:
        InputError: a file is missing or damaged, or the files do not belong together.
    """
    paths = files(name, root)
    require_files(name, paths, PUBLISHED)
    layout = _layout(name, paths[0].parent)
    if not layout.edges:
        raise InputError(f"{name}: no edge list in {paths[0].parent}; expected files such as pa.txt")
    found, classes = read_labels(paths[0], layout.types[layout.target])
    lists, features = paths[4 : 4 + len(layout.edges)], paths[4 + len(layout.edges) :]
    pairs = [
        read_edges(path, layout.types[first], layout.types[second])
        for path, (first, second, _) in zip(lists, layout.edges, strict=True)
    ]
    blocks = read_features(features, list(layout.types.values()))
    if name not in _VARIANTS:
        layout = with_sizes(layout, found.size, blocks, pairs)
        for path, (first, second, _) in zip(lists, layout.edges, strict=True):
            read_edges(path, layout.types[first], layout.types[second])
    return _assemble(name, layout, found, classes, paths[1:4], pairs, blocks)


def _assemble(
    name: str,
    layout: Layout,
    found: np.ndarray,
    classes: int,
    splits: tuple[Path, ...],
    pairs: list[np.ndarray],
    blocks: list[sp.csr_matrix],
) -> Dataset:
    sizes = list(layout.types.values())
    starts = dict(zip(layout.types, np.cumsum([0, *sizes]).tolist(), strict=False))
    targets = slice(starts[layout.target], starts[layout.target] + found.size)
    labels, masks = np.full(sum(sizes), -1, np.int32), np.zeros((3, sum(sizes)), bool)
    labels[targets] = found
    for mask, path in zip(masks, splits, strict=True):
        mask[targets] = read_mask(path, found.size)
    offsets = [np.array([starts[first], starts[second]]) for first, second, _ in layout.edges]
    ends = [part + offset for part, offset in zip(pairs, offsets, strict=True)]
    edges = np.concatenate(ends)
    features = sp.csr_matrix(sp.vstack(blocks, format="csr")) if blocks else np.zeros((0, 0), np.float32)
    return Dataset(
        name=name,
        features=features,
        senders=edges[:, 0].astype(np.int32),
        receivers=edges[:, 1].astype(np.int32),
        labels=labels,
        num_classes=classes,
        train_mask=masks[0],
        val_mask=masks[1],
        test_mask=masks[2],
        source=f"{_origin(name)}, {splits[0].stem}",
        schema=Schema(
            node_types=tuple(layout.types),
            relations=tuple(f"{first}-{second}" for first, second, _ in layout.edges),
            reverses=tuple(range(len(layout.edges), 2 * len(layout.edges))),
        ),
        node_types=np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
        relations=np.repeat(np.arange(len(pairs), dtype=np.int32), [len(part) for part in pairs]),
        row_normalised=bool(layout.features),
    )


def _origin(name: str) -> str:
    if name in _VARIANTS:
        return f"HeCo (arXiv 2105.09111, {PUBLISHED.removeprefix('https://')})"
    return f"own files in the layout of HeCo, {name}"
