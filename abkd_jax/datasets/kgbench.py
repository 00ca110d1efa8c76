"""Reads knowledge graphs whose nodes have no features, in the layout of kgbench: comma-separated integers.

Source: Bloem, Wilcke, van Berkel, de Boer 2021 (kgbench, ESWC), https://github.com/pbloem/kgbench-data; AIFB is
the graph of Schlichtkrull et al. 2018 (arXiv 1703.06103, section 5.1). Files are `<root>/kgbench/<name>/*`.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from abkd_jax.datasets.checks.common import count_categories
from abkd_jax.datasets.files.reading import reading, require_files
from abkd_jax.datasets.files.text import LARGE_TEXT, MAX_TEXT, count_records, read_table
from abkd_jax.types import Dataset, InputError, Schema

__all__ = ["DESCRIPTIONS", "files", "load"]

DESCRIPTIONS = {
    "aifb": "8,285 things at a research institute, 45 relations, 4 groups of people; no features; 104/36/36"
}
PUBLISHED = "https://github.com/pbloem/kgbench-data"
SPLITS = ("training.int.csv", "validation.int.csv", "testing.int.csv")
PARTS = ("triples.int.csv.gz", "nodes.int.csv", "relations.int.csv", *SPLITS)


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns the paths of the files of a data set, whether they exist or not.

    Args:
        name: of the folder.
        root: the data root.

    Returns:
        One path per part of `PARTS`; of sets other than the listed ones with `.gz` or without, as the file is there.
    """
    parts = (root / "kgbench" / name / part for part in PARTS)
    return tuple(parts) if name in DESCRIPTIONS else tuple(_packed_or_not(path) for path in parts)


def _packed_or_not(path: Path) -> Path:
    other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
    return other if other.is_file() and not path.is_file() else path


def load(name: str, root: Path, seed: int = 0) -> Dataset:
    """Reads a knowledge graph with kgbench's split: all nodes of one type, without features; directed relations.

    The validation nodes are kept apart, where kgbench adds them to the training nodes of its final runs.

    Args:
        name: of the folder.
        root: the data root.
        seed: not read: the split is kgbench's.

    Returns:
        The data set, features `[0, 0]`.

    Raises:
        InputError: a file is missing or damaged, or the files do not belong together.
    """
    paths = files(name, root)
    require_files(name, paths, PUBLISHED)
    limit = MAX_TEXT if name in DESCRIPTIONS else LARGE_TEXT
    n, num_relations = count_records(paths[1], limit), count_records(paths[2], limit)
    triples = read_table(paths[0], 3, delimiter=",", limit=limit)
    _check_range(paths[0], triples, (n, num_relations, n))
    splits = [_read_split(path, n) for path in paths[3:]]
    labels = np.full(n, -1, np.int32)
    masks = np.zeros((3, n), bool)
    for mask, split in zip(masks, splits, strict=True):
        labels[split[:, 0]] = split[:, 1]
        mask[split[:, 0]] = True
    train, val, test = masks
    with reading(paths[0].parent, "classes in the files of the split"):
        classes = count_categories(labels[labels >= 0])
    return Dataset(
        name=name,
        features=np.zeros((0, 0), np.float32),
        senders=triples[:, 0].astype(np.int32),
        receivers=triples[:, 2].astype(np.int32),
        labels=labels,
        num_classes=classes,
        train_mask=train,
        val_mask=val,
        test_mask=test,
        source=f"{_origin(name)}, its training, validation and testing nodes",
        schema=Schema(
            node_types=("entity",),
            relations=tuple(f"relation_{number}" for number in range(num_relations)),
            reverses=tuple(range(num_relations, 2 * num_relations)),
        ),
        node_types=np.zeros(n, np.int32),
        relations=triples[:, 1].astype(np.int32),
    )


def _origin(name: str) -> str:
    if name in DESCRIPTIONS:
        return f"kgbench ({PUBLISHED.removeprefix('https://')})"
    return f"own files in the layout of kgbench, {name}"


def _read_split(path: Path, n: int) -> Int[np.ndarray, "nodes 2"]:
    """Reads node and class of each line."""
    table = read_table(path, 2, delimiter=",")
    _check_range(path, table, (n, np.iinfo(np.int32).max))
    if np.unique(table[:, 0]).size < len(table):
        raise InputError(f"{path}: damaged (a node is there twice); expected each node once")
    return table


def _check_range(path: Path, table: Int[np.ndarray, "rows columns"], limits: tuple[int, ...]) -> None:
    outside = np.nonzero(((table < 0) | (table >= limits)).any(axis=1))[0]
    if outside.size:
        raise InputError(
            f"{path}: damaged; {outside.size} lines are out of range (first: {table[outside[0]].tolist()}); "
            f"expected numbers from 0 to below {list(limits)}"
        )
