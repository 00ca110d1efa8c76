"""Predictions: all ways to compute them give the numbers of the model, and what no model expects is one line."""

import dataclasses
import functools

import export_samples
import jax
import jraph
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import edge_lists
from hypothesis import given, settings
from hypothesis import strategies as st

from abkd_jax import InputError, datasets, graph
from abkd_jax.configs.options import ModelConfig
from abkd_jax.graph.host import host_graph, whole_graph
from abkd_jax.inference import bundle as bundles
from abkd_jax.inference.export.arguments import arrays_of
from abkd_jax.inference.input_graph import normalised_rows
from abkd_jax.inference.predict import logits, probabilities
from abkd_jax.types import Dataset, Schema

NODES, EDGES, WIDTH, CLASSES = 9, 20, 5, 3
FEATURED = 6
SCHEMA = Schema(("a", "b"), ("x", "y"), (0, 2))
X = np.random.default_rng(0).normal(size=(NODES, WIDTH)).astype(np.float32)
CONFIGS = {
    "gcn": ModelConfig("gcn", layers=2, hidden=4, norm="batch"),
    "graphsage": ModelConfig("graphsage", layers=2, hidden=4),
    "gat": ModelConfig("gat", layers=2, hidden=4, heads=2),
    "gin": ModelConfig("gin", layers=2, hidden=4),
    "rgcn": ModelConfig("rgcn", layers=2, hidden=4),
    "gcnii": ModelConfig("gcnii", layers=2, hidden=4),
}


def dataset(senders, receivers, typed=False, **changes) -> Dataset:
    mask, extra = np.zeros(NODES, bool), ()
    if typed:
        types = np.repeat(np.array([0, 1], np.int32), [FEATURED, NODES - FEATURED])
        extra = (SCHEMA, types, (np.arange(senders.shape[0]) % 2).astype(np.int32))
    features, labels = X[:FEATURED] if typed else X, np.zeros(NODES, np.int32)
    made = Dataset("small", features, senders, receivers, labels, CLASSES, mask, mask, mask, "", *extra)
    return made._replace(**changes)


SMALL = dataset(np.arange(8, dtype=np.int32), np.arange(1, 9, dtype=np.int32))


@functools.cache
def bundle_of(name: str) -> bundles.Bundle:
    """A model with random weights, biases and statistics included."""
    example = dataset(SMALL.senders, SMALL.receivers, typed=name == "rgcn")
    made = bundles.Bundle(CONFIGS[name], bundles.inputs_of(example, name), CLASSES, "classification", {})
    return with_weights(made, whole_graph(host_graph(example)))


def with_weights(bundle: bundles.Bundle, example: jraph.GraphsTuple) -> bundles.Bundle:
    model, rng = bundles.model_of(bundle), np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), example)
    drawn = jax.tree.map(lambda leaf: np.abs(rng.normal(0.2, 0.5, leaf.shape)).astype(np.float32), shapes)
    return dataclasses.replace(bundle, variables=drawn)


@functools.cache
def reference(name: str):
    """`graph on the host -> logits` of the model on all of it, padded so that all graphs share one program."""
    model, variables = bundles.model_of(bundle_of(name)), bundle_of(name).variables
    apply = jax.jit(lambda variables, graph: model.apply(variables, graph).logits)

    def compute(host):
        padded = jraph.pad_with_graphs(whole_graph(host), NODES + 1, 2 * EDGES + 1)
        return np.asarray(apply(variables, padded))[:NODES]

    return compute


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(edges=edge_lists([(NODES, EDGES)]), nodes=st.lists(st.integers(0, NODES - 1), min_size=1, max_size=3))
def test_some_nodes_are_rows_of_the_whole_graph(name, edges, nodes):
    data = dataset(edges.senders, edges.receivers, typed=name == "rgcn")
    expected = reference(name)(host_graph(data))[nodes]
    got = logits(bundle_of(name), data, np.array(nodes), whole_bytes=0)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_every_form_of_a_graph_gives_the_same_numbers():
    bundle, prepared = bundle_of("gcn"), graph.from_dataset(SMALL)
    model = bundles.model_of(bundle)
    expected = np.asarray(jax.jit(lambda v, g: model.apply(v, g).logits)(bundle.variables, prepared))
    for form in (SMALL, host_graph(SMALL), prepared, SMALL._replace(directed=True)):  # the model is of undirected edges
        np.testing.assert_array_equal(logits(bundle, form), expected)
        np.testing.assert_array_equal(logits(bundle, form, np.array([4, 0])), expected[[4, 0]])
    np.testing.assert_allclose(logits(bundle, SMALL, whole_bytes=0), expected, rtol=1e-5)
    np.testing.assert_allclose(logits(bundle, whole_graph(host_graph(SMALL))), expected, rtol=1e-5)


def test_features_of_16_bits_are_summed_in_32():
    bundle, plain = bundle_of("gin"), whole_graph(host_graph(SMALL))
    large = np.full((NODES, WIDTH), 40000, np.float16)  # two of them are infinite in 16 bits
    expected = logits(bundle, plain._replace(nodes=large.astype(np.float32)))
    np.testing.assert_array_equal(logits(bundle, plain._replace(nodes=large)), expected)


@pytest.mark.parametrize("sparse", [False, True])
def test_rows_are_divided_as_in_training_and_only_once(sparse):
    raw = np.abs(X) * np.arange(NODES, dtype=np.float32)[:, None]  # the first row is zero
    divided = raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-9)
    forms = [sp.csr_matrix(x) if sparse else x for x in (raw, divided)]
    bundle = bundle_of("gcn")
    bundle = dataclasses.replace(bundle, inputs=dataclasses.replace(bundle.inputs, row_normalised=True))
    found = [logits(bundle, SMALL._replace(features=x)) for x in forms]
    found += [logits(bundle, graph.from_dataset(SMALL._replace(features=x))) for x in forms]
    found.append(logits(bundle_of("gcn"), SMALL._replace(features=forms[1])))
    for one in found:
        np.testing.assert_allclose(one, found[0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(logits(bundle_of("gcn"), SMALL._replace(features=forms[0])), found[0], rtol=1e-3)
    assert normalised_rows(forms[1]) is forms[1]


def test_probabilities_are_those_of_the_task():
    x = np.log(np.array([[1.0, 3.0]], np.float32))
    np.testing.assert_allclose(probabilities("classification", x), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(probabilities("multilabel", x), [[0.5, 0.75]], rtol=1e-6)
    np.testing.assert_array_equal(probabilities("regression", x), x)


def test_graphs_are_predicted_one_by_one(data_root):
    data = datasets.load("mutag", data_root)
    config = ModelConfig("gin", layers=2, hidden=4, readout="sum")
    bundle = bundles.Bundle(config, bundles.inputs_of(data), 2, "classification", {})
    first = jraph.GraphsTuple(
        nodes=data.features[: data.n_node[0]],
        edges=data.edge_features[: data.n_edge[0]],
        senders=data.senders[: data.n_edge[0]],
        receivers=data.receivers[: data.n_edge[0]],
        globals=None,
        n_node=data.n_node[:1],
        n_edge=data.n_edge[:1],
    )
    bundle = with_weights(bundle, first)
    every = logits(bundle, "mutag", data_root=data_root)
    assert every.shape == (188, 2)
    np.testing.assert_array_equal(logits(bundle, data, np.array([187, 0])), every[[187, 0]])
    np.testing.assert_allclose(logits(bundle, first), every[:1], rtol=1e-4)
    with pytest.raises(InputError, match=r"^graph: whole graphs, expected the nodes of one graph, which"):
        logits(bundle_of("gcn"), data)
    with pytest.raises(InputError, match=r"^graph: the nodes of one graph, expected whole graphs, which the"):
        logits(bundle, SMALL)


def test_a_category_that_is_not_known_is_named_by_its_graph():
    bundle, data = export_samples.bundle_of("gin_graphs"), export_samples.graphs_of("gin_graphs")[0]
    features, edge_features = data.features.copy(), data.edge_features.copy()
    features[4, 1] = 2  # rings of 3 and 5 nodes
    edge_features[9, 0] = -1  # 6 edges of the first ring, then 0 to 4, 1 to 0, 2 to 1, 3 to 2
    for wrong, message in (
        (data._replace(features=features), "node features: graph 1, node 1, column 1 is 2, expected 0 to 1"),
        (data._replace(edge_features=edge_features), "edge features: graph 1, edge 3 to 2, column 0 is -1, expected 0"),
        (data._replace(receivers=data.receivers + 9), "edge 6: receiver 16 is outside a graph of 12 nodes"),
        (data._replace(features=data.features[:, :1]), r"node features have shape \(12, 1\), expected"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            logits(bundle, wrong)


TYPED = dataset(SMALL.senders, SMALL.receivers, typed=True)
WEIGHTED = dataclasses.replace(bundle_of("gcn").inputs, edge_weights=True)
REFUSED = {
    "another width": ("gcn", SMALL._replace(features=X[:, :4]), {}, r"node features have shape \(9, 4\), expected"),
    "an edge out of range": ("gcn", SMALL._replace(senders=SMALL.senders + 5), {}, "edge .* 9"),
    "a node out of range": ("gcn", SMALL, {"nodes": np.array([9])}, "predict: nodes 9 to 9, expected 0 to 8"),
    "types for a model of none": ("gcn", TYPED._replace(features=X), {}, "graph: node types a, b and relations x, y"),
    "no types": ("rgcn", SMALL._replace(features=X[:FEATURED]), {}, "graph: no node types given, expected 2"),
    "another relation": (
        "rgcn",
        TYPED._replace(schema=SCHEMA._replace(relations=("x", "z"))),
        {},
        "graph: node types a, b and relations x, z, expected node types a, b and relations x, y",
    ),
    "one relation more": (
        "rgcn",
        host_graph(TYPED)._replace(num_relations=4),
        {},
        "graph: 4 relations, expected 3",
    ),
    "other embeddings": ("rgcn", TYPED._replace(features=X[:5]), {}, "graph: 9 nodes, 4 of them without features"),
    "no weights": ("weighted", SMALL, {}, "graph: no edge weights, expected one per edge, as in training"),
}  # fmt: skip


def test_relations_of_a_data_set_are_told_by_name():
    bundle, expected = bundle_of("rgcn"), logits(bundle_of("rgcn"), TYPED)
    other = TYPED._replace(schema=SCHEMA._replace(relations=("y", "x"), reverses=(2, 3)), relations=1 - TYPED.relations)
    np.testing.assert_array_equal(logits(bundle, other), expected)
    np.testing.assert_array_equal(arrays_of(other, bundle.inputs)["relations"], TYPED.relations)
    second = TYPED.relations == 1
    alone = TYPED._replace(
        senders=TYPED.senders[second], receivers=TYPED.receivers[second], relations=np.ones(4, np.int32)
    )
    named = alone._replace(schema=Schema(("a", "b"), ("y",), (1,)), relations=np.zeros(4, np.int32))
    np.testing.assert_array_equal(logits(bundle, named), logits(bundle, alone))
    assert not np.array_equal(logits(bundle, alone), expected)
    listed = TYPED._replace(schema=SCHEMA._replace(reverses=(1, 0)))  # y holds the reverse edges of x: not here
    for unclear in (listed, other._replace(relations=other.relations + 1)):
        with pytest.raises(InputError, match=r"^graph: node types a, b and relations .*, expected node types a, b and"):
            logits(bundle, unclear)


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_model_does_not_expect_is_one_line(case):
    name, form, options, message = REFUSED[case]
    bundle = bundle_of("gcn" if name == "weighted" else name)
    bundle = dataclasses.replace(bundle, inputs=WEIGHTED) if name == "weighted" else bundle
    for whole_bytes in (0, 2**30):
        with pytest.raises(InputError, match=f"^{message}") as caught:
            logits(bundle, form, whole_bytes=whole_bytes, **options)
        assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_one_line():
    bundle = dataclasses.replace(bundle_of("gcn"), config=dataclasses.replace(CONFIGS["gcn"], hidden=5))
    with pytest.raises(InputError, match=r"^the weights do not fit the gcn of the card: ") as caught:
        logits(bundle, SMALL)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_read_are_left_out_with_a_warning(caplog):
    weights = np.linspace(1.0, 2.0, 8, dtype=np.float32)
    got = logits(bundle_of("gcn"), SMALL._replace(edge_weights=weights))
    np.testing.assert_array_equal(got, logits(bundle_of("gcn"), SMALL))
    assert "edge weights of the graph are not read" in caplog.text
