import jax
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import (
    LAYOUTS,
    LEAVES,
    MANY,
    OPS,
    arguments_of,
    arranged,
    check_exactly,
    compiled,
    cotangent_of,
    model_results,
    same,
    star,
    typed_graph,
)

from abkd_jax.aggregate import attention_sum, edge_softmax, receiver_sums
from abkd_jax.graph import raw_edges


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["attention_sum", "attention_with_everything", "edge_softmax"])
def test_values_and_gradients_are_those_of_the_model(name, layout):
    check_exactly(name, layout)


def _harsh_logits():
    """Head 0 up to 1e4; in head 1 some edges do not count, among them all that enter node 3."""
    rng = np.random.default_rng(5)
    logits = rng.uniform(-1e4, 1e4, (20, 2)).astype(np.float32)
    logits[::3, 1] = -np.inf
    logits[MANY.receivers == 3, 1] = -np.inf
    assert (MANY.receivers == 3).any()
    return logits


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["attention_sum", "attention_with_everything", "edge_softmax"])
def test_logits_of_any_size(name, layout):
    op = OPS[name]
    arguments = [_harsh_logits(), *arguments_of(op, MANY)[1:]]
    cotangent = cotangent_of(op, MANY, arguments)
    got = compiled(op, arranged(typed_graph(MANY), layout), arguments, cotangent)
    same(got, model_results(op, MANY, arguments, cotangent))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_node_without_counted_edges_gets_zero_and_gives_no_gradient(layout):
    graph = arranged(typed_graph(MANY), layout)
    logits, x = jnp.ones((20, 2)), jnp.ones((9, 2, 3))

    @jax.jit
    def both(logits, x, mask):
        out, pullback = jax.vjp(lambda logits, x: attention_sum(graph, logits, x, mask=mask), logits, x)
        return out, *pullback(jnp.ones((9, 2, 3)))

    for mask, rows in ((np.zeros(20, bool), slice(None)), (np.asarray(graph.receivers) != 3, 3)):
        out, grad_logits, grad_x = both(logits, x, jnp.asarray(mask))
        assert not np.asarray(out)[rows].any()
        assert np.isfinite(grad_logits).all()
        assert not np.asarray(grad_logits)[~mask].any()
        assert mask.any() or not np.asarray(grad_x).any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_a_node_add_up_to_one(layout):
    graph = arranged(typed_graph(MANY), layout)
    logits = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    totals = jax.jit(lambda logits: receiver_sums(graph, edge_softmax(graph, logits)))(logits[raw_edges(graph)["id"]])
    expected = np.isin(np.arange(9), MANY.receivers).astype(float)
    np.testing.assert_allclose(totals, np.stack([expected, expected], axis=1), rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_self_loops_beside_the_list_are_self_loops_in_it(layout):
    """The mean of a node itself, where nothing else enters; and of all, where the logits are alike."""
    graph = arranged(typed_graph(MANY), layout)
    x = np.random.default_rng(0).normal(size=(9, 1, 3)).astype(np.float32)
    alike = jnp.zeros((20, 1)), jnp.zeros((9, 1))
    got = jax.jit(lambda x: attention_sum(graph, alike[0], x, self_logits=alike[1]))(x)
    np.testing.assert_allclose(got[8], x[8], rtol=1e-6)  # the isolated node
    with_loops = np.zeros((9, 9))
    np.add.at(with_loops, (MANY.receivers, MANY.senders), 1.0)
    with_loops += np.eye(9)
    np.testing.assert_allclose(got[:, 0], with_loops @ x[:, 0] / with_loops.sum(1)[:, None], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_of_16_bits_accumulate_in_32(layout):
    """In bfloat16 alone, the total of the weights stops at 256, and the weights add up to 2."""
    graph = arranged(typed_graph(star(LEAVES)), layout)
    x, logits = jnp.full((LEAVES + 1, 1, 1), 3.0, jnp.bfloat16), jnp.zeros((LEAVES, 1), jnp.bfloat16)

    def values(graph, logits, x):
        return attention_sum(graph, logits, x)[0, 0, 0], LEAVES * edge_softmax(graph, logits)[0, 0]

    got = jax.jit(values)(graph, logits, x)
    assert got[0].dtype == got[1].dtype == jnp.bfloat16
    assert [float(value) for value in got] == [3.0, 1.0]
