"""Graph convolutions and a whole GCNII against PyTorch Geometric with the same weights: outputs, every gradient."""

import jax.numpy as jnp
import numpy as np
import pytest
from parity_samples import (
    NODES,
    PRECISIONS,
    WIDTH,
    at_precision,
    check,
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

from abkd_jax.layers import GCN2Conv, GCNConv
from abkd_jax.models import GCNII

LAYOUTS = ("plain", "auto")


@pytest.fixture(params=[(True, True), (False, True), (True, False)], ids=["loops, weights", "weights", "loops"])
def edges_and_weighted(request):
    return unique_edges(request.param[0]), request.param[1]


@pytest.fixture(params=PRECISIONS)
def precision(request):
    with at_precision(request.param) as precision:
        yield precision


def _weights(edges, weighted, dtype):
    """For either side."""
    weights = edges.weights.astype(dtype)
    return (weights, torch.tensor(weights)) if weighted else (None, None)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gcn_conv(edges_and_weighted, precision, layout):
    (edges, weighted), (dtype, tolerance) = edges_and_weighted, precision
    x, cotangent = node_features(dtype), numbers(3, dtype, NODES, 4)
    arrays = {"x": x, "kernel": numbers(1, dtype, WIDTH, 4), "bias": numbers(2, dtype, 4)}
    ours_weights, weights = _weights(edges, weighted, dtype)
    graph, index = jax_graph(edges, ours_weights, x, layout), torch_edges(edges)
    layer = pyg.GCNConv(WIDTH, 4)

    def theirs(x, kernel, bias):
        return torch.func.functional_call(layer, {"lin.weight": kernel.T, "bias": bias}, (x, index, weights))

    def ours(x, kernel, bias):
        return GCNConv(4).apply({"params": {"kernel": kernel, "bias": bias}}, graph, x)

    expected = torch_value_and_gradients(theirs, arrays, cotangent)
    check(jax_value_and_gradients(ours, arrays, cotangent), expected, tolerance)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gcn2_conv(edges_and_weighted, precision, layout):
    """The third layer of a GCNII with alpha 0.2 and lambda 0.5."""
    (edges, weighted), (dtype, tolerance) = edges_and_weighted, precision
    h, cotangent = node_features(dtype), numbers(3, dtype, NODES, WIDTH)
    arrays = {"h": h, "h0": numbers(1, dtype, NODES, WIDTH), "kernel": numbers(2, dtype, WIDTH, WIDTH)}
    ours_weights, weights = _weights(edges, weighted, dtype)
    graph, index = jax_graph(edges, ours_weights, h, layout), torch_edges(edges)
    layer = pyg.GCN2Conv(WIDTH, alpha=0.2, theta=0.5, layer=3)

    def theirs(h, h0, kernel):
        return torch.func.functional_call(layer, {"weight1": kernel}, (h, h0, index, weights))

    def ours(h, h0, kernel):
        return GCN2Conv(0.2).apply({"params": {"kernel": kernel}}, graph, h, h0, float(np.log(0.5 / 3 + 1)))

    expected = torch_value_and_gradients(theirs, arrays, cotangent)
    check(jax_value_and_gradients(ours, arrays, cotangent), expected, tolerance)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gcnii_star(precision, layout):
    """PyTorch Geometric's two weights see `(1 - alpha) A' h` and `alpha h0`; the one of GCNII* sees `[A' h, h0]`."""
    (dtype, tolerance), edges = precision, unique_edges(loops=True)
    h, cotangent = node_features(dtype), numbers(3, dtype, NODES, WIDTH)
    first, second = numbers(2, dtype, WIDTH, WIDTH), numbers(4, dtype, WIDTH, WIDTH)
    arrays = {"h": h, "h0": numbers(1, dtype, NODES, WIDTH), "first": first, "second": second}
    graph, index = jax_graph(edges, None, h, layout), torch_edges(edges)
    layer = pyg.GCN2Conv(WIDTH, alpha=0.2, theta=0.5, layer=3, shared_weights=False)

    def theirs(h, h0, first, second):
        return torch.func.functional_call(layer, {"weight1": first, "weight2": second}, (h, h0, index))

    def ours(h, h0, first, second):
        kernel = jnp.concatenate([0.8 * first, 0.2 * second])
        star = GCN2Conv(0.2, variant=True)
        return star.apply({"params": {"kernel": kernel}}, graph, h, h0, float(np.log(0.5 / 3 + 1)))

    expected = torch_value_and_gradients(theirs, arrays, cotangent)
    check(jax_value_and_gradients(ours, arrays, cotangent), expected, tolerance)


def _torch_gcnii(edges, weights, layers):
    """GCNII of PyTorch Geometric's layers, as a function of a flat dict of parameters."""
    index = torch_edges(edges)
    convs = [pyg.GCN2Conv(6, alpha=0.1, theta=0.5, layer=layer) for layer in range(1, layers + 1)]

    def run(x, input_kernel, input_bias, conv_kernels, output_kernel, output_bias):
        h = h0 = torch.relu(x @ input_kernel + input_bias)
        for conv, kernel in zip(convs, conv_kernels, strict=True):
            h = torch.relu(torch.func.functional_call(conv, {"weight1": kernel}, (h, h0, index, weights)))
        return h @ output_kernel + output_bias

    return run


def test_gcnii_of_eight_layers(precision):
    dtype, tolerance = precision
    edges, layers = unique_edges(loops=True), 8
    x, cotangent = node_features(dtype), numbers(6, dtype, NODES, 3)
    arrays = {
        "x": x,
        "input_kernel": numbers(1, dtype, WIDTH, 6),
        "input_bias": numbers(2, dtype, 6),
        "conv_kernels": numbers(3, dtype, layers, 6, 6) / dtype(6**0.5),
        "output_kernel": numbers(4, dtype, 6, 3),
        "output_bias": numbers(5, dtype, 3),
    }
    ours_weights, weights = _weights(edges, True, dtype)
    graph = jax_graph(edges, ours_weights, x, "auto")

    def ours(x, input_kernel, input_bias, conv_kernels, output_kernel, output_bias):
        params = {
            "input": {"kernel": input_kernel, "bias": input_bias},
            "blocks": {"conv": {"kernel": conv_kernels}},
            "output": {"kernel": output_kernel, "bias": output_bias},
        }
        return GCNII(6, layers, 3, alpha=0.1, lam=0.5).apply({"params": params}, graph._replace(nodes=x)).logits

    expected = torch_value_and_gradients(_torch_gcnii(edges, weights, layers), arrays, cotangent)
    check(jax_value_and_gradients(ours, arrays, cotangent), expected, tolerance)
