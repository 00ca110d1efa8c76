"""Pieces of a graph: only the first nodes receive, and every sum has as many rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import dense_adjacency, features, random_edges, raw_graph

from abkd_jax.aggregate import attention_sum, feature_matmul, maximum, mean, num_receivers, receiving, weighted_sum
from abkd_jax.graph import layout_of, prepare, sparse_features
from abkd_jax.graph.layout import build_pattern

NODES, RECEIVERS = 9, 5
EDGES = random_edges(2, RECEIVERS, 15)  # among the first nodes; the last of them is isolated
EDGES = EDGES._replace(senders=EDGES.senders + np.arange(15, dtype=np.int32) % 4, size=NODES)
X = features(4, NODES, 3)
DENSE = dense_adjacency(EDGES, np.ones(15))[:RECEIVERS]


def _piece(backend="auto"):
    graph = prepare(raw_graph(EDGES, X, weighted=False), backend=backend, buckets=False)
    layout = layout_of(graph)
    pattern = build_pattern(layout.pattern.rows, layout.pattern.cols, (RECEIVERS, NODES))
    return graph._replace(edges=layout._replace(pattern=pattern))


@pytest.mark.parametrize("backend", ["auto", "segment"])
def test_sums_have_the_rows_of_the_receivers(backend):
    piece, x = _piece(backend), jnp.asarray(X)
    assert num_receivers(piece) == RECEIVERS
    np.testing.assert_array_equal(receiving(piece, x), X[:RECEIVERS])
    degrees = np.maximum(DENSE.sum(axis=1, keepdims=True), 1.0)

    @jax.jit
    def sums(x):
        uniform = attention_sum(piece, jnp.zeros((15, 1)), x[:, None], self_logits=jnp.zeros((RECEIVERS, 1)))
        return weighted_sum(piece, x, jnp.ones(15)), mean(piece, x), uniform, maximum(piece, x)

    total, average, uniform, greatest = sums(x)
    np.testing.assert_allclose(total, DENSE @ X, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(average, DENSE @ X / degrees, rtol=1e-5, atol=1e-6)
    expected = (DENSE @ X + X[:RECEIVERS]) / (DENSE.sum(axis=1, keepdims=True) + 1.0)
    np.testing.assert_allclose(uniform[:, 0], expected, rtol=1e-5, atol=1e-6)
    largest = [X[DENSE[row] > 0].max(axis=0, initial=-np.inf) for row in range(RECEIVERS)]
    np.testing.assert_allclose(greatest, np.where(np.isneginf(largest), 0.0, largest))


def test_sparse_features_of_the_receivers():
    kernel = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    own = receiving(_piece(), sparse_features(sp.csr_matrix(X)))
    assert own.shape == (RECEIVERS, 3)
    np.testing.assert_allclose(feature_matmul(own, jnp.asarray(kernel)), X[:RECEIVERS] @ kernel, rtol=1e-5, atol=1e-6)
