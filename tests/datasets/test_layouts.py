"""Sets that are in a known layout and not in the list: what is read of them, what is refused, and their names."""

import gzip
import shutil

import numpy as np
import pytest
import scipy.sparse as sp
from layout_samples import WRITERS, folder, text

from abkd_jax import datasets
from abkd_jax.configs import names
from abkd_jax.datasets import layouts
from abkd_jax.run.identity import fingerprint
from abkd_jax.types import InputError, Schema


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("ABKD_JAX_CACHE", str(tmp_path / "cache"))
    for write in WRITERS.values():
        write(tmp_path)
    return tmp_path


def masks_of(dataset):
    return [np.flatnonzero(mask).tolist() for mask in (dataset.train_mask, dataset.val_mask, dataset.test_mask)]


def edges_of(dataset):
    return list(zip(dataset.senders.tolist(), dataset.receivers.tolist(), strict=True))


def test_every_layout_is_found_and_read(root):
    assert sorted(layouts.found_below(root)) == sorted(WRITERS)
    for name in WRITERS:
        dataset = datasets.load(name, root)
        assert dataset.name == datasets.short_name(name) == name.partition(":")[2]
        assert dataset.source.startswith("own file")
        assert all(path.is_file() for path in datasets.paths(name, root))


def test_tu_reads_several_columns_of_categories_with_gaps(root):
    pairs = datasets.load("tu:Pairs", root, 3)
    g = np.repeat(np.arange(20), 2)
    expected = [np.eye(2)[g % 2], np.eye(3)[g % 3], np.stack([g, np.full(40, 0.5)], axis=1)]
    np.testing.assert_array_equal(pairs.features, np.concatenate(expected, axis=1))
    np.testing.assert_array_equal(pairs.edge_features[:, 0], g % 2)
    assert pairs.labels.tolist() == [int(graph % 4 > 0) for graph in range(20)]
    assert (pairs.edge_vocabulary, pairs.task, pairs.num_outputs) == ((2,), "classification", 2)


def test_tu_without_node_labels_has_degrees_and_without_graph_labels_real_targets(root):
    for part in ("node_labels", "node_attributes", "edge_labels", "graph_labels"):
        (root / "tu" / "Pairs" / f"Pairs_{part}.txt").unlink()
    text(root / "tu" / "Pairs" / "Pairs_graph_attributes.txt", [f"{graph / 2}, 1" for graph in range(20)])
    pairs = datasets.load("tu:Pairs", root)
    np.testing.assert_array_equal(pairs.features, np.tile([0, 1], (40, 1)))
    np.testing.assert_array_equal(pairs.labels, np.stack([np.arange(20) / 2, np.ones(20)], axis=1))
    assert (pairs.task, pairs.metric, pairs.num_outputs, pairs.edge_features) == ("regression", "rmse", 2, None)
    assert [len(part) for part in masks_of(pairs)] == [16, 2, 2]


def test_heco_reads_types_and_target_from_the_names_of_files(root):
    library = datasets.load("heco:library", root)
    assert library.schema == Schema(("a", "p", "v"), ("p-a", "p-v"), (2, 3))
    assert library.node_types.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert edges_of(library) == [(4, 1), (5, 3), (6, 0), (4, 8), (6, 7)]
    assert library.relations.tolist() == [0, 0, 0, 1, 1]
    assert library.labels.tolist() == [0, 1, 0, 1, -1, -1, -1, -1, -1]
    np.testing.assert_array_equal(library.features.toarray(), [[0.5, 0.5], [0, 1], [1, 0], [0.75, 0.25]])
    assert masks_of(library) == [[0], [2], [3]]
    assert masks_of(datasets.load("heco:library_20", root)) == [[0, 1], [2], [3]]


def test_heco_puts_types_with_features_before_a_target_without(root):
    here = root / "heco" / "library"
    (here / "a_feat.npz").unlink()
    sp.save_npz(here / "p_feat.npz", sp.csr_matrix(np.eye(4, 2)))
    library = datasets.load("heco:library", root)
    assert library.schema.node_types == ("p", "a", "v")
    assert library.node_types.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert library.labels.tolist() == [-1] * 4 + [0, 1, 0, 1] + [-1] * 2
    assert edges_of(library) == [(0, 5), (1, 7), (2, 4), (0, 9), (2, 8)]
    assert masks_of(library) == [[4], [6], [7]]


def test_kgbench_reads_packed_and_unpacked_parts(root):
    things = datasets.load("kgbench:am", root)
    assert (edges_of(things), things.relations.tolist()) == ([(0, 4), (3, 2), (2, 2)], [1, 0, 1])
    assert things.labels.tolist() == [0, 1, 1, -1, 0]
    assert masks_of(things) == [[1, 4], [2], [0]]


def test_planetoid_leaves_nodes_without_row_or_class_in_no_mask(root):
    nell = datasets.load("planetoid:nell.0.1", root)
    assert nell.labels.tolist() == [0, 1, 0, -1, 1, -1, 0, 1]
    assert masks_of(nell) == [[0, 1], [2, 4], [6, 7]]
    assert nell.num_classes == 3


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_heterophilous_takes_the_split_of_the_seed(root, seed):
    mines = datasets.load("heterophilous:mines", root, seed)
    parts = [[0, 1], [2, 3], [4, 5]]
    assert masks_of(mines) == [parts[(seed - shift) % 3] for shift in range(3)]
    assert edges_of(mines) == [(0, 1), (1, 2), (2, 3), (4, 3)]
    assert mines.features.dtype == np.float32
    assert (mines.task, mines.labels[:, 0].tolist()) == ("multilabel", [0, 1] * 3)


def test_heterophilous_with_more_classes_is_a_classification(root):
    _npz(root / HETERO, node_labels=np.arange(6) % 3)
    mines = datasets.load("heterophilous:mines", root)
    assert (mines.task, mines.num_classes, mines.labels.tolist()) == ("classification", 3, [0, 1, 2] * 2)


def test_tu_reads_real_edge_attributes_where_there_are_no_labels(root, caplog):
    here = root / "tu" / "Pairs"
    text(here / "Pairs_edge_attributes.txt", [f"{line / 2}, 1" for line in range(40)])
    assert datasets.load("tu:Pairs", root).edge_features.dtype == np.int32
    assert "Pairs_edge_attributes.txt is not read, beside edge labels" in caplog.text
    (here / "Pairs_edge_labels.txt").unlink()
    pairs = datasets.load("tu:Pairs", root)
    np.testing.assert_array_equal(pairs.edge_features, np.stack([np.arange(40) / 2, np.ones(40)], axis=1))
    assert pairs.edge_vocabulary == ()


@pytest.mark.parametrize("seed", [0, 13])
def test_geom_gcn_puts_nodes_in_order_and_reads_words_or_values(root, seed):
    actors = datasets.load("geom_gcn:actors", root, seed)
    expected = [[0, 1, 0, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 1, 0, 1]]
    np.testing.assert_array_equal(actors.features.toarray(), expected)
    assert actors.labels.tolist() == [1, 0, 0, 1]
    assert masks_of(actors) == [[(seed % 10 + shift) % 4] for shift in range(3)]
    lines = [f"{node}\t{int(node == 2)},0,1\t{node % 2}" for node in range(4)]
    text(root / "geom_gcn" / "actors" / "out1_node_feature_label.txt", ["header", *lines])
    features = datasets.load("geom_gcn:actors", root, seed).features.toarray()
    np.testing.assert_array_equal(features, [[0, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]])


def test_ogb_reads_any_split_width_and_task(root):
    nodes, graphs = datasets.load("ogb:ogbn-tiny", root), datasets.load("ogb:ogbg-tiny", root)
    np.testing.assert_array_equal(nodes.features, [[0.5, 1], [1, 0], [0, 0], [2, 2]])
    assert (masks_of(nodes), nodes.num_classes) == ([[0, 1], [2], [3]], 2)
    assert nodes.source.endswith("rank split")
    assert (graphs.task, graphs.metric, graphs.num_outputs) == ("regression", "rmse", 2)
    np.testing.assert_array_equal(graphs.labels[1], [np.nan, 0])


def test_ogb_labels_of_0_and_1_are_binary(root):
    with gzip.open(root / "ogb" / "ogbg_tiny" / "raw" / "graph-label.csv.gz", "wt") as file:
        file.write("0,1\n,0\n1,1\n1,1\n")
    graphs = datasets.load("ogb:ogbg-tiny", root)
    assert (graphs.task, graphs.metric) == ("multilabel", "rocauc")


# Damage --------------------------------------------------------------------------------------------------------------


def _npz(path, **changes):
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


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
        "a part left out": (GNN, _npz, {"attr_indptr": None}, "damaged .* expected a gnn-benchmark archive"),
        "class with a gap": (GNN, _npz, {"labels": np.repeat([0, 7], 52)}, "2 different categories from 0 to 7"),
        "pickled": (GNN, _npz, {"labels": np.array([{}] * 104)}, "damaged"),
        "few of a class": (GNN, _npz, {"labels": np.repeat([0, 1], [54, 50])}, "class 1 has 50 nodes"),
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
        "other rows": (f"{HECO}a_feat.npz", _npz, {"shape": np.array([3, 2])}, r"a_feat\.npz: damaged"),
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
        "an edge outside": (HETERO, _npz, {"edges": np.array([[0, 6]])}, r"edges reach from 0 to 6; .* \[0, 6\)"),
        "three columns": (HETERO, _npz, {"edges": np.zeros((2, 3), int)}, r"edges: shape \(2, 3\)"),
        "short features": (HETERO, _npz, {"node_features": np.ones((5, 2))}, "node_features: .* expected 6 rows"),
        "text": (HETERO, _npz, {"node_labels": np.array(["a"] * 6)}, "node_labels: .* vector of integers"),
        "masks of numbers": (HETERO, _npz, {"val_masks": np.ones((3, 6))}, "val_masks: .* expected booleans"),
        "no split": (
            HETERO,
            _npz,
            {f"{part}_masks": np.zeros((0, 6), bool) for part in ("train", "val", "test")},
            "train_m",
        ),
        "infinite": (HETERO, _npz, {"node_features": np.full((6, 2), np.inf)}, "mines: features of 6 of 6 nodes"),
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
            _npz,
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


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [("dblp", "gnn_benchmark:dblp"), ("DBLP", "gnn_benchmark:dblp"), ("pairs", "tu:Pairs"), ("coar", "cora")],
)
def test_a_name_that_lies_in_a_layout_is_suggested(root, name, hint):
    with pytest.raises(InputError, match=f"no data set '{name}'; did you mean '{hint}'"):
        datasets.load(name, root)


def test_an_unknown_layout_gets_the_list_of_them(root):
    with pytest.raises(
        InputError, match=r"no data set 'planet:x'.*planetoid, gnn_benchmark, .* as LAYOUT:NAME, or a path"
    ):
        datasets.load("planet:x", root)


def test_a_listed_set_by_its_layout_is_that_set(root):
    for layout, own in (("planetoid", "cora"), ("tu", "MUTAG"), ("heco", "acm_40"), ("ogb", "ogbg-molhiv")):
        listed = names.canonical(f"{layout}:{own}")
        assert listed in datasets.names()
        assert datasets.paths(f"{layout}:{own}", root) == datasets.paths(listed, root)
    assert {names.canonical(f"{layout}:{own}") for layout, cases in names._LISTED.items() for own in cases} | {
        listed for cases in names._RENAMED.values() for listed in cases.values()
    } == set(datasets.names()) - {"digits", "synthetic"}


def test_listing_names_layouts_and_what_lies_there(root):
    found = datasets.layouts_below(root)
    assert [key.partition(":")[0] for key in found] == list(names.LAYOUTS)
    assert sorted(name for there in found.values() for name in there) == sorted(WRITERS)


def test_paths_have_short_names_and_full_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder("mine.v2")
    folder("cora")
    assert (names.short_name("mine.v2"), names.short_name("./mine.v2/")) == ("mine.v2", "mine.v2")
    assert names.short_name("x/my.graph.npz") == "my.graph"
    assert names.full_name("mine.v2") == names.full_name(f"{tmp_path}/x/../mine.v2")
    assert not names.is_path("cora")
    assert names.is_path("./cora")
    assert not names.is_path("tu:NCI109")
    assert names.is_path("tu:../x")


# Real files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "pattern", "own", "name"),
    [
        ("cora_ml", "gnn_benchmark/cora_ml.npz", "gnn_benchmark/copy.npz", "gnn_benchmark:copy"),
        ("heco_freebase_40", "heco/freebase", "heco/copy", "heco:copy_40"),
        ("aifb", "kgbench/aifb", "kgbench/copy", "kgbench:copy"),
    ],
)
def test_a_published_set_under_another_name_is_the_same(data_root, tmp_path, listed, pattern, own, name):
    if not (data_root / pattern).exists():
        pytest.skip(f"no {data_root / pattern}")
    folder(tmp_path, own).rmdir()
    (tmp_path / own).symlink_to(data_root / pattern)
    assert fingerprint(datasets.load(name, tmp_path, 1)) == fingerprint(datasets.load(listed, data_root, 1))


def test_published_mutag_and_citeseer_under_other_names_are_the_same(data_root, tmp_path):
    for listed, pattern, name in (
        ("mutag", "tu/MUTAG/MUTAG_*.txt", "tu:COPY"),
        ("citeseer", "planetoid/ind.citeseer.*", "planetoid:copy"),
    ):
        files = list(data_root.glob(pattern))
        if not files:
            pytest.skip(f"no {data_root / pattern}")
        own = names.split_layout(name)[1]
        old = "MUTAG" if listed == "mutag" else listed
        for path in files:
            there = str(path.relative_to(data_root)).replace(old, own)
            shutil.copy(path, folder(tmp_path, there).parent / "x")
            folder(tmp_path, there).rmdir()
            (tmp_path / there).parent.joinpath("x").rename(tmp_path / there)
        assert fingerprint(datasets.load(name, tmp_path, 1)) == fingerprint(datasets.load(listed, data_root, 1))


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "features", "split"),
    [
        ("heterophilous:tolokers", 11758, 519000, 10, [5879, 2939, 2940]),
        ("heterophilous:minesweeper", 10000, 39402, 7, [5000, 2500, 2500]),
        ("geom_gcn:film", 7600, 33391, 932, [3648, 2432, 1520]),
    ],
)
def test_published_sets_outside_the_list(data_root, name, nodes, edges, features, split):
    if not datasets.paths(name, data_root)[0].is_file():
        pytest.skip(f"no {name} below {data_root}")
    dataset = datasets.load(name, data_root, seed=4)
    assert (dataset.num_nodes, dataset.senders.size, dataset.features.shape[1]) == (nodes, edges, features)
    assert [len(part) for part in masks_of(dataset)] == split
