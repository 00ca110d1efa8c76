"""Graphs on the host: which edges there are, and weights and features of each, against plain Python."""

import jax
import numpy as np
import pytest
from graphs import EdgeList, edge_lists, quick
from hypothesis import given
from hypothesis import strategies as st
from model_samples import CLASSES, HIDDEN, initialised

from abkd_jax import models, sampling
from abkd_jax.datasets import validate
from abkd_jax.graph import edge_weights, from_dataset, raw_edges
from abkd_jax.graph.host import host_graph, whole_graph
from abkd_jax.inference.layerwise import layerwise
from abkd_jax.types import Dataset, InputError, Schema

SIZES = [(1, 2), (2, 6), (5, 0), (9, 20)]  # two nodes: most edges are repeated, or the reverse of another


def dataset(edges: EdgeList, *, directed: bool, weighted: bool = True) -> Dataset:
    """Every node has its number as feature, every listed edge its number."""
    n, e = edges.size, edges.senders.size
    place = np.arange(n)
    return Dataset(
        name="sample",
        features=np.stack([place, np.ones(n)], axis=1).astype(np.float32),
        senders=edges.senders,
        receivers=edges.receivers,
        labels=(place % 2).astype(np.int32),
        num_classes=2,
        train_mask=place % 3 == 0,
        val_mask=place % 3 == 1,
        test_mask=place % 3 == 2,
        source="made for tests",
        directed=directed,
        edge_weights=edges.weights if weighted else None,
        edge_features=np.arange(e, dtype=np.float32)[:, None] if weighted else None,
    )


def expected_edges(edges: EdgeList, directed: bool) -> dict[tuple[int, int], tuple[float, int]]:
    """Weight and first listed entry by `(sender, receiver)`, one edge after the other."""
    listed: dict[tuple[int, int], tuple[float, int]] = {}
    ends = zip(edges.senders.tolist(), edges.receivers.tolist(), edges.weights.tolist(), strict=True)
    for number, (sender, receiver, weight) in enumerate(ends):
        if sender != receiver:
            before, first = listed.get((sender, receiver), (0.0, number))
            listed[sender, receiver] = (before + weight, first)
    if directed:
        return listed
    both = {}
    for (sender, receiver), (weight, first) in listed.items():
        back, back_first = listed.get((receiver, sender), (0.0, first))
        both[sender, receiver] = (max(weight, back), first)
        both[receiver, sender] = (max(weight, back), back_first)
    return both


@given(edge_lists(SIZES), st.booleans())
@quick
def test_weights_and_features_of_merged_edges(edges, directed):
    graph = whole_graph(host_graph(dataset(edges, directed=directed)))
    expected = expected_edges(edges, directed)
    ends = list(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True))
    assert sorted(ends) == sorted(expected)
    assert ends == sorted(ends, key=lambda pair: pair[::-1])
    assert edge_weights(graph).tolist() == [expected[pair][0] for pair in ends]
    assert raw_edges(graph)["features"][:, 0].tolist() == [expected[pair][1] for pair in ends]


@given(edge_lists(SIZES), st.booleans())
@quick
def test_weights_move_no_edge(edges, directed):
    plain = host_graph(dataset(edges, directed=directed, weighted=False))
    weighted = host_graph(dataset(edges, directed=directed))
    np.testing.assert_array_equal(plain.indptr, weighted.indptr)
    np.testing.assert_array_equal(plain.senders, weighted.senders)
    assert whole_graph(plain).edges is None


RNG = np.random.default_rng(3)
NODES = 30
ENDS = RNG.integers(0, NODES - 1, (2, 90)).astype(np.int32)
EDGES = EdgeList(*ENDS, RNG.uniform(0.5, 3.0, 90).astype(np.float32), NODES)


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize(
    "model",
    [
        models.GCN(HIDDEN, 2, CLASSES),
        models.GIN(HIDDEN, 2, CLASSES, edge_features=1, jumping="last"),
        models.GAT(HIDDEN, 2, CLASSES, heads=2, edge_features=1),
    ],
    ids=["gcn", "gin", "gat"],
)
def test_whole_layer_by_layer_and_sampled_with_all_neighbours(model, directed):
    data = validate(dataset(EDGES, directed=directed))
    host, graph = host_graph(data), from_dataset(data)
    variables = initialised(model, graph=graph)
    whole = np.asarray(jax.jit(model.apply)(variables, graph).logits)
    close = {"rtol": 1e-5, "atol": 1e-5 * np.abs(whole).max()}
    np.testing.assert_allclose(layerwise(model, variables, host, chunk_edges=16), whole, **close)
    # Degrees of the last hop are not whole: one hop more than there are layers.
    sampler = sampling.neighbour_batches(host, NODES, (-1, -1, -1), roots=np.arange(NODES))
    (minibatch,) = sampler.minibatches(np.random.default_rng(0))
    logits = np.asarray(jax.jit(model.apply)(variables, minibatch.batch.graph).logits)
    np.testing.assert_allclose(logits[: len(minibatch.nodes)], whole[minibatch.nodes], **close)


@pytest.mark.parametrize("directed", [False, True])
def test_types_and_weights_together(directed):
    schema = Schema(("a", "b"), ("x", "y"), (0, 1) if directed else (0, 2))
    kinds, relations = (np.arange(NODES) >= 20).astype(np.int32), (np.arange(90) % 2).astype(np.int32)
    typed = dataset(EDGES, directed=directed)._replace(schema=schema, node_types=kinds, relations=relations)
    host, graph = host_graph(validate(typed)), from_dataset(typed)
    model = models.RGCN(HIDDEN, 2, CLASSES, relations=schema.num_relations, node_types=2)
    variables = initialised(model, graph=graph)
    whole = np.asarray(jax.jit(model.apply)(variables, graph).logits)
    found = layerwise(model, variables, host, chunk_edges=32)
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-5 * np.abs(whole).max())
    ends = zip(EDGES.senders.tolist(), relations.tolist(), EDGES.receivers.tolist(), strict=True)
    expected = {edge for edge in ends if edge[0] != edge[2]}
    if not directed:
        expected |= {(receiver, schema.reverses[kind], sender) for sender, kind, receiver in expected}
    receivers = np.repeat(np.arange(NODES), np.diff(host.indptr))
    assert set(zip(host.senders.tolist(), host.relations.tolist(), receivers.tolist(), strict=True)) == expected


def test_a_directed_graph_has_the_edges_of_the_list_alone():
    graph = whole_graph(host_graph(dataset(EDGES, directed=True)))
    listed = {pair for pair in zip(*ENDS.tolist(), strict=True) if pair[0] != pair[1]}
    assert set(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True)) == listed
    assert any((receiver, sender) not in listed for sender, receiver in listed)


def test_clusters_and_walks_of_a_directed_graph():
    host = host_graph(dataset(EDGES, directed=True))
    parts = sampling.partition(host, 3)
    sampler = sampling.cluster_batches(host, parts, 3)
    (batch,) = sampler(np.random.default_rng(0))
    weights = raw_edges(batch.graph)["weight"]
    assert np.sort(weights[weights > 0]).tolist() == np.sort(host.weights).tolist()


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (None, "features of edges are missing, expected 2 real numbers in a row"),
        ({"features": np.ones((90, 1), np.float32)}, r"are float32 \(90, 1\), expected 2 real numbers"),
        ({"features": np.ones((90, 2), np.int32)}, r"are int32 \(90, 2\), expected 2 real numbers"),
    ],
    ids=["missing", "narrow", "categories"],
)
def test_gin_reads_real_valued_edge_features_alone(edges, message):
    graph = from_dataset(dataset(EDGES, directed=True, weighted=False))
    count = graph.senders.shape[0]
    graph = graph._replace(edges=edges and {name: values[:count] for name, values in edges.items()})
    with pytest.raises(InputError, match=message.replace("90", str(count))):
        jax.eval_shape(models.GIN(HIDDEN, 2, CLASSES, edge_features=2).init, jax.random.key(0), graph)
