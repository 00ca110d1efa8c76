"""Graphs in parts: the numbers of all graphs at once, in the order that was asked for."""

import sys

import export_samples
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from abkd_jax import sampling
from abkd_jax.inference import predict
from abkd_jax.inference.by_parts import apply_to
from abkd_jax.inference.evaluation import flops
from abkd_jax.models import GIN

MODEL = GIN(hidden=4, layers=2, classes=3, readout="mean", norm="batch", vocabulary=(4, 2), edge_vocabulary=(3,))
SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=9)


@pytest.fixture(autouse=True, scope="module")
def _small_parts():
    """Three graphs a part: a part holds as many graphs as fit beside a padding of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["abkd_jax.sampling.graph_parts"], "PER_PART", 3)
        yield


def outputs(dataset, graph):
    example = sampling.all_graphs(dataset).graph
    variables = jax.jit(MODEL.init)(jax.random.key(0), example)
    return jax.jit(lambda variables, graph: apply_to(MODEL, variables, graph))(variables, graph)


@given(SIZES, st.randoms(use_true_random=False))
@settings(max_examples=4, deadline=None)
def test_outputs_are_those_of_all_graphs_at_once(sizes, random):
    dataset = export_samples.graph_level(0, tuple(sizes))
    chosen = np.array(random.sample(range(len(sizes)), random.randint(1, len(sizes))))
    whole, parts = (
        outputs(dataset, graph) for graph in (sampling.all_graphs(dataset).graph, sampling.graph_parts(dataset, chosen))
    )
    assert parts.logits.shape == (chosen.size + 1, 3)  # one row of padding, as all graphs at once have
    assert_allclose(parts.logits[:-1], whole.logits[chosen], rtol=1e-5, atol=1e-6)
    nodes = np.concatenate([np.flatnonzero(np.repeat(np.arange(len(sizes)), sizes) == graph) for graph in chosen])
    assert_allclose(parts.hiddens[-1][:-1], whole.hiddens[-1][nodes], rtol=1e-5, atol=1e-6)


def test_a_part_is_as_large_as_few_graphs():
    dataset = export_samples.graph_level(0, (4,) * 12)
    parts = sampling.graph_parts(dataset)
    assert parts.graphs.n_node.shape[0] >= 4
    assert parts.graphs.nodes.shape[1] <= 17  # three graphs of 4 nodes and a tenth, in eights, and padding
    assert parts.graph_rows.shape == (13,)
    assert parts.node_rows.shape == (49,)


def test_work_is_counted_for_all_parts():
    dataset = export_samples.graph_level(0, (4,) * 12)
    variables = jax.jit(MODEL.init)(jax.random.key(0), sampling.all_graphs(dataset).graph)
    program = lambda graph: apply_to(MODEL, variables, graph).logits  # noqa: E731
    few, many = (flops(program, sampling.graph_parts(dataset, np.arange(k))) for k in (3, 12))
    assert many >= 4 * few > 0


@pytest.mark.parametrize("chosen", [None, [5, 0, 5], []], ids=["all", "some", "none"])
def test_predictions_of_large_sets_are_those_of_small_ones(monkeypatch, chosen):
    bundle = export_samples.bundle_of("gin_graphs")
    dataset = export_samples.graph_level(1, (3, 5, 4, 1, 6, 2))
    chosen = None if chosen is None else np.array(chosen, int)
    at_once = predict.logits(bundle, dataset, chosen)
    monkeypatch.setattr(predict, "MAX_NODES_AT_ONCE", 0)
    by_parts = predict.logits(bundle, dataset, chosen)
    assert by_parts.shape == at_once.shape
    assert_allclose(by_parts, at_once, rtol=1e-5, atol=1e-6)
