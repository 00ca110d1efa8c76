"""Columns of features that have names: a trained model reads them in any order, and refuses others."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from export_samples import bundle_of, graphs_of, node_level

from abkd_jax import InputError, datasets
from abkd_jax.inference import bundle as bundles
from abkd_jax.inference.export.arguments import arrays_of
from abkd_jax.inference.predict import logits
from abkd_jax.types import Dataset, GraphDataset

ORDER = [3, 1, 4, 0, 2]
NAMES = ("age", "income", "visits", "x3", "x4")
GRAPH = node_level(1, 12, 30)._replace(columns=NAMES)
WEIGHTED = GRAPH._replace(edge_weights=np.ones(30, np.float32))  # as the GCN reads it


def named(name: str, **names: tuple[str, ...]) -> bundles.Bundle:
    bundle = bundle_of(name)
    return dataclasses.replace(bundle, inputs=dataclasses.replace(bundle.inputs, **names))


def in_order(graph: Dataset, order: list[int]) -> Dataset:
    names = tuple(graph.columns[column] for column in order)
    return graph._replace(features=graph.features[:, order], columns=names)


@pytest.mark.parametrize("name", ["gcn", "mlp"])
def test_columns_come_in_any_order(name: str):
    bundle, graph = named(name, columns=NAMES), WEIGHTED if name == "gcn" else GRAPH
    expected = logits(bundle_of(name), graph)
    np.testing.assert_array_equal(logits(bundle, in_order(graph, ORDER)), expected)
    np.testing.assert_array_equal(logits(bundle, graph._replace(columns=())), expected)  # told by position
    assert np.abs(logits(bundle_of(name), in_order(graph, ORDER)) - expected).max() > 0.01
    np.testing.assert_array_equal(arrays_of(in_order(graph, ORDER), bundle.inputs)["features"], graph.features)


def test_categories_of_graphs_come_in_any_order_as_well():
    (graphs, *_) = graphs_of("gin_graphs")
    assert isinstance(graphs, GraphDataset)
    bundle, names = named("gin_graphs", columns=("element", "ring")), ("ring", "element")
    swapped = graphs._replace(features=graphs.features[:, ::-1], vocabulary=graphs.vocabulary[::-1], columns=names)
    np.testing.assert_array_equal(logits(bundle, swapped), logits(bundle_of("gin_graphs"), graphs))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("age", "income", "visits", "x3", "height"), "no x4, there is height"),
        (NAMES[:-1], "no x4"),
        ((*NAMES, "height"), "there is height"),
    ],
)
def test_other_columns_are_refused(names: tuple[str, ...], said: str):
    features = np.ones((12, len(names)), np.float32)
    other = GRAPH._replace(features=features, columns=names)
    with pytest.raises(InputError, match=f"^columns of the node features: {said}; expected those of training, in any"):
        logits(named("mlp", columns=NAMES), other)


def test_features_of_edges_have_names_where_the_model_reads_them(tmp_path: Path):
    edges = np.random.default_rng(0).random((GRAPH.senders.size, 2)).astype(np.float32)
    graph = GRAPH._replace(edge_features=edges, edge_columns=("km", "lanes"))
    assert bundles.inputs_of(graph, "gcn").edge_columns == ()
    inputs = bundles.inputs_of(graph, "gat")
    assert (inputs.columns, inputs.edge_columns) == (NAMES, ("km", "lanes"))
    swapped = graph._replace(edge_features=edges[:, ::-1], edge_columns=("lanes", "km"))
    np.testing.assert_array_equal(arrays_of(swapped, inputs)["edge_features"], edges)


def test_names_are_kept_in_the_card(tmp_path: Path):
    bundle = named("mlp", columns=NAMES)
    bundles.save(bundle, tmp_path)
    assert json.loads((tmp_path / "card.json").read_text())["inputs"]["columns"] == [*NAMES]
    assert bundles.load(tmp_path).inputs == bundle.inputs
    assert "columns" not in bundles.described_inputs(bundle_of("mlp").inputs)  # as in cards of before


def test_names_are_those_of_the_table(tmp_path: Path):
    """From the first line of nodes.csv to the inputs of a model."""
    datasets.save_folder(GRAPH, tmp_path / "mine")
    assert (tmp_path / "mine/nodes.csv").read_text().splitlines()[0].endswith(",".join(NAMES))
    found = datasets.load(tmp_path / "mine")
    assert isinstance(found, Dataset)
    assert bundles.inputs_of(found, "mlp").columns == NAMES
