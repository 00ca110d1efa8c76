"""A whole GraphSAGE and GAT against stacks of PyTorch Geometric's layers with the same weights, gradients included."""

import numpy as np
import pytest
from parity_samples import (
    NODES,
    WIDTH,
    at_precision,
    jax_graph,
    jax_value_and_gradients,
    node_features,
    numbers,
    pyg,
    torch,
    torch_edges,
    torch_value_and_gradients,
    unique_edges,
)

from abkd_jax import models

EDGES = unique_edges(loops=True)
STATISTICS = {f"norm_{i}": {"mean": np.zeros(6), "var": np.ones(6)} for i in (0, 1)}


def _stack(convolutions, activation, residual):
    class Stack(torch.nn.Module):
        """Convolution, batch normalisation in train mode, activation; the last convolution plain."""

        def __init__(self):
            super().__init__()
            widths = (WIDTH, 6, 6, 3)
            for i, conv in enumerate(convolutions):
                self.add_module(f"conv_{i}", conv)
                if residual:
                    self.add_module(f"residual_{i}", torch.nn.Linear(widths[i], widths[i + 1], bias=False))
                if i < 2:
                    self.add_module(f"norm_{i}", torch.nn.BatchNorm1d(6))

        def forward(self, x, index):
            for i in range(3):
                out = self.get_submodule(f"conv_{i}")(x, index)
                if residual:
                    out = out + self.get_submodule(f"residual_{i}")(x)
                x = activation(self.get_submodule(f"norm_{i}")(out)) if i < 2 else out
            return x

    return Stack()


def _sage():
    return _stack([pyg.SAGEConv(a, b) for a, b in ((WIDTH, 6), (6, 6), (6, 3))], torch.relu, residual=False)


def _gat():
    hidden = [pyg.GATConv(a, 3, heads=2, bias=False) for a in (WIDTH, 6)]
    last = pyg.GATConv(6, 3, heads=2, concat=False)
    return _stack([*hidden, last], torch.nn.functional.elu, residual=True)


CASES = {
    "graphsage": (models.GraphSAGE(6, 3, 3, norm="batch"), _sage, {"lin_l": "neighbour", "lin_r": "root"}),
    "gat": (
        models.GAT(6, 3, 3, heads=2, output_heads=2, norm="batch", residual="linear"),
        _gat,
        {"lin": "linear", "att_src": "attention_sender", "att_dst": "attention_receiver"},
    ),
}


def _our_params(named, names):
    """Their flat parameters as our tree: kernels transposed, one leading axis less on attention vectors."""
    params = {}
    for name, value in named.items():
        *parents, last = [names.get(part, part) for part in name.split(".")]
        if last == "weight":
            last, value = ("scale", value) if value.ndim == 1 else ("kernel", value.T)
        at = params
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = value[0] if last.startswith("attention") else value
    return params


@pytest.mark.parametrize("layout", ["plain", "auto"])
@pytest.mark.parametrize("name", CASES)
def test_model(name, layout):
    model, make, names = CASES[name]
    with at_precision("float64") as (dtype, tolerance):
        theirs = make().to(torch.float64).train()
        arrays = {"x": node_features(dtype)}
        for seed, (parameter, value) in enumerate(theirs.named_parameters()):
            arrays[parameter] = numbers(seed + 10, dtype, *value.shape)
        graph, index = jax_graph(EDGES, None, arrays["x"], layout), torch_edges(EDGES)

        def ours(x, **named):
            variables = {"params": _our_params(named, names), "batch_stats": STATISTICS}
            out, state = model.apply(variables, graph._replace(nodes=x), train=True, mutable=["batch_stats"])
            assert state["batch_stats"].keys() == STATISTICS.keys()
            return out.logits

        cotangent = numbers(3, dtype, NODES, 3)
        expected = torch_value_and_gradients(
            lambda x, **parameters: torch.func.functional_call(theirs, parameters, (x, index)), arrays, cotangent
        )
        got = jax_value_and_gradients(ours, arrays, cotangent)
        np.testing.assert_allclose(got[0], expected[0], rtol=10 * tolerance)
        assert got[1].keys() == expected[1].keys()
        for key, gradient in expected[1].items():  # that of a bias before batch normalisation is zero, but for rounding
            np.testing.assert_allclose(got[1][key], gradient, rtol=10 * tolerance, atol=10 * tolerance, err_msg=key)
