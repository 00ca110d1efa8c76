"""Side of PyTorch Geometric as in its documentation: `edge_index`, gather and scatter, eager."""

import itertools

import torch
import torch_geometric
from torch_geometric.nn import GATConv, GCN2Conv, RGCNConv, SAGEConv, SimpleConv

from experiments.bench.message_passing.cases import Case
from experiments.bench.message_passing.inputs import Inputs
from experiments.bench.message_passing.torch_work import forward_backward, leaf, place, training
from experiments.bench.message_passing.worker import Variant

__all__ = ["BUILD", "start"]


def start(threads: int) -> dict[str, str]:
    """Sets the number of threads and returns versions."""
    torch.set_num_threads(threads)
    return {"torch": torch.__version__, "torch_geometric": torch_geometric.__version__}


def _edge_index(inputs: Inputs) -> torch.Tensor:
    return torch.stack([torch.tensor(inputs.senders), torch.tensor(inputs.receivers)])


def _weighted_sum(case: Case, inputs: Inputs) -> dict[str, Variant]:
    edge_index, weights = _edge_index(inputs), torch.tensor(inputs.constants["weights"])
    conv, x = SimpleConv(aggr="sum"), leaf(inputs.leaves["x"])
    return {"edge_index": forward_backward(lambda: conv(x, edge_index, weights), {"x": x}, inputs)}


def _maximum(case: Case, inputs: Inputs) -> dict[str, Variant]:
    edge_index, conv, x = _edge_index(inputs), SimpleConv(aggr="max"), leaf(inputs.leaves["x"])
    return {"edge_index": forward_backward(lambda: conv(x, edge_index), {"x": x}, inputs)}


def _sage(case: Case, inputs: Inputs) -> dict[str, Variant]:
    widths, edge_index, x = case.options["widths"], _edge_index(inputs), torch.tensor(inputs.constants["x"])
    convs = [SAGEConv(a, b) for a, b in itertools.pairwise(widths)]
    names = {}
    for layer, conv in enumerate(convs):
        names |= {
            f"neighbours_{layer}": [conv.lin_l.weight],
            f"own_{layer}": [conv.lin_r.weight],
            f"bias_{layer}": [conv.lin_l.bias],
        }
    place(names, inputs, linear=tuple(name for name in names if not name.startswith("bias")))

    def forward() -> torch.Tensor:
        h = x
        for conv in convs[:-1]:
            h = conv(h, edge_index).relu()
        return convs[-1](h, edge_index)

    return {"edge_index": training(forward, {0.0: names}, inputs)}


def _gat(case: Case, inputs: Inputs) -> dict[str, Variant]:
    size, edge_index, x = case.options, _edge_index(inputs), leaf(inputs.leaves["x"])
    conv = GATConv(size["width"], size["head_width"], heads=size["heads"])
    names = {"kernel": conv.lin.weight, "sender": conv.att_src, "receiver": conv.att_dst, "bias": conv.bias}
    place({name: [tensor] for name, tensor in names.items()}, inputs, linear=("kernel",))
    return {"edge_index": forward_backward(lambda: conv(x, edge_index), {"x": x} | names, inputs)}


def _rgcn(case: Case, inputs: Inputs) -> dict[str, Variant]:
    size, edge_index, x = case.options, _edge_index(inputs), leaf(inputs.leaves["x"])
    types = torch.tensor(inputs.constants["types"])
    conv = RGCNConv(size["width"], size["out"], size["relations"])
    names = {"kernels": conv.weight, "own": conv.root, "bias": conv.bias}
    place({name: [tensor] for name, tensor in names.items()}, inputs)
    return {"edge_index": forward_backward(lambda: conv(x, edge_index, types), {"x": x} | names, inputs)}


def _gcnii(case: Case, inputs: Inputs) -> dict[str, Variant]:
    """Reads dense words, as in the data sets of the library; the normalisation is computed once (`cached`)."""
    size, edge_index = case.options, _edge_index(inputs)
    words = torch.tensor(inputs.constants["words"].toarray())
    dense_in = torch.nn.Linear(size["words"], size["hidden"])
    dense_out = torch.nn.Linear(size["hidden"], size["classes"])
    convs = [
        GCN2Conv(size["hidden"], alpha=0.1, theta=0.5, layer=layer + 1, cached=True) for layer in range(size["layers"])
    ]

    def drop(h: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(h, size["dropout"])

    def forward() -> torch.Tensor:
        h = h0 = dense_in(drop(words)).relu()
        for conv in convs:
            h = conv(drop(h), h0, edge_index).relu()
        return dense_out(drop(h))

    groups = {
        0.01: {"conv": [conv.weight1 for conv in convs]},
        5e-4: {
            "input": [dense_in.weight],
            "input_bias": [dense_in.bias],
            "output": [dense_out.weight],
            "output_bias": [dense_out.bias],
        },
    }
    place(groups[0.01] | groups[5e-4], inputs, linear=("input", "output"))
    return {"edge_index": training(forward, groups, inputs, inputs.constants["train"])}


BUILD = {
    "weighted_sum": _weighted_sum,
    "maximum": _maximum,
    "sage": _sage,
    "gat": _gat,
    "rgcn": _rgcn,
    "gcnii": _gcnii,
}
