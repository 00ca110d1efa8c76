"""What every model must do, in train mode with batch normalisation, forwards and backwards."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from model_samples import (
    CLASSES,
    EDGES,
    HIDDEN,
    NAMES,
    NODES,
    RELATION,
    X,
    assert_close,
    initialised,
    make,
    trained_once,
    typed_graph,
)

from abkd_jax.configs.options import OptimConfig
from abkd_jax.graph import node_mask, pad_to_bucket, prepare, sparse_features
from abkd_jax.training import step as training
from abkd_jax.training import tasks
from abkd_jax.types import Batch, NodeMasks

every_model = pytest.mark.parametrize("name", NAMES)
KEY = jax.random.key(7)


@functools.cache
def _run(name):
    return trained_once(make(name))


@functools.cache
def _variables(name, seed=0):
    return initialised(make(name), seed)


@functools.cache
def _expected(name):
    return _run(name)(_variables(name), typed_graph(), KEY)


def _cut(result):
    gradients, out, state = result
    return gradients, jax.tree.map(lambda leaf: leaf[:NODES], out), state


@every_model
def test_output_has_the_shapes_of_the_contract(name):
    _, out, _ = _expected(name)
    assert out.logits.shape == (NODES, CLASSES)
    widths = {"sign": [3 * HIDDEN, HIDDEN], "gcnii": [HIDDEN] * 3}.get(name, [HIDDEN] * 2)
    assert [hidden.shape for hidden in out.hiddens] == [(NODES, width) for width in widths]


@every_model
def test_padding_and_the_prepared_layout_change_nothing(name):
    padded = prepare(pad_to_bucket(typed_graph()), relations=2)
    assert padded.nodes.shape[0] == 16
    assert_close(_cut(_run(name)(_variables(name), padded, KEY)), _expected(name))


@every_model
def test_order_of_nodes_and_edges_does_not_matter(name):
    rng = np.random.default_rng(3)
    nodes, edges = rng.permutation(NODES), rng.permutation(20)
    new = np.argsort(nodes).astype(np.int32)
    relabelled = EDGES._replace(
        senders=new[EDGES.senders][edges], receivers=new[EDGES.receivers][edges], weights=EDGES.weights[edges]
    )
    got = _run(name)(_variables(name), typed_graph(X[nodes], relabelled, RELATION[edges]), KEY)
    gradients, out, state = _expected(name)
    assert_close(got, (gradients, jax.tree.map(lambda leaf: leaf[nodes], out), state))


@every_model
def test_vmap_over_seeds_is_a_loop(name):
    variables = [_variables(name, seed) for seed in range(2)]
    expected = [_run(name)(v, typed_graph(), KEY) for v in variables]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *variables)
    got = jax.vmap(_run(name), in_axes=(0, None, None))(stacked, jax.device_put(typed_graph()), KEY)
    assert_close(got, jax.tree.map(lambda *leaves: np.stack(leaves), *expected))


@functools.cache
def _dropping(name):
    return jax.jit(make(name, dropout=0.5).apply, static_argnames=("train", "mutable"))


@every_model
def test_compiled_or_not_with_sparse_features_or_dense_it_is_the_same_and_nothing_is_dropped(name):
    variables = _variables(name)
    graph = prepare(typed_graph(sparse_features(sp.csr_matrix(X))))
    expected = make(name).apply(variables, jax.device_put(typed_graph()))
    assert_close(_dropping(name)(variables, graph), expected, atol=1e-5)


@every_model
def test_dropout_while_training_comes_from_the_key(name):
    first, again, other = (
        _dropping(name)(_variables(name), typed_graph(), train=True, rngs={"dropout": key}, mutable="batch_stats")[0]
        for key in (jax.random.key(0), jax.random.key(0), jax.random.key(1))
    )
    np.testing.assert_array_equal(first.logits, again.logits)
    assert (np.asarray(first.logits) != np.asarray(other.logits)).any()


@every_model
def test_gradients_are_finite_on_isolated_nodes_and_zero_rows(name):
    loops = EDGES._replace(senders=0 * EDGES.senders, receivers=0 * EDGES.receivers)
    results = _run(name)(_variables(name), typed_graph(0.0 * X, loops), KEY)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(results))


@pytest.mark.parametrize("name", ["gcn", "gcnii", "gat"])
def test_a_training_run_is_traced_once(name):
    """Statistics, parameters and optimizer state come out of a step as they went in."""
    chex.clear_trace_counter()
    graph = jax.device_put(prepare(typed_graph()))
    masks = NodeMasks(node_mask(graph), jnp.arange(NODES) < 6)
    batch = Batch(graph, jnp.arange(NODES, dtype=jnp.int32) % CLASSES, masks)
    model, optimizer = make(name, dropout=0.5), training.make_optimizer(OptimConfig(conv_decay=0.1, dense_decay=0.2))
    state = training.init_state(KEY, model, optimizer, batch)
    step = training.make_distill_step(model, None, optimizer, tasks.classification())
    once = jax.jit(chex.assert_max_traces(lambda state, batch: step(state, batch), n=1))
    losses = []
    for _ in range(3):
        state, metrics = once(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all()
    assert len(set(losses)) == 3


DENSE = ("input", "output", "residual", "norm", "hops", "dense", "prelu")  # how the names of all other layers begin


@every_model
def test_convolutions_and_only_they_are_decayed_as_such(name):
    """With a decay of convolutions alone and gradients of zero, nothing else moves."""
    options = {} if name in ("sign", "gcnii") else {"residual": "linear", "jumping": "cat"}
    params = initialised(make(name, **options))["params"]
    optimizer = training.make_optimizer(OptimConfig(conv_decay=0.1, learning_rate=0.5))
    tree = {"student": params, "objective": {}}
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = jax.jit(optimizer.update)(jax.tree.map(jnp.zeros_like, tree), optimizer.init(tree), tree)
    leaves = jax.tree_util.tree_leaves_with_path(updates["student"])
    every = {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(update) for path, update in leaves}
    moved = {path for path, update in every.items() if np.abs(update).max() > 0.0}
    convolutions = {path for path in every if not path.removeprefix("blocks/").startswith(DENSE)}
    assert moved == convolutions
    assert bool(moved) == (name not in ("sign", "mlp"))
