"""Layer-wise inference against the model on the whole graph at once."""

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import EdgeList, raw_graph
from model_samples import CLASSES, HIDDEN, initialised

from abkd_jax import models
from abkd_jax.graph import sparse_features
from abkd_jax.graph.host import host_graph
from abkd_jax.inference import evaluation
from abkd_jax.inference import layerwise as inference
from abkd_jax.types import Dataset, InputError, Schema

NODES, FEATURED, WIDTH = 30, 18, 5
RNG = np.random.default_rng(0)
SENDERS, RECEIVERS = RNG.integers(0, NODES - 1, (2, 60)).astype(np.int32)  # the last node is isolated
SENDERS[:20] = 3  # a hub
PARITY = np.arange(60) % 2
X = RNG.normal(size=(NODES, WIDTH)).astype(np.float32)
TYPES = np.repeat([0, 1, 2], [FEATURED, 8, 4]).astype(np.int32)
SCHEMA = Schema(("a", "b", "c"), ("x", "y"), (0, 2))


def _host(typed=False, features=X, edges=(SENDERS, RECEIVERS, PARITY)):
    mask = np.zeros(NODES, bool)
    senders, receivers, relations = (ends.astype(np.int32) for ends in edges)
    extra = (SCHEMA, TYPES, relations) if typed else ()
    labels = np.zeros(NODES, np.int32)
    dataset = Dataset("", features, senders, receivers, labels, CLASSES, mask, mask, mask, "", *extra)
    return host_graph(dataset)


def _whole(host, features):
    """The plain graph with the same edges, and nodes as models take them."""
    receivers = np.repeat(np.arange(NODES, dtype=np.int32), np.diff(host.indptr))
    weights = np.ones(receivers.shape[0], np.float32)
    graph = raw_graph(EdgeList(host.senders, receivers, weights, NODES), features)._replace(edges=host.relations)
    if host.node_types is None:
        return graph
    m = features.shape[0]
    rows = np.concatenate([features, np.zeros((NODES - m, WIDTH), np.float32)])
    embedding = np.where(np.arange(NODES) < m, -1, np.arange(NODES) - m).astype(np.int32)
    return graph._replace(nodes={"features": rows, "type": TYPES, "embedding": embedding})


CASES = {
    "gcn": models.GCN(HIDDEN, 3, CLASSES, norm="batch", residual="linear"),
    "gcn scanned": models.GCN(HIDDEN, 8, CLASSES, norm="batch", residual="identity"),
    "graphsage cat": models.GraphSAGE(HIDDEN, 2, CLASSES, jumping="cat"),
    "graphsage max": models.GraphSAGE(HIDDEN, 2, CLASSES, aggregation="max", norm="layer"),
    "gat": models.GAT(HIDDEN, 2, CLASSES, heads=2, residual="linear"),
    "gatv2": models.GATv2(HIDDEN, 2, CLASSES, heads=2),
    "gin": models.GIN(HIDDEN, 2, CLASSES, jumping="last", train_epsilon=True),
    "mlp": models.MLP(HIDDEN, 2, CLASSES),
    "gcnii": models.GCNII(HIDDEN, 3, CLASSES, norm="batch", residual="identity"),
    "gcnii repeated": models.GCNII(HIDDEN, 3, CLASSES, norm="batch", repeated=True),
    "gcnii variant": models.GCNII(HIDDEN, 2, CLASSES, variant=True),
    "sign": models.SIGN(HIDDEN, 2, CLASSES, hops=2),
}


def _check(model, host, features, **options):
    graph = _whole(host, features)
    variables = initialised(model, graph=graph)
    expected = jax.jit(model.apply)(variables, graph).logits
    got = inference.layerwise(model, variables, host, **options)
    assert got.dtype == np.float32
    rows = options.get("nodes", slice(None))
    np.testing.assert_allclose(got, np.asarray(expected)[rows], rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_layer_by_layer_is_the_whole_graph_at_once(name):
    _check(CASES[name], _host(), X, chunk_edges=16)  # fewer than enter some nodes


@pytest.mark.parametrize("name", CASES)
def test_a_few_nodes_are_those_of_the_whole_graph_at_once(name):
    _check(CASES[name], _host(), X, nodes=np.array([29, 7, 7, 0]))


@pytest.mark.parametrize("width", [5, 8])
def test_typed_graphs_with_embeddings(width):
    model = models.RGCN(
        HIDDEN,
        3,
        CLASSES,
        relations=3,
        node_types=3,
        embeddings=NODES - FEATURED,
        embedding_width=width,
        norm="batch",
    )
    _check(model, _host(True, X[:FEATURED]), X[:FEATURED], chunk_edges=64, nodes=np.array([20, 3, 3, 29]))


def test_a_block_is_of_one_type_and_multiplies_by_the_weights_of_its_edge_types_alone(monkeypatch):
    """Relation 0 is among nodes of type 0, 1 leads from there to type 1 and 2 back; nothing enters type 2."""
    among, across = RNG.integers(0, FEATURED, (2, 20)), RNG.integers(0, FEATURED, 15)
    into = RNG.integers(FEATURED, FEATURED + 8, 15)
    edges = np.append(among[0], across), np.append(among[1], into), np.repeat([0, 1], [20, 15])
    entering = {0: 2, 1: 1, 2: 1}  # number of relations; with none at all that of padding is left
    stages, seen = inference._stages, []

    def counted(stage, run):
        def program(variables, block, read):
            width = read[0].shape[1] if read else WIDTH
            out = run(variables, block, read)
            rows = out.shape[0]
            sparse = 2 * block.senders.shape[0] * width
            dense = evaluation.flops(run, variables, block, read) - sparse
            (kind,) = block.edges.info.types
            seen.append((kind, dense / (2 * rows * width * out.shape[1])))
            return out

        return stage, program

    monkeypatch.setattr(inference, "_stages", lambda model: [counted(*pair) for pair in stages(model)])
    model = models.RGCN(
        HIDDEN, 2, CLASSES, relations=3, node_types=3, embeddings=NODES - FEATURED, embedding_width=WIDTH
    )
    _check(model, _host(True, X[:FEATURED], edges), X[:FEATURED], chunk_edges=256)
    assert seen == [(kind, relations + 1) for kind, relations in entering.items()] * 2  # and the root's product


def test_sparse_features_and_layers_in_a_file():
    sparse = sp.csr_matrix(np.where(X > 0.5, X, 0.0))
    _check(models.GraphSAGE(HIDDEN, 2, CLASSES), _host(features=sparse), sparse_features(sparse), memory_bytes=0)


@pytest.mark.parametrize("name", ["gcn", "graphsage cat", "gcnii variant", "sign"])
def test_a_few_nodes_read_their_neighbourhood_alone(name):
    """On a path two layers read two steps: features and edges further away may be anything."""
    senders, receivers = np.arange(NODES - 1), np.arange(1, NODES)
    host = _host(edges=(senders, receivers, PARITY[: NODES - 1]))
    model = CASES[name].clone(layers=3 if name == "gcn" else 2)
    variables = initialised(model, graph=_whole(host, X))
    nodes, steps = np.array([5]), 3 if name == "gcn" else 2
    expected = inference.layerwise(model, variables, host, nodes=nodes)
    read = np.abs(np.arange(NODES) - 5) <= steps
    edges = np.repeat(np.abs(np.arange(NODES) - 5) < steps, np.diff(host.indptr))
    poisoned = host._replace(
        features=np.where(read[:, None], X, np.nan).astype(np.float32),
        senders=np.where(edges, host.senders, 10**6).astype(np.int32),
    )
    np.testing.assert_array_equal(inference.layerwise(model, variables, poisoned, nodes=nodes), expected)
    elsewhere = inference.layerwise(model, variables, poisoned._replace(senders=host.senders), nodes=np.array([9]))
    assert np.isnan(elsewhere).any()


def test_no_nodes_are_no_logits():
    model = CASES["mlp"]
    variables = initialised(model, graph=_whole(_host(), X))
    assert inference.layerwise(model, variables, _host(), nodes=np.array([], np.int64)).shape == (0, CLASSES)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (models.GCNII(4, 2, 3, readout="sum"), {}, "layerwise: GCNII has no layers for nodes, expected a Stack, GCNII"),
        (models.GIN(4, 2, 3, readout="sum"), {}, "layerwise: GIN has no layers for nodes"),
        (models.GAT(4, 2, 3, symmetric_norm=True), {}, "layerwise: GAT with symmetric_norm, expected"),
        (models.GIN(4, 2, 3, edge_vocabulary=(2,)), {}, "layerwise: GIN with an edge_vocabulary, expected"),
        (models.RGCN(4, 2, 3, embeddings=2), {}, "layerwise: RGCN of 2 embeddings, expected 0 as nodes without"),
        (models.RGCN(4, 2, 3, relations=2), {}, "layerwise: RGCN of 2 relations, expected 1 as the graph"),
        (CASES["gcn"], {"nodes": np.array([30])}, "layerwise: nodes 30 to 30, expected 0 to 29"),
        (CASES["gcn"], {"nodes": np.arange(30) == 3}, "layerwise: nodes: a boolean mask, expected whole numbers"),
        (CASES["gcn"], {"nodes": np.array([1.0])}, "layerwise: nodes: float64 of shape"),
        (CASES["gcn"], {"nodes": np.array([-1, 3])}, "layerwise: nodes -1 to 3, expected 0 to 29"),
        (CASES["gcn"], {"chunk_edges": 2.5}, "layerwise: chunk_edges is 2.5, expected"),
        (CASES["gcn"], {"chunk_edges": 0}, "layerwise: chunk_edges is 0, expected at least 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_blocks_cannot_give_is_refused(model, options, message):
    with pytest.raises(InputError, match=f"^{message}"):
        inference.layerwise(model, {}, _host(), **options)
