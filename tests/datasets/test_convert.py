"""The same graph through SciPy, NetworkX, PyTorch Geometric and jraph is the same data set; and back; and damage."""

import jraph
import numpy as np
import pytest
import scipy.sparse as sp
from converter_samples import hetero
from graphs import edge_lists, quick
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from abkd_jax import datasets
from abkd_jax.graph.host import host_graph, target_mask
from abkd_jax.types import Dataset, InputError, Schema

nx = pytest.importorskip("networkx")
torch = pytest.importorskip("torch")
pyg = pytest.importorskip("torch_geometric.data")

KINDS = ("whole", "text")  # of identifiers and of classes
MASKS = ("train_mask", "val_mask", "test_mask")


def assert_same(first, second):
    """Two data sets are the same graph once duplicates are merged, and the same in everything else."""
    for name in ("labels", *MASKS, "num_classes", "task", "directed", "classes"):
        assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    assert first.schema == second.schema
    assert_array_equal(_dense(first.features), _dense(second.features))
    a, b = host_graph(first), host_graph(second)
    for name in ("indptr", "senders", "weights", "relations", "node_types", "edge_features"):
        assert (getattr(a, name) is None) == (getattr(b, name) is None), name
        assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def _dense(features):
    return features.toarray() if sp.issparse(features) else features


def _graph(edges, ids, classes):
    """What all four libraries are given: identifiers with gaps in falling order, features, labels, masks."""
    n = edges.size
    order = 7 * np.arange(n)[::-1] + 3
    number = np.arange(n) % 2
    return {
        "node_ids": order if ids == "whole" else np.array([f"node {place}" for place in order]),
        "features": np.stack([np.arange(n), np.ones(n)], axis=1).astype(np.float32),
        "labels": number if classes == "whole" else np.array(["even", "odd"])[number],
        "numbers": number,
        "masks": [np.arange(n) % 3 == part for part in range(3)],
    }


def _networkx(edges, graph, weights):
    """A multigraph with these edges, without nodes that are numbers of rows."""
    made = nx.MultiDiGraph()
    for place, node in enumerate(graph["node_ids"].tolist()):
        part = ("train", "val", "test")[place % 3]
        made.add_node(node, x=graph["features"][place], y=graph["labels"][place].item(), split=part)
    for sender, receiver, weight in zip(edges.senders, edges.receivers, weights, strict=True):
        made.add_edge(*graph["node_ids"][[sender, receiver]].tolist(), weight=float(weight))
    return made


@quick
@given(
    edges=edge_lists([(6, 0), (7, 9), (9, 20)]),
    directed=st.booleans(),
    weighted=st.booleans(),
    ids=st.sampled_from(KINDS),
    classes=st.sampled_from(KINDS),
)
def test_one_graph_in_four_libraries(edges, directed, weighted, ids, classes):
    """With duplicates, self loops, isolated nodes, both directions, identifiers with gaps or of text, text labels."""
    graph = _graph(edges, ids, classes)
    weights = edges.weights if weighted else np.ones_like(edges.weights)
    ends, n = (edges.senders, edges.receivers), edges.size
    options = {"directed": directed}
    adjacency = sp.coo_array((weights, ends), shape=(n, n))
    given = (graph["features"], graph["labels"], graph["masks"])
    scipy = datasets.from_scipy(adjacency, *given, node_ids=graph["node_ids"], **options)
    networkx = datasets.from_networkx(_networkx(edges, graph, weights), **options)
    tuples = jraph.GraphsTuple(graph["features"], weights, *ends[::-1], None, np.array([n]), np.array([weights.size]))
    of_jraph = datasets.from_jraph(tuples, graph["labels"], graph["masks"], node_ids=graph["node_ids"], **options)
    data = pyg.Data(
        x=torch.tensor(graph["features"]),
        y=torch.tensor(graph["numbers"]),
        edge_index=torch.tensor(np.stack(ends), dtype=torch.int64),
        edge_weight=torch.tensor(weights),
        **{name: torch.tensor(mask) for name, mask in zip(MASKS, graph["masks"], strict=True)},
    )
    of_pyg = datasets.from_pyg(data, **options)
    assert_same(scipy, networkx)
    assert_same(scipy, of_jraph)
    assert_same(scipy._replace(classes=()), of_pyg)
    assert_array_equal(scipy.node_ids, networkx.node_ids)
    assert_array_equal(scipy.node_ids, of_jraph.node_ids)
    assert scipy.classes == (() if classes == "whole" else ("even", "odd"))
    assert scipy.directed == directed
    assert (scipy.edge_weights is None) == bool((weights == 1).all())
    assert_same(datasets.from_pyg(datasets.to_pyg(of_pyg), **options), of_pyg)
    back = datasets.to_jraph(of_jraph)
    assert_same(datasets.from_jraph(back, graph["labels"], graph["masks"], **options), of_jraph)


def test_edge_lists_stay_as_they_are_given():
    adjacency = sp.coo_array(([1, 2, 3, 0], ([0, 0, 1, 2], [1, 1, 0, 2])), shape=(6, 6))
    found = datasets.from_scipy(adjacency, np.eye(6), np.arange(6) % 2, [np.arange(6) % 3 == part for part in range(3)])
    assert (found.senders.tolist(), found.receivers.tolist()) == ([0, 0, 1], [1, 1, 0])
    assert found.edge_weights.tolist() == [1, 2, 3]


def test_without_masks_the_generator_draws_the_split():
    labels = np.arange(200) % 2
    found = [
        datasets.from_scipy(sp.eye(200), sp.eye(200), labels, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    ]
    assert_array_equal(found[0].train_mask, found[1].train_mask)
    assert (found[0].train_mask != found[2].train_mask).any()
    assert np.bincount(labels[found[0].train_mask]).tolist() == [20, 20]
    assert sp.issparse(found[0].features)
    assert found[0].source == "own graph, from SciPy, split drawn"
    targets = datasets.from_scipy(sp.eye(200), np.eye(200), labels / 3, rng=np.random.default_rng(1))
    assert [targets.task, int(targets.train_mask.sum())] == ["regression", 120]


def test_networkx_reads_numbers_beside_vectors_and_nodes_without_labels():
    graph = nx.path_graph(6)
    for node, data in graph.nodes(data=True):
        data |= {"age": node, "tall": node > 2, "at": [node, 0.5], "split": ("train", "val", "test", "none")[node % 4]}
        if node != 3:
            data["kind"] = node % 2
    nx.set_edge_attributes(graph, {edge: {"length": edge[0] / 2, "ends": edge} for edge in graph.edges})
    options = {"labels": "kind", "edge_features": ["length", "ends"]}
    found = datasets.from_networkx(graph, features=("age", "at", "tall"), **options)
    assert_array_equal(found.features, [[node, node, 0.5, node > 2] for node in range(6)])
    assert found.labels.tolist() == [0, 1, 0, -1, 0, 1]
    assert_array_equal(found.edge_features, [[node / 2, node, node + 1] for node in range(5)])
    assert (found.node_ids, found.edge_weights) == (None, None)


@pytest.mark.parametrize("task", ["regression", None])
def test_networkx_nodes_without_a_target_are_unknown_whatever_type_the_first_has(task):
    graph = nx.path_graph(4)
    for node, label in enumerate((7, 0, None, 0.5)):
        graph.nodes[node].update({"x": [1.0]} if label is None else {"x": [1.0], "y": label})
    found = datasets.from_networkx(graph, rng=0, task=task)
    assert_array_equal(found.labels[:, 0], [7, 0, np.nan, 0.5])
    graph.nodes[3]["y"] = 3
    assert_array_equal(datasets.from_networkx(graph, rng=0, task="regression").labels[:, 0], [7, 0, np.nan, 3])
    graph.nodes[3]["y"] = 2**24 + 1
    with pytest.raises(InputError, match="labels holds integers beyond 16777216"):
        datasets.from_networkx(graph, rng=0, task="regression")


# PyTorch Geometric: types and many graphs ----------------------------------------------------------------------------


def test_node_types_of_other_widths_have_columns_of_their_own():
    found = datasets.from_pyg(hetero())
    assert found.schema == Schema(("author", "paper", "venue"), ("writes", "in"), (2, 3))
    assert_array_equal(found.features, [[5, 0, 0], [6, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]])
    assert found.node_types.tolist() == [0, 0, 1, 1, 1, 2]
    assert found.labels.tolist() == [-1, -1, 0, 1, 1, -1]
    assert list(zip(found.senders, found.receivers, found.relations, strict=True)) == [
        (0, 2, 0),
        (1, 2, 0),
        (1, 4, 0),
        (3, 5, 1),
    ]
    assert [np.flatnonzero(mask).tolist() for mask in (found.train_mask, found.val_mask, found.test_mask)] == [
        [2],
        [3],
        [4],
    ]


@pytest.mark.parametrize("labels", [[4, -1, 9], [4.0, -1.0, 9.0]])
def test_targets_that_are_whole_numbers_are_unknown_on_nodes_of_other_types(labels):
    data = hetero()
    data["paper"].y = torch.tensor(labels)
    found = datasets.from_pyg(data, task="regression")
    assert_array_equal(found.labels[:, 0], [np.nan, np.nan, 4, -1, 9, np.nan])
    assert target_mask(found).tolist() == [False, False, True, True, True, False]
    data["paper"].y = torch.tensor([0, 1, 1])
    several = datasets.from_pyg(data, task="multilabel").labels
    assert_array_equal(several[:, 0], [np.nan, np.nan, 0, 1, 1, np.nan])


def test_a_reverse_type_with_other_edges_is_a_relation():
    data = hetero()
    data["paper", "rev_writes", "author"].edge_index = torch.tensor([[2], [0]])
    assert datasets.from_pyg(data).schema.relations == ("writes", "rev_writes", "in")
    assert datasets.from_pyg(hetero(), directed=True).schema.relations == ("writes", "rev_writes", "in")


@pytest.mark.parametrize("word", ["edge_weight", "edge_attr"])
def test_a_reverse_type_with_weights_or_features_of_its_own_is_a_relation(word):
    data, values = hetero(), torch.tensor([[1.0], [2.0], [4.0]])
    data["author", "writes", "paper"][word] = values
    data["paper", "rev_writes", "author"][word] = values.flip(0)  # its edges are in the other order
    if word == "edge_attr":
        data["paper", "in", "venue"].edge_attr = torch.zeros(1, 1)
    assert datasets.from_pyg(data).schema.relations == ("writes", "in")
    data["paper", "rev_writes", "author"][word] = values
    assert datasets.from_pyg(data).schema.relations == ("writes", "rev_writes", "in")


def test_a_type_that_holds_its_own_reverse_edges_needs_no_other():
    data = hetero()
    data["paper", "cites", "paper"].edge_index = torch.tensor([[0, 1, 1, 2, 2], [1, 0, 2, 1, 2]])
    data["author", "knows", "author"].edge_index = torch.tensor([[0], [1]])
    found = datasets.from_pyg(data)
    assert found.schema.relations == ("writes", "in", "cites", "knows")
    assert found.schema.reverses == (4, 5, 2, 6)
    graph = host_graph(found)
    receivers = np.repeat(np.arange(6), np.diff(graph.indptr))
    papers = {(2, 3), (3, 2), (3, 4), (4, 3)}  # as they are listed, without the loop
    cites = graph.relations == 2
    assert set(zip(graph.senders[cites].tolist(), receivers[cites].tolist(), strict=True)) == papers
    assert (int(cites.sum()), graph.num_relations) == (4, 7)
    data["paper", "cites", "paper"].edge_weight = torch.tensor([1.0, 2.0, 1.0, 1.0, 1.0])
    assert datasets.from_pyg(data).schema.reverses == (4, 5, 6, 7)
    assert datasets.from_pyg(data, directed=True).schema.reverses == (0, 1, 2, 3, 4)


# Relations 0 within the first type, 1 from the second to it; the edges of 0, the schema, and the edges of each type.
TO_PYG = {
    "reverse types": ([(0, 1), (1, 2)], ("cites", "writes"), (2, 3), {"cites": 2, "rev_cites": 2}),
    "its own reverse": ([(0, 1), (1, 2)], ("cites", "writes"), (0, 2), {"cites": 4}),
    "its own reverse, in part": ([(0, 1), (1, 0), (0, 1), (2, 1)], ("cites", "writes"), (0, 2), {"cites": 5}),
    "the name of its reverse": (
        [(0, 1), (1, 2)],
        ("rev_writes", "writes"),
        (2, 3),
        {"rev_writes": 2, "rev_rev_writes": 2},
    ),
}


@pytest.mark.parametrize("name", TO_PYG)
def test_types_go_to_pyg_and_back(typed, name):
    edges, words, reverses, expected = TO_PYG[name]
    ends = np.int32([*edges, (3, 0), (4, 0), (4, 2)]).T
    dataset = typed._replace(
        schema=Schema(typed.schema.node_types, words, reverses),
        senders=ends[0],
        receivers=ends[1],
        relations=np.repeat(np.int32([0, 1]), [len(edges), 3]),
        labels=np.array([0, 1, 0, -1, -1, -1], np.int32),
        **{f"{part}_mask": np.arange(6) == place for place, part in enumerate(("train", "val", "test"))},
    )
    found = datasets.to_pyg(datasets.validate(dataset))
    paper, author, _ = dataset.schema.node_types
    assert {word: found[paper, word, paper].num_edges for word in expected} == expected
    assert [found[key].num_edges for key in ((author, "writes", paper), (paper, "rev_writes", author))] == [3, 3]
    assert len(found.edge_types) == len(expected) + 2
    assert_same(datasets.from_pyg(found), dataset)


def test_a_relation_may_be_called_as_the_reverse_of_another():
    """Its edges are one short of the reverses of the other: both are relations, with reverses of their own."""
    data = hetero()
    data["paper", "rev_writes", "author"].edge_index = torch.tensor([[2, 0], [1, 0]])
    dataset = datasets.from_pyg(data)
    found = datasets.to_pyg(dataset)
    assert [(key[1], found[key].num_edges) for key in found.edge_types] == [
        ("writes", 3),
        ("rev_rev_writes", 3),
        ("rev_writes", 2),
        ("rev_rev_writes", 2),
        ("in", 1),
        ("rev_in", 1),
    ]
    assert_same(datasets.from_pyg(found), dataset)


def test_edge_types_that_share_a_word_go_to_pyg_and_back_with_their_features():
    data = hetero()
    edges = data["author", "writes", "paper"].edge_index
    for key, ends in ((("author", "to", "paper"), edges), (("paper", "to", "author"), edges.flip(0)[:, 1:])):
        data[key].edge_index, data[key].edge_attr = ends, torch.arange(2.0 * ends.shape[1]).reshape(-1, 2)
    for key in (("author", "writes", "paper"), ("paper", "rev_writes", "author"), ("paper", "in", "venue")):
        del data[key]
    found = datasets.to_pyg(datasets.from_pyg(data, directed=True))
    assert found.edge_types == data.edge_types == [("author", "to", "paper"), ("paper", "to", "author")]
    for key in data.edge_types:
        assert_array_equal(found[key].edge_index, data[key].edge_index)
        assert_array_equal(found[key].edge_attr, data[key].edge_attr)


def test_many_graphs_go_to_pyg_and_jraph_and_back(graphs):
    masks = (graphs.train_mask, graphs.val_mask, graphs.test_mask)
    tuples = datasets.to_jraph(graphs)
    for found in (
        datasets.from_pyg(datasets.to_pyg(graphs), masks),
        datasets.from_jraph(tuples, graphs.labels, masks),
        datasets.from_jraph(jraph.unbatch(tuples), graphs.labels, masks),
    ):
        for name in ("features", "edge_features", "senders", "receivers", "n_node", "n_edge", "labels", "num_outputs"):
            assert_array_equal(getattr(found, name), getattr(graphs, name), err_msg=name)
        assert (found.task, found.metric) == ("classification", "accuracy")


def test_real_targets_of_many_graphs_and_several_labels_of_nodes():
    one = pyg.Data(x=torch.ones(2, 1), edge_index=torch.tensor([[0], [1]]), y=torch.tensor([[0.5, 2.0]]))
    found = datasets.from_pyg([one] * 5, rng=np.random.default_rng(0))
    assert (found.task, found.metric, found.num_outputs) == ("regression", "rmse", 2)
    assert (found.senders.tolist(), found.receivers.tolist()) == ([0, 1] * 5, [1, 0] * 5)
    many = pyg.Data(x=torch.ones(5, 1), edge_index=torch.tensor([[0], [1]]), y=torch.eye(5, 3).long())
    assert datasets.from_pyg(many, rng=np.random.default_rng(0)).task == "multilabel"


def test_one_of_several_stored_splits_is_taken():
    masks = {
        f"{part}_mask": torch.eye(6, 2).roll(2 * place, 0) > 0 for place, part in enumerate(("train", "val", "test"))
    }
    data = pyg.Data(x=torch.ones(6, 1), edge_index=torch.tensor([[0], [1]]), y=torch.arange(6) % 2, **masks)
    assert np.flatnonzero(datasets.from_pyg(data, split=1).val_mask).tolist() == [3]


def test_a_converted_graph_is_a_data_set_like_any_other(tmp_path):
    labels, masks = np.arange(6) % 2, [np.arange(6) % 3 == part for part in range(3)]
    found = datasets.from_scipy(sp.eye_array(6, k=1), np.eye(6), labels, masks)
    assert isinstance(found, Dataset)
    datasets.save_npz(found, tmp_path / "mine.npz")
    assert_same(datasets.load(str(tmp_path / "mine.npz")), found)
