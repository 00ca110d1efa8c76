"""What modules of PyTorch are called with: arguments by name, or the graph as a whole."""

import pytest
from numpy.testing import assert_array_equal
from problem_samples import several_dataset, targets_dataset
from torch_samples import evaluated, library, module

from abkd_jax import datasets
from abkd_jax.run.data import prepare_data
from abkd_jax.run.torch_teacher import call_module

pytestmark = pytest.mark.usefixtures("seeded_torch")


@pytest.fixture(scope="module")
def data():
    return prepare_data("synthetic")


def test_arguments_are_found_by_name():
    """Weights and features of directed edges, which are in the graph as the list has them."""
    dataset = targets_dataset()
    data, seen = prepare_data(dataset), {}

    def run(self, x, edge_index, edge_weight, edge_attr=None, batch=None, unknown=5, *rest, **others):
        seen.update(locals())
        return x[:, :2]

    call_module(module(run), data)
    assert_array_equal(seen["edge_index"], [dataset.senders, dataset.receivers])
    assert_array_equal(seen["edge_weight"], dataset.edge_weights)
    assert_array_equal(seen["edge_attr"], dataset.edge_features)
    assert (seen["batch"], seen["unknown"], seen["rest"], seen["others"]) == (None, 5, (), {})


def test_required_weights_of_a_graph_without_are_ones_and_one_batch_is_all_of_it():
    data, seen = prepare_data(several_dataset()), {}

    def run(self, x, edge_index, edge_weight, batch, edge_attr=3):
        seen.update(locals())
        return x[:, :2]

    call_module(module(run), data)
    edges = datasets.to_pyg(data.dataset).edge_index.shape[1]
    assert seen["edge_weight"].tolist() == [1.0] * edges
    assert seen["batch"].tolist() == [0] * 40
    assert seen["edge_attr"] == 3


@pytest.mark.parametrize(
    "run",
    [
        lambda self, batch: self.inner(batch.x, batch.edge_index),
        lambda self, anything, layers=None: self.inner(anything.x, anything.edge_index),
        lambda self, *args, **named: self.inner(*args, **named),
    ],
    ids=["batch", "another name", "any"],
)
def test_the_graph_as_a_whole_or_by_position(data, run):
    net, graph = module(run, inner=library.GCN(32, 6, 2, 3)), datasets.to_pyg(data.dataset)
    logits = evaluated(lambda: net.inner(graph.x, graph.edge_index))
    assert_array_equal(call_module(net, data)[0].logits, logits)


def test_one_output_may_be_a_vector():
    targets = targets_dataset()
    data = prepare_data(targets._replace(labels=targets.labels[:, :1], num_classes=1))
    output = call_module(module(lambda self, x: 100.0 * x[:, 0]), data)[0]
    assert_array_equal(output.logits, 100.0 * targets.features[:, :1])
