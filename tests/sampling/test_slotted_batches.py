"""Minibatches for a TPU: the same edges, in slots of few shapes, and the same numbers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sampling_samples import sample
from test_graph_batches import dataset
from test_typed_batches import a_graph

from abkd_jax import aggregate
from abkd_jax.aggregate.constant import constant_matmul
from abkd_jax.graph import node_mask, num_nodes
from abkd_jax.graph.slot_shapes import LONGEST, SlotShape, part_counts
from abkd_jax.graph.type_blocks import TypedLayout
from abkd_jax.sampling import BucketSizes, Capacity, cluster_batches, graph_batches, neighbour_batches, walk_batches

MAKERS = {
    "neighbours": lambda graph, platform: neighbour_batches(graph, 8, (3, 2), platform=platform),
    "walks": lambda graph, platform: walk_batches(graph, 8, 2, 5, platform=platform),
    "clusters": lambda graph, platform: cluster_batches(
        graph, (np.arange(60) % 9).astype(np.int32), 2, platform=platform
    ),
    "graphs": lambda _, platform: graph_batches(dataset(), 3, platform=platform),
}


def batches(kind, platform, typed=False):
    return list(MAKERS[kind](sample(typed=typed)[1], platform)(np.random.default_rng(0)))


def by_slots(graph):
    """The graph whose sums run in slots on any platform."""
    return graph._replace(edges=graph.edges._replace(info=dataclasses.replace(graph.edges.info, backend="bucketed")))


def _sums(graph, x):
    messages = jax.nn.relu(aggregate.sender_values(graph, x) + aggregate.receiver_values(graph, 0.5 * x))
    logits = messages[:, :1]
    return (
        aggregate.mean(graph, x),
        aggregate.propagate(graph, x),
        aggregate.maximum(graph, x),
        aggregate.receiver_sums(graph, messages),
        aggregate.attention_sum(graph, logits, x[:, None])[:, 0],
    )


def _typed_sums(graph, x):
    return aggregate.relation_sum(graph, aggregate.relation_means(graph, x, 3) ** 2), *_sums(graph, x)


def _numbers(function, graph, x):
    """Sums at the real nodes, and the gradient of something of them."""
    real = node_mask(graph)[:, None]

    def loss(x):
        out = [jnp.where(real, own, 0.0) for own in function(graph, x)]
        return sum(jnp.sum(jnp.sin(own)) for own in out), out

    (_, out), slope = jax.value_and_grad(loss, has_aux=True)(x)
    return out, jnp.where(real, slope, 0.0)


@pytest.mark.parametrize(
    ("kind", "typed"), [("neighbours", False), ("walks", True), ("clusters", False), ("graphs", False)]
)
def test_the_numbers_are_those_of_other_platforms(kind, typed):
    plain, slotted = (batches(kind, platform, typed) for platform in ("cpu", "tpu"))
    function = _typed_sums if typed else _sums
    # Two functions, since programs are counted by function.
    compiled, in_slots = (jax.jit(functools.partial(_numbers, function)) for _ in range(2))
    rng = np.random.default_rng(1)
    for a, b in zip(plain, slotted, strict=True):
        assert_array_equal(a.graph.senders, b.graph.senders)
        x = rng.normal(size=(num_nodes(a.graph), 3)).astype(np.float32)
        expected, found = compiled(a.graph, x), in_slots(by_slots(b.graph), x)
        jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)
    assert in_slots._cache_size() <= compiled._cache_size()  # slots add no shape


def test_nodes_sorted_by_type():
    """The products of both matrices of a batch, and of their transposes."""
    made = next(iter(walk_batches(a_graph(1, 60), 6, 2, 8, platform="tpu")(np.random.default_rng(0))))
    layout = made.graph.edges.relations
    assert isinstance(layout, TypedLayout)
    assert made.graph.edges.pattern.slots is None

    def loss(x, matrix, real, backend):
        out = constant_matmul(matrix.pattern, None, None, matrix.weights, x, backend, half=False)
        out = jnp.where(real[:, None], out, 0.0)
        return jnp.sum(jnp.sin(out)), out

    compiled = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=3)
    for matrix in (layout.rows, layout.columns):
        rows, columns = matrix.pattern.shape
        real = np.arange(rows) < rows - 1 if matrix is layout.rows else node_mask(made.graph)
        x = np.random.default_rng(2).normal(size=(columns, 3)).astype(np.float32)
        (_, expected), slope = compiled(x, matrix, real, "segment")
        (_, found), own_slope = compiled(x, matrix, real, "bucketed")
        assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert_allclose(own_slope[:-1], slope[:-1], rtol=1e-5, atol=1e-6)
        assert np.abs(found).sum() > 0


@pytest.mark.parametrize("kind", MAKERS)
def test_other_platforms_have_no_slots(kind):
    for batch in batches(kind, "cuda"):
        assert batch.graph.edges.pattern.slots is None


def test_shapes_grow_together_and_then_apart():
    """As capacities of nodes and edges do: a matrix unlike the trials has a shape of its own."""
    lowest = SlotShape((((2, 16),),)), SlotShape((((4, 16),),))
    sizes = BucketSizes(Capacity(64, 64, (), lowest))

    def fitting(*lengths):
        return sizes.smallest_fitting(9, 9, (), np.stack([part_counts(np.array(own)) for own in lengths])).slots

    assert fitting([2] * 16, [4] * 16) == lowest
    assert fitting([2] * 17, [4] * 3) == (SlotShape((((2, 24),),)), SlotShape((((4, 24),),)))
    short, long = fitting([2] * 16, [LONGEST + 1])
    assert short == lowest[0]
    assert len(long.levels) >= 2
