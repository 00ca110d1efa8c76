"""Graphs over several devices: all aggregations give the numbers of their models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import MANY, OPS, RELATIONS, all_inputs, all_models, same, typed_graph
from graphs import features, random_edges
from partition_samples import PARTS, needs_devices, real_edges, spread

from abkd_jax import aggregate
from abkd_jax.graph import prepare, raw_edges
from abkd_jax.layers.edge_logits import pair_logits
from abkd_jax.types import InputError

SPARSE = random_edges(5, 40, 44)  # blocks send each other less than everything


def results(op, graph, where, arguments, cotangent):
    """The value and the gradients, nodes without padding, edges as listed."""
    sizes = {"n": graph.edges.info.nodes, "e": graph.senders.shape[0]}

    def listed(*arguments):
        moved = []
        for argument, shape in zip(arguments, op.shapes, strict=True):
            rows = where if shape[0] == "e" else np.arange(argument.shape[0])
            moved.append(jnp.zeros((sizes[shape[0]], *argument.shape[1:])).at[rows].set(argument))
        out = op.function(graph, *moved)
        return out[where] if op.of_edges else out[: cotangent.shape[0]]

    out, pullback = jax.vjp(listed, *map(jnp.asarray, arguments))
    return out, pullback(jnp.asarray(cotangent))


def all_results(graph, where, arguments, cotangents):
    return {name: results(OPS[name], graph, where, arguments[name], cotangents[name]) for name in arguments}


@needs_devices
@pytest.mark.parametrize(("edges", "parts"), [(MANY, PARTS), (SPARSE, 2)], ids=["everything is sent", "halo is sent"])
def test_values_and_gradients_are_those_of_the_model(edges, parts):
    graph = spread(typed_graph(edges), parts, relations=RELATIONS)
    assert (graph.edges.halo is None) == (edges is MANY)
    real = real_edges(graph)
    where = np.empty(real.shape[0], np.int32)
    where[np.asarray(graph.edges.features["id"])[real]] = real
    inputs = all_inputs(edges)
    same(jax.jit(all_results)(graph, where, *inputs), all_models(edges, *inputs))


@needs_devices
def test_seeds_side_by_side():
    graph = spread(typed_graph(SPARSE), 2)
    x = jnp.asarray(features(0, graph.edges.info.nodes, 6)).reshape(-1, 3, 2).swapaxes(0, 1)
    both = jax.jit(jax.vmap(aggregate.mean, in_axes=(None, 0)))(graph, x)
    one_by_one = jax.jit(aggregate.mean)
    same(both, jnp.stack([one_by_one(graph, seed) for seed in x]))


@needs_devices
def test_logits_of_pairs_in_chunks_of_edges(monkeypatch):
    """Both ends are in the nonlinearity, and the vector of attention is shared by all devices."""
    plain, vector = prepare(typed_graph(SPARSE)), jnp.asarray(features(1, 2, 3))
    graph = spread(typed_graph(SPARSE), 2)
    n = SPARSE.size
    x = jnp.asarray(features(0, graph.edges.info.nodes, 6)).reshape(-1, 2, 3)

    def loss(graph, x, vector):
        logits = pair_logits(graph, x, -x, vector, 0.2)
        return jnp.sum(jnp.sin(logits) * jnp.asarray(raw_edges(graph)["weight"])[:, None])

    expected = jax.grad(loss, (1, 2))(plain, x[:n], vector)
    for chunk in (2**24, 96):
        monkeypatch.setattr("abkd_jax.layers.edge_logits.CHUNK_BYTES", chunk)
        found = jax.jit(jax.grad(loss, (1, 2)))(graph, x, vector)
        same((found[0][:n], found[1]), expected)


@needs_devices
def test_rows_that_do_not_fit_are_one_line():
    graph = spread(typed_graph(SPARSE), 2)
    for arguments in ((jnp.ones((3, 2)), jnp.ones(graph.senders.shape[0])), (graph.nodes, jnp.ones(3))):
        with pytest.raises(InputError, match="3 rows, expected"):
            aggregate.weighted_sum(graph, *arguments)
