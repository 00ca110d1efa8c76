"""Small files of every layout, under names that are not in the list."""

import gzip
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from ogb_samples import write_lines, write_molecules

from experiments.fuzz.samples import dump_python2

CSR = ("data", "indices", "indptr", "shape")


def write_gnn_benchmark(root: Path) -> None:
    """A ring of 104 nodes, two classes; `dblp`."""
    n, labels = 104, np.repeat([0, 1], [51, 53])
    ring = sp.csr_matrix((np.ones(n), (np.arange(n), np.roll(np.arange(n), -1))), shape=(n, n))
    arrays = {"labels": labels}
    for prefix, matrix in {"adj": ring, "attr": sp.csr_matrix(2 * np.eye(2, dtype=np.float32)[labels])}.items():
        arrays |= {f"{prefix}_{part}": getattr(matrix, part) for part in CSR}
    folder(root, "gnn_benchmark")
    np.savez(root / "gnn_benchmark" / "dblp.npz", **arrays)


def write_tu(root: Path) -> None:
    """Twenty pairs of nodes; two columns of node labels with gaps, attributes, edge labels from 7 on; `Pairs`."""
    graphs = range(20)
    contents = {
        "A": [f"{2 * g + a}, {2 * g + 3 - a}" for g in graphs for a in (1, 2)],
        "graph_indicator": [g + 1 for g in graphs for _ in range(2)],
        "graph_labels": [5 if g % 4 else -1 for g in graphs],
        "node_labels": [f"{10 * (g % 2)}, {g % 3}" for g in graphs for _ in range(2)],
        "node_attributes": [f"{g}, 0.5" for g in graphs for _ in range(2)],
        "edge_labels": [7 + g % 2 for g in graphs for _ in range(2)],
    }
    for part, lines in contents.items():
        text(folder(root, "tu", "Pairs") / f"Pairs_{part}.txt", lines)


def write_heco(root: Path) -> None:
    """Authors (the targets, at which meta-paths begin), papers with other features, and two venues; `library`."""
    here = folder(root, "heco", "library")
    np.save(here / "labels.npy", np.array([0, 1, 0, 1]))
    for count in (5, 20):
        for part, ids in {"train": [0, 1], "val": [2], "test": [3]}.items():
            np.save(here / f"{part}_{count}.npy", np.array(ids[:1] if count == 5 else ids))
    text(here / "pa.txt", ["0 1", "1 3", "2 0"])
    text(here / "pv.txt", ["0 1", "2 0"])
    sp.save_npz(here / "a_feat.npz", sp.csr_matrix(np.array([[2.0, 2], [0, 1], [1, 0], [3, 1]])))
    sp.save_npz(here / "apa.npz", sp.coo_matrix(np.eye(4)))


def write_kgbench(root: Path) -> None:
    """Five things, two relations, three triples, packed and not; `am`."""
    here = folder(root, "kgbench", "am")
    (here / "nodes.int.csv.gz").write_bytes(gzip.compress(b'index,label\n0,"two\nlines"\n1,b\n2,c\n3,d\n4,e\n'))
    text(here / "relations.int.csv", ["index,label", "0,knows", "1,likes"])
    text(here / "training.int.csv", ["4,0", "1,1"])
    text(here / "validation.int.csv", ["2,1"])
    text(here / "testing.int.csv", ["0,0"])
    text(here / "triples.int.csv", ["0, 1, 4", "3, 0, 2", "2, 1, 2"])


def write_planetoid(root: Path) -> None:
    """Eight nodes on a path, of which 5 has no row and 6 and 7 are tested; node 3 has no class; `nell.0.1`."""
    one_hot = np.eye(3, dtype=np.int32)[[0, 1, 0, 0, 1]]
    one_hot[3] = 0
    graph = {node: [other for other in (node - 1, node + 1) if 0 <= other < 8] for node in range(8)}
    contents = {
        "allx": sp.csr_matrix(np.eye(5, 4, dtype=np.float32)),
        "ally": one_hot,
        "tx": sp.csr_matrix(np.ones((2, 4), np.float32)),
        "ty": np.eye(3, dtype=np.int32)[[1, 0]],
        "y": one_hot[:2],
        "graph": graph,
    }
    for part, content in contents.items():
        (folder(root, "planetoid") / f"ind.nell.0.1.{part}").write_bytes(dump_python2(content))
    text(root / "planetoid" / "ind.nell.0.1.test.index", [7, 6])


def write_heterophilous(root: Path) -> None:
    """Six nodes, two classes, three splits; `mines`."""
    masks = np.stack([np.roll(np.arange(6) < 2, 2 * split) for split in range(3)])
    arrays = {f"{part}_masks": np.roll(masks, number, axis=0) for number, part in enumerate(("train", "val", "test"))}
    edges = np.array([[0, 1], [1, 2], [2, 3], [4, 3]])
    features = np.arange(12, dtype=np.float64).reshape(6, 2)
    arrays |= {"node_features": features, "node_labels": np.arange(6) % 2, "edges": edges}
    np.savez(folder(root, "heterophilous") / "mines.npz", **arrays)


def write_geom_gcn(root: Path) -> None:
    """Four nodes whose lines are in another order, words by their numbers, ten splits; `actors`."""
    here = folder(root, "geom_gcn", "actors")
    text(here / "out1_graph_edges.txt", ["node_id\tnode_id", "0\t3", "1\t3"])
    nodes = ["2\t4\t0", "0\t1,3\t1", "1\t0\t0", "3\t2,4,4\t1"]
    text(here / "out1_node_feature_label.txt", ["node_id\tfeature\tlabel", *nodes])
    for number in range(10):
        parts = enumerate(("train", "val", "test"))
        masks = {f"{part}_mask": np.roll([1, 0, 0, 0], number + shift) for shift, part in parts}
        np.savez(folder(here, "splits") / f"actors_split_0.6_0.2_{number}.npz", **masks)


def write_ogb_nodes(root: Path) -> None:
    """Four nodes of two features, two classes, a split by rank; `ogbn-tiny`."""
    here = root / "ogb" / "ogbn_tiny"
    raw = {"num-node-list": [4], "num-edge-list": [3], "edge": [[0, 1], [1, 2], [2, 2]], "node-label": [0, 1, 1, 0]}
    for part, lines in {**raw, "node-feat": [[0.5, 1], [1, 0], [0, 0], [2, 2]]}.items():
        write_lines(here / "raw" / part, lines)
    for part, ids in {"train": [0, 1], "valid": [2], "test": [3]}.items():
        write_lines(here / "split" / "rank" / part, ids)


def write_ogb_graphs(root: Path) -> None:
    """Four molecules with two real targets, one of them missing; `ogbg-tiny`."""
    here = write_molecules(root, "ogbg-tiny", [[0.5, 1], ["", 0], [2, 1], [1, 1]])
    (here / "SYNTHETIC.txt").unlink()


WRITERS = {
    "gnn_benchmark:dblp": write_gnn_benchmark,
    "tu:Pairs": write_tu,
    "heco:library": write_heco,
    "kgbench:am": write_kgbench,
    "planetoid:nell.0.1": write_planetoid,
    "heterophilous:mines": write_heterophilous,
    "geom_gcn:actors": write_geom_gcn,
    "ogb:ogbn-tiny": write_ogb_nodes,
    "ogb:ogbg-tiny": write_ogb_graphs,
}


def folder(*parts: str | Path) -> Path:
    """The folder, made where it is missing."""
    path = Path(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


def text(path: Path, lines: list) -> None:
    """Writes lines."""
    path.write_text("".join(f"{line}\n" for line in lines))


def change_npz(path: Path, **changes: np.ndarray | None) -> None:
    """Replaces arrays of an npz file, or leaves out those that are None."""
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
