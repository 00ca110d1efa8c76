"""A user's own graph: what is written is read back, what is meant the same is read the same."""

from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sp
from graphs import edge_lists, quick
from hypothesis import given
from hypothesis import strategies as st
from neutral_samples import MASKS, N, arrays, differences, graph_arrays, read

from abkd_jax import datasets
from abkd_jax.datasets import user
from abkd_jax.datasets.neutral.folder import save_folder
from abkd_jax.datasets.neutral.npz import save_npz
from abkd_jax.graph.host import host_graph
from abkd_jax.run.identity import fingerprint
from abkd_jax.types import InputError

# Written and read back -----------------------------------------------------------------------------------------------


def everything(tiny):
    """A directed graph with everything that a homogeneous one may have."""
    return tiny._replace(
        directed=True,
        edge_weights=np.float32([0.1, 2, 3, 1e-3, 7]),
        edge_features=np.float32([[0.1, 1], [2, 3], [4, 5], [6, 7], [1 / 3, 9]]),
        classes=("even", "odd"),
        node_ids=np.array([4, 2, 11, 7, -5, 0]),
        features=tiny.features / np.float32(1),
        row_normalised=False,
    )


def targets(tiny):
    values = np.float32([[0.1, np.nan], [1 / 3, 2], [3, 4], [5, 6], [np.nan, np.nan], [1e-9, 1e9]])
    return tiny._replace(task="regression", labels=values, classes=("mass", "charge"))


def without_names(tiny):
    return targets(tiny)._replace(classes=())


def named_columns(tiny):
    names = tuple(f'of {column}, "%"' for column in range(tiny.features.shape[1]))
    edges = np.arange(2 * tiny.senders.size, dtype=np.float32).reshape(-1, 2)
    return tiny._replace(columns=names, edge_features=edges, edge_columns=("e1", "e0"))


SAMPLES = {
    "tiny": lambda d: d,
    "everything": everything,
    "targets": targets,
    "without names": without_names,
    "columns": named_columns,
}


@pytest.mark.parametrize("form", ["npz", "csv", "parquet"])
@pytest.mark.parametrize("name", [*SAMPLES, "typed", "graphs"])
def test_what_is_written_is_read_back(tmp_path, name, form, request):
    dataset = SAMPLES[name](request.getfixturevalue("tiny")) if name in SAMPLES else request.getfixturevalue(name)
    path = tmp_path / ("mine.npz" if form == "npz" else "mine")
    assert (save_npz(dataset, path) if form == "npz" else save_folder(dataset, path, form)) == path
    again = user.load(path)
    assert differences(dataset, again) == []
    assert fingerprint(again) == fingerprint(dataset)
    assert again.name == "mine"
    assert again.source == f"own file {path.name} (by hand)"
    assert {file.parent for file in user.files(path)} == {tmp_path if form == "npz" else path}


@pytest.mark.parametrize("name", ["id", "label_x", "val_mask"])
def test_names_with_a_meaning_of_their_own_are_not_written_as_columns(tmp_path, tiny, name):
    named = named_columns(tiny)
    other = named._replace(columns=(name, *named.columns[1:]))
    with pytest.raises(InputError, match=f"columns: {name!r} has another meaning in a table of nodes"):
        save_folder(other, tmp_path / "mine")
    with pytest.raises(InputError, match="edge_columns: 'weight' has another meaning in a table of edges"):
        save_folder(named._replace(edge_columns=("weight", "e0")), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_path_may_begin_at_the_home_directory(tmp_path, monkeypatch, tiny):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert save_npz(tiny, "~/mine.npz") == tmp_path / "mine.npz"
    assert save_folder(tiny, "~/mine") == tmp_path / "mine"
    assert all(differences(datasets.load(f"~/mine{suffix}"), tiny) == [] for suffix in ("", ".npz"))
    for at, use in (
        ("mine.npz", lambda path: save_npz(tiny, path)),
        ("mine", lambda path: save_folder(tiny, path)),
        ("mine.npz", datasets.load),
    ):
        with pytest.raises(InputError, match=f"~nobody_of_this_name/{at}"):
            use(f"~nobody_of_this_name/{at}")


@pytest.mark.parametrize(
    "name", ["synthetic", "digits", "cora", "cora_ml", "heco_acm", "heco_freebase", "aifb", "mutag", "ogbg-molbace"]
)
def test_named_sets_are_written_and_read_back(tmp_path, name, request):
    root = None if name in ("synthetic", "digits") else request.getfixturevalue("data_root")
    dataset = datasets.load(name, root)
    again = user.load(save_npz(dataset, tmp_path / f"{name}.npz"))
    assert differences(dataset, again) == []
    assert again.name == name


def test_classes_without_a_training_label_are_named_once(tmp_path, tiny, caplog):
    path = save_npz(tiny._replace(labels=np.where(tiny.train_mask, 0, tiny.labels)), tmp_path / "mine.npz")
    caplog.clear()  # of what was written
    assert datasets.load(path).name == "mine"
    assert [record.getMessage().partition(" for ")[0] for record in caplog.records] == ["mine: no training label"]


def test_nothing_is_written_in_place_of_something_else(tmp_path, tiny):
    sparse = tiny._replace(features=sp.csr_matrix(tiny.features))
    cases = [
        (lambda: save_npz(tiny, tmp_path / "mine.zip"), "ends in .npz"),
        (lambda: save_npz(tiny._replace(num_classes=1), tmp_path / "mine.npz"), "num_classes is 1"),
        (lambda: save_npz(tiny, tmp_path / "no" / "mine.npz"), "cannot be written: No such file"),
        (lambda: save_folder(sparse, tmp_path / "mine"), "sparse features, which tables do not hold"),
        (lambda: save_folder(tiny, tmp_path), "is there already"),
    ]
    (tmp_path / "mine.csv").write_text("")
    for write, message in cases:
        with pytest.raises(InputError, match=message):
            write()
        assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


# Casts that lose nothing ---------------------------------------------------------------------------------------------

PAIRS = np.stack([arrays()["senders"], arrays()["receivers"]], axis=1)
SAME = {
    "an edge list of pairs": {
        "senders": None,
        "receivers": None,
        "edges": PAIRS,
    },
    "uint16 edges": {"senders": arrays()["senders"].astype(np.uint16)},
    "edges as whole floats": {"receivers": arrays()["receivers"].astype(float)},
    "big-endian features": {"features": arrays()["features"].astype(">f4")},
    "integer features": {"features": arrays()["features"].astype(np.int64)},
    "half features": {"features": arrays()["features"].astype(np.float16)},
    "boolean labels": {"labels": np.arange(N) % 2 == 1},
    "labels as whole floats": {"labels": (np.arange(N) % 2).astype(float), "task": "classification"},
    "split as numbers": {"split": np.array([0, 0, 1, 2])[np.arange(N) % 4]},
    "split as bytes": {"split": arrays()["split"].astype("S")},
    "masks": {
        "split": None,
        **MASKS,
    },
    "masks as integers": {
        "split": None,
        **{name: mask.astype(np.int64) for name, mask in MASKS.items()},
    },
    "identifiers that are the numbers": {"node_ids": np.arange(N)},
}


@pytest.mark.parametrize("name", SAME)
def test_other_types_of_the_same_values(name):
    assert differences(read(arrays()), read(arrays(**SAME[name]))) == []


def test_sparse_features_are_the_dense_ones():
    matrix = sp.csr_matrix(arrays()["features"])
    parts = {f"features_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr", "shape")}
    found = read(arrays(features=None, **parts)).features
    np.testing.assert_array_equal(found.toarray(), arrays()["features"])


def test_rows_are_divided_by_their_sums_where_asked_for():
    features = arrays()["features"]
    dataset = read(arrays(row_normalise=True))
    np.testing.assert_allclose(dataset.features, features / features.sum(axis=1, keepdims=True), rtol=1e-7)
    assert dataset.row_normalised
    assert not read(arrays()).row_normalised


LABELS = {
    "text": (np.where(np.arange(N) < 11, np.array(["b", "a"])[np.arange(N) % 2], ""), "classification", ("a", "b")),
    "from one on": (np.arange(N) % 2 + 1, "classification", ("1", "2")),
    "from zero on": (np.arange(N) % 2, "classification", ()),
    "zeros and ones": (np.eye(3)[np.arange(N) % 2] + np.eye(3)[2], "multilabel", ()),
    "integers of several columns": (
        np.eye(2, dtype=int)[np.arange(N) % 2] * (np.arange(N) > 0)[:, None],
        "multilabel",
        (),
    ),
    "a single 1 in each of few rows": (np.eye(5)[np.arange(N) % 5], "multilabel", ()),
    "one column of floats": (np.arange(N) / 7, "regression", ()),
}


@pytest.mark.parametrize("name", LABELS)
def test_the_task_follows_from_the_labels(name):
    labels, task, classes = LABELS[name]
    split = np.where(labels == "", "none", arrays()["split"]) if labels.dtype.kind == "U" else arrays()["split"]
    dataset = read(arrays(labels=labels, split=split))
    assert (dataset.task, dataset.classes) == (task, classes)
    if task != "classification":
        np.testing.assert_array_equal(dataset.labels, labels.reshape(N, -1).astype(np.float32))
    elif classes:
        found = np.where(dataset.labels < 0, "", np.array(classes)[dataset.labels])
        assert found.tolist() == labels.astype(str).tolist()


# Splits --------------------------------------------------------------------------------------------------------------


def test_classes_without_a_split_are_drawn_as_those_of_gnn_benchmark():
    labels = np.repeat([0, 1], [60, 80])
    given = {"edges": np.array([[0, 1]]), "features": np.ones((140, 1)), "labels": labels}
    dataset = read(given, seed=4)
    for mask, expected in zip(
        (dataset.train_mask, dataset.val_mask, dataset.test_mask),
        datasets.per_class(labels, 20, 30, np.random.default_rng(4)),
        strict=True,
    ):
        np.testing.assert_array_equal(mask, expected)
    assert dataset.source == "split seed 4"
    assert (read(given, seed=5).train_mask != dataset.train_mask).any()


@pytest.mark.parametrize(
    "given", [arrays(labels=np.arange(N) / 7, split=None), graph_arrays(split=None, labels=[0, 1, 0, 1])]
)
def test_targets_and_graphs_are_drawn_in_shares(given):
    items = len(given["labels"])
    given = {**given, "task": np.array("regression")}
    masks = [getattr(read(given), mask) for mask in ("train_mask", "val_mask", "test_mask")]
    assert [int(mask.sum()) for mask in masks] == [items * 3 // 5, items * 4 // 5 - items * 3 // 5, -(-items // 5)]
    assert np.sum(masks, axis=0).tolist() == [1] * items


# Identifiers, types and graphs in any order --------------------------------------------------------------------------


@given(edge_lists([(3, 4), (9, 20)]), st.booleans(), st.booleans(), st.randoms(use_true_random=False))
@quick
def test_identifiers_are_names_and_nothing_else(edges, directed, text, random):
    """Duplicates, self loops, directed edges and isolated nodes, with identifiers that are not contiguous, or text."""
    n = edges.size
    place = np.arange(n)
    ids = np.array(random.sample(range(-50, 1000), n))
    ids = np.array([f"node {number}" for number in ids.tolist()]) if text else ids
    plain = {
        "senders": edges.senders,
        "receivers": edges.receivers,
        "edge_weights": edges.weights,
        "features": np.eye(n),
        "labels": place % 2,
        "split": place % 3,
        "directed": directed,
    }
    named = plain | {"node_ids": ids, "senders": ids[edges.senders], "receivers": ids[edges.receivers]}
    first, second = read(plain), read(named)
    assert differences(first, second) == ["node_ids"]
    assert second.node_ids.tolist() == ids.tolist()
    assert first.senders.tolist() == edges.senders.tolist()  # as listed; the graph merges
    listed = {pair for pair in zip(edges.senders.tolist(), edges.receivers.tolist(), strict=True) if len({*pair}) > 1}
    host = host_graph(second)
    receivers = np.repeat(place, np.diff(host.indptr)).tolist()
    expected = listed if directed else listed | {pair[::-1] for pair in listed}
    assert set(zip(host.senders.tolist(), receivers, strict=True)) == expected


TYPED_SPLIT = {
    "labels": np.where(np.arange(N) % 3 == 1, np.arange(N) % 2, -1),
    "split": np.where(np.arange(N) % 3 == 1, [0, 1, 2] * 4, 3),
}


@given(st.permutations(range(N)))
@quick
def test_nodes_of_types_may_come_in_any_order(order):
    """Papers with features and labels, authors without features; whichever comes first in the file."""
    place = np.array(order)
    kinds = np.array(["author", "paper", "author"])[place % 3]
    features = np.where((kinds == "paper")[:, None], np.stack([place, place], 1), np.nan)
    papers = np.where(kinds == "paper", place // 3 % 2, -1)
    split = np.where(kinds == "paper", np.array([0, 0, 1, 2])[place // 3], 3)
    senders, receivers = np.arange(N), (np.arange(N) + 1) % N
    typed = {"node_types": kinds, "labels": papers, "split": split, "features": features}
    dataset = read({"senders": senders, "receivers": receivers, **typed})
    assert dataset.schema.node_types == ("paper", "author")
    ids = np.arange(N) if dataset.node_ids is None else dataset.node_ids
    assert np.array(dataset.schema.node_types)[dataset.node_types].tolist() == kinds[ids].tolist()
    assert dataset.labels.tolist() == papers[ids].tolist()
    np.testing.assert_array_equal(dataset.features, features[ids[:4]])
    assert ids[dataset.senders].tolist() == senders.tolist()
    assert ids[dataset.receivers].tolist() == receivers.tolist()
    pairs = [f"{kinds[s]}-{kinds[r]}" for s, r in zip(senders, receivers, strict=True)]
    assert np.array(dataset.schema.relations)[dataset.relations].tolist() == pairs
    assert host_graph(dataset).num_relations == 2 * len(set(pairs))


def test_a_directed_graph_of_types_has_no_reverse_relations():
    dataset = read(arrays(relations=np.array(["a", "b"])[np.arange(N + 1) % 2], directed=True))
    assert dataset.schema == (("node",), ("a", "b"), (0, 1))
    assert host_graph(dataset).num_edges == N + 1


def test_graphs_may_come_in_any_order_and_edges_once():
    dataset = read(graph_arrays(edge_features=np.arange(8)))
    assert dataset.n_node.tolist() == [3, 3, 3, 3]
    assert dataset.features[:, 0].tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert dataset.n_edge.tolist() == [4, 4, 4, 4]
    assert dataset.senders[:4].tolist() == [0, 1, 1, 2]
    assert dataset.receivers[:4].tolist() == [1, 2, 0, 1]
    assert dataset.edge_features[:4, 0].tolist() == [0, 4, 0, 4]  # of the reverse edges those of the edges
    assert dataset.edge_vocabulary == (8,)
    both = {"edges": np.concatenate([graph_arrays()["edges"], graph_arrays()["edges"][:, ::-1]])}
    assert differences(read(graph_arrays()), read(graph_arrays(**both))) == []


def test_features_of_no_edges_keep_their_columns():
    none = {"edges": np.zeros((0, 2), np.int64), "edge_features": np.zeros((0, 3))}
    for sample in (arrays(senders=None, receivers=None), graph_arrays()):
        assert read(sample | none).edge_features.shape == (0, 3)


REPEATED = {
    "a reverse too few": ([(0, 1), (0, 1), (1, 0)], [(0, 1), (0, 1), (1, 0), (1, 0)], [0, 1, 2, 1]),
    "no reverse": ([(0, 1), (0, 1)], [(0, 1), (0, 1), (1, 0), (1, 0)], [0, 1, 0, 1]),
    "as many": ([(1, 0), (0, 1), (0, 1), (1, 0)], [(1, 0), (0, 1), (0, 1), (1, 0)], [0, 1, 2, 3]),
    "loops": ([(2, 2), (2, 2), (0, 2)], [(2, 2), (2, 2), (0, 2), (2, 0)], [0, 1, 2, 2]),
    "none": ([], [], []),
}


@pytest.mark.parametrize("name", REPEATED)
def test_repeated_edges_of_labelled_graphs_stay_and_get_their_reverses(tmp_path, name):
    """Each edge has a reverse of its own, with its features; read, written and read again."""
    listed, expected, origins = REPEATED[name]
    edges = np.array(listed, np.int64).reshape(-1, 2)
    given = {
        "edges": np.concatenate([4 * edges, [[1, 5]]]),  # of graph 0 and of another one
        "edge_features": np.arange(len(edges) + 1) / 2,
    }
    dataset = read(graph_arrays(**given))
    count = dataset.n_edge[0]
    assert list(zip(dataset.senders[:count].tolist(), dataset.receivers[:count].tolist(), strict=True)) == expected
    assert (2 * dataset.edge_features[:count, 0]).tolist() == origins
    assert dataset.n_edge.tolist() == [len(expected), 2, 0, 0]
    assert differences(user.load(save_npz(dataset, tmp_path / "mine.npz")), dataset) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=12))
@quick
def test_any_edges_of_labelled_graphs_get_as_few_reverses_as_they_need(pairs):
    edges = 4 * np.array(pairs, np.int64).reshape(-1, 2)
    dataset = read(graph_arrays(edges=edges))
    found = Counter(zip(dataset.senders.tolist(), dataset.receivers.tolist(), strict=True))
    listed = Counter(pairs)
    assert found == {(u, v): max(listed[u, v], listed[v, u]) for u, v in {*listed, *((v, u) for u, v in listed)}}


def test_graphs_with_names(tmp_path):
    names = np.array(["d", "b", "c", "a"])
    plain, named = read(graph_arrays()), read(graph_arrays(graph_ids=names[np.arange(N) % 4], graphs=names))
    assert differences(plain, named) == ["graphs"]
    assert named.graphs.tolist() == names.tolist()
    assert fingerprint(plain) == fingerprint(named)
    for path in (save_npz(named, tmp_path / "mine.npz"), save_folder(named, tmp_path / "mine")):
        assert differences(named, user.load(path)) == []
    numbered = read(graph_arrays(graph_ids=3 - np.arange(N) % 4, graphs=[3, 2, 1, 0]))
    assert (differences(plain, numbered), numbered.graphs.tolist()) == (["graphs"], [3, 2, 1, 0])
    assert read(graph_arrays(graphs=[0, 1, 2, 3])).graphs is None
    with pytest.raises(
        InputError, match="graphs are 4, of which 3 are distinct; expected a different one for each graph"
    ):
        datasets.validate(named._replace(graphs=np.array(["a", "b", "b", "c"])))


@pytest.mark.parametrize(("labels", "classes"), [([1, 0, 1, -1], ()), (["b", "a", "b", ""], ("a", "b"))])
def test_graphs_without_a_label_are_in_no_part(tmp_path, labels, classes):
    dataset = read(graph_arrays(labels=labels, split=[0, 1, 2, 3]))
    assert (dataset.labels.tolist(), dataset.classes) == ([1, 0, 1, -1], classes)
    assert differences(user.load(save_npz(dataset, tmp_path / "mine.npz")), dataset) == []


@pytest.mark.parametrize("empty", [(), (0,), (2,), (3,), (0, 3)])
def test_types_without_a_node_keep_their_place(tmp_path, empty):
    """Types 0 and 1 have features, 2 and 3 none; also where these come first in the file."""
    kinds = np.delete(np.arange(4), empty)[np.arange(N) % (4 - len(empty))]
    features = np.where((kinds < 2)[:, None], 1.0, np.nan)
    given = arrays(node_types=kinds, node_type_names=list("abcd"), features=features)
    dataset = read(given)
    assert dataset.schema.node_types == tuple("abcd")
    assert differences(user.load(save_npz(dataset, tmp_path / "mine.npz")), dataset) == []
    turned = read(given | {"node_types": (kinds + 2) % 4, "node_type_names": list("cdab")})
    named = [np.array(found.schema.node_types)[found.node_types].tolist() for found in (dataset, turned)]
    assert named[0] == named[1]


def test_a_graph_to_predict_on_needs_no_labels(tmp_path):
    """Labels and split that are there are not read, whether they fit or not; sparse features count the nodes too."""
    edges = {"senders": np.array([0, 1]), "receivers": np.array([1, 2])}
    dense = {"features": np.eye(3, dtype=np.float32)}
    parts = sp.csr_matrix(np.eye(3, dtype=np.float32))
    sparse = {f"features_{name}": getattr(parts, name) for name in ("data", "indices", "indptr")}
    sparse["features_shape"] = np.array([3, 3])
    graphs = dense | {"graph_ids": np.array([0, 0, 0])}
    both = {"senders": np.array([0, 1]), "receivers": np.array([1, 0])}
    forms = [edges | dense, edges | sparse, edges | dense | {"labels": np.array([4, 4, -1])}, both | graphs]
    for number, form in enumerate(forms):
        path = tmp_path / f"{number}.npz"
        np.savez(path, **form)
        data = user.load(path, labelled=False)
        assert not np.any([data.train_mask, data.val_mask, data.test_mask])
        assert np.isnan(data.labels).all()
        assert data.labels.shape[0] == (1 if number == 3 else 3)
        with pytest.raises(InputError):
            user.load(path)
