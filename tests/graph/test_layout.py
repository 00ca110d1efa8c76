import itertools
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import scipy.sparse as sp
from aggregate_samples import MANY, RELATIONS, typed_graph, types_of
from graphs import EdgeList, edge_lists, features, quick, random_edges, raw_graph
from hypothesis import given
from hypothesis import strategies as st

from abkd_jax.aggregate import attention_sum, maximum, propagate
from abkd_jax.graph import prepare
from abkd_jax.graph.buckets import BUCKET_SIZES, bucketise
from abkd_jax.graph.layout import build_pattern, stable_order
from abkd_jax.training import checkpoint

PADDING = np.iinfo(np.int32).max
lengths = st.lists(st.one_of(st.integers(0, 40), st.sampled_from([64, 65, 1023, 1024, 1025, 1057])), max_size=12)


def _entries(buckets, rows):
    """Of each row the positions that its place leads to, through all levels."""
    outputs, before = [], None  # of all levels; of the level before: the entries below each position
    for level in buckets.levels:
        columns = [column for bucket in level for column in bucket.T]
        below = [[int(i) for i in column if i != PADDING] for column in columns]
        before = below if before is None else [[entry for i in own for entry in before[i]] for own in below]
        outputs += before
    return [outputs[place] if place < len(outputs) else [] for place in buckets.place[:rows]]


@quick
@given(lengths)
def test_every_entry_is_in_its_row_once(lengths):
    row_ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    buckets = bucketise(row_ptr)
    assert buckets.place.shape == (len(lengths),)
    assert all(leaf.dtype == np.int32 for leaf in jax.tree.leaves(buckets))
    expected = [list(range(begin, end)) for begin, end in itertools.pairwise(row_ptr)]
    assert [sorted(own) for own in _entries(buckets, len(lengths))] == expected


@quick
@given(lengths)
def test_buckets_have_few_sizes_and_little_padding(lengths):
    row_ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    buckets = bucketise(row_ptr)
    for level in buckets.levels:
        sizes = [bucket.shape[0] for bucket in level]
        assert set(sizes) <= set(BUCKET_SIZES)
        assert sizes == sorted(set(sizes))
        for bucket in level:
            filled = (bucket != PADDING).sum(axis=0)
            smaller = max((size for size in BUCKET_SIZES if size < bucket.shape[0]), default=0)
            assert ((filled > smaller) & (filled <= bucket.shape[0])).all()
            assert (bucket[0] != PADDING).all()  # by the first entry one finds the row
    depth = 0 if not max(lengths, default=0) else int(np.ceil(np.log(max(2, max(lengths))) / np.log(32)))
    assert len(buckets.levels) == depth


@quick
@given(edge_lists(), st.booleans())
def test_a_pattern_shares_its_transpose_exactly_if_it_is_symmetric(edges, mirrored):
    if mirrored:
        senders, receivers = (np.concatenate(pair) for pair in ((edges.senders, edges.receivers), edges[1::-1]))
    else:
        senders, receivers = edges.senders, edges.receivers
    order = np.lexsort((senders, receivers))
    pattern = build_pattern(receivers[order], senders[order], (edges.size, edges.size), buckets=True)
    dense = np.zeros((edges.size, edges.size))
    np.add.at(dense, (receivers, senders), 1)
    symmetric = np.array_equal(dense, dense.T)
    assert (pattern.transpose is None) == (pattern.buckets[1] is None) == symmetric
    rows = sp.csr_matrix((np.ones(len(order)), pattern.rows_t, pattern.col_ptr), shape=dense.shape)
    np.testing.assert_array_equal(rows.toarray(), dense.T)
    for buckets, counts in (
        (pattern.buckets[0], dense.sum(1)),
        (pattern.buckets[1] or pattern.buckets[0], dense.sum(0)),
    ):
        assert [len(own) for own in _entries(buckets, edges.size)] == counts.tolist()


def test_a_pattern_that_is_not_square_has_a_transpose_of_its_own():
    pattern = build_pattern(np.array([0, 1], np.int32), np.array([0, 1], np.int32), (2, 3))
    assert pattern.shape == (2, 3)
    assert pattern.transpose is not None
    assert pattern.col_ptr.tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize("backend", ["bucketed", "segment"])
def test_typed_edges_are_two_matrices(backend):
    layout = prepare(typed_graph(MANY), relations=RELATIONS, backend=backend).edges.relations
    types = types_of(MANY)
    for pattern, rows, cols, shape in (
        (layout.rows, MANY.receivers * RELATIONS + types, MANY.senders, (9 * RELATIONS, 9)),
        (layout.columns, MANY.receivers, MANY.senders * RELATIONS + types, (9, 9 * RELATIONS)),
    ):
        assert pattern.shape == shape
        assert (pattern.slots is not None) == (backend == "bucketed")
        expected = np.zeros(shape)
        np.add.at(expected, (rows, cols), 1)
        by_row = sp.csr_matrix((np.ones(20), pattern.cols, pattern.row_ptr), shape=shape)
        by_column = sp.csr_matrix((np.ones(20), pattern.rows_t, pattern.col_ptr), shape=shape[::-1])
        np.testing.assert_array_equal(by_row.toarray(), expected)
        np.testing.assert_array_equal(by_column.toarray(), expected.T)
        np.testing.assert_array_equal(pattern.rows, np.sort(rows))


def _ring(step):
    """Every node has one edge in and one out, so that all rings have layouts of one shape."""
    nodes = np.arange(9, dtype=np.int32)
    edges = EdgeList(nodes, (nodes + step).astype(np.int32) % 9, np.ones(9, np.float32), 9)
    return prepare(raw_graph(edges, features(step, 9, 2)))


@pytest.mark.parametrize("function", [propagate, maximum], ids=["propagate", "maximum"])
def test_another_graph_of_the_same_shapes_is_not_traced_again(function):
    chex.clear_trace_counter()
    run = jax.jit(chex.assert_max_traces(lambda graph, x: function(graph, x), n=1))
    x = np.eye(9, 2, dtype=np.float32)
    for step in (1, 2, 4):
        out = run(_ring(step), x)
        assert float(out[step, 0]) > 0  # node 0 sends to node `step`
        assert float(out[(step + 3) % 9, 0]) == 0


def test_other_degrees_of_padded_graphs_are_not_traced_again_without_buckets():
    """Buckets have the shapes of the degrees; without them the sizes decide alone."""
    chex.clear_trace_counter()
    run = jax.jit(chex.assert_max_traces(lambda graph, logits, x: attention_sum(graph, logits, x), n=1))
    for seed in range(3):
        graph = prepare(raw_graph(random_edges(seed, 9, 20), np.zeros((9, 1), np.float32)), buckets=False)
        run(graph, np.zeros((20, 1), np.float32), np.ones((9, 1, 2), np.float32))


GRAPHS = {
    "buckets": lambda: prepare(typed_graph(MANY)),
    "no buckets": lambda: prepare(typed_graph(MANY), buckets=False, backend="segment"),
    "symmetric": lambda: prepare(raw_graph(random_edges(0, 3, 0)._replace(
        senders=np.array([0, 1], np.int32), receivers=np.array([1, 0], np.int32), weights=np.ones(2, np.float32)
    ), np.zeros((3, 1), np.float32))),
}  # fmt: skip


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS.keys())
def test_a_prepared_graph_survives_every_journey(make):
    graph = make()
    journeys = {
        "device_put": jax.device_put(graph),
        "jit": jax.jit(lambda graph: graph)(graph),
        "tree.map": jax.tree.map(jnp.asarray, graph),
        "flatten": jax.tree.unflatten(jax.tree.structure(graph), jax.tree.leaves(graph)),
    }
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(f"{folder}/ours", {"graph": graph}, {"loss": np.zeros(1)}, {})
        journeys["checkpoint"] = checkpoint.restore(f"{folder}/ours", {"graph": graph}, {})[0]["graph"]
        with ocp.StandardCheckpointer() as writer:
            writer.save(f"{folder}/orbax", graph)
        with ocp.StandardCheckpointer() as reader:
            journeys["orbax"] = reader.restore(f"{folder}/orbax", jax.tree.map(ocp.utils.to_shape_dtype_struct, graph))
    for other in journeys.values():
        assert jax.tree.structure(other) == jax.tree.structure(graph)
        jax.tree.map(np.testing.assert_array_equal, other, graph)
        assert other.edges.info == graph.edges.info


@quick
@given(st.integers(1, 9), st.lists(st.integers(0, 8), max_size=30))
def test_sorting_by_counting_is_stable(size, keys):
    keys = np.array(keys, np.int32) % size
    order, begins = stable_order(keys, size)
    np.testing.assert_array_equal(order, np.argsort(keys, kind="stable"))
    assert np.diff(begins).tolist() == [(keys == key).sum() for key in range(size)]
    assert order.dtype == begins.dtype == np.int32
