"""Preprocessing inside an exported program gives the graph that the host makes of the same data set."""

import functools
from dataclasses import replace

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_samples import SCHEMA, node_level
from hypothesis import given, settings
from scipy.sparse import csr_matrix

from abkd_jax.datasets.files.csr import row_normalize
from abkd_jax.graph.host import host_graph, whole_graph
from abkd_jax.inference.arguments import arrays_of, checked_arrays
from abkd_jax.inference.bundle import inputs_of
from abkd_jax.inference.raw_graph import raw_graph, row_normalised

NODES, EDGES = 4, 9  # duplicates, loops and both directions are frequent
KINDS = {
    "undirected": {},
    "typed": {"schema": SCHEMA, "node_types": np.array([0, 0, 1, 1], np.int32)},
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
    data = node_level(0, NODES, EDGES)._replace(senders=senders, receivers=receivers, **KINDS[kind])
    if data.schema is not None:
        data = data._replace(relations=rng.integers(0, len(SCHEMA.relations), EDGES).astype(np.int32))
    inputs = inputs_of(data)
    arrays = dict(zip(arrays_of(data, inputs), checked_arrays(inputs, arrays_of(data, inputs)), strict=True))
    found, wanted = _compiled(inputs)(arrays), whole_graph(host_graph(data))
    kept = np.asarray(found.receivers) != NODES
    np.testing.assert_array_equal(found.senders[kept], wanted.senders)
    np.testing.assert_array_equal(found.receivers[kept], wanted.receivers)
    assert (np.asarray(found.senders)[~kept] == NODES).all()  # no dropped edge touches a node of the graph
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[kept], b, rtol=1e-6), found.edges, wanted.edges)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:-1], b), found.nodes, wanted.nodes)


def test_rows_are_normalised_as_by_the_readers_and_once_more_changes_nothing():
    data = node_level(0, 12, 30)
    once = row_normalised(jnp.asarray(data.features))
    np.testing.assert_allclose(once, row_normalize(csr_matrix(data.features)).toarray(), rtol=1e-6)
    np.testing.assert_allclose(row_normalised(once), once, rtol=1e-6)
    inputs = replace(inputs_of(data), row_normalised=True)
    arrays = arrays_of(data, inputs)
    np.testing.assert_array_equal(_compiled(inputs)(arrays).nodes[:-1], once)
