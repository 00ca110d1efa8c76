"""PyTorch Geometric as its documentation shows it: `edge_index`, gather and scatter, eager."""

import torch
import torch_geometric
from torch_geometric.nn import GCN2Conv, SimpleConv

from experiments.bench.message_passing.cases import Case
from experiments.bench.message_passing.inputs import Inputs
from experiments.bench.message_passing.torch_work import forward_backward, leaf, training
from experiments.bench.message_passing.worker import Variant

__all__ = ["BUILD", "start"]


def start(threads: int) -> dict[str, str]:
    """Versions; sets the number of threads."""
    torch.set_num_threads(threads)
    return {"torch": torch.__version__, "torch_geometric": torch_geometric.__version__}


def _edge_index(inputs: Inputs) -> torch.Tensor:
    return torch.stack([torch.tensor(inputs.senders), torch.tensor(inputs.receivers)])


def _weighted_sum(case: Case, inputs: Inputs) -> dict[str, Variant]:
    edge_index, weights = _edge_index(inputs), torch.tensor(inputs.constants["weights"])
    conv, x = SimpleConv(aggr="sum"), leaf(inputs.leaves["x"])
    layer = lambda: conv(x, edge_index, weights)  # noqa: E731
    return {"edge_index": forward_backward(layer, {"x": x}, inputs.constants["cotangent"], inputs)}


def _gcnii(case: Case, inputs: Inputs) -> dict[str, Variant]:
    """Dense words, as its data sets hold them; the normalisation is computed once (`cached`)."""
    size, edge_index = case.options, _edge_index(inputs)
    words = torch.tensor(inputs.constants["words"].toarray())
    dense_in = torch.nn.Linear(size["words"], size["hidden"])
    dense_out = torch.nn.Linear(size["hidden"], size["classes"])
    convs = [
        GCN2Conv(size["hidden"], alpha=0.1, theta=0.5, layer=layer + 1, cached=True) for layer in range(size["layers"])
    ]
    with torch.no_grad():
        for linear, name in ((dense_in, "input"), (dense_out, "output")):
            linear.weight.copy_(torch.tensor(inputs.leaves[name].T))
            linear.bias.copy_(torch.tensor(inputs.leaves[f"{name}_bias"]))
        for conv, kernel in zip(convs, inputs.leaves["conv"], strict=True):
            conv.weight1.copy_(torch.tensor(kernel))

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
    return {"edge_index": training(forward, groups, inputs, inputs.constants["train"])}


BUILD = {"weighted_sum": _weighted_sum, "gcnii": _gcnii}
