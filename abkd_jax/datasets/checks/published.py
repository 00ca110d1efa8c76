"""Comparison of the named data sets with the published ones: their totals, and the SHA-256 of their files."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from abkd_jax.datasets.checks.checksums import CHECKSUMS
from abkd_jax.types import Dataset, GraphDataset, InputError, shape_of

__all__ = ["TOTALS", "check_totals", "totals_of", "verify"]

AnyDataset = TypeVar("AnyDataset", bound=Dataset | GraphDataset)


def _per_class(nodes: int, edges: int, features: int, classes: int) -> dict[str, int]:
    """Returns the totals of a set with a split of 20 and 30 nodes per class, and the rest for testing."""
    drawn = {"training": 20 * classes, "validation": 30 * classes, "test": nodes - 50 * classes}
    return {"nodes": nodes, "edges": edges, "features": features, "classes": classes, **drawn}


def _heco(name: str, **totals: int) -> dict[str, dict[str, int]]:
    """Returns the totals of the three splits of a heterogeneous graph with three classes."""
    split = {"classes": 3, "validation": 1000, "test": 1000}
    return {name + suffix: {**totals, **split, "training": 3 * n} for suffix, n in (("", 20), ("_40", 40), ("_60", 60))}


_PUBLIC = {"validation": 500, "test": 1000}

TOTALS = {
    "cora": {"nodes": 2708, "edges": 5278, "features": 1433, "classes": 7, "training": 140, **_PUBLIC},
    "citeseer": {"nodes": 3327, "edges": 4552, "features": 3703, "classes": 6, "training": 120, **_PUBLIC},
    "pubmed": {"nodes": 19717, "edges": 44324, "features": 500, "classes": 3, "training": 60, **_PUBLIC},
    "cora_ml": _per_class(2995, 8158, 2879, 7),
    "amazon_photo": _per_class(7650, 119081, 745, 8),
    "coauthor_cs": _per_class(18333, 81894, 6805, 15),
    "acm": _per_class(3025, 13128, 1870, 3),
    **_heco("heco_acm", nodes=4019 + 7167 + 60, relations=2, edges=13407 + 4019, features=1902),
    **_heco("heco_freebase", nodes=3492 + 33401 + 2502 + 4459, relations=3, edges=65341 + 3762 + 6414),
    "aifb": {
        "nodes": 8285,
        "relations": 45,
        "edges": 29043,
        "classes": 4,
        "training": 104,
        "validation": 36,
        "test": 36,
    },
    "mutag": {"graphs": 188, "nodes": 3371, "edges": 7442, "features": 7, "classes": 2},
    "proteins": {"graphs": 1113, "nodes": 43471, "edges": 162088, "features": 4, "classes": 2},
}
"""As their papers and sources state them, counted as in `totals_of`."""


def totals_of(dataset: Dataset | GraphDataset) -> dict[str, int]:
    """Counts the totals that publications state of a data set.

    Returns:
        The number of nodes, edges, features, classes (or outputs), and of graphs, relations, and training, validation
        and test nodes (or graphs). In a graph of one type edges are pairs of different nodes, each counted once; else
        they are counted as listed.

    Examples:
        >>> from abkd_jax import datasets
        >>> totals_of(datasets.load("synthetic"))["classes"]
        3
    """
    shape = shape_of(dataset.features)
    masks = {"training": dataset.train_mask, "validation": dataset.val_mask, "test": dataset.test_mask}
    totals = {"features": int(shape[1]), **{split: int(np.count_nonzero(mask)) for split, mask in masks.items()}}
    if isinstance(dataset, GraphDataset):
        nodes, edges, classes = int(dataset.n_node.sum()), dataset.senders.size, dataset.num_outputs
        return {"graphs": dataset.n_node.size, "nodes": nodes, "edges": edges, "classes": classes, **totals}
    if dataset.schema is None:
        edges = _count_pairs(dataset.senders, dataset.receivers, dataset.num_nodes)
    else:
        edges, totals["relations"] = dataset.senders.size, len(dataset.schema.relations)
    return {"nodes": dataset.num_nodes, "edges": edges, "classes": dataset.num_classes, **totals}


def check_totals(where: str, found: Mapping[str, int], published: Mapping[str, int], expected: str) -> None:
    """Compares totals with the published ones.

    Args:
        where: the data set or its folder, for the message.
        found: totals by what is counted, in the plural.
        published: likewise; totals that only one of the two has are not compared.
        expected: for the message.

    Raises:
        InputError: one line with every total that differs.

    Examples:
        >>> check_totals("cora", {"nodes": 2707, "edges": 5278}, TOTALS["cora"], "the files as published")
        Traceback (most recent call last):
        abkd_jax.types.InputError: cora: 2,707 nodes (published: 2,708); expected the files as published
    """
    differing = [
        f"{count:,} {what} (published: {published[what]:,})"
        for what, count in found.items()
        if published.get(what, count) != count
    ]
    if differing:
        raise InputError(f"{where}: {', '.join(differing)}; expected {expected}")


def verify(dataset: AnyDataset, root: Path, paths: Iterable[Path]) -> AnyDataset:
    """Compares a named data set with what was published under its name.

    Args:
        dataset: which passed `validate`.
        root: the data root.
        paths: the files it was read from.

    Returns:
        The data set. Where a file has another SHA-256 than the published one, a warning is logged and `source` says so.

    Raises:
        InputError: its totals are not the published ones.
    """
    if dataset.name in TOTALS:
        expected = f"the files as published, from {dataset.source}"
        check_totals(dataset.name, totals_of(dataset), TOTALS[dataset.name], expected)
    known = [(path, CHECKSUMS.get(path.relative_to(root).as_posix())) for path in paths]
    changed = [path for path, sha256 in known if sha256 is not None and _sha256(path) != sha256]
    if not changed:
        return dataset
    names = ", ".join(path.name for path in changed)
    logging.getLogger(__name__).warning(
        "%s: the content of %s in %s is not the published one", dataset.name, names, changed[0].parent
    )
    return dataset._replace(source=f"{dataset.source}; files differ from the published ones: {names}")


def _count_pairs(senders: np.ndarray, receivers: np.ndarray, n: int) -> int:
    low, high = np.minimum(senders, receivers).astype(np.int64), np.maximum(senders, receivers)
    return np.unique((low * n + high)[low != high]).size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
