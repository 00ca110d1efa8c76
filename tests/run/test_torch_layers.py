"""Hidden layers of modules of PyTorch: what the next convolution or linear map reads, input side first."""

import pytest
from parity.parity_samples import pyg, torch
from torch_samples import assert_outputs, evaluated, library, module

from abkd_jax import datasets
from abkd_jax.run.data import prepare_data
from abkd_jax.run.torch_teacher import call_module

pytestmark = pytest.mark.usefixtures("seeded_torch")


@pytest.fixture(scope="module")
def data():
    return prepare_data("synthetic")


OPTIONS = ({}, {"jk": "cat"}, {"norm": "batch", "act": "elu"}, {"norm": "layer", "act_first": True})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["GCN", "GraphSAGE", "GAT", "GIN"])
def test_layers_of_the_stacks_of_the_library_are_what_the_next_one_reads(data, name, options):
    net, graph = getattr(library, name)(32, 8, 3, 3, dropout=0.5, **options).eval(), datasets.to_pyg(data.dataset)

    def stack():
        h, layers = graph.x, []
        for conv, norm in list(zip(net.convs, net.norms, strict=True))[: 3 if "jk" in options else 2]:
            h = conv(h, graph.edge_index)
            h = norm(net.act(h)) if net.act_first else net.act(norm(h))
            layers.append(h)
        return layers

    assert_outputs(call_module(net, data)[0], evaluated(lambda: net(graph.x, graph.edge_index)), evaluated(stack))


FUNCTIONS = {
    "abs": lambda h: h.abs(),
    "beside": lambda h: (h.relu(), (h * h).mean())[0],
    "columns": lambda h: h.view(-1, 2, 3).softmax(dim=2).view(-1, 6),
    "half": lambda h: h.half().relu().float(),
    "hardshrink": lambda h: torch.nn.functional.hardshrink(h),
    "instance": lambda h: pyg.InstanceNorm(6)(h),
    "log_sigmoid": lambda h: torch.nn.functional.logsigmoid(h),
    "power": lambda h: h.relu() ** 2,
    "size": lambda h: pyg.GraphSizeNorm()(h, torch.zeros(h.shape[0], dtype=torch.int64)),
    "softmin": lambda h: torch.nn.functional.softmin(h, dim=1),
    "tanhshrink": lambda h: torch.nn.functional.tanhshrink(h),
    "threshold": lambda h: torch.nn.functional.threshold(h, 0.1, 0.0),
    "where": lambda h: torch.where(h > 0, h, 0.1 * h),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("last", [False, True], ids=["convolution", "linear"])
def test_a_layer_is_what_is_read_whatever_makes_it(data, function, last):
    read = []

    def run(self, x, edge_index):
        h = function(self.one(x, edge_index))
        read[:] = [torch.from_numpy(h.numpy().copy())]
        return self.two(h) if last else self.two(x=h, edge_index=edge_index)

    two = torch.nn.Linear(6, 3) if last else pyg.GCNConv(6, 3)
    output = call_module(module(run, one=pyg.GCNConv(32, 6), two=two), data)[0]
    assert_outputs(output, output.logits, read)


def outer(inner):
    """A convolution that has another one inside."""

    class Outer(pyg.MessagePassing):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x, edge_index):
            return self.inner(self.inner(x, edge_index).expand_as(x), edge_index)

    return Outer()


def test_layers_count_every_time_and_follow_sums_norms_and_functions_in_place(data):
    kept = []

    def run(self, x, edge_index):
        kept.clear()
        h = self.first(x)
        for _ in range(2):
            h += self.norm(self.conv(h, edge_index)).relu_() / 2
            kept.append(h.numpy().copy())
        kept.append(self.gate(h, edge_index))
        h = h * kept[-1]  # of another width
        attended, _ = self.attention(h, edge_index, return_attention_weights=True)
        kept.append((attended + self.skip(h)).tanh())
        h = self.head(kept[-1])
        return h.add_(h.exp())  # of the head, no layer

    net = module(
        run,
        first=torch.nn.Linear(32, 6),
        conv=pyg.GraphConv(6, 6),
        norm=pyg.PairNorm(),
        gate=outer(pyg.GraphConv(6, 1)),
        attention=pyg.GATConv(6, 6),
        skip=torch.nn.Linear(6, 6),
        head=torch.nn.Linear(6, 3),
    )
    output = call_module(net, data)[0]
    assert_outputs(output, output.logits, kept)
    assert len(kept) == 4


def test_layers_of_other_rows_are_left_out_and_those_returned_are_taken(data):
    def pooled(self, x, edge_index):
        part = self.conv(x[:10], edge_index[:, (edge_index < 10).all(dim=0)])
        return self.head(x) + part.sum()

    def returned(self, x, edge_index):
        return self.head(x), [self.conv(x, edge_index), x]

    parts = {"conv": pyg.GCNConv(32, 4), "head": torch.nn.Linear(32, 3)}
    assert call_module(module(pooled, **parts), data)[0].hiddens == ()
    found, _ = call_module(module(returned, **parts), data)
    assert [hidden.shape for hidden in found.hiddens] == [(300, 4), (300, 32)]
