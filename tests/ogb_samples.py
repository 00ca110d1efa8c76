"""Tiny data sets in the raw layout of the Open Graph Benchmark, and the benchmark's own code to compare with."""

import gzip
import importlib.util
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

COUNTS = {"author": 3, "field_of_study": 2, "institution": 2, "paper": 6}  # in the order of the published file
EDGES = {
    "author___affiliated_with___institution": [[0, 1], [2, 0]],
    "author___writes___paper": [[0, 0], [0, 5], [1, 2], [2, 3]],
    "paper___cites___paper": [[0, 1], [1, 0], [4, 4], [0, 1]],
    "paper___has_topic___field_of_study": [],
}
PAPER_LABELS = [0, 348, 7, 7, 1, 2]
SPLIT = {"train": [0, 4], "valid": [3], "test": [5, 1]}


def write_lines(path: Path, lines) -> None:
    """A `.csv.gz` file of these rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path.with_name(f"{path.name}.csv.gz"), "wt") as file:
        file.writelines(",".join(str(field) for field in np.atleast_1d(line).tolist()) + "\n" for line in lines)


def marked(folder: Path) -> Path:
    """The folder, which says that it does not hold the published set."""
    (folder / "SYNTHETIC.txt").write_text("By hand, for tests.\n")
    return folder


def features(rows: int) -> np.ndarray:
    """`[rows, 128]` numbers with six decimals."""
    return np.random.default_rng(rows).normal(size=(rows, 128)).round(6)


def write_mag(root: Path) -> Path:
    """A tiny `ogbn-mag`: 6 papers, 3 authors, 2 institutions, 2 fields; `has_topic` without edges."""
    folder = root / "ogb" / "ogbn_mag"
    raw, split = folder / "raw", folder / "split" / "time"
    kinds = list(COUNTS)
    write_lines(raw / "num-node-dict", [kinds, list(COUNTS.values())])
    write_lines(raw / "triplet-type-list", [name.split("___") for name in EDGES])
    for path in (raw / "nodetype-has-feat", raw / "nodetype-has-label", split / "nodetype-has-split"):
        write_lines(path, [kinds, [kind == "paper" for kind in kinds]])
    write_lines(raw / "node-feat" / "paper" / "node-feat", features(6))
    write_lines(raw / "node-feat" / "paper" / "node_year", [2015] * 6)
    write_lines(raw / "node-label" / "paper" / "node-label", PAPER_LABELS)
    for number, (name, edges) in enumerate(EDGES.items()):
        write_lines(raw / "relations" / name / "edge", edges)
        write_lines(raw / "relations" / name / "num-edge-list", [len(edges)])
        write_lines(raw / "relations" / name / "edge_reltype", [number] * len(edges))
    for part, ids in SPLIT.items():
        write_lines(split / "paper" / part, ids)
    return marked(folder)


def write_arxiv(root: Path) -> Path:
    """A tiny `ogbn-arxiv`: 6 nodes, 4 edges."""
    folder = root / "ogbn_arxiv"
    raw = folder / "raw"
    write_lines(raw / "num-node-list", [6])
    write_lines(raw / "num-edge-list", [4])
    write_lines(raw / "edge", EDGES["paper___cites___paper"])
    write_lines(raw / "node-feat", features(6))
    write_lines(raw / "node-label", [0, 39, 7, 7, 1, 2])
    for part, ids in SPLIT.items():
        write_lines(folder / "split" / "time" / part, ids)
    return marked(folder)


def write_molecules(root: Path, name: str, labels) -> Path:
    """Four molecules: 3 atoms and 2 bonds, 1 and 0, 2 and 1, 2 and 1."""
    folder = root / "ogb" / name.replace("-", "_")
    raw = folder / "raw"
    rng = np.random.default_rng(0)
    write_lines(raw / "num-node-list", [3, 1, 2, 2])
    write_lines(raw / "num-edge-list", [2, 0, 1, 1])
    write_lines(raw / "edge", [[0, 1], [1, 2], [0, 1], [1, 0]])
    write_lines(raw / "node-feat", rng.integers(0, [119, 5, 12, 12, 10, 6, 6, 2, 2], (8, 9)))
    write_lines(raw / "edge-feat", rng.integers(0, [5, 6, 2], (4, 3)))
    write_lines(raw / "graph-label", labels)
    for part, ids in {"train": [2, 0], "valid": [1], "test": [3]}.items():
        write_lines(folder / "split" / "scaffold" / part, ids)
    return marked(folder)


def ogb_module(path: str):
    """A file of the benchmark's package, imported by itself: no PyTorch, no question to a server for the version."""
    spec = importlib.util.find_spec("ogb")
    if spec is None or spec.origin is None:
        pytest.skip("the ogb package is not installed")
    file = Path(spec.origin).parent / path
    module_spec = importlib.util.spec_from_file_location(f"ogb_alone_{file.stem}_{file.parent.name}", file)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    importlib.import_module("pandas")  # what they import is kept: the patch takes back what is imported under it
    importlib.import_module("sklearn.metrics")
    with mock.patch.dict(sys.modules, {"outdated": None, "torch": None}):
        module_spec.loader.exec_module(module)
    return module
