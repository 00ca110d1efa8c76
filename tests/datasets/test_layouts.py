"""Sets that are in a known layout and not in the list: what is read of them, and their names."""

import gzip
import shutil

import numpy as np
import pytest
import scipy.sparse as sp
from layout_samples import WRITERS, change_npz, folder, text

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
    change_npz(root / "heterophilous/mines.npz", node_labels=np.arange(6) % 3)
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
