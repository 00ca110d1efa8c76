"""Minibatches whose nodes are sorted by type: the layers of the same subgraph in any other order, for less work."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax import models, sampling
from abkd_jax.graph import node_mask
from abkd_jax.graph.host import HostGraph, host_graph
from abkd_jax.graph.type_blocks import TypedLayout, TypedRelations, typed_relations
from abkd_jax.layers import RGCNConv, SAGEConv
from abkd_jax.sampling.assembly import to_batch
from abkd_jax.sampling.subgraph import induced, sorted_by_type
from abkd_jax.types import Dataset, Schema

WIDTH, CLASSES = 4, 3
SIZES = (9, 14, 6)  # papers with features, authors and places without
MOST_NODES, MOST_EDGES = 24, 128  # of a batch: programs are compiled for few shapes
ENDS = ((0, 0), (1, 0), (1, 2))  # cites, writes, is at
RELATIONS = TypedRelations(entering=((0, 1), (3, 4), (2,)), leaving=((0, 3), (1, 2), (4,)))


def a_graph(seed: int, edges: int) -> HostGraph:
    """A graph of ogbn-mag's kind: each of its five relations is between two types."""
    rng = np.random.default_rng(seed)
    begins, n = np.cumsum((0, *SIZES)), sum(SIZES)
    relations = rng.integers(3, size=edges)
    ends = [begins[kinds] + rng.integers(np.array(SIZES)[kinds]) for kinds in np.array(ENDS)[relations].T]
    senders, receivers = ends if edges else np.zeros((2, 0), int)
    papers = np.arange(n) < SIZES[0]
    return host_graph(
        Dataset(
            name="typed",
            features=rng.normal(size=(SIZES[0], WIDTH)).astype(np.float32),
            senders=senders.astype(np.int32),
            receivers=receivers.astype(np.int32),
            labels=np.where(papers, np.arange(n) % CLASSES, -1).astype(np.int32),
            num_classes=CLASSES,
            train_mask=papers & (np.arange(n) % 2 == 0),
            val_mask=papers & (np.arange(n) % 4 == 1),
            test_mask=papers & (np.arange(n) % 4 == 3),
            source="random",
            schema=Schema(("paper", "author", "place"), ("cites", "writes", "is at"), (0, 3, 4)),
            node_types=np.repeat(np.arange(3, dtype=np.int32), SIZES),
            relations=relations.astype(np.int32),
        )
    )


def both_orders(graph, nodes, spare=0):
    """The batch as it is drawn, and with its nodes sorted, and the places of the nodes of the first in the second."""
    drawn = induced(graph, np.asarray(nodes))._replace(num_roots=len(nodes) // 2)
    ordered = sorted_by_type(graph, drawn)
    counts = np.bincount(graph.node_types[drawn.nodes], minlength=3)
    capacity = sampling.Capacity(MOST_NODES + 4 * spare, MOST_EDGES)
    typed = capacity._replace(types=tuple(min(size + spare, capacity.nodes) for size in SIZES))
    assert (counts <= typed.types).all()
    plain = to_batch(graph, drawn, capacity, roots_only=True)
    return plain, to_batch(graph, ordered, typed, roots_only=True, relations=RELATIONS), np.argsort(ordered.order)


def rgcn(hidden, **options):
    kinds = {"relations": 5, "node_types": 3, "embeddings": sum(SIZES[1:]), "embedding_width": WIDTH}
    return models.RGCN(hidden, 2, CLASSES, dropout=0.0, **kinds, **options)


@functools.partial(jax.jit, static_argnums=0)
def gradients(model, params, batch):
    def loss(params):
        logits = model.apply({"params": params}, batch.graph).logits
        return jnp.sum(jnp.where(batch.masks.all[:, None], jnp.sin(logits), 0.0)), logits

    (value, logits), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return value, logits, grads


@pytest.mark.parametrize(("hidden", "bases"), [(7, None), (3, 2)], ids=["means first", "transformed first"])
@given(seed=st.integers(0, 10**6), edges=st.integers(0, 60), spare=st.sampled_from((0, 3)), data=st.data())
@settings(max_examples=12, deadline=None)
def test_the_numbers_are_those_of_any_other_order(hidden, bases, seed, edges, spare, data):
    graph = a_graph(seed, edges)
    nodes = data.draw(st.lists(st.integers(0, sum(SIZES) - 1), min_size=1, max_size=20, unique=True))
    plain, typed, places = both_orders(graph, nodes, spare)
    assert isinstance(typed.graph.edges.relations, TypedLayout)
    model = rgcn(hidden, bases=bases)
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), plain.graph)["params"]
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)
    (value, logits, grads), (found, own, own_grads) = (gradients(model, params, batch) for batch in (plain, typed))
    assert_allclose(found, value, rtol=1e-5, atol=1e-5)
    assert_allclose(own[places], logits[: len(nodes)], rtol=1e-5, atol=1e-5)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=2e-5, atol=2e-5), own_grads, grads)
    for a, b in ((plain.labels, typed.labels), (plain.masks.all, typed.masks.all)):
        assert_array_equal(a[: len(nodes)], b[places])
    assert_array_equal(node_mask(plain.graph), node_mask(typed.graph))


def test_relations_of_each_type():
    relations = typed_relations(a_graph(0, 60))
    assert relations == RELATIONS


def test_a_graph_whose_relations_join_all_types_keeps_its_order():
    graph = a_graph(0, 60)
    rng = np.random.default_rng(0)
    mixed = graph._replace(relations=rng.integers(5, size=graph.num_edges).astype(np.int32))
    assert typed_relations(mixed) is None
    minibatch = next(sampling.walk_batches(mixed, 4, 2, 1).minibatches(rng))
    assert not isinstance(minibatch.batch.graph.edges.relations, TypedLayout)


def test_an_epoch_has_few_shapes_and_tells_its_nodes():
    graph = a_graph(1, 60)
    sampler = sampling.walk_batches(graph, 6, 2, 8)
    drawn = list(sampler.minibatches(np.random.default_rng(0)))
    assert len({str(jax.tree.structure(m.batch)) for m in drawn}) < 4
    for minibatch in drawn:
        kinds = graph.node_types[minibatch.nodes]
        assert (np.diff(kinds) >= 0).all()
        assert_array_equal(minibatch.batch.graph.nodes["type"][: len(kinds)], kinds)
        assert_array_equal(minibatch.batch.labels[: len(kinds)], graph.labels[minibatch.nodes])
    groups = [[build() for build in draw()] for draw in sampler.groups(np.random.default_rng(0), 4)]
    assert [len({jax.tree.structure(m.batch) for m in group}) for group in groups] == [1, 1]


def test_layers_that_know_no_types_read_the_batch_too():
    """Those of edges alone, and those with blocks of weights, which sum over all pairs."""
    plain, typed, places = both_orders(a_graph(2, 60), range(0, 29, 2), 3)
    x = np.random.default_rng(0).normal(size=(len(node_mask(plain.graph)), 4)).astype(np.float32)
    moved = np.zeros_like(x)
    moved[places] = x[: len(places)]
    for layer in (SAGEConv(4), RGCNConv(4, 5, blocks=2)):
        variables = layer.init(jax.random.key(0), plain.graph, jnp.asarray(x))
        apply = jax.jit(layer.apply)
        expected, found = apply(variables, plain.graph, x), apply(variables, typed.graph, moved)
        assert_allclose(found[places], expected[: len(places)], rtol=1e-5, atol=1e-6)


def test_layers_do_a_fraction_of_the_work():
    """Multiplications as XLA counts them, of a layer from 64 to 64 units with the sizes above, times ten."""
    graph = a_graph(3, 60)
    plain, typed, _ = both_orders(graph, range(23), 3)
    model = rgcn(64)
    params = jax.eval_shape(model.init, jax.random.key(0), plain.graph)

    def flops(batch):
        lowered = jax.jit(lambda params, graph: model.apply(params, graph).logits).lower(params, batch.graph)
        return lowered.cost_analysis()["flops"]

    assert flops(typed) < 0.5 * flops(plain)
