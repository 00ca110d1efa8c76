"""Neighbourhoods: a model gives the nodes of one the logits that it gives them on the whole graph."""

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import EdgeList, edge_lists, quick
from hypothesis import given
from hypothesis import strategies as st

from abkd_jax import InputError, models
from abkd_jax.configs.options import ModelConfig
from abkd_jax.graph import from_dataset
from abkd_jax.graph.host import host_graph
from abkd_jax.inference.neighbourhood import Ladder, neighbourhood, radius
from abkd_jax.types import Dataset, Schema

WIDTH, CLASSES = 3, 2
TYPES = Schema(("a", "b"), ("x", "y"), (0, 2))
CONFIGS = {
    "gcn": ModelConfig("gcn", layers=2, hidden=4, norm="batch"),
    "graphsage": ModelConfig("graphsage", layers=2, hidden=4, jumping="cat"),
    "gat": ModelConfig("gat", layers=2, hidden=4, heads=2),
    "gatv2": ModelConfig("gatv2", layers=2, hidden=4),
    "gin": ModelConfig("gin", layers=2, hidden=4),
    "gcnii": ModelConfig("gcnii", layers=3, hidden=4),
    "mlp": ModelConfig("mlp", layers=2, hidden=4),
}


def _dataset(edges: EdgeList, *, typed: bool = False, sparse: bool = False) -> Dataset:
    rng, n = np.random.default_rng(0), edges.size
    features, mask = rng.normal(size=(n, WIDTH)).astype(np.float32), np.ones(n, bool)
    types = (np.arange(n) * 2 // n).astype(np.int32)
    labels, relations = np.zeros(n, np.int32), rng.integers(0, 2, edges.senders.size).astype(np.int32)
    data = Dataset("", features, edges.senders, edges.receivers, labels, CLASSES, mask, mask, mask, "")
    if sparse:
        return data._replace(features=sp.csr_matrix(np.where(features > 0.5, features, 0)))
    if not typed:
        return data
    return data._replace(schema=TYPES, node_types=types, relations=relations, features=features[types == 0])


def _check(config: ModelConfig, data: Dataset, nodes: np.ndarray, **sizes: int) -> None:
    model, whole, host = models.build(config, CLASSES, **sizes), from_dataset(data), host_graph(data)
    variables, run = jax.jit(model.init)(jax.random.key(0), whole), jax.jit(model.apply)
    expected = np.asarray(run(variables, whole).logits)[nodes]
    part = neighbourhood(host, nodes, radius(config), Ladder.of(host))
    found = np.asarray(run(variables, part).logits)[: nodes.size]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@quick
@given(edges=edge_lists([(9, 20)]), node=st.integers(0, 8))
def test_any_node_of_any_graph(edges: EdgeList, node: int):
    _check(CONFIGS["gcn"], _dataset(edges), np.array([node]))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_model(name: str):
    rng = np.random.default_rng(1)
    edges = EdgeList(*rng.integers(0, 40, (2, 60)).astype(np.int32), np.ones(60, np.float32), 41)
    _check(CONFIGS[name], _dataset(edges), np.array([40, 3, 17]))  # the first of them is isolated


def test_sparse_features():
    edges = EdgeList(*np.random.default_rng(2).integers(0, 40, (2, 60)).astype(np.int32), np.ones(60, np.float32), 41)
    _check(CONFIGS["gcn"], _dataset(edges, sparse=True), np.array([5, 6]))


def test_edge_types_and_learned_embeddings():
    edges = EdgeList(*np.random.default_rng(3).integers(0, 40, (2, 60)).astype(np.int32), np.ones(60, np.float32), 40)
    sizes = {"relations": 3, "node_types": 2, "embeddings": 20}
    _check(ModelConfig("rgcn", layers=2, hidden=4), _dataset(edges, typed=True), np.array([5, 33]), **sizes)


def test_edge_weights():
    edges = EdgeList(*np.random.default_rng(4).integers(0, 40, (2, 60)).astype(np.int32), np.ones(60, np.float32), 41)
    weights = np.random.default_rng(5).uniform(0.5, 2.0, 60).astype(np.float32)
    _check(CONFIGS["gcnii"], _dataset(edges)._replace(edge_weights=weights, directed=True), np.array([5, 39, 6]))


def test_models_that_read_more_are_refused():
    for config in (ModelConfig("sign", layers=2, hidden=4), ModelConfig("gcn", readout="sum")):
        with pytest.raises(InputError, match="expected a model of nodes and their neighbourhoods"):
            radius(config)
    with pytest.raises(InputError, match="expected a model of nodes"):
        radius(ModelConfig("gat", symmetric_norm=True))


def test_no_larger_than_the_hops_reach():
    chain = EdgeList(np.arange(99, dtype=np.int32), np.arange(1, 100, dtype=np.int32), np.ones(99, np.float32), 100)
    host = host_graph(_dataset(chain))
    part = neighbourhood(host, np.array([50]), 2, Ladder.of(host))
    values = np.unique(np.asarray(part.nodes), axis=0)
    assert len(values) == 6  # five nodes of the chain and zeros
