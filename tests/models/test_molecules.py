"""GIN on categories of atoms and bonds against its formula in NumPy, edge by edge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from graphs import raw_graph
from model_samples import CLASSES, EDGES, HIDDEN, NODES, WIDTH, X, initialised

from abkd_jax import models
from abkd_jax.graph import pad_to_bucket, prepare
from abkd_jax.types import InputError

ATOMS, BONDS = (7, 4), (5, 6, 2)
RNG = np.random.default_rng(1)
NODE_CATEGORIES = np.stack([RNG.integers(0, size, NODES) for size in ATOMS], axis=1).astype(np.int32)
EDGE_CATEGORIES = np.stack([RNG.integers(0, size, 20) for size in BONDS], axis=1).astype(np.int32)


def _molecules(nodes=NODE_CATEGORIES, edges=EDGE_CATEGORIES):
    return raw_graph(EDGES, nodes)._replace(edges=edges)


def _embedded(tables, categories):
    return sum(tables[f"table_{column}"][categories[:, column]] for column in range(categories.shape[1]))


def _layer(conv, bonds, h):
    messages = np.maximum(h[EDGES.senders] + _embedded(bonds, EDGE_CATEGORIES), 0.0)
    total = h.copy()
    np.add.at(total, EDGES.receivers, messages)
    inner = np.maximum(total @ conv["mlp"]["dense_0"]["kernel"] + conv["mlp"]["dense_0"]["bias"], 0.0)
    return inner @ conv["mlp"]["dense_1"]["kernel"] + conv["mlp"]["dense_1"]["bias"]


def _reference(params, layers, nodes):
    """Hidden layers, the sum over the nodes and the classifier, in float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    h = _embedded(p["atoms"], nodes) if "atoms" in p else nodes @ p["input"]["kernel"] + p["input"]["bias"]
    for number in range(layers):
        if number and "blocks" in p:
            own = jax.tree.map(lambda leaf, i=number - 1: leaf[i], p["blocks"])
            h = np.maximum(_layer(own["conv"], own["bonds"], h), 0.0)
        else:
            h = np.maximum(_layer(p[f"conv_{number}"], p[f"bonds_{number}"], h), 0.0)
    return h.sum(axis=0) @ p["output"]["kernel"] + p["output"]["bias"]


def _padded(graph):
    return prepare(pad_to_bucket(graph))


@pytest.mark.parametrize("layout", [lambda graph: graph, _padded], ids=["plain", "prepared"])
@pytest.mark.parametrize("layers", [2, 6], ids=["written out", "scanned"])
def test_categories_of_atoms_and_bonds(layers, layout):
    model = models.GIN(HIDDEN, layers, CLASSES, readout="sum", vocabulary=ATOMS, edge_vocabulary=BONDS)
    variables = jax.tree.map(lambda leaf: 0.5 * leaf, initialised(model, graph=_molecules()))
    assert ("blocks" in variables["params"]) == (layers > 5)
    out = jax.jit(model.apply)(variables, layout(_molecules()))
    expected = _reference(variables["params"], layers, NODE_CATEGORIES)
    np.testing.assert_allclose(out.logits[0], expected, rtol=1e-4, atol=1e-4)


def test_numbers_as_features_are_brought_to_the_width_of_bonds():
    model = models.GIN(HIDDEN, 2, CLASSES, readout="sum", edge_vocabulary=BONDS)
    graph = _molecules(nodes=X)._replace(edges={"features": EDGE_CATEGORIES})
    variables = initialised(model, graph=graph)
    assert variables["params"]["input"]["kernel"].shape == (WIDTH, HIDDEN)
    out = jax.jit(model.apply)(variables, graph)
    np.testing.assert_allclose(out.logits[0], _reference(variables["params"], 2, X), rtol=1e-4, atol=1e-4)


def test_half_precision_does_not_touch_categories():
    """511 is no bfloat16 number: it would be read as 512."""
    model = models.GIN(HIDDEN, 2, CLASSES, vocabulary=(512,), dtype=jnp.bfloat16)
    nodes = np.full((NODES, 1), 511, np.int32)
    variables = initialised(model, graph=_molecules(nodes))
    variables["params"]["atoms"]["table_0"] = variables["params"]["atoms"]["table_0"].at[:511].set(jnp.nan)
    out = jax.jit(model.apply)(variables, _molecules(nodes))
    assert np.isfinite(np.asarray(out.logits)).all()


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (_molecules(nodes=X), r"GIN: atoms are float32 \(9, 5\), expected 2 integers in a row"),
        (_molecules(edges=None), r"GIN: bonds_0 are missing, expected 3 integers in a row"),
        (_molecules(edges=EDGE_CATEGORIES[:, :2]), r"GIN: bonds_0 are int32 \(20, 2\), expected 3 integers in a row"),
    ],
    ids=["no categories", "no edges", "too few columns"],
)
def test_graphs_without_the_categories_are_refused(graph, message):
    model = models.GIN(HIDDEN, 2, CLASSES, vocabulary=ATOMS, edge_vocabulary=BONDS)
    with pytest.raises(InputError, match=f"^{message}"):
        jax.eval_shape(model.init, jax.random.key(0), graph)
