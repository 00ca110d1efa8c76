"""Reads the node-level sets `ogbn-arxiv` and `ogbn-mag` of the Open Graph Benchmark, without its package or PyTorch.

Hu et al. 2020 (arXiv 2005.00687), https://ogb.stanford.edu. The files are those of the published archives; they are
read once (`cache`), and the features stay on disk, memory-mapped. Splits are by the year of publication.
"""

import logging
import re
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.datasets.files.cache import cached, write_rows
from abkd_jax.datasets.files.csv_gz import chunks, integers, strings
from abkd_jax.datasets.ogb_files import (
    SPLITS,
    check_size,
    fetch_missing,
    find_files,
    generated,
    source_of,
    split_masks,
)
from abkd_jax.types import Dataset, InputError, Schema

__all__ = ["DESCRIPTIONS", "files", "load"]

DESCRIPTIONS = {
    "ogbn-arxiv": "169,343 arXiv papers, 128 averaged word vectors, 40 fields, citations; split by year",
    "ogbn-mag": "1.9 million papers, authors, institutions and fields, 4 relations, 349 venues; split by year",
}

NUM_FEATURES = 128
NUM_CLASSES = {"ogbn-arxiv": 40, "ogbn-mag": 349}
URL = "https://snap.stanford.edu/ogb/data/nodeproppred/{}.zip"

SHA256 = {
    "ogbn-arxiv": "49f85c801589ecdcc52cfaca99693aaea7b8af16a9ac3f41dd85a5f3193fe276",  # 83,058,288 bytes
    "ogbn-mag": "2afe62ead87f2c301a7398796991d347db85b2d01c5442c95169372bf5a9fca4",
}
"""Of the archives. OGB publishes none: these are what projects that pin them have recorded (gomlx for ogbn-mag)."""

PUBLISHED: dict[str, dict[str, int]] = {
    "ogbn-arxiv": {
        "nodes": 169_343,
        "edges": 1_166_243,
        "train nodes": 90_941,
        "valid nodes": 29_799,
        "test nodes": 48_603,
    },
    "ogbn-mag": {
        "paper nodes": 736_389,
        "author nodes": 1_134_649,
        "institution nodes": 8_740,
        "field_of_study nodes": 59_965,
        "cites edges": 5_416_271,
        "affiliated_with edges": 1_043_998,
        "writes edges": 7_145_660,
        "has_topic edges": 7_505_078,
        "train nodes": 629_571,
        "valid nodes": 64_879,
        "test nodes": 41_939,
    },
}
"""Counts of the published sets (Hu et al. 2020)."""

CONTENT = {"ogbn-arxiv": "c6dd1185d3454b7af139850778796ffd584875e1d2be5319225a0ecce8b1a15e"}
"""Digests of edges, labels and split, see `source_of`: of the numbers in the published files, without the features."""

FIRST_PAPER = {0: -0.0579, 1: -0.0525, 2: -0.0726, 125: 0.1734, 126: -0.1728, 127: -0.1401}
"""Features of the first paper of ogbn-arxiv, by column, as PyTorch prints them. Stand-in features have others."""

MOST_NODES = 2**27

logger = logging.getLogger(__name__)

# ogbn-mag. Papers come first: only they have features, labels and a place in the split.
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
    """Returns the paths of all files that `load` reads, whether they exist or not.

    Args:
        name: a key of `DESCRIPTIONS`.
        root: the data root.
    """
    return find_files(name, root, _PARTS[name])


def load(name: str, root: Path, seed: int = 0) -> Dataset:
    """Reads an OGB node-level set; the archive is downloaded where its folder is missing.

    Edges are those of the files, self loops and repeated ones too. In `ogbn-mag` the nodes are numbered type by type in
    the order of `NODE_TYPES`; labels of all but the papers are -1, and `cites` is its own reverse.

    Args:
        name: a key of `DESCRIPTIONS`.
        root: the data root.
        seed: not read: the split is the official one.

    Returns:
        The data set, features `[papers, 128]` float32, a read-only `np.memmap`.

    Raises:
        InputError: a file is missing, damaged, or does not agree with the others; no network or no room on the disk.
    """
    url = URL.format(name.removeprefix("ogbn-"))
    paths = fetch_missing(name, root, _PARTS[name], url, SHA256[name])
    marker = generated(paths)
    read = _read_mag if name == "ogbn-mag" else _read_arxiv
    sources = [*paths.values(), *([marker] if marker else [])]
    arrays = cached(name, sources, partial(read, paths, NUM_CLASSES[name]), mapped=["features"])
    schema: dict[str, Any] = {"schema": SCHEMA} if name == "ogbn-mag" else {}
    return Dataset(
        name=name,
        num_classes=NUM_CLASSES[name],
        source=_source(name, url, paths, arrays),
        **arrays,
        **schema,
    )


def _source(name: str, url: str, paths: dict[str, Path], arrays: Mapping[str, np.ndarray]) -> str:
    """Describes the origin of graph and features: the files that other projects share differ in their features only."""
    published = f"Open Graph Benchmark (arXiv 2005.00687, {url}), split by year"
    graph = {key: array for key, array in arrays.items() if key != "features"}
    source = source_of(name, published, paths, graph, CONTENT.get(name))
    first = FIRST_PAPER if name == "ogbn-arxiv" and not generated(paths) else {}
    if all(abs(float(arrays["features"][0, column]) - value) < 1e-4 for column, value in first.items()):
        return source
    logger.warning("%s: the features are not the published ones; results on them are none on %s", name, name)
    return f"{source}; stand-in features, not the published ones"


def _read_arxiv(paths: dict[str, Path], num_classes: int, folder: Path) -> dict[str, np.ndarray]:
    n, e = (int(integers(paths[f"raw/num-{what}-list"], 1, rows=1)[0, 0]) for what in ("node", "edge"))
    _check("ogbn-arxiv", paths, {"nodes": n, "edges": e})
    edges = integers(paths["raw/edge"], 2, e, below=n)
    labels = integers(paths["raw/node-label"], 1, n, below=num_classes)[:, 0]
    masks = split_masks([paths[f"split/time/{split}"] for split in SPLITS], n)
    _check("ogbn-arxiv", paths, _split_sizes(masks))
    _write_features(folder, paths["raw/node-feat"], n)
    return {"senders": edges[:, 0], "receivers": edges[:, 1], "labels": labels, **masks}


def _read_mag(paths: dict[str, Path], num_classes: int, folder: Path) -> dict[str, np.ndarray]:
    counts = _node_counts(paths["raw/num-node-dict"])
    rows = {triplet: _relation_rows(paths, triplet) for triplet in TRIPLETS}
    _check("ogbn-mag", paths, {f"{kind} nodes": count for kind, count in counts.items()})
    _check("ogbn-mag", paths, {f"{relation} edges": count for (_, relation, _), count in rows.items()})
    for part in ("raw/nodetype-has-feat", "raw/nodetype-has-label", "split/time/nodetype-has-split"):
        _check_only_papers(paths[part])
    _check_triplets(paths["raw/triplet-type-list"])
    papers, n = counts["paper"], sum(counts.values())
    paper_labels = integers(paths["raw/node-label/paper/node-label"], 1, papers, below=num_classes)[:, 0]
    masks = split_masks([paths[f"split/time/paper/{split}"] for split in SPLITS], papers)
    _check("ogbn-mag", paths, _split_sizes(masks))
    edges = [_read_relation(paths, triplet, counts, rows[triplet]) for triplet in TRIPLETS]
    ends = np.concatenate(edges)
    _write_features(folder, paths["raw/node-feat/paper/node-feat"], papers)
    return {
        "senders": ends[:, 0],
        "receivers": ends[:, 1],
        "relations": np.repeat(np.arange(len(TRIPLETS), dtype=np.int32), [len(part) for part in edges]),
        "node_types": np.repeat(np.arange(len(NODE_TYPES), dtype=np.int32), [counts[kind] for kind in NODE_TYPES]),
        "labels": np.pad(paper_labels, (0, n - papers), constant_values=-1),
        **{key: np.pad(mask, (0, n - papers)) for key, mask in masks.items()},
    }


def _check(name: str, paths: dict[str, Path], found: Mapping[str, int]) -> None:
    check_size(name, paths, PUBLISHED[name], found)


def _split_sizes(masks: Mapping[str, np.ndarray]) -> dict[str, int]:
    return {f"{split} nodes": int(mask.sum()) for split, mask in zip(SPLITS, masks.values(), strict=True)}


def _write_features(folder: Path, path: Path, rows: int) -> None:
    with closing(chunks(path, NUM_FEATURES, np.float32, rows)) as parts:  # ends the progress bar before an error shows
        write_rows(folder / "features.npy", np.float32, (rows, NUM_FEATURES), parts)


def _relation_rows(paths: dict[str, Path], triplet: tuple[str, str, str]) -> int:
    return int(integers(paths[f"raw/relations/{'___'.join(triplet)}/num-edge-list"], 1, rows=1)[0, 0])


def _read_relation(
    paths: dict[str, Path], triplet: tuple[str, str, str], counts: dict[str, int], rows: int
) -> np.ndarray:
    head, _, tail = triplet
    part = f"raw/relations/{'___'.join(triplet)}/edge"
    edges = integers(paths[part], 2, rows, below=(counts[head], counts[tail]))
    first = [sum(counts[kind] for kind in NODE_TYPES[: NODE_TYPES.index(end)]) for end in (head, tail)]
    return edges + np.array(first, np.int32)


def _header_and_line(path: Path) -> dict[str, str]:
    lines = strings(path)
    if len(lines) != 2 or sorted(lines[0]) != sorted(NODE_TYPES) or len(lines[1]) != len(NODE_TYPES):
        raise InputError(f"{path}: expected a header with {', '.join(sorted(NODE_TYPES))}, and one line of values")
    return dict(zip(*lines, strict=True))


def _node_counts(path: Path) -> dict[str, int]:
    line = _header_and_line(path)
    bad = [kind for kind, value in line.items() if not re.fullmatch("0*[1-9][0-9]{0,9}", value, re.ASCII)]
    if bad:
        found = line[bad[0]][:40]
        raise InputError(f"{path}: number of {bad[0]} nodes is {found!r}; expected a whole number from 1 on")
    counts = {kind: int(value) for kind, value in line.items()}
    if sum(counts.values()) > MOST_NODES:
        raise InputError(f"{path}: announces {sum(counts.values()):,} nodes; expected at most {MOST_NODES:,}")
    return counts


def _check_only_papers(path: Path) -> None:
    found = sorted(kind for kind, value in _header_and_line(path).items() if value != "False")
    if found != ["paper"]:
        raise InputError(f"{path}: says {', '.join(found) or 'no type'}; expected True for paper, False for all others")


def _check_triplets(path: Path) -> None:
    found = sorted(tuple(line) for line in strings(path))
    if found != sorted(TRIPLETS):
        expected = ", ".join("___".join(triplet) for triplet in sorted(TRIPLETS))
        raise InputError(f"{path}: {len(found)} relations, not those of ogbn-mag; expected {expected}")
