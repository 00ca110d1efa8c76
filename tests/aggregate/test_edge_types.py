import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import LAYOUTS, LEAVES, MANY, RELATIONS, arranged, check_exactly, star, typed_graph, types_of
from graphs import raw_graph

from abkd_jax.aggregate import relation_means, relation_sum
from abkd_jax.graph import prepare
from abkd_jax.types import InputError

means = jax.jit(functools.partial(relation_means, relations=RELATIONS))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["relation_means", "relation_sum"])
def test_values_and_gradients_are_those_of_the_model(name, layout):
    check_exactly(name, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_types_may_stand_alone(layout):
    """`edges` is the types themselves, not a dictionary with them."""
    named = typed_graph(MANY)
    bare = named._replace(edges=types_of(MANY))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32))
    first, second = (means(arranged(graph, layout), x) for graph in (named, bare))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_type_that_no_edge_has_is_zero(layout):
    edges = MANY._replace(senders=MANY.senders[:2], receivers=MANY.receivers[:2], weights=MANY.weights[:2])
    assert types_of(edges).tolist() == [0, 0]
    got = means(arranged(typed_graph(edges), layout), jnp.ones((9, 1)))
    np.testing.assert_array_equal(got[:, 1:], np.zeros((9, RELATIONS - 1, 1)))
    assert float(jnp.sum(got)) == len(set(edges.receivers.tolist()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_means_of_16_bits_accumulate_in_32(layout):
    graph = arranged(typed_graph(star(LEAVES))._replace(edges=np.zeros(LEAVES, np.int32)), layout)
    x = jnp.full((LEAVES + 1, 1), 3.0, jnp.bfloat16)

    @jax.jit
    def both(graph, x):
        summed = relation_sum(graph, jnp.stack([x] * RELATIONS, axis=1))
        return relation_means(graph, x, RELATIONS)[0, 0, 0], summed[0, 0]

    for got in both(graph, x):
        assert got.dtype == jnp.bfloat16
        assert float(got) == 3.0


def test_another_number_of_types_is_refused_in_one_line():
    graph = prepare(typed_graph(MANY))
    message = "the graph was prepared for 3 relations, expected 4: name their number in graph.prepare"
    for function in (
        lambda: relation_means(graph, jnp.ones((9, 1)), 4),
        lambda: relation_sum(graph, jnp.ones((9, 4, 1))),
    ):
        with pytest.raises(InputError, match=message) as caught:
            function()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_edges_without_types_are_refused(layout):
    graph = arranged(raw_graph(MANY, np.zeros((9, 1), np.float32)), layout)
    with pytest.raises(InputError, match="edges have no type, expected integers"):
        relation_means(graph, jnp.ones((9, 1)), RELATIONS)
    with pytest.raises(InputError, match="edges have no type, expected integers"):
        relation_sum(graph, jnp.ones((9, RELATIONS, 1)))
