"""Preprocessing inside an exported program gives the graph that the host makes of the same data set."""

import functools
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_samples import SCHEMA, node_level
from hypothesis import given, settings
from scipy.sparse import csr_matrix

from abkd_jax import InputError
from abkd_jax.datasets.files.csr import row_normalize
from abkd_jax.graph.host import host_graph, whole_graph
from abkd_jax.inference.bundle import inputs_of
from abkd_jax.inference.export.arguments import arrays_of, checked_arrays
from abkd_jax.inference.export.raw_graph import raw_graph, row_normalised

NODES, EDGES = 4, 9  # duplicates, loops and both directions are frequent
TYPED = {"schema": SCHEMA, "node_types": np.array([0, 0, 1, 1], np.int32)}
KINDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {  # of the data set, and what its edges have
    "undirected": ({}, ()),
    "weighted": ({}, ("edge_weights", "edge_features")),
    "directed and typed": ({"directed": True, **TYPED}, ("relations", "edge_weights")),
    "typed": (TYPED, ("relations", "edge_weights")),
}


@functools.cache
def _compiled(inputs):
    return jax.jit(lambda arrays: raw_graph(inputs, arrays))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_it_is_the_graph_of_the_host(kind: str, seed: int):
    rng = np.random.default_rng(seed)
    senders, receivers = rng.integers(0, NODES, (2, EDGES)).astype(np.int32)
    of_edges = {
        "relations": rng.integers(0, len(SCHEMA.relations), EDGES).astype(np.int32),
        "edge_weights": rng.uniform(0.5, 2.0, EDGES).astype(np.float32),
        "edge_features": rng.normal(size=(EDGES, 2)).astype(np.float32),
    }
    fields, names = KINDS[kind]
    data = node_level(0, NODES, EDGES)._replace(senders=senders, receivers=receivers, **fields)
    data = data._replace(**{name: of_edges[name] for name in names})
    inputs = inputs_of(data)
    arrays = dict(zip(arrays_of(data, inputs), checked_arrays(inputs, arrays_of(data, inputs)), strict=True))
    found, wanted = _compiled(inputs)(arrays), whole_graph(host_graph(data))
    kept = np.asarray(found.receivers) != NODES
    np.testing.assert_array_equal(found.senders[kept], wanted.senders)
    np.testing.assert_array_equal(found.receivers[kept], wanted.receivers)
    assert (np.asarray(found.senders)[~kept] == NODES).all()  # no dropped edge touches a node of the graph
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[kept], b, rtol=1e-6), found.edges, wanted.edges)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:-1], b), found.nodes, wanted.nodes)


def test_a_program_of_directed_edges_is_given_both_directions_of_undirected_ones():
    rng = np.random.default_rng(0)
    data = node_level(0, 12, 30)._replace(
        edge_weights=rng.uniform(0.5, 2.0, 30).astype(np.float32),
        edge_features=rng.normal(size=(30, 2)).astype(np.float32),
    )
    inputs = replace(inputs_of(data), directed=True)
    arrays, wanted = arrays_of(data, inputs), whole_graph(host_graph(data))
    assert_array_equal = np.testing.assert_array_equal
    assert_array_equal(arrays["senders"], wanted.senders)
    assert_array_equal(arrays["receivers"], wanted.receivers)
    edges: Any = wanted.edges
    assert_array_equal(arrays["edge_weights"], edges["weight"])
    assert_array_equal(arrays["edge_features"], edges["features"])
    assert_array_equal(arrays_of(data._replace(directed=True), inputs)["senders"], data.senders)
    typed = data._replace(**TYPED, features=data.features[:4], labels=data.labels[:4], senders=np.zeros(30, np.int32))
    typed = typed._replace(receivers=np.ones(30, np.int32), relations=np.ones(30, np.int32))
    with pytest.raises(InputError, match="raw: undirected edges, expected directed ones"):
        arrays_of(typed, replace(inputs, schema=SCHEMA))


def test_rows_are_normalised_as_by_the_readers_and_once_more_changes_nothing():
    data = node_level(0, 12, 30)
    once = row_normalised(jnp.asarray(data.features))
    np.testing.assert_allclose(once, row_normalize(csr_matrix(data.features)).toarray(), rtol=1e-6)
    np.testing.assert_allclose(row_normalised(once), once, rtol=1e-6)
    inputs = replace(inputs_of(data), row_normalised=True)
    arrays = arrays_of(data, inputs)
    np.testing.assert_array_equal(_compiled(inputs)(arrays).nodes[:-1], once)
