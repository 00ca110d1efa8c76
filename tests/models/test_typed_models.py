"""RGCN with types of nodes and edges, and SIGN on powers computed before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import random_edges, raw_graph
from model_samples import (
    CLASSES,
    EDGES,
    HIDDEN,
    NODES,
    RELATION,
    WIDTH,
    X,
    assert_close,
    initialised,
    make,
    trained_once,
    typed_graph,
)

from abkd_jax import models
from abkd_jax.graph import pad_to_bucket, prepare, sparse_features
from abkd_jax.types import InputError

TYPES = (np.arange(NODES) % 3).astype(np.int32)
TYPED = models.RGCN(HIDDEN, 2, CLASSES, relations=2, node_types=3)


def _typed_nodes():
    return typed_graph()._replace(nodes={"features": X, "type": TYPES})


def _layer(p, h):
    """Means by edge type and a root weight by node type, in NumPy float64, edge by edge."""
    out = np.stack([h[v] @ p["root"]["kernel"][t] + p["root"]["bias"][t] for v, t in enumerate(TYPES)])
    for v in range(NODES):
        for relation in (0, 1):
            chosen = EDGES.senders[(EDGES.receivers == v) & (relation == RELATION)]
            if chosen.size:
                out[v] += h[chosen].mean(axis=0) @ p["relations"]["kernel"][relation]
    return out


def test_every_node_type_has_its_own_root_weight():
    variables = initialised(TYPED, graph=_typed_nodes())
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    hidden = np.maximum(_layer(p["conv_0"], X), 0.0)
    logits = _layer(p["conv_1"], hidden)
    run = jax.jit(TYPED.apply)
    for graph in (_typed_nodes(), prepare(pad_to_bucket(_typed_nodes()), relations=2)):
        out = run(variables, graph)
        np.testing.assert_allclose(out.hiddens[0][:NODES], hidden, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(out.logits[:NODES], logits, rtol=1e-4, atol=1e-5)


EMBEDDING = np.array([-1, 0, -1, 1, -1, 2, -1, 0, 1], np.int32)


@pytest.mark.parametrize(
    ("sparse", "width", "embedding_width"), [(False, 5, 3), (False, 0, None), (True, 5, 5)], ids=str
)
def test_embeddings_stand_in_for_features(sparse, width, embedding_width):
    model = models.RGCN(HIDDEN, 2, CLASSES, relations=2, node_types=3, embeddings=3, embedding_width=embedding_width)
    x = sparse_features(sp.csr_matrix(X)) if sparse else X[:, :width]
    graph = _typed_nodes()._replace(nodes={"features": x, "type": TYPES, "embedding": EMBEDDING})
    variables = initialised(model, graph=graph)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    own = X[:, :width].astype(np.float64)
    if embedding_width == 3:
        own = own @ p["input"]["linear"]["kernel"] + p["input"]["linear"]["bias"]
    else:
        assert list(p["input"]) == ["embedding"]
        own = own if width else np.zeros((NODES, HIDDEN))
    inputs = np.where(EMBEDDING[:, None] >= 0, p["input"]["embedding"][EMBEDDING], own)
    hidden = np.maximum(_layer(p["conv_0"], inputs), 0.0)
    out = jax.jit(model.apply)(variables, graph)
    np.testing.assert_allclose(out.hiddens[0], hidden, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out.logits, _layer(p["conv_1"], hidden), rtol=1e-4, atol=1e-5)


def test_embeddings_learn_where_they_are_and_start_after_glorot():
    model = models.RGCN(HIDDEN, 2, CLASSES, relations=2, embeddings=40, embedding_width=WIDTH)
    graph = typed_graph()._replace(nodes={"features": X, "embedding": EMBEDDING})
    table = jax.jit(model.init)(jax.random.key(0), graph)["params"]["input"]["embedding"]
    bound = np.sqrt(6.0 / (40 + WIDTH))
    assert 0.9 * bound < np.abs(np.asarray(table)).max() <= bound
    gradients, _, _ = trained_once(model)(initialised(model, graph=graph), graph, jax.random.key(0))
    moved = np.abs(np.asarray(gradients["input"]["embedding"])).max(axis=1) > 0.0
    np.testing.assert_array_equal(np.flatnonzero(moved), [0, 1, 2])


def test_embeddings_that_no_node_names_are_refused():
    model = models.RGCN(HIDDEN, 2, CLASSES, relations=2, embeddings=3)
    with pytest.raises(InputError, match=r"^RGCN: 3 embeddings, expected graph\.nodes with 'embedding' \[n\]"):
        model.init(jax.random.key(0), typed_graph())


def test_node_types_that_the_graph_does_not_have_are_refused():
    with pytest.raises(InputError, match=r"RGCN: 3 node types, expected graph\.nodes as"):
        TYPED.init(jax.random.key(0), typed_graph())


@pytest.mark.parametrize("layout", [lambda graph: graph, prepare], ids=["plain", "prepared"])
def test_a_graph_without_types_is_one_of_one_type(layout):
    model = models.RGCN(HIDDEN, 2, CLASSES)
    plain = layout(raw_graph(EDGES, X))
    variables = initialised(model, graph=plain)
    alike = prepare(raw_graph(EDGES, X)._replace(edges=np.zeros(20, np.int32)))
    run = jax.jit(model.apply)
    assert_close(run(variables, plain), run(variables, alike), atol=1e-5)


def test_sign_reads_powers_that_were_computed_before():
    model, variables = make("sign"), initialised(make("sign"))
    run = jax.jit(model.apply)
    expected = run(variables, typed_graph())
    graph = models.with_hops(prepare(typed_graph()), 2)
    assert_close(run(variables, graph), expected, atol=1e-5)
    other = graph._replace(nodes=graph.nodes | {"hops": jnp.zeros((NODES, 3, X.shape[1]))})
    assert (np.asarray(run(variables, other).logits) != np.asarray(expected.logits)).any()
    with pytest.raises(InputError, match=r"nodes\['hops'\] is \(9, 3, 5\), expected 5 powers along axis 1"):
        models.SIGN(HIDDEN, 2, CLASSES, hops=4).init(jax.random.key(0), graph)


def test_gat_drops_edges_while_training_alone():
    model = models.GAT(HIDDEN, 2, CLASSES, heads=2, edge_dropout=0.9)
    graph = raw_graph(random_edges(5, NODES, 40), X)
    variables = initialised(model, graph=graph)
    run = jax.jit(model.apply, static_argnames="train")
    evaluated = run(variables, graph)
    assert_close(evaluated, jax.jit(models.GAT(HIDDEN, 2, CLASSES, heads=2).apply)(variables, graph))
    first, other = (run(variables, graph, train=True, rngs={"dropout": jax.random.key(k)}).logits for k in (0, 1))
    assert (np.asarray(first) != np.asarray(other)).any()
    assert (np.asarray(first) != np.asarray(evaluated.logits)).any()


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(InputError, match="GAT: heads is 3, expected a divisor of the hidden width 4"):
        models.GAT(4, 2, CLASSES, heads=3).init(jax.random.key(0), typed_graph())
