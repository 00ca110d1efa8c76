import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from aggregate_samples import LAYOUTS, LEAVES, MANY, OPS, arranged, check_exactly, star, typed_graph
from graphs import dense_adjacency, dense_normalised, features, random_edges, raw_graph

from abkd_jax.aggregate import (
    BACKENDS,
    feature_matmul,
    in_degrees,
    mean,
    propagate,
    sparse_matmul,
    weighted_sum,
)
from abkd_jax.graph import edge_weights, normalise, prepare, sparse_features
from abkd_jax.graph.layout import build_pattern

GRAPHS = {"many edges": (9, 20), "two loops at one node": (1, 2), "no edges": (5, 0), "one node": (1, 0)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["weighted_sum", "mean", "propagate"])
def test_values_and_gradients_are_those_of_the_model(name, layout):
    check_exactly(name, layout)


@pytest.mark.parametrize("size", GRAPHS.values(), ids=GRAPHS.keys())
def test_propagate_is_the_dense_normalised_product(size):
    edges = random_edges(3, *size)
    x = jnp.asarray(features(1, edges.size, 4))
    expected = dense_normalised(edges) @ np.asarray(x, np.float64)
    plain = raw_graph(edges, np.asarray(x))
    for graph in (plain, normalise(plain), prepare(plain)):
        np.testing.assert_allclose(jax.jit(propagate)(graph, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_backend_of_one_call_is_the_argument(backend):
    """The values are the same; which programs scatter tells them apart."""
    graph = prepare(raw_graph(MANY, np.zeros((9, 3), np.float32)), platform="tpu")  # with slots and dense matrix
    x, weights = jnp.asarray(features(1, 9, 3)), jnp.asarray(edge_weights(graph))
    wide = np.asarray(x, np.float64)
    expected = dense_adjacency(MANY) @ wide, OPS["mean"].model(MANY, wide), dense_normalised(MANY) @ wide

    def three(graph, x, weights):
        return weighted_sum(graph, x, weights, backend), mean(graph, x, backend), propagate(graph, x, backend)

    got = jax.jit(three)(graph, x, weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, expected)
    scatters = "scatter" in jax.jit(three).lower(graph, x, weights).as_text()
    assert scatters == (backend == "segment")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_of_16_bits_accumulate_in_32(layout):
    """In bfloat16 alone, 1 + 1 + ... stops at 256."""
    to_centre, from_centre = (arranged(typed_graph(edges), layout) for edges in (star(LEAVES), star(LEAVES, out=True)))
    ones, weights = jnp.ones((LEAVES + 1, 1), jnp.bfloat16), jnp.ones(LEAVES, jnp.bfloat16)

    @jax.jit
    def values(to_centre, from_centre, ones, weights):
        out, pullback = jax.vjp(lambda x: weighted_sum(from_centre, x, weights), ones)
        means, degrees = mean(to_centre, 3 * ones), in_degrees(to_centre, jnp.bfloat16)
        return weighted_sum(to_centre, ones, weights)[0], pullback(out)[0][0], means[0], degrees[:1]

    got = values(to_centre, from_centre, ones, weights)
    assert all(value.dtype == jnp.bfloat16 for value in got)
    assert [float(value[0]) for value in got] == [LEAVES, LEAVES, 3, LEAVES]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_stays_bfloat16(layout):
    graph = arranged(typed_graph(MANY), layout)
    x = features(1, 9, 4)
    out = jax.jit(propagate)(graph, jnp.asarray(x, jnp.bfloat16))
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(out, np.float64), dense_normalised(MANY) @ x, rtol=0.02, atol=0.02)  # 8 bits


def test_weights_outside_the_graph_are_differentiable_through_the_normalisation_of_a_plain_one():
    """`propagate` of a plain graph depends on its weights; a prepared one holds coefficients, which are constants."""

    def total(weights):
        graph = raw_graph(MANY, np.zeros((9, 1), np.float32))._replace(edges=weights)
        return jnp.sum(propagate(graph, jnp.ones((9, 1))) ** 2)

    got, step = jax.grad(total)(jnp.asarray(MANY.weights)), 1e-6
    for edge in (0, 7):
        moved = [
            dense_normalised(MANY._replace(weights=MANY.weights + s * (np.arange(20) == edge))) for s in (step, -step)
        ]
        up, down = (np.sum((matrix @ np.ones((9, 1))) ** 2) for matrix in moved)
        np.testing.assert_allclose(got[edge], (up - down) / (2 * step), rtol=1e-3)


def test_sparse_features_multiply_as_the_matrix_does():
    matrix = sp.random(6, 8, density=0.3, random_state=np.random.default_rng(0), format="csr", dtype=np.float32)
    kernel = jnp.asarray(features(5, 8, 3))
    cotangent = np.random.default_rng(6).normal(size=(6, 3)).astype(np.float32)
    dense = matrix.toarray().astype(np.float64)
    for x in (jnp.asarray(matrix.toarray()), jax.device_put(sparse_features(matrix))):
        out, pullback = jax.vjp(lambda kernel, x=x: feature_matmul(x, kernel), kernel)
        np.testing.assert_allclose(out, dense @ np.asarray(kernel), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(pullback(jnp.asarray(cotangent))[0], dense.T @ cotangent, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sparse_matrices_need_not_be_square(backend):
    matrix = sp.random(6, 8, density=0.4, random_state=np.random.default_rng(0), format="coo", dtype=np.float32)
    order = np.lexsort((matrix.col, matrix.row))
    rows, cols, values = (a[order] for a in (matrix.row.astype(np.int32), matrix.col.astype(np.int32), matrix.data))
    x, cotangent = features(5, 8, 3), np.random.default_rng(6).normal(size=(6, 3)).astype(np.float32)
    pattern = build_pattern(rows, cols, (6, 8), slots=True)
    out, pullback = jax.vjp(lambda v, x: sparse_matmul(pattern, v, x, backend), jnp.asarray(values), jnp.asarray(x))
    grad_values, grad_x = pullback(jnp.asarray(cotangent))
    dense = matrix.toarray().astype(np.float64)
    np.testing.assert_allclose(out, dense @ x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grad_x, dense.T @ cotangent, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grad_values, (cotangent @ x.T)[rows, cols], rtol=1e-5, atol=1e-6)


def test_the_compiled_sum_builds_nothing_of_one_row_an_edge():
    """On a CPU: neither the sum nor its gradient holds messages `[e, f]` or scatters."""
    nodes, edges, width = 2000, 40_000, 64
    graph = prepare(raw_graph(random_edges(0, nodes, edges), np.zeros((nodes, width), np.float32)))
    x, weights = graph.nodes, graph.edges.coefficients

    def gradient(graph, x, weights):
        return jax.grad(lambda x: jnp.sum(weighted_sum(graph, x, weights) ** 2))(x)

    for function in (weighted_sum, gradient):
        program = jax.jit(function).lower(graph, x, weights).compile()
        assert program.memory_analysis().temp_size_in_bytes < edges * width * 4 / 5
        assert "scatter" not in program.as_text()
