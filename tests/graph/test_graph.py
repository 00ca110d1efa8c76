import re

import jax
import jraph
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import dense_normalised, edge_lists, features, quick, random_edges, raw_graph
from hypothesis import given
from hypothesis import strategies as st

from abkd_jax import graph as graphlib
from abkd_jax.types import Dataset, InputError


def _model_of_from_edges(edges, weighted, undirected, self_loops):
    """{(receiver, sender): weight} by a loop over the edges."""
    table = {}
    for s, r, w in zip(edges.senders.tolist(), edges.receivers.tolist(), edges.weights.tolist(), strict=True):
        for pair in [(r, s), (s, r)] if undirected and s != r else [(r, s)]:
            table[pair] = table.get(pair, 0.0) + (w if weighted else 1.0)
    if self_loops:
        for node in range(edges.size):
            table.setdefault((node, node), 1.0)
    return table


@quick
@given(edge_lists(), st.booleans(), st.booleans(), st.booleans())
def test_from_edges_agrees_with_a_loop_over_the_edges(edges, weighted, undirected, self_loops):
    weights = edges.weights if weighted else None
    got = graphlib.from_edges(
        edges.senders, edges.receivers, edges.size, weights=weights, undirected=undirected, self_loops=self_loops
    )
    expected = _model_of_from_edges(edges, weighted, undirected, self_loops)
    pairs = sorted(expected)  # by receiver, then by sender
    assert list(zip(got.receivers.tolist(), got.senders.tolist(), strict=True)) == pairs
    assert got.senders.dtype == got.receivers.dtype == np.int32
    assert (got.n_node.tolist(), got.n_edge.tolist()) == ([edges.size], [len(pairs)])
    if weighted:
        assert got.edges.dtype == np.float32
        assert got.edges.tolist() == [expected[pair] for pair in pairs]
    else:
        assert got.edges is None


def test_from_edges_of_no_edges():
    got = graphlib.from_edges(np.array([]), np.array([]), 3)
    assert got.senders.shape == got.receivers.shape == (0,)
    assert graphlib.from_edges(np.array([]), np.array([]), 3, self_loops=True).senders.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("senders", "receivers", "options", "message"),
    [
        ([0, 3], [1, 1], {}, "edge 1: sender 3 is outside a graph of 3 nodes, expected 0 to 2"),
        ([0, 1], [1, 3], {}, "edge 1: receiver 3 is outside a graph of 3 nodes, expected 0 to 2"),
        ([-1, 1], [1, 2], {}, "edge 0: sender -1 is outside a graph of 3 nodes, expected 0 to 2"),
        ([1, 1], [-2, 2], {}, "edge 0: receiver -2 is outside a graph of 3 nodes, expected 0 to 2"),
        ([0.0, 1.0], [1, 2], {}, "senders hold float64, expected integers"),
        ([0, 1], [True, False], {}, "receivers hold bool, expected integers"),
        ([0, 1], [1], {}, "senders (2,) and receivers (1,) must be two lists of one length"),
        ([[0, 1]], [[1, 2]], {}, "senders (1, 2) and receivers (1, 2) must be two lists of one length"),
        ([0, 1], [1, 2], {"weights": [1.0]}, "edge weights have shape (1,), expected (2,): one weight an edge"),
        ([0, 1], [1, 2], {"weights": [1.0, np.nan]}, "edge weights hold NaN or infinite values, expected finite"),
        ([0, 1], [1, 2], {"weights": [np.inf, 1.0]}, "edge weights hold NaN or infinite values, expected finite"),
    ],
)
def test_bad_edges_are_refused_in_one_line(senders, receivers, options, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        graphlib.from_edges(
            np.array(senders), np.array(receivers), 3, **{name: np.array(value) for name, value in options.items()}
        )
    assert "\n" not in str(caught.value)


def test_prepare_refuses_edges_that_point_outside():
    edges = random_edges(0, 5, 12)
    edges.senders[4] = 5
    with pytest.raises(InputError, match="edge 4: sender 5 is outside a graph of 5 nodes"):
        graphlib.prepare(raw_graph(edges, features(0, 5, 2)))


def _dense_of(graph):
    """The `[n, n]` matrix that a normalised graph's coefficients stand for."""
    size = graphlib.num_nodes(graph)
    matrix = np.diag(np.asarray(graph.edges.self_coefficients, np.float64))
    coefficients = np.asarray(graph.edges.coefficients, np.float64)
    np.add.at(matrix, (np.asarray(graph.receivers), np.asarray(graph.senders)), coefficients)
    assert graph.edges.self_coefficients.shape == (size,)
    return matrix


@quick
@given(edge_lists(), st.booleans(), st.sampled_from([graphlib.normalise, graphlib.prepare]))
def test_normalisation_is_that_of_kipf_and_welling(edges, weighted, function):
    graph = raw_graph(edges, features(0, edges.size, 2), weighted)
    np.testing.assert_allclose(_dense_of(function(graph)), dense_normalised(edges, weighted), rtol=1e-6)


def test_normalisation_by_hand():
    """0 - 1 with weight 3, a self loop of weight 2 at 1, node 2 isolated: degrees 1 + 3, 3 + 2, 1."""
    graph = graphlib.from_edges(np.array([0, 1]), np.array([1, 1]), 3, weights=np.array([3.0, 2.0]), undirected=True)
    off = 3 / np.sqrt(4 * 5)
    expected = [[1 / 4, off, 0], [off, 2 / 5, 0], [0, 0, 1]]
    np.testing.assert_allclose(_dense_of(graphlib.normalise(graph)), expected, rtol=1e-6)


def test_normalise_keeps_the_precision_of_the_session():
    edges = random_edges(1, 9, 20)
    with jax.enable_x64(True):
        graph = graphlib.normalise(raw_graph(edges, features(0, 9, 2).astype(np.float64), weighted=False))
        np.testing.assert_allclose(_dense_of(graph), dense_normalised(edges, weighted=False), rtol=1e-14)


def test_normalise_leaves_a_node_without_positive_degree_alone():
    """Weights that cancel the added self loop: no division by zero, no NaN."""
    graph = graphlib.from_edges(np.array([1]), np.array([0]), 2, weights=np.array([-1.0]))
    np.testing.assert_array_equal(_dense_of(graphlib.normalise(graph)), [[0.0, 0.0], [0.0, 1.0]])


@quick
@given(edge_lists())
def test_prepare_sorts_edges_and_all_they_carry(edges):
    names = np.arange(edges.senders.shape[0], dtype=np.float32)
    graph = raw_graph(edges, features(0, edges.size, 2))._replace(edges={"weight": edges.weights, "name": names})
    prepared = graphlib.prepare(graph)
    order = prepared.edges.features["name"].astype(int)  # where each edge comes from
    assert sorted(order.tolist()) == names.astype(int).tolist()
    np.testing.assert_array_equal(prepared.senders, edges.senders[order])
    np.testing.assert_array_equal(prepared.receivers, edges.receivers[order])
    np.testing.assert_array_equal(prepared.edges.features["weight"], edges.weights[order])
    pairs = list(zip(prepared.receivers.tolist(), prepared.senders.tolist(), strict=True))
    assert pairs == sorted(pairs)


@quick
@given(edge_lists())
def test_the_prepared_layout_and_its_transpose_are_the_adjacency(edges):
    pattern = graphlib.prepare(raw_graph(edges, features(0, edges.size, 2))).edges.pattern
    size, values = edges.size, np.arange(1.0, edges.senders.shape[0] + 1)
    expected = np.zeros((size, size))
    np.add.at(expected, (pattern.rows, pattern.cols), values)
    rows_of = sp.csr_matrix((values, pattern.cols, pattern.row_ptr), shape=(size, size))
    columns_of = sp.csr_matrix((values[pattern.order_t], pattern.rows_t, pattern.col_ptr), shape=(size, size))
    np.testing.assert_array_equal(rows_of.toarray(), expected)
    np.testing.assert_array_equal(columns_of.toarray(), expected.T)
    assert all(leaf.dtype == np.int32 for leaf in jax.tree.leaves(pattern))


def _prepared(seed=0):
    return graphlib.prepare(raw_graph(random_edges(seed, 9, 20), features(seed, 9, 3)))


def test_prepare_and_normalise_twice_change_nothing():
    prepared = _prepared()
    assert graphlib.prepare(prepared) is prepared
    assert graphlib.normalise(prepared) is prepared


def test_prepare_after_normalise_is_prepare():
    plain = raw_graph(random_edges(0, 9, 20), features(0, 9, 3))
    first, second = graphlib.prepare(plain), graphlib.prepare(graphlib.normalise(plain))
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_a_prepared_graph_travels_as_a_pytree():
    prepared = _prepared()
    moved = jax.device_put(prepared)
    mapped = jax.tree.map(lambda leaf: leaf + 1, prepared)
    through = jax.jit(lambda graph: graph)(prepared)
    for other in (moved, through):
        assert jax.tree.structure(other) == jax.tree.structure(prepared)
        jax.tree.map(np.testing.assert_array_equal, other, prepared)
    assert mapped.edges.pattern.shape == (9, 9)
    np.testing.assert_array_equal(mapped.edges.pattern.rows, prepared.edges.pattern.rows + 1)


def test_from_dataset_is_prepared_undirected_and_without_self_loops():
    none = np.zeros(3, bool)
    dataset = Dataset(
        name="three",
        features=sp.csr_matrix(np.eye(3, 4, dtype=np.float32)),
        senders=np.array([0, 1, 1, 2], np.int32),
        receivers=np.array([1, 0, 1, 1], np.int32),
        labels=np.zeros(3, np.int32),
        num_classes=1,
        train_mask=none,
        val_mask=none,
        test_mask=none,
        source="by hand",
    )
    graph = graphlib.from_dataset(dataset)
    assert list(zip(graph.receivers.tolist(), graph.senders.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert isinstance(graph.nodes, graphlib.SparseFeatures)
    assert graph.edges.features is None
    assert graph.edges.pattern is not None
    dense = graphlib.from_dataset(dataset._replace(features=dataset.features.toarray()))
    np.testing.assert_array_equal(dense.nodes, np.eye(3, 4))


@pytest.mark.parametrize("sparse", [False, True])
def test_from_dataset_is_the_prepared_graph_of_its_edge_list(sparse):
    """Duplicates, both directions of an edge and self loops included."""
    edges, x, none = random_edges(2, 9, 30), features(0, 9, 4), np.zeros(9, bool)
    x = sp.csr_matrix(x) if sparse else x
    keep = edges.senders != edges.receivers
    assert not keep.all()
    nodes = graphlib.sparse_features(x) if sparse else x
    plain = graphlib.from_edges(edges.senders[keep], edges.receivers[keep], 9, nodes=nodes, undirected=True)
    labels = np.zeros(9, np.int32)
    dataset = Dataset("", x, edges.senders, edges.receivers, labels, 1, none, none, none, "")
    got, expected = graphlib.from_dataset(dataset), graphlib.prepare(plain)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), got, expected)


def test_entries_of_nodes_are_found_by_name():
    graph = raw_graph(random_edges(0, 5, 12), features(0, 5, 2))
    typed = graph._replace(nodes={"features": graph.nodes, "type": np.arange(5)})
    for each in (graph, typed):
        np.testing.assert_array_equal(graphlib.node_features(each), graph.nodes)
    assert graphlib.node_features(typed, np.float16).dtype == np.float16
    np.testing.assert_array_equal(graphlib.node_entry(typed, "type"), np.arange(5))
    assert graphlib.node_entry(graph, "type") is graphlib.node_entry(typed, "embedding") is None


def test_edge_weights_are_floats_one_an_edge_or_ones():
    edges = random_edges(0, 5, 12)
    graph = raw_graph(edges, features(0, 5, 2))
    np.testing.assert_array_equal(graphlib.edge_weights(graph), edges.weights)
    np.testing.assert_array_equal(graphlib.edge_weights(graphlib.normalise(graph)), edges.weights)
    for others in (None, np.arange(12, dtype=np.int32), np.zeros((12, 2), np.float32)):
        np.testing.assert_array_equal(graphlib.edge_weights(graph._replace(edges=others)), np.ones(12))


def test_num_nodes_reads_features_or_counts():
    plain = raw_graph(random_edges(0, 5, 12), features(0, 5, 2))
    sparse = plain._replace(nodes=graphlib.sparse_features(sp.csr_matrix((5, 7))))
    for graph in (plain, sparse, plain._replace(nodes=None)):
        assert graphlib.num_nodes(graph) == 5


def test_padded_sizes_come_from_few_buckets():
    nodes, edges = set(), set()
    for size in range(1, 400):
        padded = graphlib.pad_to_bucket(raw_graph(random_edges(0, size, size), np.zeros((size, 1), np.float32)))
        assert size < padded.nodes.shape[0] <= max(16, 1.25 * (size + 1) + 8)
        nodes.add(padded.nodes.shape[0])
        edges.add(padded.senders.shape[0])
    series = {16, 24, 32, 40, 56, 72, 96, 120, 152, 192, 240, 304, 384, 480}  # x 1.25, up to a multiple of 8
    assert nodes == series
    assert edges == series


def test_node_mask_hides_padding():
    graph = raw_graph(random_edges(0, 5, 12), features(0, 5, 2))
    assert np.asarray(graphlib.node_mask(graph)).tolist() == [True] * 5
    padded = graphlib.pad_to_bucket(graph)
    assert np.asarray(graphlib.node_mask(padded)).tolist() == [True] * 5 + [False] * 11
    assert np.asarray(jax.jit(graphlib.node_mask)(graphlib.prepare(padded))).tolist() == [True] * 5 + [False] * 11


@pytest.mark.parametrize("growth", [1.0, 0.5, np.nan, np.inf])
def test_padding_refuses_a_growth_that_makes_no_series(growth):
    graph = raw_graph(random_edges(0, 5, 20), features(0, 5, 2))
    with pytest.raises(InputError, match=f"growth of the bucket sizes is {growth}, expected a finite number above 1"):
        graphlib.pad_to_bucket(graph, growth)


def test_padding_comes_before_preparing_and_takes_dense_features():
    plain = raw_graph(random_edges(0, 5, 12), features(0, 5, 2))
    sparse = plain._replace(nodes=graphlib.sparse_features(sp.csr_matrix((5, 7))))
    for graph in (graphlib.prepare(plain), graphlib.normalise(plain), sparse):
        with pytest.raises(InputError, match="takes a plain GraphsTuple with dense nodes: pad first, then prepare"):
            graphlib.pad_to_bucket(graph)


def test_sparse_features_are_the_matrix():
    matrix = sp.random(7, 5, density=0.3, random_state=np.random.default_rng(0), format="coo", dtype=np.float64)
    row_ptr = 2 * np.concatenate([[0], np.cumsum(np.bincount(matrix.row, minlength=7))])
    by_row = np.argsort(matrix.row, kind="stable")
    twice = sp.csr_matrix(  # every entry listed twice
        (np.repeat(matrix.data[by_row], 2), np.repeat(matrix.col[by_row], 2), row_ptr), shape=(7, 5)
    )
    got = graphlib.sparse_features(twice)
    assert got.shape == (7, 5)
    assert got.values.dtype == np.float32
    dense = np.zeros((7, 5), np.float32)
    dense[got.pattern.rows, got.pattern.cols] = got.values
    np.testing.assert_allclose(dense, 2 * matrix.toarray(), rtol=1e-6)
    assert got.values.shape == (matrix.nnz,)
    assert np.diff(got.pattern.row_ptr).tolist() == np.bincount(matrix.row, minlength=7).tolist()
    assert np.diff(got.pattern.col_ptr).tolist() == np.bincount(matrix.col, minlength=5).tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sparse_features_must_be_finite(bad):
    with pytest.raises(InputError, match="node features hold NaN or infinite values, expected finite numbers"):
        graphlib.sparse_features(sp.csr_matrix([[0.0, bad]]))


def test_graphs_of_other_libraries_work_unprepared():
    """A batch of jraph is as good as one graph."""
    parts = [raw_graph(random_edges(seed, 5, 12), features(seed, 5, 2)) for seed in range(2)]
    batch = graphlib.normalise(jraph.batch_np(parts))
    first, second = (dense_normalised(random_edges(seed, 5, 12)) for seed in range(2))
    np.testing.assert_allclose(_dense_of(batch), np.block([[first, 0 * first], [0 * first, second]]), rtol=1e-6)


def _typed(types, **labels):
    edges = random_edges(3, 9, 6)
    return raw_graph(edges, features(0, 9, 2))._replace(edges={"relation": np.asarray(types), **labels})


def test_typed_edges_are_sorted_by_receiver_then_type_then_sender():
    got = graphlib.prepare(_typed([2, 0, 1, 0, 2, 0]))
    keys = list(zip(got.receivers.tolist(), got.edges.features["relation"].tolist(), got.senders.tolist(), strict=True))
    assert keys == sorted(keys)
    edges = random_edges(3, 9, 6)
    assert keys == sorted(zip(edges.receivers.tolist(), [2, 0, 1, 0, 2, 0], edges.senders.tolist(), strict=True))


def test_types_are_counted_or_named():
    graph = _typed([2, 0, 1, 0, 2, 0])
    assert graphlib.prepare(graph).edges.relations.rows.shape == (27, 9)
    assert graphlib.prepare(graph, relations=5).edges.relations.rows.shape == (45, 9)
    assert graphlib.prepare(graph._replace(edges=None)).edges.relations is None


@pytest.mark.parametrize(
    ("types", "relations", "message"),
    [
        ([0, 1, 2, 0, 3, 0], 3, "edge 4: its type is 3, expected 0 to 2"),
        ([0, 1, -1, 0, 3, 0], None, "edge 2: its type is -1, expected 0 to 3"),
    ],
)
def test_types_out_of_range_are_refused_in_one_line(types, relations, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        graphlib.prepare(_typed(types), relations=relations)


def test_prepare_refuses_an_unknown_backend(unchecked):
    with pytest.raises(InputError, match="backend is 'nope', expected one of auto, csr, bucketed, segment, dense"):
        graphlib.prepare(_typed([0] * 6), backend="nope")


def test_edge_relations_are_integers_one_an_edge():
    graph, types = _typed([0, 1, 2, 0, 1, 2]), np.array([0, 1, 2, 0, 1, 2])
    for edges in (types, {"relation": types}, {"relation": types, "weight": np.ones(6)}):
        np.testing.assert_array_equal(graphlib.edge_relations(graph._replace(edges=edges)), types)
    for edges in (None, np.ones(6, np.float32), np.ones((6, 2), int), {"weight": np.ones(6)}):
        assert graphlib.edge_relations(graph._replace(edges=edges)) is None


def test_the_layout_is_of_the_graph_that_was_prepared_alone():
    plain = raw_graph(random_edges(0, 9, 20), features(0, 9, 3))
    prepared = graphlib.prepare(plain, backend="segment")
    assert graphlib.layout_of(prepared) is prepared.edges
    assert (prepared.edges.info.nodes, prepared.edges.info.edges, prepared.edges.info.backend) == (9, 20, "segment")
    padded = jraph.pad_with_graphs(prepared, 12, 30, 2)
    for other in (plain, graphlib.normalise(plain), padded, jraph.batch_np([prepared, prepared])):
        assert graphlib.layout_of(other) is None
    again = graphlib.prepare(padded)
    assert (again.edges.info.nodes, again.edges.info.edges) == (12, 30)
    np.testing.assert_array_equal(
        again.edges.features, np.append(prepared.edges.features, np.zeros(10))[_order(padded)]
    )


def _order(graph):
    return np.lexsort((np.asarray(graph.senders), np.asarray(graph.receivers)))
