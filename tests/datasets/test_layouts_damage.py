"""Damaged and foreign files of every known layout: each is refused in one line, and nothing is kept of it."""

import gzip

import numpy as np
import pytest
from layout_samples import WRITERS, change_npz

from abkd_jax import datasets
from abkd_jax.configs import names
from abkd_jax.types import InputError


def _csv_gz(path, content):
    path.write_bytes(gzip.compress(content.encode()))


def _lines(path, content):
    path.write_text(content)


def _gone(path, _=None):
    path.unlink()


def _cut(path, _=None):
    path.write_bytes(path.read_bytes()[:-20])


def _array(path, array):
    np.save(path, array)


GNN, TU, HECO = "gnn_benchmark/dblp.npz", "tu/Pairs/Pairs_", "heco/library/"
KG, PLANETOID, HETERO = "kgbench/am/", "planetoid/ind.nell.0.1.", "heterophilous/mines.npz"
GEOM, OGBN, OGBG = "geom_gcn/actors/", "ogb/ogbn_tiny/", "ogb/ogbg_tiny/"

# name: the file, what becomes of it, and what the message says.
DAMAGE = {
    "gnn_benchmark:dblp": {
        "gone": (GNN, _gone, None, r"dblp: dblp\.npz is missing; put the file in .*gnn_benchmark"),
        "cut": (GNN, _cut, None, "damaged"),
        "a part left out": (GNN, change_npz, {"attr_indptr": None}, "damaged .* expected a gnn-benchmark archive"),
        "class with a gap": (GNN, change_npz, {"labels": np.repeat([0, 7], 52)}, "2 different categories from 0 to 7"),
        "pickled": (GNN, change_npz, {"labels": np.array([{}] * 104)}, "damaged"),
        "few of a class": (GNN, change_npz, {"labels": np.repeat([0, 1], [54, 50])}, "class 1 has 50 nodes"),
    },
    "tu:Pairs": {
        "gone": (f"{TU}graph_indicator.txt", _gone, None, r"Pairs: Pairs_graph_indicator\.txt is missing"),
        "no labels": (f"{TU}graph_labels.txt", _gone, None, r"Pairs: Pairs_graph_labels\.txt is missing"),
        "a node outside": (f"{TU}A.txt", _lines, "1, 99\n", "node numbers reach 1 and 99; expected 1-40"),
        "ragged": (f"{TU}node_labels.txt", _lines, "0, 1\n2\n", r"node_labels\.txt: damaged"),
        "short": (f"{TU}edge_labels.txt", _lines, "0\n1\n", r"edge_labels\.txt: damaged \(2 lines\); expected 40"),
        "short attributes": (f"{TU}node_attributes.txt", _lines, "0.5\n", "damaged; 1 lines; expected 40"),
        "one direction": (f"{TU}A.txt", _lines, "1, 2\n" * 40, "edges have no reverse"),
        "very many": (f"{TU}node_labels.txt", _lines, "\n".join(f"{i}," * 30 + "1" for i in range(40)), "1201 cat"),
    },
    "heco:library": {
        "gone": (f"{HECO}labels.npy", _gone, None, r"library: labels\.npy is missing; put the file in .*library"),
        "no edges": (f"{HECO}p?.txt", _gone, None, r"library: no edge list in .*; expected files such as pa\.txt"),
        "target outside": (f"{HECO}pa.txt", _lines, "0 1\n1 4\n", r"pa\.txt: .*first: line 2, 1 4"),
        "negative": (f"{HECO}pv.txt", _lines, "0 -1\n", r"pv\.txt: damaged; 1 lines point outside"),
        "other rows": (f"{HECO}a_feat.npz", change_npz, {"shape": np.array([3, 2])}, r"a_feat\.npz: damaged"),
        "twice in the split": (f"{HECO}train_5.npy", _array, np.array([1, 1]), r"train_5\.npy: damaged .*there twice"),
        "half a class": (f"{HECO}labels.npy", _array, np.array([0, 0.5, 1, 1]), r"labels\.npy: damaged"),
    },
    "kgbench:am": {
        "gone": (f"{KG}relations.int.csv", _gone, None, r"am: relations\.int\.csv is missing"),
        "no gzip": (f"{KG}nodes.int.csv.gz", _lines, "index\n0\n", r"nodes\.int\.csv\.gz: damaged"),
        "a node outside": (f"{KG}triples.int.csv", _lines, "0, 1, 5\n", r"out of range \(first: \[0, 1, 5\]\)"),
        "a relation outside": (f"{KG}triples.int.csv", _lines, "0, 2, 4\n", r"first: \[0, 2, 4\]"),
        "a class left out": (f"{KG}training.int.csv", _lines, "4,0\n1,3\n", "3 different categories from 0 to 3"),
        "in two splits": (f"{KG}validation.int.csv", _lines, "0,0\n", "both val_mask and test_mask"),
    },
    "planetoid:nell.0.1": {
        "gone": (f"{PLANETOID}tx", _gone, None, r"nell\.0\.1: ind\.nell\.0\.1\.tx missing, .* in .*planetoid by hand"),
        "no pickle": (f"{PLANETOID}allx", _lines, "rubbish", "ind.nell.0.1.allx"),
        "cut": (f"{PLANETOID}graph", _cut, None, "ind.nell.0.1.graph: damaged"),
        "a test node outside": (f"{PLANETOID}test.index", _lines, "7\n8\n", r"expected node numbers in \[0, 8\)"),
        "other rows": (f"{PLANETOID}test.index", _lines, "7\n", "do not belong together"),
        "a row twice": (f"{PLANETOID}test.index", _lines, "7\n7\n", "two rows describe one node"),
    },
    "heterophilous:mines": {
        "gone": (HETERO, _gone, None, r"mines: mines\.npz is missing; put the file in .*heterophilous"),
        "an edge outside": (HETERO, change_npz, {"edges": np.array([[0, 6]])}, r"edges reach from 0 to 6; .* \[0, 6\)"),
        "three columns": (HETERO, change_npz, {"edges": np.zeros((2, 3), int)}, r"edges: shape \(2, 3\)"),
        "short features": (HETERO, change_npz, {"node_features": np.ones((5, 2))}, "node_features: .* expected 6 rows"),
        "text": (HETERO, change_npz, {"node_labels": np.array(["a"] * 6)}, "node_labels: .* vector of integers"),
        "masks of numbers": (HETERO, change_npz, {"val_masks": np.ones((3, 6))}, "val_masks: .* expected booleans"),
        "no split": (
            HETERO,
            change_npz,
            {f"{part}_masks": np.zeros((0, 6), bool) for part in ("train", "val", "test")},
            "train_m",
        ),
        "infinite": (HETERO, change_npz, {"node_features": np.full((6, 2), np.inf)}, "mines: features of 6 of 6 nodes"),
    },
    "geom_gcn:actors": {
        "gone": (f"{GEOM}splits/*_7.npz", _gone, None, r"actors: actors_split_0\.6_0\.2_7\.npz is missing"),
        "an edge outside": (f"{GEOM}out1_graph_edges.txt", _lines, "h\n0\t4\n", r"\[0, 4\) per line"),
        "three columns": (f"{GEOM}out1_graph_edges.txt", _lines, "h\n0\t1\t2\n", "damaged .3 columns"),
        "a node twice": (f"{GEOM}out1_node_feature_label.txt", _lines, "h\n0\t1\t0\n0\t1\t1\n", "each once"),
        "two fields": (
            f"{GEOM}out1_node_feature_label.txt",
            _lines,
            "h\n0\t1\n",
            "out1_node_feature_label.txt: damaged",
        ),
        "short masks": (
            f"{GEOM}splits/*_0.npz",
            change_npz,
            {"val_mask": np.zeros(3, int)},
            r"masks of 0 and 1 of shape \(4,\)",
        ),
    },
    "ogb:ogbn-tiny": {
        "gone": (
            f"{OGBN}raw/edge.csv.gz",
            _gone,
            None,
            r"ogbn-tiny: raw/edge\.csv\.gz is missing; put it in .*ogbn_tiny",
        ),
        "no split": (f"{OGBN}split/rank/*", _gone, None, "split/rank/train.csv.gz, .* are missing"),
        "an edge outside": (f"{OGBN}raw/edge.csv.gz", _csv_gz, "0,1\n1,2\n2,4\n", "edge.csv.gz"),
        "a class left out": (f"{OGBN}raw/node-label.csv.gz", _csv_gz, "0\n5\n0\n5\n", "categories from 0 to 5"),
        "ragged": (f"{OGBN}raw/node-feat.csv.gz", _csv_gz, "1,2\n1,2\n1\n1,2\n", "node-feat.csv.gz, line 3"),
        "empty": (f"{OGBN}raw/node-feat.csv.gz", _csv_gz, "", "node-feat.csv.gz: .* expected a whole gzip file"),
    },
    "ogb:ogbg-tiny": {
        "gone": (f"{OGBG}raw/edge-feat.csv.gz", _gone, None, r"ogbg-tiny: raw/edge-feat\.csv\.gz is missing"),
        "an atom outside": (f"{OGBG}raw/edge.csv.gz", _csv_gz, "0,1\n1,3\n0,1\n1,0\n", "points outside molecule 0"),
        "in no part": (f"{OGBG}split/scaffold/test.csv.gz", _csv_gz, "", "1 molecules are in no part of the split"),
        "words": (f"{OGBG}raw/graph-label.csv.gz", _csv_gz, "a,1\n0,1\n0,1\n0,1\n", "graph-label.csv.gz, line 1"),
        "no category": (f"{OGBG}raw/node-feat.csv.gz", _csv_gz, "999,0,0,0,0,0,0,0,0\n" * 8, "node-feat.csv.gz"),
        "cut": (f"{OGBG}raw/graph-label.csv.gz", _cut, None, "graph-label.csv.gz"),
    },
}


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in DAMAGE.items() for case in cases], ids=lambda text: text
)
def test_damage_is_refused_in_one_line(tmp_path, monkeypatch, name, case):
    monkeypatch.setenv("ABKD_JAX_CACHE", str(tmp_path / "cache"))
    WRITERS[name](tmp_path)
    pattern, damage, content, message = DAMAGE[name][case]
    for path in list(tmp_path.glob(pattern)):
        damage(path, **content) if isinstance(content, dict) else damage(path, content)
    with pytest.raises(InputError, match=message) as refusal:
        datasets.load(name, tmp_path)
    assert "\n" not in str(refusal.value)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_every_layout_has_at_least_five_damages():
    assert {name.partition(":")[0] for name in DAMAGE} == set(names.LAYOUTS)
    assert min(len(cases) for cases in DAMAGE.values()) >= 5
