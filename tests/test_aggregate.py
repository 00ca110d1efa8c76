import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import dense_adjacency, dense_normalised, features, random_edges, raw_graph
from jax.test_util import check_grads

from abkd_jax.aggregate import feature_matmul, propagate, weighted_sum
from abkd_jax.graph import normalise, prepare, sparse_features

GRAPHS = {"many edges": (9, 20), "two loops at one node": (1, 2), "no edges": (5, 0)}
LAYOUTS = {"plain": lambda graph: graph, "normalised": normalise, "prepared": prepare}


@pytest.fixture(params=GRAPHS.values(), ids=GRAPHS.keys())
def edges(request):
    return random_edges(3, *request.param)


def _case(edges, layout, dtype=np.float32):
    """A graph with its weights in the order of its edges."""
    x = features(1, edges.size, 4).astype(dtype)
    graph = LAYOUTS[layout](raw_graph(edges, x)._replace(edges=edges.weights.astype(dtype)))
    weights = graph.edges if layout == "plain" else graph.edges.features
    return jax.device_put((graph, x, weights))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weighted_sum_is_the_dense_product(edges, layout):
    graph, x, weights = _case(edges, layout)
    expected = dense_adjacency(edges) @ np.asarray(x, np.float64)
    np.testing.assert_allclose(weighted_sum(graph, x, weights), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", ["plain", "prepared"])
def test_gradients_of_the_weighted_sum_are_the_dense_ones(edges, layout):
    graph, x, weights = _case(edges, layout)
    cotangent = jnp.asarray(np.random.default_rng(4).normal(size=x.shape).astype(np.float32))
    _, pullback = jax.vjp(lambda x, weights: weighted_sum(graph, x, weights), x, weights)
    grad_x, grad_weights = pullback(cotangent)
    c, x = np.asarray(cotangent, np.float64), np.asarray(x, np.float64)
    np.testing.assert_allclose(grad_x, dense_adjacency(edges).T @ c, rtol=1e-5, atol=1e-6)
    pairs = (c @ x.T)[np.asarray(graph.receivers), np.asarray(graph.senders)]  # d/dA of <c, A x>
    np.testing.assert_allclose(grad_weights, pairs, rtol=1e-5, atol=1e-6)


def test_float64_all_the_way():
    edges = random_edges(3, *GRAPHS["many edges"])
    with jax.enable_x64(True):
        graph, x, weights = _case(edges, "prepared", np.float64)
        out = weighted_sum(graph, x, weights)
        assert out.dtype == jnp.float64
        np.testing.assert_allclose(out, dense_adjacency(edges) @ np.asarray(x), rtol=1e-13, atol=1e-14)
        function = jax.jit(lambda x, weights: weighted_sum(graph, x, weights))  # check_grads itself steps in NumPy
        check_grads(function, (x, weights), order=1, modes=["rev"], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(propagate(graph, x), dense_normalised(edges) @ np.asarray(x), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("layout", ["plain", "prepared"])
def test_bfloat16_stays_bfloat16(layout):
    edges = random_edges(3, *GRAPHS["many edges"])
    graph, x, weights = _case(edges, layout)
    expected = dense_adjacency(edges) @ np.asarray(x, np.float64)
    out = weighted_sum(graph, x.astype(jnp.bfloat16), weights.astype(jnp.bfloat16))
    assert out.dtype == propagate(graph, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(out, np.float64), expected, rtol=0.05, atol=0.1)  # 8 bits, sums of a few


@pytest.mark.parametrize("layout", ["plain", "prepared"])
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (1, None)], ids=["x", "weights", "both", "x, axis 1"])
def test_vmap_is_a_loop(layout, axes):
    graph, x, weights = _case(random_edges(3, *GRAPHS["many edges"]), layout)
    many_x, many_weights = (jnp.stack([a, a**2, 1.0 - a]) for a in (x, weights))
    arguments = (x if axes[0] is None else many_x, weights if axes[1] is None else many_weights)

    def value_and_gradients(x, weights):
        out, pullback = jax.vjp(lambda x, weights: weighted_sum(graph, x, weights), x, weights)
        return out, pullback(jnp.cos(out))

    loop = [
        value_and_gradients(*(a if axis is None else a[i] for a, axis in zip(arguments, axes, strict=True)))
        for i in range(3)
    ]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *loop)
    if axes[0] == 1:
        arguments = (jnp.moveaxis(many_x, 0, 1), weights)
    got = jax.jit(jax.vmap(value_and_gradients, in_axes=axes))(*arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, expected)


def test_propagate_is_the_dense_normalised_product(edges):
    for layout in LAYOUTS:
        graph, x, _ = _case(edges, layout)
        expected = dense_normalised(edges) @ np.asarray(x, np.float64)
        np.testing.assert_allclose(propagate(graph, x), expected, rtol=1e-5, atol=1e-6)


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


def test_sparse_features_multiply_as_the_matrix_does():
    matrix = sp.random(6, 8, density=0.3, random_state=np.random.default_rng(0), format="csr", dtype=np.float32)
    kernel = jnp.asarray(features(5, 8, 3))
    cotangent = np.random.default_rng(6).normal(size=(6, 3)).astype(np.float32)
    dense = matrix.toarray().astype(np.float64)
    for x in (jnp.asarray(matrix.toarray()), jax.device_put(sparse_features(matrix))):
        out, pullback = jax.vjp(lambda kernel, x=x: feature_matmul(x, kernel), kernel)
        np.testing.assert_allclose(out, dense @ np.asarray(kernel), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(pullback(jnp.asarray(cotangent))[0], dense.T @ cotangent, rtol=1e-5, atol=1e-6)
