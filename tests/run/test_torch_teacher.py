"""Modules of PyTorch as teachers: their outputs and their state, on every kind of data set, and what is refused."""

import contextlib

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from parity.parity_samples import pyg, torch
from pipeline_samples import tiny
from problem_samples import graph_dataset, typed_dataset
from torch_samples import assert_outputs, evaluated, gcn, graphs, library, module

import abkd_jax
from abkd_jax import datasets
from abkd_jax.configs.options import BatchConfig, ModelConfig
from abkd_jax.models.external import Stored
from abkd_jax.run import torch_input
from abkd_jax.run.data import prepare_data
from abkd_jax.run.given_teachers import given_teacher
from abkd_jax.run.torch_teacher import call_module
from abkd_jax.types import InputError

pytestmark = pytest.mark.usefixtures("seeded_torch")


@pytest.fixture(scope="module")
def data():
    return prepare_data("synthetic")


@pytest.fixture(scope="module")
def many():
    return prepare_data(graph_dataset(), batches=BatchConfig(kind="graphs", size=8))


def test_outputs_are_those_of_the_module_on_the_graph(data):
    net, graph = gcn(), datasets.to_pyg(data.dataset)
    hidden = evaluated(lambda: net.one(graph.x, graph.edge_index).relu())
    logits = evaluated(lambda: net.two(hidden, graph.edge_index).log_softmax(dim=1))
    teacher = given_teacher(data, net, 2)
    assert_outputs(call_module(net, data)[0], logits, [hidden])
    assert teacher.models.module == Stored(32 * 6 + 6 + 6 * 3 + 3)
    assert_array_equal(teacher.models.variables["outputs"].logits[1], logits)
    assert given_teacher(data, (net, graph), 1).source == teacher.source


def test_floats_of_any_width(data):
    net, graph = library.GCN(32, 6, 2, 3), datasets.to_pyg(data.dataset)
    logits = call_module(net, data)[0].logits
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.bfloat16, 0.05)):
        output = call_module(net.to(dtype), data, graph)[0]
        assert output.logits.dtype == output.hiddens[0].dtype == np.float32
        assert_allclose(output.logits, logits, atol=tolerance)
        assert graph.x.dtype == torch.float32


# Types and many graphs -----------------------------------------------------------------------------------------------


def by_type(dataset):
    """Features of other widths than those of the data set, and more edge types, as another form of the graph has."""
    graph = datasets.to_pyg(dataset)
    graph["author"].x = torch.eye(40)
    return graph


def typed_nets(graph, everything):
    """Two layers by edge type, their outputs in the opposite order of the node types."""
    edges = graph.edge_types

    def run(self, x_dict, edge_index_dict):
        h, layers = x_dict, []
        for conv in self.convs:
            h = {kind: part.relu() for kind, part in conv(h, edge_index_dict).items()}
            layers.append(h)
        self.layers = layers
        out = {kind: self.head(h[kind]) for kind in ("author", "paper")}
        return out if everything else out["paper"]

    def convs():
        first = pyg.HeteroConv(
            {edge: pyg.SAGEConv((4 if edge[0] == "paper" else 40, WIDTHS[edge[2]]), 6) for edge in edges}
        )
        return torch.nn.ModuleList([first, pyg.HGTConv(6, 6, graph.metadata(), heads=2)])

    return module(run, convs=convs(), head=torch.nn.Linear(6, 3))


WIDTHS = {"paper": 4, "author": 40}


@pytest.mark.parametrize("everything", [True, False])
def test_rows_of_node_types_are_in_the_order_of_the_data_set(everything):
    data = prepare_data(typed_dataset())
    graph = by_type(data.dataset)
    net = typed_nets(graph, everything)
    output = call_module(net, data, graph)[0]
    result = evaluated(lambda: net(graph.x_dict, graph.edge_index_dict))
    papers, authors = (result["paper"], result["author"]) if everything else (result, torch.zeros(40, 3))
    assert_outputs(
        output,
        torch.cat([papers, authors]),
        [torch.cat([layer["paper"], layer["author"]]) for layer in net.layers],
    )


def test_models_by_to_hetero_take_and_return_types(many):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = pyg.SAGEConv((-1, -1), 6), pyg.SAGEConv((6, 6), 3)

        def forward(self, x, edge_index):
            h = self.one(x, edge_index).relu()
            return self.two(h, edge_index), [h]

    data = prepare_data(typed_dataset())
    graph = by_type(data.dataset)
    net = pyg.to_hetero(Net(), graph.metadata())
    logits, (hidden,) = evaluated(lambda: net(graph.x_dict, graph.edge_index_dict))
    expected = [torch.cat([part["paper"], part["author"]]) for part in (logits, hidden)]
    assert_outputs(call_module(net, data, graph)[0], expected[0], expected[1:])


def test_graphs_are_called_in_batches(many, monkeypatch):
    calls = []

    def run(self, x, edge_index, edge_attr, batch, batch_size):
        calls.append(batch_size)
        h = self.conv(self.atoms(x[:, 0]), edge_index, self.bonds(edge_attr[:, 0])).relu()
        return self.head(pyg.global_add_pool(h, batch))

    linear, table = torch.nn.Linear, torch.nn.Embedding
    net = module(run, atoms=table(2, 4), bonds=table(2, 4), conv=pyg.GINEConv(linear(4, 4)), head=linear(4, 1))
    whole = call_module(net, many)[0]
    monkeypatch.setattr(torch_input, "GRAPHS", 2)
    parts = call_module(net, many, datasets.to_pyg(many.dataset))[0]
    assert calls == [36] + [2] * 18
    assert_allclose(parts.logits, whole.logits, atol=1e-6)
    assert_allclose(parts.hiddens[0], whole.hiddens[0], atol=1e-6)
    assert (whole.logits.shape, whole.hiddens[0].shape) == ((36, 1), (many.dataset.n_node.sum(), 4))
    ring = graphs.Batch.from_data_list(datasets.to_pyg(many.dataset)[7:8])
    alone = evaluated(lambda: net(ring.x, ring.edge_index, ring.edge_attr, ring.batch, 1))
    assert_allclose(whole.logits[7:8], alone, atol=1e-6)


# State ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_a_module_is_left_as_it_was(data, fails):
    def run(self, x, edge_index):
        assert (torch.is_grad_enabled(), self.training, self.conv.training) == (False, False, False)
        if fails:
            raise RuntimeError("no\nmemory")
        return self.conv(x, edge_index) * torch.rand(3)

    net = module(run, conv=pyg.GCNConv(32, 3), other=torch.nn.Dropout().eval())
    found, message = [], r"^teacher: Net\(x \[300, 32\], .*\) fails: RuntimeError: no memory; [^\n]*$"
    for seed in (1, 2):
        state = torch.manual_seed(seed).get_state()
        with pytest.raises(InputError, match=message) if fails else contextlib.nullcontext():
            found.append(call_module(net, data)[0].logits)
        assert torch.equal(torch.get_rng_state(), state)
    assert_array_equal(found[:1], found[1:])
    assert (net.training, net.conv.training, net.other.training) == (True, True, False)
    assert (len(net.conv._forward_hooks), len(net.conv._forward_pre_hooks)) == (0, 0)
    assert torch.is_grad_enabled()
    assert net.conv(torch.ones(300, 32), torch.zeros(2, 1, dtype=torch.int64)).requires_grad


def test_what_layers_cache_is_not_of_the_graph_before(data):
    net, graph = library.GCN(32, 6, 2, 3, cached=True), datasets.to_pyg(data.dataset)
    call_module(net, data)
    assert net.convs[0]._cached_edge_index is None
    graph.edge_index = graph.edge_index.flip(0)[:, :100]
    output = call_module(net, data, graph)[0]
    assert_array_equal(output.logits, evaluated(lambda: net(graph.x, graph.edge_index)))


def test_members_of_an_ensemble(data):
    net, other = gcn(), np.ones((300, 3), np.float32)
    mean = given_teacher(data, [net, other], 1).models.variables["outputs"].logits[0]
    one = evaluated(lambda: net.eval()(datasets.to_pyg(data.dataset))).exp().numpy()
    assert_allclose(np.exp(mean), (one + 1 / 3) / 2, rtol=1e-5)


# Errors --------------------------------------------------------------------------------------------------------------


ERRORS = {
    "two names": (
        lambda: module(lambda self, x, adj_t: x),
        "Net.forward needs adj_t, expected parameters among edge_index, num_nodes, x",
    ),
    "features of edges": (lambda: module(lambda self, x, edge_attr: x), "Net.forward needs edge_attr, expected"),
    "labels": (lambda: module(lambda self, x, y: x), "Net.forward needs y, expected"),
    "a number": (lambda: module(lambda self, x: 1), "its output is int, expected logits"),
    "widths": (lambda: library.GCN(9, 4, 2, 3), "GCN(x [300, 32], edge_index [2, "),
    "the reason": (lambda: library.GCN(9, 4, 2, 3), "fails: RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
    "no graph network": (lambda: torch.nn.Linear(32, 3), "Linear(input Data(x=[300, 32], "),
    "no method": (lambda: torch.nn.Module(), "fails: NotImplementedError"),
    "no shape": (lambda: library.GCN(-1, 4, 2, 3), "convs.0.lin.weight has no shape yet, expected a module that was"),
    "classes": (lambda: library.GCN(32, 4, 2, 5), "logits of 5 classes, expected 3 as synthetic has"),
    "rows": (lambda: module(lambda self, x: x[:9, :3]), "logits has 9 rows, expected 300"),
    "whole numbers": (lambda: module(lambda self, x: x[:, :3].long()), "logits is int64 (300, 3), expected floats"),
    "not finite": (lambda: module(lambda self, x: x[:, :3] / 0), "300 rows are not finite"),
    "by type": (lambda: module(lambda self, x: {"a": x}), "its output is dict, expected logits"),
    "no graph": (lambda: (gcn(), {}), "a module of PyTorch with a dict, expected Data or HeteroData beside it"),
    "many graphs": (lambda: (gcn(), [graphs.Data()]), "a module of PyTorch with a list, expected Data or HeteroData"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_is_no_teacher_of_this_graph_is_one_line(data, case):
    make, message = ERRORS[case]
    with pytest.raises(InputError, match=r"^teacher: [^\n]+$") as caught:
        given_teacher(data, make(), 1)
    assert message in str(caught.value)


def test_types_that_do_not_fit_are_one_line(many):
    typed = prepare_data(typed_dataset())
    for run, message in (
        (lambda self, x_dict: {"author": torch.ones(40, 3)}, "are author [40, 3], expected paper [60, width]"),
        (lambda self, x_dict: {"paper": torch.ones(61, 3)}, "are paper [61, 3], expected paper [60, width]"),
        (lambda self, x_dict: torch.ones(61, 3), "logits has 61 rows, expected 100, the nodes of typed"),
        (lambda self, x_dict, none: 1, "needs none, expected parameters among edge_index, edge_index_dict, num_nodes,"),
    ):
        with pytest.raises(InputError) as caught:
            given_teacher(typed, module(run), 1)
        assert message in str(caught.value)
    with pytest.raises(InputError, match="with a Data, expected a list of Data beside it"):
        given_teacher(many, (module(lambda self, x: x), graphs.Data()), 1)


# From end to end -----------------------------------------------------------------------------------------------------


TRAINED = ("weights", "teacher_weights", "seconds", "provenance")  # a second training has another time and date


def test_one_call_compresses_a_module_and_resumes(data, tmp_path):
    """It is called on the graph that is given, which has more than the data set of it."""

    def run(self, x, edge_index, own):
        h = self.one(x, edge_index).relu()
        return self.two(h, edge_index) * own

    graph = datasets.to_pyg(data.dataset)
    graph.own = torch.full((300, 1), 2.0)
    net = module(run, one=pyg.GCNConv(32, 6), two=pyg.GCNConv(6, 3))
    expected = evaluated(lambda: net(graph.x, graph.edge_index, graph.own)).numpy().argmax(axis=1)
    config = tiny(tmp_path)
    options = {"student": ModelConfig("mlp", 2, 4), "methods": "soft_label", "seeds": 1, "config": config}
    found = abkd_jax.compress(graph, net, out=tmp_path / "run", **options)
    teacher, student = found.records
    hits = expected == data.dataset.labels
    assert teacher["test_accuracy"] == pytest.approx(hits[data.dataset.test_mask].mean(), abs=1e-6)
    assert teacher["parameters"] == 32 * 6 + 6 + 6 * 3 + 3
    assert student["compression"] == pytest.approx(teacher["parameters"] / student["parameters"])
    again = abkd_jax.compress(graph, net, out=tmp_path / "run", **options).records[1]
    assert [again[key] for key in TRAINED] == [student[key] for key in TRAINED]
