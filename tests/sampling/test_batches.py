import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import EdgeList, dense_normalised, random_edges, raw_graph
from sampling_samples import sample, typed_dataset

from abkd_jax.aggregate import propagate
from abkd_jax.graph import node_mask, prepare
from abkd_jax.graph.host import host_graph
from abkd_jax.sampling import (
    Capacity,
    cluster_batches,
    gather_outputs,
    induced,
    neighbour_batches,
    to_batch,
    walk_batches,
)
from abkd_jax.training.tasks import classification
from abkd_jax.types import GNNOutput, InputError

MAKERS = {
    "neighbours": lambda graph: neighbour_batches(graph, 8, (3, 2)),
    "walks": lambda graph: walk_batches(graph, 8, 2, 5),
    "clusters": lambda graph: cluster_batches(graph, (np.arange(60) % 9).astype(np.int32), 2),
}


def test_a_typed_batch_says_all_of_its_nodes():
    dataset, graph = sample()  # 40 nodes with features
    nodes = np.array([5, 59, 0, 40], np.int32)
    batch = to_batch(graph, induced(graph, nodes), Capacity(8, 16), roots_only=False)
    inputs = batch.graph.nodes
    np.testing.assert_array_equal(inputs["features"][[0, 2]], dataset.features[[5, 0]])
    assert not inputs["features"][[1, 3, 4, 5, 6, 7]].any()
    assert inputs["type"].tolist() == [0, 1, 0, 1, 0, 0, 0, 0]
    assert inputs["embedding"].tolist() == [-1, 19, -1, 0, -1, -1, -1, -1]
    assert batch.labels.tolist()[:4] == dataset.labels[nodes].tolist()
    assert batch.masks.all.tolist() == [True, False, True] + 5 * [False]
    assert batch.masks.train.tolist() == [False, False, True] + 5 * [False]
    assert node_mask(batch.graph).tolist() == 4 * [True] + 4 * [False]
    assert batch.graph.n_node.tolist() == [4, 4]
    assert batch.graph.edges.features["relation"].shape == batch.graph.senders.shape == (16,)


@pytest.mark.parametrize("sparse", [True, False])
def test_features_without_types_are_one_matrix(sparse):
    dataset, graph = sample(typed=False)
    graph = graph._replace(features=sp.csr_matrix(dataset.features)) if sparse else graph
    nodes = np.array([7, 3], np.int32)
    batch = to_batch(graph, induced(graph, nodes), Capacity(5, 4), roots_only=False)
    np.testing.assert_array_equal(batch.graph.nodes, np.pad(dataset.features[nodes], ((0, 3), (0, 0))))
    assert batch.graph.edges.features is None


def test_padding_changes_neither_loss_nor_gradient():
    """A graph convolution in dense NumPy, whatever the capacity."""
    dataset, graph = sample(30, 90, typed=False)
    drawn = induced(graph, np.arange(20, dtype=np.int32))
    weights = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
    dense = dense_normalised(EdgeList(drawn.senders, drawn.receivers, np.ones(drawn.senders.size), 20))
    inputs, mask = dense @ dataset.features[:20].astype(np.float64), dataset.train_mask[:20]
    logits = inputs @ weights
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.eye(3)[dataset.labels[:20]]
    loss = -(truth * np.log(shares)).sum(1)[mask].mean()
    gradient = inputs[mask].T @ (shares - truth)[mask] / mask.sum()

    def of_weights(weights, batch):
        logits = propagate(batch.graph, batch.graph.nodes @ weights)
        return classification().loss(logits, batch.labels, batch.masks.train)

    run = jax.jit(jax.value_and_grad(of_weights))
    for spare in (1, 13):
        batch = to_batch(graph, drawn, Capacity(20 + spare, drawn.senders.size + 3 * spare), roots_only=False)
        found = run(jnp.asarray(weights), jax.device_put(batch))
        np.testing.assert_allclose(found[0], loss, rtol=1e-5)
        np.testing.assert_allclose(found[1], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("maker", MAKERS)
def test_the_same_seed_gives_the_same_batches_and_few_shapes(maker):
    _, graph = sample()
    sampler = MAKERS[maker](graph)
    first, second, other = (list(sampler(np.random.default_rng(seed))) for seed in (4, 4, 5))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert any(
        a.graph.senders.shape != b.graph.senders.shape or (a.graph.senders != b.graph.senders).any()
        for a, b in zip(first, other, strict=True)
    )
    shapes = {(batch.masks.all.shape, batch.graph.senders.shape) for batch in [*first, *other]}
    assert len(shapes) <= 2

    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(lambda batch: jnp.sum(batch.graph.edges.coefficients), n=len(shapes)))
    for batch in [*first, *other]:
        step(batch)


def test_the_tree_of_a_layout_does_not_depend_on_its_edges():
    one_way = random_edges(0, 9, 20)
    both = EdgeList(*(np.concatenate([a[:10], b[:10]]) for a, b in (one_way[:2], one_way[1::-1])), one_way.weights, 9)
    trees = [jax.tree.structure(prepare(raw_graph(e, np.zeros((9, 1))), buckets=False)) for e in (one_way, both)]
    assert trees[0] == trees[1]


@pytest.mark.parametrize("edges", [[], [(0, 1)]])
@pytest.mark.parametrize("nodes", [2, 40])
@pytest.mark.parametrize(
    "make",
    [
        lambda graph: neighbour_batches(graph, 1, (3, 0, -1)),
        lambda graph: neighbour_batches(graph, 10**6, (3,)),
        lambda graph: walk_batches(graph, 1, 2, 60),
        lambda graph: walk_batches(graph, 2, 0, 60),
        lambda graph: cluster_batches(graph, np.arange(graph.num_nodes) // 2, 1),
        lambda graph: cluster_batches(graph, np.zeros(graph.num_nodes, np.int64), 10**6),
    ],
)
def test_graphs_of_one_edge_or_none_have_batches(make, nodes, edges):
    """The edge is in none of the first batches, by which capacities are chosen."""
    ends = np.array(edges, np.int32).reshape(-1, 2).T
    graph = host_graph(typed_dataset(EdgeList(ends[0], ends[1], np.ones(ends.shape[1]), nodes), typed=False))
    seen = set()
    for minibatch in make(graph).minibatches(np.random.default_rng(1)):
        drawn, real = minibatch.nodes, minibatch.batch.graph.n_edge[0]
        assert minibatch.batch.graph.n_node[0] == drawn.size < minibatch.batch.masks.all.size
        assert real in (0, 2 * len(edges)) or drawn.size == 2
        assert minibatch.batch.graph.senders.size <= 8
        seen |= set(drawn.tolist())
    assert seen <= set(range(nodes))


def test_a_batch_needs_a_node_to_spare():
    _, graph = sample(typed=False)
    drawn = induced(graph, np.arange(4))
    with pytest.raises(InputError, match="a batch of 4 nodes and"):
        to_batch(graph, drawn, Capacity(4, 100), roots_only=False)


def test_a_single_root_without_neighbours_is_a_batch():
    _, graph = sample(9, 0, typed=False)
    (batch,) = neighbour_batches(graph, 1, (2,), roots=np.array([3]))(np.random.default_rng(0))
    assert batch.masks.all.tolist() == [True] + 7 * [False]
    assert batch.graph.senders.shape == (0,)


def test_stored_outputs_follow_their_nodes(tmp_path):
    rng = np.random.default_rng(0)
    wide = np.memmap(tmp_path / "hidden", np.float16, "w+", shape=(60, 3))
    wide[:] = rng.normal(size=(60, 3))
    stored = GNNOutput(rng.normal(size=(60, 2)).astype(np.float32), (wide,))
    nodes = np.array([9, 0, 59], np.int32)
    found = gather_outputs(stored, nodes, 5)
    np.testing.assert_array_equal(found.logits, np.pad(stored.logits[nodes], ((0, 2), (0, 0))))
    np.testing.assert_array_equal(found.hiddens[0], np.pad(wide[nodes], ((0, 2), (0, 0))))
    assert (type(found.hiddens[0]), found.hiddens[0].dtype) == (np.ndarray, np.float16)

    minibatch = next(neighbour_batches(sample()[1], 4, (2,)).minibatches(rng))
    logits = minibatch.outputs(stored).logits
    np.testing.assert_array_equal(logits[: minibatch.nodes.size], stored.logits[minibatch.nodes])
    assert logits.shape[0] == minibatch.batch.masks.all.shape[0]
