import jax
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import LAYOUTS, LEAVES, MANY, arranged, check_exactly, star, typed_graph

from abkd_jax.aggregate import receiver_sums, receiver_values, sender_values
from abkd_jax.aggregate.edges import receiver_maxima
from abkd_jax.graph import raw_edges


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["sender_values", "receiver_values", "receiver_sums"])
def test_values_and_gradients_are_those_of_the_model(name, layout):
    check_exactly(name, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_maxima_of_the_edges_of_a_node(layout):
    graph = arranged(typed_graph(MANY), layout)
    values = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    expected = np.full((9, 2), -np.inf, np.float32)
    np.maximum.at(expected, MANY.receivers, values)
    got = receiver_maxima(graph, jnp.asarray(values[raw_edges(graph)["id"]]))
    np.testing.assert_array_equal(got, expected)
    assert np.isneginf(expected[8]).all()  # nothing enters the isolated node


def test_maxima_have_no_gradient():
    graph = arranged(typed_graph(MANY), "auto")
    got = jax.grad(lambda values: jnp.sum(jnp.where(jnp.isneginf(m := receiver_maxima(graph, values)), 0.0, m)))(
        jnp.ones((20, 2))
    )
    np.testing.assert_array_equal(got, np.zeros((20, 2)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_of_16_bits_accumulate_in_32(layout):
    """In bfloat16 alone, 1 + 1 + ... stops at 256. Gathers have sums as their gradients."""
    inwards, outwards = (arranged(typed_graph(edges), layout) for edges in (star(LEAVES), star(LEAVES, out=True)))
    x, ones = jnp.ones((LEAVES + 1, 1), jnp.bfloat16), jnp.ones((LEAVES, 1), jnp.bfloat16)

    def values(inwards, outwards, x, ones):
        by_receiver = jax.vjp(lambda x: receiver_values(inwards, x), x)[1](ones)[0]
        by_sender = jax.vjp(lambda x: sender_values(outwards, x), x)[1](ones)[0]
        return receiver_sums(inwards, ones), by_receiver, by_sender

    for got in values(inwards, outwards, x, ones):
        assert got.dtype == jnp.bfloat16
        assert float(got[0, 0]) == LEAVES
