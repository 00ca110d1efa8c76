import jax
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import LAYOUTS, LEAVES, MANY, OPS, arranged, check_exactly, star, typed_graph
from graphs import EdgeList, raw_graph

from abkd_jax.aggregate import maximum
from abkd_jax.graph import prepare


@jax.jit
def maxima_and_gradient(graph, x, cotangent):
    out, pullback = jax.vjp(lambda x: maximum(graph, x), x)
    return out, pullback(cotangent)[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_gradients_are_those_of_the_model(layout):
    check_exactly("maximum", layout)


@pytest.mark.parametrize("buckets", [True, False])
def test_ties_share_the_gradient(buckets):
    """By hand: nodes 0, 1, 2 send to 3, one of them twice; 0 and 2 attain the maximum."""
    edges = EdgeList(np.array([0, 1, 2, 2], np.int32), np.full(4, 3, np.int32), np.ones(4, np.float32), 4)
    graph = prepare(raw_graph(edges, np.zeros((4, 1), np.float32)), buckets=buckets)
    x = jnp.asarray([[5.0], [1.0], [5.0], [9.0]])
    out, got = maxima_and_gradient(graph, x, jnp.ones((4, 1)))
    np.testing.assert_array_equal(out, [[0.0], [0.0], [0.0], [5.0]])
    np.testing.assert_allclose(got, [[1 / 3], [0], [2 / 3], [0]], rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_minus_infinity_is_zero_and_has_no_gradient(layout):
    """The maximum over neighbours that are all minus infinity is the constant of a node without neighbours."""
    graph = arranged(typed_graph(MANY), layout)
    out, got = maxima_and_gradient(graph, jnp.full((9, 2), -jnp.inf), jnp.ones((9, 2)))
    np.testing.assert_array_equal(out, np.zeros((9, 2)))
    np.testing.assert_array_equal(got, np.zeros((9, 2)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_16_bits_accumulate_in_32(layout):
    """Node 0 is the largest neighbour of all others; in bfloat16 alone its gradient stops at 256, or is rounded."""
    graph = arranged(typed_graph(star(LEAVES - 1, out=True)), layout)
    x = jnp.ones((LEAVES, 1), jnp.bfloat16)
    step = 1.0078125  # 1 + 2**-7, the number after 1
    _, got = maxima_and_gradient(graph, x, jnp.full((LEAVES, 1), step, jnp.bfloat16))
    assert got.dtype == jnp.bfloat16
    assert float(got[0, 0]) == float(jnp.asarray((LEAVES - 1) * step, jnp.bfloat16))


def test_the_model_shares_as_well():
    """The expected gradients themselves, by hand."""
    edges = EdgeList(np.array([0, 1, 2], np.int32), np.zeros(3, np.int32), np.ones(3, np.float32), 3)
    got = OPS["maximum"].pullback(edges, np.array([[2.0], [2.0], [1.0]]), np.array([[1.0], [7.0], [7.0]]))
    np.testing.assert_array_equal(got[0], [[0.5], [0.5], [0.0]])
