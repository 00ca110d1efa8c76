"""The node-level sets `ogbn-arxiv` and `ogbn-mag` of the Open Graph Benchmark, without its package and without PyTorch.

Hu et al. 2020 (arXiv 2005.00687), https://ogb.stanford.edu. The files are those of the published archives; they are
read once (`cache`), and the features stay on disk, memory-mapped. Splits are by the year of publication.
"""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.datasets.cache import cached, write_rows
from abkd_jax.datasets.ogb_files import SPLITS, fetch_missing, find_files, split_masks
from abkd_jax.datasets.tables import chunks, integers, strings
from abkd_jax.types import Dataset, InputError, Schema

__all__ = ["DESCRIPTIONS", "files", "load"]

DESCRIPTIONS = {
    "ogbn-arxiv": "169,343 arXiv papers, 128 averaged word vectors, 40 fields, citations; split by year",
    "ogbn-mag": "1.9 million papers, authors, institutions and fields, 4 relations, 349 venues; split by year",
}

NUM_FEATURES = 128
NUM_CLASSES = {"ogbn-arxiv": 40, "ogbn-mag": 349}
URL = "http://snap.stanford.edu/ogb/data/nodeproppred/{}.zip"

# ogbn-mag. Papers come first: they alone have features, labels and a place in the split.
NODE_TYPES = ("paper", "author", "institution", "field_of_study")
TRIPLETS = (
    ("paper", "cites", "paper"),
    ("author", "affiliated_with", "institution"),
    ("author", "writes", "paper"),
    ("paper", "has_topic", "field_of_study"),
)
SCHEMA = Schema(NODE_TYPES, tuple(name for _, name, _ in TRIPLETS), reverses=(0, 4, 5, 6))

_ARXIV_PARTS = (
    *(f"raw/{part}" for part in ("num-node-list", "num-edge-list", "node-feat", "node-label", "edge")),
    *(f"split/time/{part}" for part in SPLITS),
)
_MAG_PARTS = (
    *(f"raw/{part}" for part in ("num-node-dict", "triplet-type-list", "nodetype-has-feat", "nodetype-has-label")),
    *("raw/node-feat/paper/node-feat", "raw/node-label/paper/node-label", "split/time/nodetype-has-split"),
    *(f"split/time/paper/{part}" for part in SPLITS),
    *(f"raw/relations/{'___'.join(triplet)}/{part}" for triplet in TRIPLETS for part in ("num-edge-list", "edge")),
)
_PARTS = {"ogbn-arxiv": _ARXIV_PARTS, "ogbn-mag": _MAG_PARTS}


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Where the files of a data set are looked for.

    Args:
        name: a key of `DESCRIPTIONS`.
        root: the data root.

    Returns:
        The paths of all files that are read.
    """
    return find_files(name, root, _PARTS[name])


def load(name: str, root: Path) -> Dataset:
    """Read an OGB node-level set; the archive is downloaded where its folder is missing.

    Edges are those of the files, self loops and repeated ones too. In `ogbn-mag` the nodes are numbered type by type in
    the order of `NODE_TYPES`; labels of all but the papers are -1, and `cites` is its own reverse.

    Args:
        name: a key of `DESCRIPTIONS`.
        root: the data root.

    Returns:
        The data set, features `[papers, 128]` float32, a read-only `np.memmap`.

    Raises:
        InputError: a file is missing, damaged, or does not agree with the others; no network or no room on the disk.
    """
    url = URL.format(name.removeprefix("ogbn-"))
    paths = fetch_missing(name, root, _PARTS[name], url)
    read = _read_mag if name == "ogbn-mag" else _read_arxiv
    arrays = cached(name, paths.values(), partial(read, paths, NUM_CLASSES[name]), mapped=["features"])
    typed: dict[str, Any] = {"schema": SCHEMA} if name == "ogbn-mag" else {}
    return Dataset(
        name=name,
        num_classes=NUM_CLASSES[name],
        source=_source(paths, url),
        **arrays,
        **typed,
    )


def _source(paths: dict[str, Path], url: str) -> str:
    """Where the files come from; a generated graph says so in a file of its own (`mag_like`)."""
    folder = paths[next(iter(paths))].parent.parent  # the first part lies in raw/
    if (folder / "SYNTHETIC.txt").exists():
        return f"generated in the layout of the Open Graph Benchmark, in {folder}"
    return f"Open Graph Benchmark (arXiv 2005.00687, {url}), split by year"


def _read_arxiv(paths: dict[str, Path], num_classes: int, folder: Path) -> dict[str, np.ndarray]:
    n, e = (int(integers(paths[f"raw/num-{what}-list"], 1, rows=1)[0, 0]) for what in ("node", "edge"))
    edges = integers(paths["raw/edge"], 2, e, below=n)
    labels = integers(paths["raw/node-label"], 1, n, below=num_classes)[:, 0]
    masks = split_masks([paths[f"split/time/{split}"] for split in SPLITS], n)
    _write_features(folder, paths["raw/node-feat"], n)
    return {"senders": edges[:, 0], "receivers": edges[:, 1], "labels": labels, **masks}


def _read_mag(paths: dict[str, Path], num_classes: int, folder: Path) -> dict[str, np.ndarray]:
    counts = _node_counts(paths["raw/num-node-dict"])
    for part in ("raw/nodetype-has-feat", "raw/nodetype-has-label", "split/time/nodetype-has-split"):
        _check_only_papers(paths[part])
    _check_triplets(paths["raw/triplet-type-list"])
    papers, n = counts["paper"], sum(counts.values())
    labels = np.full(n, -1, np.int32)
    labels[:papers] = integers(paths["raw/node-label/paper/node-label"], 1, papers, below=num_classes)[:, 0]
    masks = split_masks([paths[f"split/time/paper/{split}"] for split in SPLITS], papers)
    edges = [_read_relation(paths, triplet, counts) for triplet in TRIPLETS]
    ends = np.concatenate(edges)
    _write_features(folder, paths["raw/node-feat/paper/node-feat"], papers)
    return {
        "senders": ends[:, 0],
        "receivers": ends[:, 1],
        "relations": np.repeat(np.arange(len(TRIPLETS), dtype=np.int32), [len(part) for part in edges]),
        "node_types": np.repeat(np.arange(len(NODE_TYPES), dtype=np.int32), [counts[kind] for kind in NODE_TYPES]),
        "labels": labels,
        **{key: np.pad(mask, (0, n - papers)) for key, mask in masks.items()},
    }


def _write_features(folder: Path, path: Path, rows: int) -> None:
    with closing(chunks(path, NUM_FEATURES, np.float32, rows)) as parts:  # ends the progress bar before an error shows
        write_rows(folder / "features.npy", np.float32, (rows, NUM_FEATURES), parts)


def _read_relation(paths: dict[str, Path], triplet: tuple[str, str, str], counts: dict[str, int]) -> np.ndarray:
    head, _, tail = triplet
    place = f"raw/relations/{'___'.join(triplet)}"
    rows = int(integers(paths[f"{place}/num-edge-list"], 1, rows=1)[0, 0])
    edges = integers(paths[f"{place}/edge"], 2, rows, below=(counts[head], counts[tail]))
    first = [sum(counts[kind] for kind in NODE_TYPES[: NODE_TYPES.index(end)]) for end in (head, tail)]
    return edges + np.array(first, np.int32)


def _header_and_line(path: Path) -> dict[str, str]:
    lines = strings(path)
    if len(lines) != 2 or sorted(lines[0]) != sorted(NODE_TYPES) or len(lines[1]) != len(NODE_TYPES):
        raise InputError(f"{path}: expected a header with {', '.join(sorted(NODE_TYPES))}, and one line of values")
    return dict(zip(*lines, strict=True))


def _node_counts(path: Path) -> dict[str, int]:
    line = _header_and_line(path)
    bad = [kind for kind, value in line.items() if not value.isdecimal() or not 0 < int(value) < 2**31]
    if bad:
        raise InputError(f"{path}: number of {bad[0]} nodes is {line[bad[0]]!r}; expected a whole number from 1 on")
    return {kind: int(value) for kind, value in line.items()}


def _check_only_papers(path: Path) -> None:
    found = sorted(kind for kind, value in _header_and_line(path).items() if value != "False")
    if found != ["paper"]:
        raise InputError(f"{path}: says {', '.join(found) or 'no type'}; expected True for paper, False for all others")


def _check_triplets(path: Path) -> None:
    found = sorted(tuple(line) for line in strings(path))
    if found != sorted(TRIPLETS):
        expected = ", ".join("___".join(triplet) for triplet in sorted(TRIPLETS))
        raise InputError(f"{path}: {len(found)} relations, not those of ogbn-mag; expected {expected}")
