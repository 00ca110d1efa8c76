"""Graphs and arrays that do not fit together are refused; weights of other types are read; padding is jraph's."""

import functools

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from graphs import features, random_edges, raw_graph
from jaxtyping import config

from abkd_jax import aggregate, models
from abkd_jax import graph as graphlib
from abkd_jax.graph.host import host_graph
from abkd_jax.layers import GATConv, GCNConv, GINConv, MaskedBatchNorm, SAGEConv
from abkd_jax.types import Dataset, InputError


@pytest.fixture(autouse=True)
def _without_type_checks():
    """Tests check types at run time, users do not."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


EDGES = random_edges(0, 5, 12)
X = features(0, 5, 3)
PLAIN = raw_graph(EDGES, X)
PREPARED = graphlib.prepare(PLAIN)
WEIGHTS = np.arange(12) % 4  # 0 to 3


def _with_end(place, value, dtype=np.int32):
    ends = getattr(PLAIN, place).astype(dtype)
    ends[3] = value
    return PLAIN._replace(**{place: ends})


BAD_GRAPHS = {
    "few rows": (PLAIN._replace(nodes=X[:4]), "node features: 4 rows, expected 5|n_node adds up to 5, expected 4"),
    "many rows": (PLAIN._replace(nodes=features(0, 6, 3)), "n_node adds up to 5, expected 6, the number of nodes"),
    "rows of one entry": (
        PLAIN._replace(nodes={"features": X, "type": np.zeros(4, np.int32)}),
        r"node features\['type'\]: 4 rows, expected 5, one a node",
    ),
    "counts of nodes": (PLAIN._replace(n_node=np.array([2, 2])), "n_node adds up to 4, expected 5"),
    "counts of edges": (PLAIN._replace(n_edge=np.array([11])), "n_edge adds up to 11, expected 12"),
    "lengths": (PLAIN._replace(senders=EDGES.senders[1:]), r"senders \(11,\) and receivers \(12,\) must be two lists"),
    "ranks": (PLAIN._replace(senders=EDGES.senders[:, None]), r"senders \(12, 1\) and receivers \(12,\) must be two"),
    "float senders": (_with_end("senders", 1, np.float32), "senders hold float32, expected integers"),
    "bool receivers": (_with_end("receivers", 1, bool), "receivers hold bool, expected integers"),
    "too large": (_with_end("senders", 5), "edge 3: sender 5 is outside a graph of 5 nodes, expected 0 to 4"),
    "negative": (_with_end("receivers", -1), "edge 3: receiver -1 is outside a graph of 5 nodes, expected 0 to 4"),
}


def _init(module, *arguments, **options):
    """Shapes of the variables; the arguments are no tracers."""
    return jax.eval_shape(lambda key: module.init(key, *arguments, **options), jax.random.key(0))


ENTRIES = {
    "prepare": graphlib.prepare,
    "normalise": graphlib.normalise,
    "pad_to_bucket": graphlib.pad_to_bucket,
    "mean": lambda graph: aggregate.mean(graph, jnp.asarray(X)),
    "readout": lambda graph: aggregate.readout(graph, jnp.asarray(X)),
    "gcn": lambda graph: _init(models.GCN(4, 2, 2), graph),
    "mlp": lambda graph: _init(models.MLP(4, 2, 2), graph),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("bad", BAD_GRAPHS)
def test_what_is_no_graph_is_refused_where_it_comes_in(entry, bad):
    graph, message = BAD_GRAPHS[bad]
    with pytest.raises(InputError, match=f"^({message})") as caught:
        ENTRIES[entry](graph)
    assert "\n" not in str(caught.value)


def test_shapes_are_refused_under_jit():
    mean = jax.jit(lambda graph, x: aggregate.mean(graph, x))
    for graph in (PLAIN, PREPARED):
        with pytest.raises(InputError, match=r"^node features: 4 rows, expected 5, one a node"):
            mean(graph, X[:4])
    with pytest.raises(InputError, match=r"^senders \(11,\) and receivers \(12,\)"):
        mean(PLAIN._replace(senders=EDGES.senders[1:]), X)


@pytest.mark.parametrize("size", [2.0, None, "3"])
def test_the_number_of_nodes_is_a_whole_number(size):
    with pytest.raises(InputError, match=r"^number of nodes is .*, expected a whole number"):
        graphlib.from_edges(np.array([0]), np.array([1]), size)
    with pytest.raises(InputError, match=r"^number of nodes is -1, expected at least 0"):
        graphlib.from_edges(np.array([], int), np.array([], int), -1)


@pytest.mark.parametrize("rows", [0, 1, 4, 6])
def test_from_edges_takes_one_row_a_node(rows):
    for nodes in (features(0, 6, 2)[:rows], {"features": X, "type": np.zeros(rows, np.int32)}):
        with pytest.raises(InputError, match=rf"^node features.*: {rows} rows, expected 5, one a node"):
            graphlib.from_edges(EDGES.senders, EDGES.receivers, 5, nodes=nodes)
    with pytest.raises(InputError, match=r"^node features\[0\]: float, expected an array with one row a node"):
        graphlib.from_edges(EDGES.senders, EDGES.receivers, 5, nodes=[1.0, 2.0, 3.0, 4.0, 5.0])


def test_a_data_set_that_was_not_validated_is_refused_too():
    no = np.zeros(5, bool)
    data = Dataset("five", X, EDGES.senders, EDGES.receivers, np.zeros(5, np.int32), 1, no, no, no, "by hand")
    for function in (graphlib.from_dataset, host_graph):
        for rows in (X[:4], features(0, 6, 3)):
            with pytest.raises(InputError, match=r"^node features: \d rows, expected 5"):
                function(data._replace(features=rows))
        with pytest.raises(InputError, match="edge 0: sender 5 is outside a graph of 5 nodes"):
            function(data._replace(senders=np.full(12, 5, np.int32)))


NUMBERS = {
    "integers": WEIGHTS.astype(np.int64),
    "bytes": WEIGHTS.astype(np.uint8),
    "a column": WEIGHTS.astype(np.float32)[:, None],
    "a column of integers": WEIGHTS[:, None],
    "halves": WEIGHTS.astype(np.float16),
    "doubles": WEIGHTS.astype(np.float64),
    "booleans": WEIGHTS > 1,
    "a column of booleans": (WEIGHTS > 1)[:, None],
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_weights_of_any_type_are_those_of_float32(kind):
    given = NUMBERS[kind]
    right = raw_graph(EDGES._replace(weights=given.astype(np.float32).reshape(-1)), X)
    expected = aggregate.propagate(right, jnp.asarray(X))
    held = [{"weight": given}, {"weight": jnp.asarray(given)}] + [given] * (given.dtype.kind in "fb")
    for edges in held:
        graph = right._replace(edges=edges)
        for form in (graph, graphlib.normalise(graph), graphlib.prepare(graph)):
            np.testing.assert_allclose(aggregate.propagate(form, jnp.asarray(X)), expected, rtol=1e-6, atol=1e-6)
        weights = graphlib.edge_weights(graph)
        assert jnp.issubdtype(weights.dtype, jnp.floating)
        np.testing.assert_array_equal(weights, right.edges)
    merged, plain = (
        graphlib.from_edges(EDGES.senders, EDGES.receivers, 5, weights=w).edges for w in (given, right.edges)
    )
    np.testing.assert_array_equal(merged, plain)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(11), r"edges\['weight'\] have shape \(11,\), expected \(12,\): one weight an edge"),
        (np.ones((12, 2)), r"edges\['weight'\] have shape \(12, 2\), expected \(12,\)"),
        (np.ones((1, 12)), r"edges\['weight'\] have shape \(1, 12\), expected \(12,\)"),
        (np.float32(1.0), r"edges\['weight'\] are a float32, expected an array \(12,\)"),
        ([1.0] * 12, r"edges\['weight'\] are a list, expected an array \(12,\)"),
        (np.ones(12, complex), r"edges\['weight'\] hold complex128, expected numbers"),
        (np.full(12, "1"), r"edges\['weight'\] hold <U1, expected numbers"),
    ],
)
def test_weights_that_are_not_one_number_an_edge_are_refused(weights, message):
    graph = PLAIN._replace(edges={"weight": weights})
    for function in (graphlib.edge_weights, graphlib.normalise):
        with pytest.raises(InputError, match=f"^{message}"):
            function(graph)
    with pytest.raises(InputError):
        graphlib.prepare(graph)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_weights_that_no_float32_holds_are_refused(bad):
    weights = np.where(np.arange(12) == 7, bad, 1.0)
    with pytest.raises(InputError, match=r"^edge weights hold NaN or infinite values, expected finite numbers"):
        graphlib.from_edges(EDGES.senders, EDGES.receivers, 5, weights=weights)
    for edges in (weights, {"weight": weights}):
        with pytest.raises(InputError, match=r"^edge weights hold NaN or infinite values"):
            graphlib.prepare(PLAIN._replace(edges=edges))


def test_types_are_one_integer_an_edge():
    column = np.arange(12, dtype=np.int64)[:, None] % 2
    np.testing.assert_array_equal(graphlib.edge_relations(PLAIN._replace(edges={"relation": column})), column[:, 0])
    for types, message in (
        (np.zeros(12), r"edges\['relation'\] hold float64, expected integers"),
        (np.zeros(11, int), r"edges\['relation'\] have shape \(11,\), expected \(12,\): one type an edge"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            graphlib.edge_relations(PLAIN._replace(edges={"relation": types}))
    for types in (column[:, 0] + 1, column[:, 0] - 1):
        with pytest.raises(InputError, match=r"^edge .: its type is .*, expected 0 to 1"):
            aggregate.relation_means(PLAIN._replace(edges=types), jnp.asarray(X), 2)


def test_edge_features_of_another_length_are_refused():
    graph = PLAIN._replace(edges={"weight": EDGES.weights, "name": np.zeros(13)})
    with pytest.raises(InputError, match=r"^edge features\['name'\]: 13 rows, expected 12, one an edge"):
        graphlib.prepare(graph)


def _sums(graph):
    """Calls with one array of another length, or one that would be broadcast."""
    x, e, heads = jnp.asarray(X), jnp.ones((12, 2)), jnp.ones((5, 2, 3))
    attend = aggregate.attention_sum
    return {
        "weights of one edge": lambda: aggregate.weighted_sum(graph, x, jnp.ones(1)),
        "weights in a column": lambda: aggregate.weighted_sum(graph, x, jnp.ones((12, 1))),
        "propagate": lambda: aggregate.propagate(graph, x[:4]),
        "maximum": lambda: aggregate.maximum(graph, x[:4]),
        "sender_values": lambda: aggregate.sender_values(graph, x[:4]),
        "receiver_values": lambda: aggregate.receiver_values(graph, x[:4]),
        "receiver_sums": lambda: aggregate.receiver_sums(graph, e[:11]),
        "edge_softmax": lambda: aggregate.edge_softmax(graph, e[:11]),
        "readout": lambda: aggregate.readout(graph, x[:4]),
        "attention, x": lambda: attend(graph, e, heads[:4]),
        "attention, heads": lambda: attend(graph, e[:, :1], heads),
        "attention, logits": lambda: attend(graph, e[:1], heads),
        "attention, keep": lambda: attend(graph, e, heads, keep=e[:1]),
        "attention, loops": lambda: attend(graph, e, heads, self_logits=e[:1]),
        "attention, mask": lambda: attend(graph, e, heads, mask=jnp.ones(1, bool)),
        "attention, type of mask": lambda: attend(graph, e, heads, mask=jnp.ones(12)),
        "gat, edge mask": lambda: _init(GATConv(2), graph, x, edge_mask=jnp.ones(1, bool)),
        "gcn, aggregated": lambda: _init(GCNConv(2), graph, x, aggregated=x[:1]),
        "sage, aggregated": lambda: _init(SAGEConv(2), graph, x, aggregated=x[:1]),
        "gin, edges": lambda: _init(GINConv(lambda x: x), graph, x, edges=jnp.ones((1, 3))),
        "labels": lambda: models.label_propagation(
            graph, jnp.zeros(1, jnp.int32), jnp.ones(5, bool), 2, alpha=0.5, steps=1
        ),
    }


@pytest.mark.parametrize("graph", [PLAIN, PREPARED], ids=["plain", "prepared"])
@pytest.mark.parametrize("call", _sums(PLAIN))
def test_arrays_that_do_not_fit_the_graph_are_refused(graph, call):
    with pytest.raises(InputError):
        _sums(graph)[call]()


def test_a_mask_of_batch_normalisation_is_one_boolean_a_node():
    for mask in (jnp.ones(1, bool), jnp.ones((5, 1), bool), jnp.ones(5)):
        with pytest.raises(InputError, match=r"^MaskedBatchNorm: mask is"):
            _init(MaskedBatchNorm(), jnp.asarray(X), use_running_average=False, mask=mask)


@jax.jit
def _four(graph, x):
    return [
        function(graph, x) for function in (aggregate.propagate, aggregate.mean, aggregate.maximum, aggregate.readout)
    ]


@pytest.mark.parametrize("dtype", [np.int32, bool])
def test_features_that_are_integers_are_summed_as_floats(dtype):
    """Normalised by coefficients below 1, which are no integers."""
    x = (np.arange(15).reshape(5, 3) % 2).astype(dtype)
    for graph in (PLAIN, PREPARED):
        for got, expected in zip(_four(graph, x), _four(graph, x.astype(np.float32)), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_categories_and_rows_of_tables_that_are_not_there_are_refused():
    categories = np.zeros((5, 1), np.int32)
    categories[2] = 4
    gin = models.GIN(4, 2, 2, vocabulary=(4,))
    with pytest.raises(InputError, match=r"^GIN: column 0 of atoms: entry 2 is 4, expected 0 to 3"):
        gin.init(jax.random.key(0), PLAIN._replace(nodes=categories))
    nodes = {"features": X, "type": np.array([0, 0, 1, 2, 1], np.int32)}
    with pytest.raises(InputError, match=r"^RGCN: nodes\['type'\]: entry 3 is 2, expected 0 to 1"):
        models.RGCN(4, 2, 2, node_types=2).init(jax.random.key(0), PLAIN._replace(nodes=nodes))
    nodes = {"features": X, "embedding": np.array([-1, -1, 0, 1, -1], np.int32)}
    with pytest.raises(InputError, match=r"^RGCN: nodes\['embedding'\]: entry 3 is 1, expected 0 to 0"):
        models.RGCN(4, 2, 2, embeddings=1).init(jax.random.key(0), PLAIN._replace(nodes=nodes))


def _batch(*sizes):
    parts = [raw_graph(random_edges(n, n, n), np.ones((n, 1), np.float32)) for n in sizes]
    return jraph.batch_np(parts)


@pytest.mark.parametrize("sizes", [(2, 3), (3,), (4, 0), (0, 4), (2, 0, 3)])
@pytest.mark.parametrize("extra", [1, 2, 5])
def test_padding_is_that_of_jraph(sizes, extra):
    padded = jraph.pad_with_graphs(_batch(*sizes), 9, 12, len(sizes) + extra)
    expected = np.arange(9) < sum(sizes)
    np.testing.assert_array_equal(jraph.get_node_padding_mask(padded), expected)
    for graph in (padded, graphlib.prepare(padded)):
        np.testing.assert_array_equal(graphlib.node_mask(graph), expected)
    np.testing.assert_array_equal(jax.jit(graphlib.node_mask)(padded), expected)


def test_statistics_and_readouts_do_not_depend_on_the_number_of_padding_graphs():
    parts = [raw_graph(random_edges(n, n, n), features(n, n, 3)) for n in (2, 3)]
    model = models.GCN(4, 2, 2, norm="batch", readout="mean")
    run = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))
    few, many = (jraph.pad_with_graphs(jraph.batch_np(parts), 8, 6, graphs) for graphs in (3, 6))
    variables = jax.tree.map(lambda leaf: 0.5 + jnp.zeros(leaf.shape), _init(model, few))
    (first, state), (second, other) = run(variables, few), run(variables, many)
    assert float(np.abs(first.logits[:2]).max()) > 0.1
    for a, b in ((first.logits[:2], second.logits[:2]), (first.hiddens[0][:5], second.hiddens[0][:5])):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state, other)
