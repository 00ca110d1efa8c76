"""Predictions on graphs of PyTorch Geometric: those of the data set that `from_pyg` makes, with labels or without."""

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from converter_samples import hetero, pyg, torch
from export_samples import prepared

from abkd_jax import InputError, datasets
from abkd_jax.configs.options import ModelConfig
from abkd_jax.inference.bundle import Bundle, inputs_of, model_of
from abkd_jax.inference.student import Student


def path(labels, nodes=6):
    """A directed path of nodes with three features."""
    x = torch.tensor(np.random.default_rng(nodes).normal(size=(nodes, 3)).astype(np.float32))
    ends = torch.arange(nodes)
    return pyg.Data(x=x, edge_index=torch.stack([ends[:-1], ends[1:]]), y=torch.tensor(labels))


def graphs():
    return [path([number % 2], 3 + number) for number in range(4)]


SAMPLES = {
    "Data": (lambda: path([0, 1, 2, 0, 1, 2]), ModelConfig("gcn", 2, 4), {}),
    "directed Data": (lambda: path([0, 1, 2, 0, 1, 2]), ModelConfig("gcn", 2, 4), {"directed": True}),
    "HeteroData": (hetero, ModelConfig("rgcn", 2, 4), {}),
    "a list": (graphs, ModelConfig("gin", 2, 4, readout="mean"), {}),
}


def without_labels(given):
    parts = given if isinstance(given, list) else [given["paper"] if isinstance(given, pyg.HeteroData) else given]
    for part in parts:
        del part.y
        for mask in ("train_mask", "val_mask", "test_mask"):
            if mask in part:
                del part[mask]
    return given


def student_of(dataset, config):
    bundle = Bundle(config, inputs_of(dataset, config.name), 3, "classification", {})
    variables = model_of(bundle).init(jax.random.key(0), prepared(dataset))
    return Student(Bundle(config, bundle.inputs, 3, "classification", jax.tree.map(np.asarray, variables)))


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_graph_of_pytorch_geometric_needs_no_conversion_and_no_labels(sample):
    make, config, options = SAMPLES[sample]
    if sample == "HeteroData":
        dataset = datasets.from_pyg(make(), **options)
    else:
        masks = np.arange(len(make()) if sample == "a list" else 6) % 3
        dataset = datasets.from_pyg(make(), [masks == part for part in range(3)], **options)
    student = student_of(dataset, config)
    expected = student.predict(dataset)
    for given in (make(), without_labels(make())):
        np.testing.assert_array_equal(student.predict(given), expected)
        np.testing.assert_array_equal(student.predict(given, np.array([1])), expected[[1]])


@pytest.mark.parametrize("given", [sp.eye(6, format="csr"), [], 3, None], ids=["SciPy", "empty list", "number", "none"])
def test_other_graphs_are_refused_in_one_line(given):
    dataset = datasets.from_pyg(
        path([0, 1, 2, 0, 1, 2]), rng=np.random.default_rng(0), masks=[np.eye(6, dtype=bool)[i] for i in range(3)]
    )
    message = rf"^predict: the graph is a {type(given).__name__}, expected a data set, its name or path, .*others$"
    with pytest.raises(InputError, match=message):
        student_of(dataset, ModelConfig("mlp", 2, 4)).predict(given)
