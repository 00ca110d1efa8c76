import numpy as np
import pytest
import scipy.sparse as sp

from abkd_jax.datasets import validate
from abkd_jax.types import InputError


def _with(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


def _csr_with_column_9(features):
    matrix = sp.csr_matrix(features)
    matrix.indices[0] = 9
    return matrix


def _csr_part(features, part, dtype):
    """A CSR matrix of which one array has another type; SciPy does not look at it again."""
    matrix = sp.csr_matrix(features)
    setattr(matrix, part, getattr(matrix, part).astype(dtype))
    return matrix


def _assert_refused(dataset, change, message):
    with pytest.raises(InputError, match=message) as refusal:
        validate(dataset._replace(**change(dataset)))
    assert str(refusal.value).startswith(f"{dataset.name}: ")
    assert "\n" not in str(refusal.value)


def test_a_sound_data_set_passes_unchanged(tiny):
    assert validate(tiny) is tiny
    sparse = tiny._replace(features=sp.csr_matrix(tiny.features))
    assert validate(sparse) is sparse


FAULTS = {
    "labels shape": (lambda d: {"labels": d.labels[:, None]}, r"labels has shape \(6, 1\)"),
    "labels dtype": (lambda d: {"labels": d.labels.astype(np.int64)}, "labels has dtype int64; expected int32"),
    "senders dtype": (lambda d: {"senders": d.senders.astype(float)}, "senders has dtype float64; expected int32"),
    "edge lengths": (lambda d: {"receivers": d.receivers[:3]}, r"receivers has shape \(3,\); expected \(5,\)"),
    "mask dtype": (lambda d: {"val_mask": d.val_mask.astype(np.int32)}, "val_mask has dtype int32; expected bool"),
    "mask length": (lambda d: {"test_mask": d.test_mask[:4]}, r"test_mask has shape \(4,\); expected \(6,\)"),
    "feature rows": (
        lambda d: {"features": d.features[:5]},
        r"features has shape \(5, 3\); expected \(6, at least 1\)",
    ),
    "feature columns": (lambda d: {"features": d.features[:, :0]}, r"features has shape \(6, 0\)"),
    "feature rank": (lambda d: {"features": d.features[:, 0]}, r"features has shape \(6,\)"),
    "feature dtype": (lambda d: {"features": d.features.astype(float)}, "features has dtype float64"),
    "feature format": (lambda d: {"features": sp.coo_matrix(d.features)}, "features is a coo_matrix"),
    "csr indices": (lambda d: {"features": _csr_with_column_9(d.features)}, "ind"),
    "nan": (
        lambda d: {"features": _with(d.features, (5, 1), np.nan)},
        r"features of 1 of 6 nodes are NaN or infinite \(first: node 5\)",
    ),
    "squares beyond float32": (
        lambda d: {"features": _with(d.features, ([2, 5], [1, 0]), [1e30, -1e30])},
        r"features of 2 of 6 nodes are beyond 1e\+18 \(first: node 2\)",
    ),
    "squares beyond float32 in csr": (
        lambda d: {"features": sp.csr_matrix(_with(d.features, (3, 1), -1e19))},
        r"features of 1 of 6 nodes are beyond 1e\+18 \(first: node 3\)",
    ),
    "row starts as halves": (lambda d: {"features": _csr_part(d.features, "indptr", np.float16)}, "indptr: .*float16"),
    "text as columns": (lambda d: {"features": _csr_part(d.features, "indices", str)}, "indices: .*vector of integers"),
    "a list": (lambda d: {"labels": d.labels.tolist()}, "labels is a list; expected a numpy.ndarray"),
    "a list of ends": (lambda d: {"receivers": d.receivers.tolist()}, "receivers is a list; expected a numpy.ndarray"),
    "a billion classes": (
        lambda d: {"num_classes": 10**9},
        "num_classes is 1000000000; .*at most 10000 for 6 nodes",
    ),
    "half a class": (lambda d: {"num_classes": 2.5}, r"num_classes is 2\.5; expected at least 2 classes"),
    "inf in csr": (
        lambda d: {"features": sp.csr_matrix(_with(d.features, ([2, 2, 4], [0, 1, 1]), np.inf))},
        r"features of 2 of 6 nodes are NaN or infinite \(first: node 2\)",
    ),
    "edge outside": (
        lambda d: {"receivers": _with(d.receivers, 3, 6)},
        r"1 of 5 edges point outside the 6 nodes \(first: edge 3, 3 -> 6\); expected node numbers in \[0, 6\)",
    ),
    "negative edge": (lambda d: {"senders": _with(d.senders, 1, -1)}, r"first: edge 1, -1 -> 2"),
    "one class": (lambda d: {"num_classes": 1}, "num_classes is 1; expected at least 2"),
    "label high": (
        lambda d: {"labels": _with(d.labels, 3, 2)},
        r"1 labels out of range \(first: node 3, label 2\); expected -1 or a class in \[0, 2\)",
    ),
    "label low": (lambda d: {"labels": _with(d.labels, 0, -2)}, r"first: node 0, label -2"),
    "empty train": (lambda d: {"train_mask": np.zeros(6, bool)}, "train_mask selects none of the 6 nodes"),
    "empty val": (lambda d: {"val_mask": np.zeros(6, bool)}, "val_mask selects none of the 6 nodes"),
    "empty test": (lambda d: {"test_mask": np.zeros(6, bool)}, "test_mask selects none of the 6 nodes"),
    "unlabelled": (
        lambda d: {"test_mask": _with(d.test_mask, 4, True)},
        r"test_mask holds 1 unlabelled nodes \(first: node 4\)",
    ),
    "train and test": (
        lambda d: {"train_mask": _with(d.train_mask, [3, 5], True)},
        r"2 nodes are in both train_mask and test_mask \(first: node 3\)",
    ),
    "train and val": (
        lambda d: {"val_mask": _with(d.val_mask, 1, True)},
        r"1 nodes are in both train_mask and val_mask \(first: node 1\)",
    ),
    "task": (lambda d: {"task": "ranking"}, "task is 'ranking'; expected one of classification, multilabel"),
    "weight of zero": (
        lambda d: {"edge_weights": np.float32([1, 2, 0, 1, 1])},
        r"1 edge weights out of range \(first: edge 2, weight 0.0\); expected numbers above 0",
    ),
    "nan weight": (lambda d: {"edge_weights": np.float32([1, np.nan, 1, 1, 1])}, "first: edge 1, weight nan"),
    "weights of too few edges": (lambda d: {"edge_weights": np.ones(4, np.float32)}, r"edge_weights has shape \(4,\)"),
    "edge features without columns": (
        lambda d: {"edge_features": np.ones((5, 0), np.float32)},
        r"edge_features has shape \(5, 0\); expected \(5, at least 1\)",
    ),
    "infinite edge feature": (
        lambda d: {"edge_features": _with(np.ones((5, 2), np.float32), (3, 1), np.inf)},
        r"features of 1 of 5 edges are NaN or infinite \(first: edge 3\)",
    ),
    "names of classes": (lambda d: {"classes": ("a", "b", "c")}, "classes are 3 names; expected 2 strings, or none"),
    "one name for two": (lambda d: {"classes": ("a", "a")}, "classes are 2 names, 1 of them distinct; expected all"),
    "repeated node": (lambda d: {"node_ids": np.array([7, 8, 9, 7, 5, 4])}, "node_ids are 6, of which 5 are distinct"),
    "labels of several tasks": (
        lambda d: {"task": "multilabel", "labels": np.full((6, 2), 2, np.float32)},
        r"12 labels out of range \(first: node 0, task 0, label 2.0\); expected 0, 1 or NaN",
    ),
    "no known target": (
        lambda d: {"task": "regression", "labels": np.full((6, 2), np.nan, np.float32)},
        "train_mask holds 2 unlabelled nodes",
    ),
    "classes as targets": (lambda d: {"task": "regression"}, "labels has dtype int32; expected float32"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_refused_in_one_line(tiny, fault):
    change, message = FAULTS[fault]
    _assert_refused(tiny, change, message)


def test_sound_typed_graphs_pass_unchanged(typed):
    bare = typed._replace(features=np.zeros((0, 0), np.float32))
    full = typed._replace(features=np.ones((6, 1), np.float32))
    sparse = typed._replace(features=sp.csr_matrix(typed.features))
    for dataset in (typed, bare, full, sparse):
        assert validate(dataset) is dataset


TYPED_FAULTS = {
    "no schema": (lambda d: {"schema": None}, "node_types is given and schema is missing; expected both or neither"),
    "no relations": (lambda d: {"relations": None}, "relations is missing and schema is given"),
    "types dtype": (lambda d: {"node_types": d.node_types.astype(np.int64)}, "node_types has dtype int64"),
    "relations length": (lambda d: {"relations": d.relations[:4]}, r"relations has shape \(4,\); expected \(5,\)"),
    "too many rows": (
        lambda d: {"features": np.ones((7, 3), np.float32)},
        r"features has shape \(7, 3\); expected \(at most 6, at least 1\): one row for each of the first nodes",
    ),
    "no columns": (lambda d: {"features": d.features[:, :0]}, r"features has shape \(5, 0\)"),
    "within a type": (
        lambda d: {"features": d.features[:4]},
        "features has 4 rows, which end within node type 1, 'author'; expected features for all nodes of a type",
    ),
    "nan": (lambda d: {"features": _with(d.features, (4, 0), np.nan)}, "features of 1 of 5 nodes are NaN"),
    "type high": (lambda d: {"node_types": _with(d.node_types, 5, 3)}, r"first: node 5, node type 3.*\[0, 3\)"),
    "type low": (lambda d: {"node_types": _with(d.node_types, 0, -1)}, "first: node 0, node type -1"),
    "descending": (
        lambda d: {"node_types": _with(d.node_types, 1, 2)},
        r"node types are not ascending \(first: node 2, type 0 after 2\)",
    ),
    "relation high": (
        lambda d: {"relations": _with(d.relations, 3, 2)},
        r"1 relations out of range \(first: edge 3, relation 2\); expected a relation in \[0, 2\)",
    ),
    "reverse taken": (lambda d: {"schema": d.schema._replace(reverses=(1, 2))}, r"reverses \(1, 2\)"),
    "reverse gap": (lambda d: {"schema": d.schema._replace(reverses=(0, 3))}, "next free numbers from 2 on"),
    "reverse missing": (lambda d: {"schema": d.schema._replace(reverses=(0,))}, "2 relations with reverses"),
    "class": (lambda d: {"labels": _with(d.labels, 3, 2)}, "1 labels out of range"),
}


@pytest.mark.parametrize("fault", TYPED_FAULTS)
def test_each_fault_of_a_typed_graph_is_refused_in_one_line(typed, fault):
    change, message = TYPED_FAULTS[fault]
    _assert_refused(typed, change, message)


def _tasks(values, task):
    columns = np.array(values, np.float32)
    metric = "rocauc" if task == "multilabel" else "rmse"
    return {"labels": columns, "num_outputs": columns.shape[1], "task": task, "metric": metric}


NAN = np.nan
ANSWERS = [[0, 1], [NAN, 1], [1, NAN], [0, 0]]
NUMBERS = [[-2.5], [0], [1e6], [3]]


def test_sound_graph_level_sets_pass_unchanged(graphs):
    real = graphs._replace(features=np.ones((8, 5), np.float32), vocabulary=())
    bare = graphs._replace(edge_features=None, edge_vocabulary=())
    answers, numbers = _tasks(ANSWERS, "multilabel"), _tasks(NUMBERS, "regression")
    for dataset in (graphs, real, bare, graphs._replace(**answers), graphs._replace(**numbers)):
        assert validate(dataset) is dataset


GRAPH_FAULTS = {
    "a billion classes": (lambda d: {"num_outputs": 10**9}, "num_outputs is 1000000000; .*at most 10000 for 4 graphs"),
    "a list": (lambda d: {"n_node": d.n_node.tolist()}, "n_node is a list; expected a numpy.ndarray"),
    "huge real label": (
        lambda d: _tasks(_with(np.array(ANSWERS), (3, 0), 1e30), "regression"),
        r"label 1\.0+15\d+e\+30\); expected a finite number within 1e\+18 or NaN",
    ),
    "sum of nodes": (lambda d: {"n_node": _with(d.n_node, 1, 2)}, r"features has shape \(8, 2\); expected \(9, 2\)"),
    "sum of edges": (lambda d: {"n_edge": _with(d.n_edge, 0, 1)}, r"senders has shape \(8,\); expected \(7,\)"),
    "counts dtype": (lambda d: {"n_node": d.n_node.astype(np.int64)}, "n_node has dtype int64; expected int32"),
    "counts lengths": (lambda d: {"n_edge": d.n_edge[:3]}, r"n_edge has shape \(3,\); expected \(4,\)"),
    "no node": (lambda d: {"n_node": _with(d.n_node, 1, 0)}, "graph 1 has n_node 0; expected at least 1"),
    "edge outside its graph": (
        lambda d: {"senders": _with(d.senders, 1, 2)},
        r"1 of 8 edges point outside their graph \(first: edge 1, 2 -> 0\); expected node numbers in \[0, 2\)",
    ),
    "negative edge": (lambda d: {"receivers": _with(d.receivers, 3, -1)}, "first: edge 3, 1 -> -1"),
    "one direction": (lambda d: {"senders": _with(d.senders, 5, 0)}, "edges have no reverse"),
    "category": (
        lambda d: {"features": _with(d.features, (6, 1), 3)},
        r"first: node 6, value 3\); expected a category in \[0, 3\) in column 1 of features",
    ),
    "negative category": (lambda d: {"features": _with(d.features, (2, 0), -1)}, "first: node 2, value -1"),
    "edge category": (lambda d: {"edge_features": _with(d.edge_features, 7, 4)}, "first: edge 7, value 4"),
    "vocabulary": (lambda d: {"vocabulary": (2, 3, 4)}, "features has 2 columns; expected 3, as in the vocabulary"),
    "edge vocabulary": (lambda d: {"edge_vocabulary": ()}, r"edge_vocabulary is \(\)"),
    "vocabulary alone": (lambda d: {"edge_features": None}, r"edge_vocabulary is \(4,\) without edge_features"),
    "real categories": (lambda d: {"features": d.features.astype(np.float32)}, "features has dtype float32"),
    "whole features": (lambda d: {"vocabulary": ()}, "features has dtype int32; expected float32"),
    "no columns": (lambda d: {"features": d.features[:, :0]}, r"features has shape \(8, 0\)"),
    "nan feature": (
        lambda d: {"features": np.full((8, 1), NAN, np.float32), "vocabulary": ()},
        "features of 8 of 8 nodes are NaN",
    ),
    "class": (
        lambda d: {"labels": _with(d.labels, 2, 3)},
        r"first: graph 2, label 3\); expected -1 or a class in \[0, 3\)",
    ),
    "no class": (lambda d: {"labels": _with(d.labels, 2, -1)}, "val_mask holds 1 unlabelled graphs"),
    "one class": (lambda d: {"num_outputs": 1}, "num_outputs is 1; expected at least 2 classes"),
    "labels shape": (lambda d: {"labels": d.labels[:3]}, r"labels has shape \(3,\); expected \(4,\)"),
    "answer": (
        lambda d: _tasks([*ANSWERS[:3], [0, 2]], "multilabel"),
        r"1 labels out of range \(first: graph 3, task 1, label 2\.0\); expected 0, 1 or NaN",
    ),
    "infinity": (
        lambda d: _tasks([*NUMBERS[:3], [np.inf]], "regression"),
        r"expected a finite number within 1e\+18 or NaN",
    ),
    "nothing known": (
        lambda d: _tasks([*ANSWERS[:3], [NAN, NAN]], "multilabel"),
        r"test_mask holds 1 unlabelled graphs \(first: graph 3\); expected labelled graphs only",
    ),
    "tasks": (lambda d: _tasks(ANSWERS, "multilabel") | {"num_outputs": 3}, r"labels has shape \(4, 2\)"),
    "mask length": (lambda d: {"val_mask": d.val_mask[:3]}, r"val_mask has shape \(3,\)"),
    "empty": (lambda d: {"test_mask": np.zeros(4, bool)}, "test_mask selects none of the 4 graphs"),
    "overlap": (lambda d: {"val_mask": d.val_mask | d.train_mask}, "2 graphs are in both train_mask and val_mask"),
}


@pytest.mark.parametrize("fault", GRAPH_FAULTS)
def test_each_fault_of_a_graph_level_set_is_refused_in_one_line(graphs, fault):
    change, message = GRAPH_FAULTS[fault]
    _assert_refused(graphs, change, message)


def test_classes_that_training_never_sees_are_named_once(tiny, graphs, caplog):
    labels = _with(tiny.labels, 5, 4)
    assert validate(tiny._replace(labels=labels, num_classes=5))
    assert validate(graphs._replace(labels=_with(graphs.labels, 1, 2)))
    assert [record.getMessage() for record in caplog.records] == [
        "tiny: no training label for 3 of 5 (class 2, 3, 4)",
        "graphs: no training label for 2 of 3 (class 0, 1)",
    ]


def test_tasks_that_training_never_sees_are_named(graphs, caplog):
    answers = np.array([[1, np.nan], [0, np.nan], [1, 1], [np.nan, 0]], np.float32)
    assert validate(graphs._replace(**_tasks(answers, "multilabel")))
    assert [record.getMessage() for record in caplog.records] == ["graphs: no training label for 1 of 2 (task 1)"]


def test_all_classes_seen_is_not_worth_a_word(tiny, typed, caplog):
    validate(tiny)
    validate(typed)
    assert not caplog.records


def test_large_features_below_the_limit_pass(tiny):
    assert validate(tiny._replace(features=_with(tiny.features, (0, 0), 1e18)))


def test_every_chunk_of_large_and_mapped_features_is_looked_at(typed, tmp_path, monkeypatch):
    monkeypatch.setattr("abkd_jax.datasets.checks.common.CHUNK", 6)  # two rows of three
    for row in range(5):
        np.save(tmp_path / "features.npy", _with(typed.features, (row, 2), -np.inf))
        mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
        with pytest.raises(InputError, match=rf"features of 1 of 5 nodes .*first: node {row}\)"):
            validate(typed._replace(features=mapped))
