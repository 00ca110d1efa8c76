"""What must change no number: padding, batches, the order of nodes and of edges."""

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from aggregate_samples import LAYOUTS, MANY, OPS, RELATIONS, arguments_of, arranged, relabelled, same, typed_graph
from graphs import random_edges

from abkd_jax import aggregate
from abkd_jax.graph import edge_weights, pad_to_bucket

PLAIN = typed_graph(MANY)
FEATURES = arguments_of(OPS["mean"], MANY)[0]


def from_nodes(graph, x):
    """Aggregations that take all they need from the graph and the node features `[n, 3]`."""
    logits = aggregate.sender_values(graph, x[:, :2]) - aggregate.receiver_values(graph, x[:, 1:])
    return {
        "weighted_sum": aggregate.weighted_sum(graph, x, jnp.asarray(edge_weights(graph), x.dtype)),
        "mean": aggregate.mean(graph, x),
        "propagate": aggregate.propagate(graph, x),
        "maximum": aggregate.maximum(graph, x),
        "attention_sum": aggregate.attention_sum(graph, logits, jnp.stack([x, -x], axis=1), self_logits=x[:, :2]),
        "edge_softmax": aggregate.receiver_sums(graph, aggregate.edge_softmax(graph, logits) * logits),
        "relation_means": aggregate.relation_means(graph, x, RELATIONS),
        "relation_sum": aggregate.relation_sum(graph, jnp.stack([x, 2 * x, x**2], axis=1)),
    }


@jax.jit
def compiled(graph, x, rows):
    """Values and gradients of the nodes `rows` alone."""
    out, pullback = jax.vjp(lambda x: jax.tree.map(lambda leaf: leaf[rows], from_nodes(graph, x)), jnp.asarray(x))
    return out, pullback(jax.tree.map(jnp.cos, out))[0][rows]


@pytest.fixture(scope="module")
def expected():
    """By the plain graph, which the models have judged."""
    return compiled(PLAIN, FEATURES, np.arange(9))


def _padded_features(graph):
    """Garbage on the padding nodes."""
    return np.concatenate([FEATURES, np.full((graph.nodes.shape[0] - 9, 3), 7.0, np.float32)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_padding_before_preparing(layout, expected):
    graph = arranged(pad_to_bucket(PLAIN), layout)
    same(compiled(graph, _padded_features(graph), np.arange(9)), expected)


@pytest.mark.parametrize("again", [False, True], ids=["as it is", "prepared again"])
def test_padding_a_prepared_graph_with_jraph(again, expected):
    graph = jraph.pad_with_graphs(arranged(PLAIN, "auto"), 12, 31, 2)
    graph = arranged(graph, "csr") if again else graph
    same(compiled(graph, _padded_features(graph), np.arange(9)), expected)


def test_padding_and_unpadding_a_prepared_graph(expected):
    graph = jraph.unpad_with_graphs(jraph.pad_with_graphs(arranged(PLAIN, "auto"), 12, 31, 2))
    same(compiled(graph, FEATURES, np.arange(9)), expected)


@pytest.mark.parametrize("again", [False, True], ids=["as it is", "prepared again"])
def test_batching_prepared_graphs(again, expected):
    graph = jraph.batch_np([arranged(PLAIN, "auto")] * 2)
    graph = arranged(graph, "csr") if again else graph
    x = np.concatenate([FEATURES, FEATURES])
    for rows in (np.arange(9), np.arange(9, 18)):
        same(compiled(graph, x, rows), expected)


def test_prepared_graphs_of_other_sizes_do_not_batch():
    """Their layouts are trees of other structures, and the error says so."""
    other = arranged(typed_graph(random_edges(5, 9, 60)), "auto")
    with pytest.raises((ValueError, TypeError)):
        jraph.batch_np([arranged(PLAIN, "auto"), other])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_permuted_nodes_permute_the_results(layout, expected):
    order = np.random.default_rng(2).permutation(9).astype(np.int32)
    graph = arranged(typed_graph(relabelled(MANY, order)), layout)
    x = np.empty_like(FEATURES)
    x[order] = FEATURES
    same(compiled(graph, x, order), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_permuted_edges_change_nothing(layout, expected):
    shuffle = np.random.default_rng(3).permutation(20)
    edges = jax.tree.map(lambda leaf: leaf[shuffle], PLAIN.edges)
    shuffled = PLAIN._replace(edges=edges, senders=PLAIN.senders[shuffle], receivers=PLAIN.receivers[shuffle])
    same(compiled(arranged(shuffled, layout), FEATURES, np.arange(9)), expected)
