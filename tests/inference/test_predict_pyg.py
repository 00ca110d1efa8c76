"""Predictions on graphs of PyTorch Geometric: those of the data set that `from_pyg` makes, with labels or without."""

from dataclasses import replace

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
    variables = jax.jit(model_of(bundle).init)(jax.random.key(0), prepared(dataset))
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
    if sample == "HeteroData":
        expected = expected[2:5]  # the papers, after two authors and before a venue
    for given in (make(), without_labels(make())):
        np.testing.assert_array_equal(student.predict(given), expected)
        np.testing.assert_array_equal(student.predict(given, np.array([1])), expected[[1]])


def in_other_order(data):
    """The same graph, its types of nodes and edges inserted the other way round."""
    other = pyg.HeteroData()
    for kind in reversed(data.node_types):
        other[kind].update(data[kind])
    for key in reversed(data.edge_types):
        other[key].edge_index = data[key].edge_index
    return other


def test_types_of_hetero_data_are_told_by_name():
    data = hetero()
    data["author", "knows", "author"].edge_index = torch.tensor([[0], [1]])
    student = student_of(datasets.from_pyg(data), SAMPLES["HeteroData"][1])
    expected = student.predict(data)
    np.testing.assert_array_equal(student.predict(in_other_order(data)), expected)
    fewer = [in_other_order(data), in_other_order(data)]
    del fewer[0]["author", "knows", "author"]
    fewer[1]["author", "knows", "author"].edge_index = torch.zeros((2, 0), dtype=torch.long)
    without = [student.predict(graph) for graph in fewer]
    np.testing.assert_array_equal(*without)
    assert not np.array_equal(without[0], expected)
    renamed = in_other_order(data)
    renamed["author", "likes", "author"].edge_index = torch.tensor([[0], [1]])
    with pytest.raises(InputError, match=r"^graph: node types author, paper, venue and relations .*likes.*, expected"):
        student.predict(renamed)


def test_nodes_of_hetero_data_are_those_of_the_labelled_type():
    dataset, config = datasets.from_pyg(hetero()), SAMPLES["HeteroData"][1]
    student = student_of(dataset, config)
    assert student.bundle.inputs.labelled == "paper"
    papers = student.predict(dataset)[[4, 2]]
    np.testing.assert_array_equal(student.predict(hetero(), np.array([2, 0])), papers)
    with pytest.raises(InputError, match=r"^predict: nodes 3 to 3, expected 0 to 2$"):
        student.predict(hetero(), np.array([3]))
    older = replace(student.bundle, inputs=replace(student.bundle.inputs, labelled=None))
    np.testing.assert_array_equal(Student(older).predict(hetero()), student.predict(dataset))


def test_graphs_may_come_in_a_batch_and_one_of_them_alone():
    masks = [np.arange(4) % 3 == part for part in range(3)]
    student = student_of(datasets.from_pyg(graphs(), masks), SAMPLES["a list"][1])
    expected = student.predict(graphs())
    np.testing.assert_array_equal(student.predict(pyg.Batch.from_data_list(graphs())), expected)
    np.testing.assert_allclose(student.predict(graphs()[2]), expected[[2]], rtol=1e-5)
    with pytest.raises(InputError, match=r": a \w*Batch that does not know its graphs; expected a list$"):
        student.predict(pyg.Batch(x=torch.ones(2, 3), edge_index=torch.tensor([[0], [1]])))


def test_weights_of_one_are_weights_of_a_graph_to_predict_on():
    graph, masks = path([0, 1, 2, 0, 1, 2]), np.arange(6) % 3 == np.arange(3)[:, None]
    graph.edge_weight = torch.arange(5) + 1.0
    weighted = student_of(datasets.from_pyg(graph, masks), ModelConfig("gcn", 2, 4))
    graph.edge_weight = torch.ones(5)
    plain = datasets.from_pyg(graph, masks)
    assert plain.edge_weights is None
    expected = student_of(plain, ModelConfig("gcn", 2, 4)).predict(graph)  # of the same weights
    np.testing.assert_allclose(weighted.predict(graph), expected, rtol=1e-6)


def test_a_molecule_of_one_atom_needs_no_features_of_edges():
    molecules = graphs()
    for molecule in molecules:
        molecule.edge_attr = torch.ones(molecule.num_edges, 2)
    masks = [np.arange(4) % 3 == part for part in range(3)]
    student = student_of(datasets.from_pyg(molecules, masks), SAMPLES["a list"][1])
    atom = pyg.Data(x=torch.ones(1, 3), edge_index=torch.zeros((2, 0), dtype=torch.long))
    beside = [molecules[0], pyg.Data(edge_attr=torch.zeros((0, 2)), **atom.to_dict())]
    np.testing.assert_allclose(student.predict(atom), student.predict(beside)[1:], rtol=1e-5)


def test_a_batch_is_one_graph_for_a_model_of_nodes():
    part, masks = path([0, 1, 2, 0, 1, 2]), np.arange(6) % 3 == np.arange(3)[:, None]
    student = student_of(datasets.from_pyg(part, masks), ModelConfig("gcn", 2, 4))
    expected = np.tile(student.predict(part), (2, 1))
    for given in (part, without_labels(part)):
        found = student.predict(pyg.Batch.from_data_list([given, given]))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("given", [sp.eye(6, format="csr"), [], 3, None], ids=["SciPy", "empty list", "number", "none"])
def test_other_graphs_are_refused_in_one_line(given):
    dataset = datasets.from_pyg(
        path([0, 1, 2, 0, 1, 2]), rng=np.random.default_rng(0), masks=[np.eye(6, dtype=bool)[i] for i in range(3)]
    )
    message = rf"^predict: the graph is a {type(given).__name__}, expected a data set, its name or path, .*others$"
    if isinstance(given, list):
        message = "^predict: an empty list, expected graphs of PyTorch Geometric in it$"
    with pytest.raises(InputError, match=message):
        student_of(dataset, ModelConfig("mlp", 2, 4)).predict(given)
