import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abkd_jax.aggregate import readout
from abkd_jax.graph import edge_relations, edge_weights, node_mask, raw_edges
from abkd_jax.sampling import all_graphs, graph_batches
from abkd_jax.types import GNNOutput, GraphDataset, InputError


def dataset(labels="multilabel", edge_width=2):
    """Eight graphs of 1 to 8 nodes; the first has no edges."""
    rng = np.random.default_rng(0)
    n_node = np.arange(1, 9, dtype=np.int32)
    n_edge = np.array([0, 2, 2, 8, 6, 10, 12, 4], np.int32)
    ends = [rng.integers(0, nodes, (2, edges)) for nodes, edges in zip(n_node, n_edge, strict=True)]
    senders, receivers = np.concatenate(ends, axis=1).astype(np.int32)
    many = labels == "multilabel"
    return GraphDataset(
        name="eight",
        features=rng.integers(0, 5, (36, 3)).astype(np.int32) if many else rng.normal(size=(36, 3)).astype(np.float32),
        edge_features=rng.integers(0, 4, (44, edge_width)).astype(np.int32) if edge_width else None,
        senders=senders,
        receivers=receivers,
        n_node=n_node,
        n_edge=n_edge,
        labels=np.where(rng.random((8, 2)) < 0.2, np.nan, 1.0).astype(np.float32)
        if many
        else np.arange(8, dtype=np.int32) % 2,
        num_outputs=2,
        task="multilabel" if many else "classification",
        metric="rocauc" if many else "accuracy",
        train_mask=np.arange(8) < 6,
        val_mask=np.arange(8) == 6,
        test_mask=np.arange(8) == 7,
        source="random",
        vocabulary=(5, 5, 5) if many else (),
        edge_vocabulary=(4,) * edge_width,
    )


def single(data, graph):
    """Features and sorted (sender, receiver, categories...) of one graph."""
    nodes = slice(data.n_node[:graph].sum(), data.n_node[: graph + 1].sum())
    edges = slice(data.n_edge[:graph].sum(), data.n_edge[: graph + 1].sum())
    columns = [] if data.edge_features is None else list(data.edge_features[edges].T)
    return data.features[nodes], sorted(zip(data.senders[edges], data.receivers[edges], *columns, strict=True))


def check_graphs(data, batch, members):
    """Each graph of the batch is the one it is said to be, and masks and labels are those."""
    graph, start = batch.graph, 0
    columns = [] if data.edge_features is None else list(graph.edges.features.T)
    for place, member in enumerate(members):
        stop = start + data.n_node[member]
        features, edges = single(data, member)
        np.testing.assert_array_equal(graph.nodes[start:stop], features)
        own = (graph.receivers >= start) & (graph.receivers < stop)
        shifted = graph.senders[own] - start, graph.receivers[own] - start, *(column[own] for column in columns)
        assert sorted(zip(*shifted, strict=True)) == edges
        assert batch.masks.train[start:stop].all() == batch.masks.train[start:stop].any() == data.train_mask[member]
        np.testing.assert_array_equal(batch.labels[place], data.labels[member])
        start = stop
    real = np.arange(graph.n_node.shape[0]) < len(members)
    np.testing.assert_array_equal(batch.masks.graphs, real)
    np.testing.assert_array_equal(batch.masks.train_graphs[: len(members)], data.train_mask[members])
    assert not batch.masks.train_graphs[len(members) :].any()
    np.testing.assert_array_equal(batch.masks.all, np.arange(graph.nodes.shape[0]) < start)
    np.testing.assert_array_equal(node_mask(graph), batch.masks.all)
    assert not batch.masks.train[start:].any()
    assert graph.n_node.sum() == graph.nodes.shape[0]
    assert graph.n_edge.sum() == graph.senders.shape[0]
    assert edge_relations(graph) is None


@pytest.mark.parametrize(("labels", "width"), [("multilabel", 2), ("multilabel", 1), ("classes", 0)])
def test_an_epoch_holds_every_training_graph_once_in_one_shape(labels, width):
    data = dataset(labels, width)
    sampler = graph_batches(data, 3)
    drawn = list(sampler.minibatches(np.random.default_rng(1)))
    assert sorted(np.concatenate([minibatch.graphs for minibatch in drawn]).tolist()) == list(range(6))
    for minibatch in drawn:
        assert 1 <= minibatch.graphs.size <= 3
        check_graphs(data, minibatch.batch, minibatch.graphs)
        rows = np.concatenate([np.arange(36)[np.repeat(np.arange(8), data.n_node) == g] for g in minibatch.graphs])
        np.testing.assert_array_equal(minibatch.nodes, rows)
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(lambda batch: jnp.sum(batch.graph.edges.coefficients), n=1))
    for minibatch in drawn:
        step(minibatch.batch)


def test_the_generator_decides_the_order():
    sampler = graph_batches(dataset(), 2, graphs=np.arange(8))
    orders = [
        np.concatenate([minibatch.graphs for minibatch in sampler.minibatches(np.random.default_rng(seed))]).tolist()
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(8))


@pytest.mark.parametrize(("labels", "width"), [("multilabel", 2), ("classes", 0)])
def test_the_whole_data_set_is_all_its_graphs(labels, width):
    data = dataset(labels, width)
    batch = all_graphs(data)
    check_graphs(data, batch, np.arange(8))
    assert batch.graph.edges.pattern.buckets is not None
    if labels == "classes":
        means = readout(batch.graph, jnp.asarray(batch.graph.nodes), "mean")
        expected = [single(data, graph)[0].mean(axis=0) for graph in range(8)]
        np.testing.assert_allclose(means[:8], expected, rtol=1e-5, atol=1e-6)


def test_real_valued_features_follow_their_edges_and_are_no_weights():
    numbered = np.arange(44, dtype=np.float32)[:, None]
    data = dataset("classes", 0)._replace(edge_features=numbered)
    starts = np.repeat(np.cumsum(data.n_node) - data.n_node, data.n_edge)
    minibatch = next(graph_batches(data, 6, graphs=np.arange(8)).minibatches(np.random.default_rng(0)))
    for batch, nodes in ((all_graphs(data), np.arange(36)), (minibatch.batch, minibatch.nodes)):
        graph, count = batch.graph, int(np.isin(starts + data.senders, nodes).sum())
        real = np.flatnonzero(np.asarray(graph.receivers) < len(nodes))
        edges = raw_edges(graph)["features"][real, 0].astype(int)
        assert len(np.unique(edges)) == len(edges) == count
        np.testing.assert_array_equal(nodes[graph.senders[real]], (starts + data.senders)[edges])
        np.testing.assert_array_equal(nodes[graph.receivers[real]], (starts + data.receivers)[edges])
        assert (edge_weights(graph) == 1).all()


def test_graphs_without_an_edge_are_batches():
    data = dataset("classes", 0)
    data = data._replace(senders=data.senders[:0], receivers=data.receivers[:0], n_edge=0 * data.n_edge)
    for graphs in (None, np.array([0])):  # graph 0 is one node
        for minibatch in graph_batches(data, 3, graphs=graphs).minibatches(np.random.default_rng(0)):
            check_graphs(data, minibatch.batch, minibatch.graphs)
            assert minibatch.batch.graph.senders.shape == (0,)
    check_graphs(data, all_graphs(data), np.arange(8))


def test_stored_outputs_follow_their_graphs():
    data = dataset()
    stored = GNNOutput(np.arange(16.0).reshape(8, 2), (np.arange(36.0)[:, None],))
    minibatch = next(graph_batches(data, 3).minibatches(np.random.default_rng(0)))
    found = minibatch.outputs(stored)
    size, count = minibatch.graphs.size, minibatch.nodes.size
    np.testing.assert_array_equal(found.logits[:size], stored.logits[minibatch.graphs])
    np.testing.assert_array_equal(found.hiddens[0][:count, 0], minibatch.nodes)
    assert found.logits.shape[0] == minibatch.batch.labels.shape[0]
    assert found.hiddens[0].shape[0] == minibatch.batch.masks.all.shape[0]
    assert not found.logits[size:].any()


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="6 graphs in batches of 0"):
        graph_batches(dataset(), 0)
    with pytest.raises(InputError, match="0 graphs in batches of 2"):
        graph_batches(dataset(), 2, graphs=np.zeros(0, np.int32))
