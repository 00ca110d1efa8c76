"""The layers and a whole GCNII against PyTorch Geometric with the same weights: outputs and every gradient."""

import contextlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from graphs import features, random_edges, raw_graph

from abkd_jax.graph import prepare
from abkd_jax.layers import GCN2Conv, GCNConv
from abkd_jax.models import GCNII

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside torch_geometric, at its import
    torch = pytest.importorskip("torch")
    pyg = pytest.importorskip("torch_geometric.nn")

NODES, WIDTH = 9, 5
PRECISIONS = {"float32": (np.float32, 1e-5), "float64": (np.float64, 1e-10)}
LAYOUTS = {"plain": lambda graph: graph, "prepared": prepare}


def _edges(loops):
    """Every edge once: PyTorch Geometric keeps only one of a node's own loops. The last node is isolated."""
    edges = random_edges(13, NODES, 30)
    _, first = np.unique(edges.senders * NODES + edges.receivers, return_index=True)
    keep = first if loops else first[edges.senders[first] != edges.receivers[first]]
    assert loops == (edges.senders[keep] == edges.receivers[keep]).any()
    return edges._replace(senders=edges.senders[keep], receivers=edges.receivers[keep], weights=edges.weights[keep])


@pytest.fixture(params=[(True, True), (False, True), (True, False)], ids=["loops, weights", "weights", "loops"])
def edges_and_weighted(request):
    return _edges(request.param[0]), request.param[1]


@pytest.fixture(params=PRECISIONS.values(), ids=PRECISIONS.keys())
def precision(request):
    dtype, tolerance = request.param
    with jax.enable_x64(True) if dtype == np.float64 else contextlib.nullcontext():
        yield dtype, tolerance


def _numbers(seed, dtype, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def _jax_graph(edges, weighted, x, layout):
    graph = raw_graph(edges, x)._replace(edges=edges.weights.astype(x.dtype) if weighted else None)
    return LAYOUTS[layout](graph)


def _torch_graph(edges, weighted, dtype):
    index = torch.tensor(np.stack([edges.senders, edges.receivers]), dtype=torch.int64)
    return index, torch.tensor(edges.weights.astype(dtype)) if weighted else None


def _torch_value_and_gradients(function, arrays, cotangent):
    """`function` of a dict of arrays: its output, and the gradient of <cotangent, output> in every one."""
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    out = function(**leaves)
    (out * torch.tensor(cotangent)).sum().backward()
    return out.detach().numpy(), {name: leaf.grad.numpy() for name, leaf in leaves.items()}


def _jax_value_and_gradients(function, arrays, cotangent):
    def run(arrays):
        out, pullback = jax.vjp(lambda arrays: function(**arrays), arrays)
        return out, pullback(jnp.asarray(cotangent))[0]

    return jax.jit(run)(arrays)


def _check(got, expected, tolerance):
    """Relative to the largest entry of an array: entries that cancel have no relative precision of their own."""
    for a, b in [(got[0], expected[0]), *((got[1][name], expected[1][name]) for name in expected[1])]:
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gcn_conv(edges_and_weighted, precision, layout):
    (edges, weighted), (dtype, tolerance) = edges_and_weighted, precision
    x, cotangent = features(0, NODES, WIDTH).astype(dtype), _numbers(3, dtype, NODES, 4)
    arrays = {"x": x, "kernel": _numbers(1, dtype, WIDTH, 4), "bias": _numbers(2, dtype, 4)}
    graph, (index, weights) = _jax_graph(edges, weighted, x, layout), _torch_graph(edges, weighted, dtype)
    layer = pyg.GCNConv(WIDTH, 4)

    def theirs(x, kernel, bias):
        return torch.func.functional_call(layer, {"lin.weight": kernel.T, "bias": bias}, (x, index, weights))

    def ours(x, kernel, bias):
        return GCNConv(4).apply({"params": {"kernel": kernel, "bias": bias}}, graph, x)

    expected = _torch_value_and_gradients(theirs, arrays, cotangent)
    _check(_jax_value_and_gradients(ours, arrays, cotangent), expected, tolerance)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gcn2_conv(edges_and_weighted, precision, layout):
    """The third layer of a GCNII with alpha 0.2 and lambda 0.5."""
    (edges, weighted), (dtype, tolerance) = edges_and_weighted, precision
    h, cotangent = features(0, NODES, WIDTH).astype(dtype), _numbers(3, dtype, NODES, WIDTH)
    arrays = {"h": h, "h0": _numbers(1, dtype, NODES, WIDTH), "kernel": _numbers(2, dtype, WIDTH, WIDTH)}
    graph, (index, weights) = _jax_graph(edges, weighted, h, layout), _torch_graph(edges, weighted, dtype)
    layer = pyg.GCN2Conv(WIDTH, alpha=0.2, theta=0.5, layer=3)

    def theirs(h, h0, kernel):
        return torch.func.functional_call(layer, {"weight1": kernel}, (h, h0, index, weights))

    def ours(h, h0, kernel):
        return GCN2Conv(0.2).apply({"params": {"kernel": kernel}}, graph, h, h0, float(np.log(0.5 / 3 + 1)))

    expected = _torch_value_and_gradients(theirs, arrays, cotangent)
    _check(_jax_value_and_gradients(ours, arrays, cotangent), expected, tolerance)


def _torch_gcnii(edges, weighted, layers, dtype):
    """GCNII of PyTorch Geometric's layers, as a function of a flat dict of parameters."""
    index, weights = _torch_graph(edges, weighted, dtype)
    convs = [pyg.GCN2Conv(6, alpha=0.1, theta=0.5, layer=layer) for layer in range(1, layers + 1)]

    def run(x, input_kernel, input_bias, conv_kernels, output_kernel, output_bias):
        h = h0 = torch.relu(x @ input_kernel + input_bias)
        for conv, kernel in zip(convs, conv_kernels, strict=True):
            h = torch.relu(torch.func.functional_call(conv, {"weight1": kernel}, (h, h0, index, weights)))
        return h @ output_kernel + output_bias

    return run


def test_gcnii_of_eight_layers(precision):
    dtype, tolerance = precision
    edges, layers = _edges(loops=True), 8
    x, cotangent = features(0, NODES, WIDTH).astype(dtype), _numbers(6, dtype, NODES, 3)
    arrays = {
        "x": x,
        "input_kernel": _numbers(1, dtype, WIDTH, 6),
        "input_bias": _numbers(2, dtype, 6),
        "conv_kernels": _numbers(3, dtype, layers, 6, 6) / dtype(6**0.5),
        "output_kernel": _numbers(4, dtype, 6, 3),
        "output_bias": _numbers(5, dtype, 3),
    }
    graph = _jax_graph(edges, True, x, "prepared")

    def ours(x, input_kernel, input_bias, conv_kernels, output_kernel, output_bias):
        params = {
            "input": {"kernel": input_kernel, "bias": input_bias},
            "blocks": {"conv": {"kernel": conv_kernels}},
            "output": {"kernel": output_kernel, "bias": output_bias},
        }
        return GCNII(6, layers, 3, alpha=0.1, lam=0.5).apply({"params": params}, graph._replace(nodes=x)).logits

    expected = _torch_value_and_gradients(_torch_gcnii(edges, True, layers, dtype), arrays, cotangent)
    _check(_jax_value_and_gradients(ours, arrays, cotangent), expected, tolerance)
