"""Reads the molecules of the Open Graph Benchmark, `ogbg-mol*`: one graph each, without its package or PyTorch.

Hu et al. 2020 (arXiv 2005.00687), after MoleculeNet (Wu et al. 2018, arXiv 1703.00564). Atoms have 9 categories and
bonds 3 (`ogb/utils/features.py` of version 1.3.6). Splits are by scaffold: test molecules have other ring systems.

`ogbg-molmuv` and `ogbg-molpcba`, whose metric is average precision, are not among them.
"""

from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from abkd_jax.datasets.files.cache import cached
from abkd_jax.datasets.files.csv_gz import count_columns, integers, reals
from abkd_jax.datasets.ogb_files import (
    SPLITS,
    check_size,
    fetch_missing,
    find_files,
    generated,
    own_split,
    source_of,
    split_masks,
)
from abkd_jax.types import GraphDataset, InputError

__all__ = ["ATOM_VOCABULARY", "BOND_VOCABULARY", "DESCRIPTIONS", "files", "load"]

ATOM_VOCABULARY = (119, 5, 12, 12, 10, 6, 6, 2, 2)
"""Element, chirality, degree, charge, hydrogens, radical electrons, hybridisation, aromatic, in a ring."""
BOND_VOCABULARY = (5, 6, 2)
"""Type, stereo, conjugated."""

URL = "https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/{}.zip"


class _Info(NamedTuple):
    """A row of `ogb/graphproppred/master.csv`, version 1.3.6."""

    download_name: str
    tasks: int
    task: Literal["multilabel", "regression"]
    metric: Literal["rocauc", "rmse"]
    description: str


_SETS = {
    "ogbg-molbace": _Info("bace", 1, "multilabel", "rocauc", "1,513 molecules: do they inhibit an enzyme, BACE-1?"),
    "ogbg-molbbbp": _Info("bbbp", 1, "multilabel", "rocauc", "2,039 molecules: do they enter the brain?"),
    "ogbg-molclintox": _Info("clintox", 2, "multilabel", "rocauc", "1,477 drugs: approved, and failed as toxic"),
    "ogbg-molsider": _Info("sider", 27, "multilabel", "rocauc", "1,427 drugs: 27 kinds of side effects"),
    "ogbg-moltox21": _Info("tox21", 12, "multilabel", "rocauc", "7,831 molecules: 12 tests of toxicity"),
    "ogbg-moltoxcast": _Info("toxcast", 617, "multilabel", "rocauc", "8,576 molecules: 617 tests of toxicity"),
    "ogbg-molhiv": _Info("hiv", 1, "multilabel", "rocauc", "41,127 molecules: do they inhibit HIV?"),
    "ogbg-molchembl": _Info("chembl", 1310, "multilabel", "rocauc", "molecules of ChEMBL: 1,310 assays"),
    "ogbg-molesol": _Info("esol", 1, "regression", "rmse", "1,128 molecules: log solubility in water"),
    "ogbg-molfreesolv": _Info("freesolv", 1, "regression", "rmse", "642 molecules: energy of hydration, kcal/mol"),
    "ogbg-mollipo": _Info("lipophilicity", 1, "regression", "rmse", "4,200 molecules: octanol/water log D"),
}

PUBLISHED: dict[str, dict[str, int]] = {
    "ogbg-molbace": {"molecules": 1_513, "atoms": 51_577, "bonds": 55_768},
    "ogbg-molbbbp": {"molecules": 2_039},
    "ogbg-molclintox": {"molecules": 1_477},
    "ogbg-molsider": {"molecules": 1_427},
    "ogbg-moltox21": {"molecules": 7_831, "atoms": 145_459, "bonds": 151_095},
    "ogbg-moltoxcast": {"molecules": 8_576},
    "ogbg-molhiv": {"molecules": 41_127, "atoms": 1_049_163, "bonds": 1_129_688},
    "ogbg-molchembl": {},
    "ogbg-molesol": {"molecules": 1_128, "atoms": 14_991, "bonds": 15_428},
    "ogbg-molfreesolv": {"molecules": 642},
    "ogbg-mollipo": {"molecules": 4_200},
}
"""Molecules as in Hu et al. 2020; atoms and bonds, where given, are the lines of the published files."""

CONTENT = {
    "ogbg-molbace": "8d8c7488661a7ce0d4dc5f52222e2064ccf8acc032eac04841697ac2c91bfe96",
    "ogbg-molesol": "2030d943311e71f7499045441779d7db96f3587d4ac9342e6dffd514df95c033",
}
"""Digests of the arrays, see `source_of`: of the numbers in the published files."""

MOST_MOLECULES = 2**24  # where the number is not known

DESCRIPTIONS = {name: f"{info.description}; {info.metric}, scaffold split" for name, info in _SETS.items()}

_RAW = ("num-node-list", "num-edge-list", "node-feat", "edge-feat", "edge", "graph-label")
SPLIT = "scaffold"


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns the paths of all files that `load` reads, whether they exist or not.

    Args:
        name: a key of `DESCRIPTIONS`, or of another set of molecules, `ogbg-...`.
        root: the data root.
    """
    return find_files(name, root, _parts(name, root))


def _parts(name: str, root: Path) -> tuple[str, ...]:
    split = SPLIT if name in _SETS else own_split(name, root, SPLIT)
    return (*(f"raw/{part}" for part in _RAW), *(f"split/{split}/{part}" for part in SPLITS))


def load(name: str, root: Path, seed: int = 0) -> GraphDataset:
    """Reads a set of molecules; the archive is downloaded where its folder is missing.

    Each bond is an edge in both directions, side by side, with the same features, as OGB adds them. Of sets other than
    the listed ones, whose folder must be there, labels that are all 0, 1 or missing are several binary labels, others
    real targets.

    Args:
        name: a key of `DESCRIPTIONS`, or of another set of molecules, `ogbg-...`.
        root: the data root.
        seed: not read: the split is the official one.

    Returns:
        The data set: features `[atoms, 9]` and edge features `[2 bonds, 3]`, int32 categories; labels `[g, tasks]`
        float32, NaN where a molecule was not measured.

    Raises:
        InputError: a file is missing, damaged, or does not agree with the others; no network or no room on the disk.
    """
    info = _SETS.get(name)
    url = URL.format(info.download_name) if info else None
    paths = fetch_missing(name, root, _parts(name, root), url)
    marker = generated(paths)
    sources = [*paths.values(), *([marker] if marker else [])]
    arrays: dict[str, Any] = cached(name, sources, partial(_read, name, paths))
    split = next(reversed(paths.values())).parent.name
    own = f"own files in the layout of the Open Graph Benchmark, {name}"
    origin = f"Open Graph Benchmark (arXiv 2005.00687, {url})" if info else own
    labels = arrays["labels"]
    binary = info.task == "multilabel" if info else bool((np.isnan(labels) | np.isin(labels, (0, 1))).all())
    return GraphDataset(
        name=name,
        num_outputs=labels.shape[1],
        task="multilabel" if binary else "regression",
        metric="rocauc" if binary else "rmse",
        source=source_of(name, f"{origin}, {split} split", paths, arrays, CONTENT.get(name)),
        vocabulary=ATOM_VOCABULARY,
        edge_vocabulary=BOND_VOCABULARY,
        classes=(),
        **arrays,
    )


def _read(name: str, paths: dict[str, Path], folder: Path) -> dict[str, np.ndarray]:
    published = PUBLISHED.get(name, {})
    most = MOST_MOLECULES if generated(paths) else published.get("molecules", MOST_MOLECULES)
    n_node = integers(paths["raw/num-node-list"], 1, most=most)[:, 0]
    n_bond = integers(paths["raw/num-edge-list"], 1, n_node.size)[:, 0]
    atoms, bonds = int(n_node.sum(dtype=np.int64)), int(n_bond.sum(dtype=np.int64))
    check_size(name, paths, published, {"molecules": n_node.size, "atoms": atoms, "bonds": bonds})
    bond_features = integers(paths["raw/edge-feat"], len(BOND_VOCABULARY), bonds, BOND_VOCABULARY)
    ends = integers(paths["raw/edge"], 2, bonds)
    _check_inside(paths["raw/edge"], ends, n_node, n_bond)
    splits = list(paths.values())[-len(SPLITS) :]
    masks = split_masks(splits, n_node.size)
    _check_whole(splits[0].parent, masks)
    return {
        "features": integers(paths["raw/node-feat"], len(ATOM_VOCABULARY), atoms, ATOM_VOCABULARY),
        "edge_features": np.repeat(bond_features, 2, axis=0),
        "senders": ends.reshape(-1),
        "receivers": ends[:, ::-1].reshape(-1),
        "n_node": n_node,
        "n_edge": 2 * n_bond,
        "labels": _read_labels(paths["raw/graph-label"], _SETS.get(name), n_node.size),
        **masks,
    }


def _check_whole(folder: Path, masks: dict[str, np.ndarray]) -> None:
    """Checks that each molecule is in a part of the split, as in the scaffold splits of all these sets."""
    left = np.nonzero(~np.logical_or.reduce(list(masks.values())))[0]
    if left.size:
        raise InputError(
            f"{folder}: {left.size} molecules are in no part of the split (first: molecule {left[0]}); expected each "
            "in one of them"
        )


def _check_inside(path: Path, ends: np.ndarray, n_node: np.ndarray, n_bond: np.ndarray) -> None:
    owner = np.repeat(np.arange(n_node.size), n_bond)
    outside = np.nonzero((ends >= n_node[owner][:, None]).any(axis=1))[0]
    if outside.size:
        line, graph = outside[0], owner[outside[0]]
        raise InputError(
            f"{path}, line {line + 1}: bond {ends[line, 0]},{ends[line, 1]} points outside molecule {graph}; "
            f"expected atoms in [0, {n_node[graph]})"
        )


def _read_labels(path: Path, info: _Info | None, rows: int) -> np.ndarray:
    if info is None:
        return reals(path, count_columns(path), rows, gaps=True)
    labels = reals(path, info.tasks, rows, gaps=info.task == "multilabel")
    if info.task == "multilabel":
        bad = np.argwhere(~np.isnan(labels) & (labels != 0) & (labels != 1))
        if bad.size:
            row, column = bad[0]
            raise InputError(f"{path}, line {row + 1}: label {labels[row, column]:g}; expected 0, 1 or nothing")
    return labels
