"""Queries that latency is measured with: which nodes and graphs, how many, in how few shapes; never how fast."""

import jax
import numpy as np
import pytest
from problem_samples import graph_dataset

from abkd_jax import InputError, datasets, models
from abkd_jax.graph import from_dataset
from abkd_jax.graph.host import host_graph
from abkd_jax.inference import serving


@pytest.fixture(scope="module")
def data():
    return datasets.load("synthetic")


def test_two_hundred_random_nodes_in_few_shapes(data):
    host, test_nodes = host_graph(data), np.flatnonzero(data.test_mask)
    queries = serving.node_queries(host, 1, test_nodes, np.random.default_rng(0))
    assert len(queries) == 200
    graphs = [query() for query in queries]
    asked = {graph.nodes[0].tobytes() for graph in graphs}
    assert asked <= {data.features[node].tobytes() for node in test_nodes}
    assert len(asked) > 75  # of 150
    assert len({graph.nodes.shape for graph in graphs}) <= 3


def test_fewer_nodes_than_queries_are_asked_for_again(data):
    host = host_graph(data)
    queries = serving.node_queries(host, 0, np.array([4, 5]), np.random.default_rng(0))
    assert len(queries) == 200
    assert len(serving.node_queries(host, 0, np.array([4, 5]), np.random.default_rng(0), batch=serving.BATCH)) == 20
    with pytest.raises(InputError, match="no node to ask for"):
        serving.node_queries(host, 0, np.zeros(0, np.int64), np.random.default_rng(0))


def test_graphs_of_one_shape():
    rings = graph_dataset()
    queries = serving.graph_queries(rings, np.flatnonzero(rings.test_mask), np.random.default_rng(0))
    shapes = {str(jax.tree.map(np.shape, query())) for query in queries[:12]}
    assert len(queries) == 200
    assert len(shapes) == 1


def test_every_query_is_timed_after_its_program_is_compiled(data, monkeypatch):
    host, model = host_graph(data), models.MLP(4, 2, 3)
    variables = jax.jit(model.init)(jax.random.key(0), from_dataset(data))
    clock = iter(np.cumsum([0.0, 5.0, 0.0, 1.0, *[0.0, 0.001] * 200]))  # begin and end of each; two hops of one shape
    monkeypatch.setattr(serving.time, "perf_counter", lambda: next(clock))
    queries = serving.node_queries(host, 0, np.arange(9), np.random.default_rng(0))
    answers = serving.time_queries(model, variables, queries)
    assert (answers.queries, answers.cold) == (200, 5000.0)
    assert answers.p50 == pytest.approx(1.0)
    assert answers.p99 == pytest.approx(1.0)


def test_the_cost_of_a_pass_counts_weights_and_products(data):
    graph, model = from_dataset(data), models.MLP(4, 2, 3)
    variables = jax.jit(model.init)(jax.random.key(0), graph)
    cost = serving.cost_of_all(model, variables, graph)
    assert cost.weight_bytes == 4 * (32 * 4 + 4 + 4 * 3 + 3)
    assert cost.flops == 2 * 300 * (32 * 4 + 4 * 3)
    assert cost.program_bytes >= data.features.nbytes
