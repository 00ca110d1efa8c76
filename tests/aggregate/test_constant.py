"""Sums with constant weights in the layouts of a TPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import MANY
from graphs import dense_adjacency, dense_normalised, edge_lists, features, raw_graph
from hypothesis import given, settings

from abkd_jax.aggregate import mean, propagate, weighted_sum
from abkd_jax.aggregate.constant import _in_parts
from abkd_jax.graph import prepare


def _results(graph, x, cotangents):
    def values(x):
        return weighted_sum(graph, x, None), mean(graph, x), propagate(graph, x)

    out, pullback = jax.vjp(values, x)
    return out, pullback(cotangents)[0]


@pytest.mark.parametrize("backend", ["bucketed", "dense"])
@settings(max_examples=3, deadline=None, derandomize=True)
@given(edges=edge_lists())
def test_graphs_without_weights(backend, edges):
    """Loops, isolated nodes, repeated edges: the products of dense matrices, by `vmap` over two seeds as well."""
    counts = dense_adjacency(edges, np.ones(edges.senders.shape[0]))
    matrices = (
        counts,
        counts / np.maximum(counts.sum(1, keepdims=True), 1.0),
        dense_normalised(edges._replace(weights=np.ones_like(edges.weights))),
    )
    x = np.stack([features(seed, edges.size, 3) for seed in (0, 1)])
    cotangents = tuple(np.stack([features(seed + i, edges.size, 3) for seed in (2, 5)]) for i in range(3))
    graph = prepare(raw_graph(edges, x[0], weighted=False), backend=backend)
    got, gradient = jax.jit(jax.vmap(_results, (None, 0, 0)))(graph, x, cotangents)
    for value, matrix in zip(got, matrices, strict=True):
        np.testing.assert_allclose(value, matrix @ x, rtol=1e-5, atol=1e-5)
    expected = sum(matrix.T @ c for matrix, c in zip(matrices, cotangents, strict=True))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("parts", "bound"), [(1, 2.0**-8), (2, 2.0**-16), (3, 2.0**-24)])
def test_parts_in_bfloat16_leave_little_out(parts, bound):
    """Each number of `x` is off by at most `bound` of itself, and so each sum by at most that of the sum of sizes."""
    counts = dense_adjacency(MANY, np.ones(20))
    x = np.random.default_rng(0).normal(size=(9, 64)).astype(np.float32)
    got = np.asarray(jax.jit(_in_parts, static_argnums=2)(jnp.asarray(counts, jnp.bfloat16), x, parts), np.float64)
    errors = np.abs(got - counts @ x.astype(np.float64)) / np.maximum(counts @ np.abs(x), 1e-9)
    assert errors.max() <= bound + 2.0**-22  # and the rounding of sums of at most four numbers
    assert parts == 3 or errors.max() > bound / 16


def test_16_bits_in_and_out():
    graph = prepare(raw_graph(MANY, features(0, 9, 3), weighted=False), backend="dense")
    x = features(1, 9, 3)
    exact = propagate(graph, jnp.asarray(x))
    got = propagate(graph, jnp.asarray(x, jnp.bfloat16))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(np.float32), exact, rtol=2e-2, atol=2e-2)
