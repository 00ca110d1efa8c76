"""Any graph by any backend: all aggregations give the numbers of their models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import (
    LAYOUTS,
    MANY,
    OPS,
    all_inputs,
    all_models,
    all_results,
    arguments_of,
    arranged,
    same,
    star,
    typed_graph,
)
from graphs import SIZES, edge_lists, random_edges
from hypothesis import given, settings

from abkd_jax import aggregate
from abkd_jax.graph import prepare
from abkd_jax.graph.slot_shapes import EdgeRoom, SlotShape
from abkd_jax.types import InputError

compiled_results = jax.jit(all_results)
in_slots = jax.jit(lambda *inputs: all_results(*inputs))  # programs are counted by function
NATIVE = ("plain", "auto", "csr", "segment", "dense")  # layouts whose programs do not depend on the degrees


@pytest.mark.parametrize("layout", NATIVE)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(edges=edge_lists(SIZES[-1:]))
def test_any_graph(layout, edges):
    options = {} if layout == "plain" else {"buckets": False}
    inputs = all_inputs(edges)
    same(compiled_results(arranged(typed_graph(edges), layout, **options), *inputs), all_models(edges, *inputs))


@settings(max_examples=4, deadline=None, derandomize=True)
@given(edges=edge_lists(SIZES[-1:]))
def test_any_graph_in_buckets(edges):
    """A program for each graph, as it depends on the degrees."""
    inputs = all_inputs(edges)
    same(compiled_results(arranged(typed_graph(edges), "bucketed"), *inputs), all_models(edges, *inputs))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(edges=edge_lists(SIZES[-1:]))
def test_any_graph_in_slots_of_one_shape(edges):
    """As minibatches for a TPU: one program for all of them, which is compiled once."""
    inputs = all_inputs(edges)
    shape = SlotShape((((4, 16), (32, 8)),))  # of 20 edges at most 4 rows have more than 4
    graph = arranged(typed_graph(edges), "bucketed", buckets=False, room=EdgeRoom(20, (shape,) * 4))
    same(in_slots(graph, *inputs), all_models(edges, *inputs))
    assert in_slots._cache_size() == 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(0, 0), (1, 2), (5, 0)], ids="{0[0]} nodes, {0[1]} edges".format)
def test_tiny_graphs(layout, size):
    """Without nodes, one node with two loops, without edges."""
    edges = random_edges(0, *size)
    inputs = all_inputs(edges)
    same(compiled_results(arranged(typed_graph(edges), layout), *inputs), all_models(edges, *inputs))


@pytest.mark.parametrize("layout", ["csr", "segment", "bucketed"])
@pytest.mark.parametrize("out", [False, True], ids=["leaves to centre", "centre to leaves"])
def test_a_star_of_many_leaves(layout, out):
    """Row lengths of four levels of buckets. The features are quarters, so that float32 adds them exactly."""
    leaves = 33_000  # more than 32^3
    edges = star(leaves, out)
    graph = arranged(typed_graph(edges), layout)
    x = np.random.default_rng(0).integers(-4, 5, (leaves + 1, 1)).astype(np.float32) / 4
    weights = np.ones(leaves, np.float32)

    def values(x, weights):
        logits = jnp.zeros((leaves, 1))
        attention = aggregate.attention_sum(graph, logits, x[:, None])[:, 0]
        return (
            aggregate.weighted_sum(graph, x, weights),
            aggregate.mean(graph, x),
            aggregate.maximum(graph, x),
            attention,
        )

    @jax.jit
    def both(cotangents):
        out, pullback = jax.vjp(values, jnp.asarray(x), jnp.asarray(weights))
        return out, pullback(cotangents)

    zeros, ones = jnp.zeros((leaves + 1, 1)), jnp.ones((leaves + 1, 1))
    got, (grad_x, grad_weights) = both((ones, zeros, zeros, zeros))
    sums, largest = np.zeros((2, leaves + 1, 1))
    if out:
        sums[1:] = largest[1:] = x[0]
    else:
        sums[0], largest[0] = x[1:].sum(dtype=np.float64), 1.0
    means = sums / np.where(np.arange(leaves + 1) == 0, leaves, 1)[:, None]
    same(got, (sums, means, largest, means))
    assert float(grad_x[0, 0]) == (leaves if out else 0)
    np.testing.assert_array_equal(grad_x[1:], np.full((leaves, 1), 0.0 if out else 1.0))
    np.testing.assert_array_equal(grad_weights, x[graph.senders, 0])  # sorted by type before sender
    _, (shares, _) = both((zeros, zeros, ones, zeros))
    expected = np.concatenate([[[leaves]], np.zeros((leaves, 1))]) if out else (x == 1.0) / (x[1:] == 1.0).sum()
    expected[0] = leaves if out else 0.0
    np.testing.assert_allclose(shares, expected, rtol=1e-6)


def test_an_unknown_backend_is_refused_in_one_line(unchecked):
    with pytest.raises(InputError, match="backend is 'nope', expected one of auto, csr, bucketed, segment, dense"):
        aggregate.mean(prepare(typed_graph(MANY), backend="nope"), jnp.ones((9, 1)))


@pytest.mark.parametrize("name", ["mean", "maximum", "attention_sum", "relation_means"])
def test_buckets_that_are_missing_are_refused_in_one_line(name):
    arguments = map(jnp.asarray, arguments_of(OPS[name], MANY))

    def run():
        return OPS[name].function(prepare(typed_graph(MANY), backend="bucketed", buckets=False), *arguments)

    with pytest.raises(InputError, match=r"backend 'bucketed'.*expected"):
        run()
