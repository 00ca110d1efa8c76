"""What holds for every layer: layouts, orders, padding, empty and extreme graphs, 16-bit numbers."""

import functools

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from graphs import EdgeList, edge_lists, features, quick
from hypothesis import given, settings
from layer_samples import EDGES, LAYERS, TYPES, X, graph_of, params_of, run

from abkd_jax.graph import pad_to_bucket, prepare
from abkd_jax.layers import GATConv

every_layer = pytest.mark.parametrize("name", LAYERS)


def _close(got, expected, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), got, expected)


@functools.partial(jax.jit, static_argnums=0)
def _loss_and_gradients(layer, variables, graph, x, count):
    """Of the sum over the first nodes of a function of their rows: in the parameters and in `x`."""

    def loss(variables, x):
        out = layer.apply(variables, graph, x)
        counted = jnp.arange(out.shape[0]) < count
        return jnp.sum(jnp.where(counted[:, None], jnp.sin(out), 0.0)), out

    (_, out), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables, x)
    return out, gradients


def _case(name, edges=EDGES):
    types = np.arange(edges.senders.shape[0], dtype=np.int32) % 3
    x = features(0, edges.size, 5)
    layer = LAYERS[name]()
    graph = graph_of(edges, x, types)
    return layer, graph, x, params_of(layer, graph, x)


@every_layer
@settings(quick, max_examples=6)
@given(edge_lists())
def test_orders_and_layouts_do_not_matter(name, edges):
    layer, graph, x, variables = _case(name, edges)
    expected = run(layer, variables, graph, x)
    assert np.isfinite(expected).all()
    _close(run(layer, variables, prepare(graph, buckets=False, relations=3), x), expected)
    rng = np.random.default_rng(0)
    order = rng.permutation(edges.senders.shape[0])
    mixed = graph._replace(senders=graph.senders[order], receivers=graph.receivers[order], edges=graph.edges[order])
    _close(run(layer, variables, mixed, x), expected)
    place = rng.permutation(edges.size).astype(np.int32)  # where each node goes
    moved = np.empty_like(x)
    moved[place] = x
    renamed = graph._replace(nodes=moved, senders=place[graph.senders], receivers=place[graph.receivers])
    _close(run(layer, variables, renamed, moved)[place], expected)


@every_layer
def test_padding_changes_nothing(name):
    layer, graph, x, variables = _case(name)
    out, (grad_variables, grad_x) = _loss_and_gradients(layer, variables, graph, x, 9)
    padded = pad_to_bucket(graph)
    assert padded.nodes.shape[0] > 9
    assert padded.senders.shape[0] > 20
    wild = np.where(np.arange(padded.nodes.shape[0])[:, None] < 9, padded.nodes, 7.0).astype(np.float32)
    for held in (padded, prepare(padded, buckets=False, relations=3)):
        got, (got_variables, got_x) = _loss_and_gradients(layer, variables, held, wild, 9)
        _close(got[:9], out)
        _close(got_variables, grad_variables)
        _close(got_x[:9], grad_x)
        np.testing.assert_array_equal(got_x[9:], np.zeros_like(got_x[9:]))


@every_layer
@pytest.mark.parametrize("held", ["plain", "prepared"])
def test_bfloat16(name, held):
    layer, graph, x, variables = _case(name)
    graph = graph if held == "plain" else prepare(graph, buckets=False)
    exact = run(layer, variables, graph, x)
    narrow, gradients = _loss_and_gradients(LAYERS[name](dtype=jnp.bfloat16), variables, graph, x, 9)
    assert narrow.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(np.asarray(narrow, np.float32), exact, rtol=0.02, atol=0.02 * np.abs(exact).max())


@every_layer
def test_gradients_at_isolated_and_empty_nodes_are_finite(name):
    """Nodes without edges, rows of zeros, zero parameters: where norms and softmaxes divide."""
    for edges in (EDGES, EdgeList(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32), 5)):
        layer, graph, x, variables = _case(name, edges)
        for v in (variables, jax.tree.map(jnp.zeros_like, variables)):
            out, gradients = _loss_and_gradients(layer, v, graph, x, edges.size)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((out, gradients)))


@every_layer
def test_initialisation_works_from_shapes(name):
    """And the type that a layer computes in leaves its parameters alone."""
    graph, x = _case(name)[1:3]
    wide, narrow = (
        jax.eval_shape(LAYERS[name](dtype=dtype).init, jax.random.key(0), graph, x) for dtype in (None, jnp.bfloat16)
    )
    assert wide == narrow
    assert {a.dtype for a in jax.tree.leaves(wide)} == {jnp.dtype(jnp.float32)}


LEAVES = 100_000


@pytest.mark.parametrize("name", ["sage", "sage, max", "gat", "gatv2", "gin", "rgcn"])
@pytest.mark.parametrize("held", ["plain", "prepared"])
def test_a_star_of_many_leaves(name, held):
    """The hub hears all leaves alike, so that mean, maximum and softmax are one leaf's and the sum is all of them."""
    leaves = np.arange(1, LEAVES + 1, dtype=np.int32)
    x = np.tile(np.float32([0.5, -0.25, 1.0, 0.0, 2.0]), (LEAVES + 1, 1))
    small, small_x = np.arange(1, 2, dtype=np.int32), x[:2]
    layer = GATConv(3, self_loops=False) if name == "gat" else LAYERS[name]()
    star, pair = (
        graph_of(EdgeList(a, np.zeros_like(a), np.ones(a.shape[0], np.float32), b.shape[0]), b, np.zeros_like(a))
        for a, b in ((leaves, x), (small, small_x))
    )
    variables = params_of(layer, pair, small_x)
    if name == "gin":  # (1 + eps) x + 10^5 x of the star is that much of one node
        alone = graph_of(EdgeList(*np.zeros((2, 0), np.int32), np.zeros(0, np.float32), 2), small_x)
        expected = run(layer, variables, alone, (small_x * np.float32((LEAVES + 1.3) / 1.3)))
    else:
        expected = run(layer, variables, pair, small_x)
    star = star if held == "plain" else prepare(star, relations=3, buckets=False)
    got = run(layer, variables, star, x)
    scale = np.abs(expected[0]).max()
    np.testing.assert_allclose(got[0], expected[0], rtol=0, atol=3e-3 * scale)  # 10^5 float32, one after the other
    assert np.isfinite(got).all()


def test_graphs_of_a_batch_do_not_mix():
    """Two graphs batched are the two alone."""
    layer, graph, x, variables = _case("gat")
    other = graph_of(EDGES, X[::-1].copy(), TYPES)
    batch = jraph.batch_np([graph, other])
    got = run(layer, variables, batch, batch.nodes)
    _close(got[:9], run(layer, variables, graph, x))
    _close(got[9:], run(layer, variables, other, other.nodes))
