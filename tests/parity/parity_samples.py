"""The same graph and the same numbers for PyTorch Geometric and for this package, and both sides' gradients."""

import contextlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from graphs import features, random_edges, raw_graph

from abkd_jax.graph import prepare


class Late:
    """A module, imported when a test first uses one of its names: PyTorch costs every process 5 s and 350 MB."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch_geometric, at its import
            return getattr(pytest.importorskip(self._name), attribute)


torch, pyg = Late("torch"), Late("torch_geometric.nn")
NODES, WIDTH = 9, 5
PRECISIONS = {"float32": (np.float32, 1e-5), "float64": (np.float64, 1e-10)}
LAYOUTS = {
    "plain": lambda graph: graph,
    **{
        backend: lambda graph, backend=backend: prepare(graph, backend=backend)
        for backend in ("auto", "csr", "bucketed", "segment", "dense")
    },
}


def unique_edges(loops):
    """Every edge once: PyTorch Geometric keeps only one of a node's own loops. The last node is isolated."""
    edges = random_edges(13, NODES, 30)
    _, first = np.unique(edges.senders * NODES + edges.receivers, return_index=True)
    keep = first if loops else first[edges.senders[first] != edges.receivers[first]]
    assert loops == (edges.senders[keep] == edges.receivers[keep]).any()
    return edges._replace(senders=edges.senders[keep], receivers=edges.receivers[keep], weights=edges.weights[keep])


@contextlib.contextmanager
def at_precision(name):
    """NumPy type and tolerance, with JAX's own 64-bit types switched on where they are needed."""
    dtype, tolerance = PRECISIONS[name]
    with jax.enable_x64(True) if dtype == np.float64 else contextlib.nullcontext():
        yield dtype, tolerance


def numbers(seed, dtype, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def node_features(dtype):
    return features(0, NODES, WIDTH).astype(dtype)


def jax_graph(edges, attributes, x, layout):
    """`attributes` are what the edges hold: weights, types or nothing."""
    return LAYOUTS[layout](raw_graph(edges, x)._replace(edges=attributes))


def torch_edges(edges):
    return torch.tensor(np.stack([edges.senders, edges.receivers]), dtype=torch.int64)


def torch_value_and_gradients(function, arrays, cotangent):
    """`function` of a dict of arrays: its output, and the gradient of <cotangent, output> in every one."""
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    out = function(**leaves)
    (out * torch.tensor(cotangent)).sum().backward()
    return out.detach().numpy(), {name: leaf.grad.numpy() for name, leaf in leaves.items()}


def jax_value_and_gradients(function, arrays, cotangent):
    def run(arrays):
        out, pullback = jax.vjp(lambda arrays: function(**arrays), arrays)
        return out, pullback(jnp.asarray(cotangent))[0]

    return jax.jit(run)(arrays)


def check(got, expected, tolerance):
    """Relative to the largest entry of an array: entries that cancel have no relative precision of their own."""
    assert got[1].keys() == expected[1].keys()
    for name, a, b in [("output", got[0], expected[0]), *((name, got[1][name], expected[1][name]) for name in got[1])]:
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max(), err_msg=name)
