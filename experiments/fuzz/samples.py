"""Small data sets in every layout that the loaders read, written from nothing and the same bytes every time."""

import gzip
import io
import pickle
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = [
    "OGB_COUNTS",
    "SIZES",
    "TOTALS",
    "dump_python2",
    "write_arxiv",
    "write_gnn_benchmark",
    "write_heco",
    "write_kgbench",
    "write_mag",
    "write_molecules",
    "write_planetoid",
    "write_tu",
    "write_zip",
]

SIZES = {"paper": 12, "author": 5, "subject": 4}
"""Nodes of the small HeCo graph, by type."""
TOTALS = {
    "cora": {"nodes": 30, "edges": 109, "features": 6, "classes": 3, "training": 6, "validation": 6, "test": 7},
    "acm": {"nodes": 104, "edges": 104, "features": 2, "classes": 2, "training": 40, "validation": 60, "test": 4},
    "heco_acm": {"nodes": 21, "edges": 30, "relations": 2, "classes": 3, "training": 3, "validation": 3, "test": 4},
    "aifb": {"nodes": 12, "edges": 30, "relations": 3, "classes": 3, "training": 4, "validation": 2, "test": 2},
    "mutag": {"graphs": 40, "nodes": 80, "edges": 80, "features": 3, "classes": 2},
    "proteins": {"graphs": 40, "nodes": 80, "edges": 80, "features": 4, "classes": 2},
}
"""Counts of the small data sets, as `checks.published` has them of the published ones."""
OGB_COUNTS = {
    "ogbn-arxiv": {"nodes": 6, "edges": 4, "train nodes": 2, "valid nodes": 1, "test nodes": 2},
    "ogbn-mag": {"paper nodes": 6, "author nodes": 3, "institution nodes": 2, "field_of_study nodes": 2}
    | {"cites edges": 4, "affiliated_with edges": 2, "writes edges": 4, "has_topic edges": 0}
    | {"train nodes": 2, "valid nodes": 1, "test nodes": 2},
    "ogbg-moltox21": {"molecules": 4, "atoms": 8, "bonds": 4},
}
"""Likewise, as `datasets.ogb` and `datasets.ogb_graphs` have them."""
PAPERS, CLASSES, WORDS = 30, 3, 6  # of the small Planetoid graph
SPLIT = {"train": [0, 4], "valid": [3], "test": [5, 1]}
CITES = [[0, 1], [1, 0], [4, 4], [0, 1]]


class _Python2Pickler(pickle.Pickler):
    """Writes arrays with their bytes in a string, as Python 2 had them, so that no `_codecs.encode` is named."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not np.ndarray:
            return NotImplemented
        reduced: Any = obj.__reduce__()
        reconstruct, (kind, shape, _), (version, *state, content) = reduced
        return reconstruct, (kind, shape, "b"), (version, *state, content.decode("latin1"))


def dump_python2(value: Any) -> bytes:
    """Pickles a value as the Planetoid files hold it: protocol 2, and the module names of their time."""
    file = io.BytesIO()
    _Python2Pickler(file, protocol=2).dump(value)
    renamed = file.getvalue().replace(b"cscipy.sparse._csr\n", b"cscipy.sparse.csr\n")
    return renamed.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write_planetoid(root: Path, name: str = "cora") -> None:
    """Writes 30 papers of 3 classes; the last 8 are the test nodes but one that no file describes."""
    rng = np.random.default_rng(0)
    labels = np.arange(PAPERS) % CLASSES
    words = sp.csr_matrix((rng.random((PAPERS, WORDS)) < 0.4).astype(np.float32))
    one_hot = np.eye(CLASSES, dtype=np.int32)[labels]
    test = rng.permutation([22, 23, 24, 26, 27, 28, 29])
    neighbours = {node: sorted({*rng.integers(0, PAPERS, 3).tolist(), (node + 1) % PAPERS}) for node in range(PAPERS)}
    parts = {
        "x": words[:6],
        "y": one_hot[:6],
        "allx": words[:22],
        "ally": one_hot[:22],
        "tx": words[test],
        "ty": one_hot[test],
        "graph": defaultdict(list, neighbours),
    }
    for part, value in parts.items():
        _create(root / "planetoid" / f"ind.{name}.{part}").write_bytes(dump_python2(value))
    (root / "planetoid" / f"ind.{name}.test.index").write_text("".join(f"{node}\n" for node in test))


def write_gnn_benchmark(root: Path, name: str = "acm") -> None:
    """Writes a ring of 104 nodes with one self loop and two classes, which have a word each."""
    n = 104
    labels = np.repeat(np.array([0, 1]), [51, 53])
    ring = sp.csr_matrix((np.ones(n), (np.arange(n), (np.arange(n) + 1) % n)), shape=(n, n)).tolil()
    ring[7, 7] = 1
    matrices = {"adj": ring.tocsr(), "attr": sp.csr_matrix(3 * np.eye(2, dtype=np.float32)[labels])}
    arrays = {"labels": labels}
    for prefix, matrix in matrices.items():
        parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": matrix.shape}
        arrays |= {f"{prefix}_{part}": value for part, value in parts.items()}
    np.savez(_create(root / "gnn_benchmark" / f"{name}.npz"), **arrays)  # type: ignore[arg-type]


def write_heco(root: Path) -> None:
    """Writes papers, authors and subjects as many as `SIZES` says, in HeCo's layout of ACM."""
    rng = np.random.default_rng(1)
    papers, authors, subjects = SIZES.values()
    folder = root / "heco" / "acm"
    np.save(_create(folder / "labels.npy"), np.arange(papers) % 3.0)
    for part, nodes in {"train": [0, 1, 2], "val": [3, 4, 5], "test": [6, 7, 8, 11]}.items():
        np.save(folder / f"{part}_20.npy", np.array(nodes))
    for file, others in {"pa.txt": authors, "ps.txt": subjects}.items():
        pairs = sorted({(int(p), int(o)) for p, o in rng.integers(0, [papers, others], (16, 2))})
        (folder / file).write_text("".join(f"{p}\t{o}\n" for p, o in pairs))
    sp.save_npz(folder / "p_feat.npz", sp.csr_matrix(rng.integers(0, 3, (papers, 4)).astype(np.float64)))
    sp.save_npz(folder / "a_feat.npz", sp.coo_matrix(rng.integers(0, 3, (authors, 4)).astype(np.float64)))


def write_kgbench(root: Path) -> None:
    """Writes 12 things, 3 relations and 30 triples in kgbench's layout of AIFB."""
    rng = np.random.default_rng(2)
    folder = root / "kgbench" / "aifb"
    nodes = [f'{n},none,"thing {n}, with\na line"' if n % 5 == 0 else f"{n},none,thing {n}" for n in range(12)]
    texts = {
        "nodes.int.csv": ["index,annotation,label", *nodes],
        "relations.int.csv": ["index,label", "0,knows", "1,likes", "2,owns"],
        "training.int.csv": ["4,0", "1,1", "2,2", "9,0"],
        "validation.int.csv": ["3,1", "6,0"],
        "testing.int.csv": ["0,0", "11,2"],
    }
    for name, lines in texts.items():
        _create(folder / name).write_text("".join(f"{line}\n" for line in lines))
    _write_gz(folder / "triples.int.csv.gz", rng.integers(0, [12, 3, 12], (30, 3)).tolist(), ", ")


def write_tu(root: Path) -> None:
    """Writes 40 chains of two atoms as MUTAG, with kinds of bonds, and as PROTEINS, with lengths."""
    edges = [(2 * g + a, 2 * g + 3 - a) for g in range(40) for a in (1, 2)]
    parts = {
        "A": [f"{a}, {b}" for a, b in edges],
        "graph_indicator": [g + 1 for g in range(40) for _ in range(2)],
        "graph_labels": [1 if g % 4 == 0 else -1 for g in range(40)],
        "node_labels": [g % 3 for g in range(40) for _ in range(2)],
    }
    last = {"MUTAG": ("edge_labels", [g % 2 for g in range(40) for _ in range(2)]), "PROTEINS": ("node_attributes", [
        f"{g}.5" for g in range(80)
    ])}  # fmt: skip
    for name, (part, values) in last.items():
        for suffix, lines in {**parts, part: values}.items():
            path = _create(root / "tu" / name / f"{name}_{suffix}.txt")
            path.write_text("".join(f"{line}\n" for line in lines))


def write_arxiv(root: Path) -> None:
    """Writes 6 papers and 4 citations in the raw layout of ogbn-arxiv."""
    folder = root / "ogb" / "ogbn_arxiv"
    _write_tables(folder / "raw", {"num-node-list": [6], "num-edge-list": [4], "edge": CITES})
    _write_tables(folder / "raw", {"node-feat": _numbers(6), "node-label": [0, 2, 1, 1, 1, 2]})
    _write_tables(folder / "split" / "time", SPLIT)


def write_mag(root: Path) -> None:
    """Writes 6 papers, 3 authors, 2 institutions and 2 fields in the raw layout of ogbn-mag; one relation is empty."""
    folder = root / "ogb" / "ogbn_mag"
    counts = {"author": 3, "field_of_study": 2, "institution": 2, "paper": 6}
    relations = {
        "author___affiliated_with___institution": [[0, 1], [2, 0]],
        "author___writes___paper": [[0, 0], [0, 5], [1, 2], [2, 3]],
        "paper___cites___paper": CITES,
        "paper___has_topic___field_of_study": [],
    }
    has = [list(counts), [kind == "paper" for kind in counts]]
    _write_tables(folder / "raw", {"num-node-dict": [list(counts), list(counts.values())]})
    _write_tables(folder / "raw", {"triplet-type-list": [name.split("___") for name in relations]})
    _write_tables(folder / "raw", {"nodetype-has-feat": has, "nodetype-has-label": has})
    _write_tables(folder / "raw" / "node-feat" / "paper", {"node-feat": _numbers(6)})
    _write_tables(folder / "raw" / "node-label" / "paper", {"node-label": [0, 2, 1, 1, 1, 2]})
    for name, edges in relations.items():
        _write_tables(folder / "raw" / "relations" / name, {"edge": edges, "num-edge-list": [len(edges)]})
    _write_tables(folder / "split" / "time", {"nodetype-has-split": has})
    _write_tables(folder / "split" / "time" / "paper", SPLIT)


def write_molecules(root: Path, name: str = "ogbg-moltox21", tasks: int = 12) -> None:
    """Writes four molecules in OGB's raw layout: 3 atoms and 2 bonds, 1 and 0, 2 and 1, 2 and 1."""
    folder = root / "ogb" / name.replace("-", "_")
    rng = np.random.default_rng(0)
    labels = [[0, "", 1, 0] * (tasks // 4), [1] * tasks, ["", 1, 0, 0] * (tasks // 4), [0] * tasks]
    tables = {
        "num-node-list": [3, 1, 2, 2],
        "num-edge-list": [2, 0, 1, 1],
        "edge": [[0, 1], [1, 2], [0, 1], [1, 0]],
        "node-feat": rng.integers(0, [119, 5, 12, 12, 10, 6, 6, 2, 2], (8, 9)).tolist(),
        "edge-feat": rng.integers(0, [5, 6, 2], (4, 3)).tolist(),
        "graph-label": labels,
    }
    _write_tables(folder / "raw", tables)
    _write_tables(folder / "split" / "scaffold", {"train": [2, 0], "valid": [1], "test": [3]})


def write_zip(path: Path, folder: Path) -> None:
    """Writes a folder as a zip archive, as OGB publishes its data sets; its files are dated 1980."""
    with zipfile.ZipFile(_create(path), "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            member = zipfile.ZipInfo(file.relative_to(folder.parent).as_posix())
            archive.writestr(member, file.read_bytes(), zipfile.ZIP_DEFLATED)


def _numbers(rows: int) -> list[list[float]]:
    return np.random.default_rng(rows).normal(size=(rows, 128)).round(6).tolist()


def _write_tables(folder: Path, tables: Mapping[str, Iterable[Any]]) -> None:
    for name, rows in tables.items():
        _write_gz(folder / f"{name}.csv.gz", rows, ",")


def _write_gz(path: Path, rows: Iterable[Any], comma: str) -> None:
    lines = [comma.join(map(str, row if isinstance(row, list) else [row])) for row in rows]
    _create(path).write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))


def _create(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
