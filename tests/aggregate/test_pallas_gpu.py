"""The kernel of a GPU: interpreted, and compiled for an H100 that is not there."""

import functools
import importlib.util
import json
import subprocess
import sys

import jax
import jax.experimental.pallas
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import MANY, OPS, arguments_of, arranged, cotangent_of, model_results, results, same, typed_graph
from graphs import dense_adjacency, edge_lists, features, raw_graph
from hypothesis import given, settings

from abkd_jax.aggregate import pallas_gpu, weighted_sum
from abkd_jax.aggregate.entries import RowEntries
from abkd_jax.graph import prepare
from experiments.bench.ahead_of_time.targets import TARGETS, environment

HAS_PLUGIN = importlib.util.find_spec("jax_plugins") and importlib.util.find_spec("jax_plugins.xla_cuda12")


def described(devices=1, manual=False):
    """A scope in which programs are traced for a GPU that is not there."""
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=None, platform="gpu")
    types = (jax.sharding.AxisType.Manual if manual else jax.sharding.AxisType.Auto,)
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((devices,), ("x",), types, abstract_device=device))


@pytest.fixture(scope="module", autouse=True)
def interpreted():
    """Programs take what they have for a GPU; kernels run on the CPU, and cut rows of small graphs."""

    def of_gpu(*arguments, default=None, cuda=None, **_):
        return (cuda or default)(*arguments)

    kernel = functools.partial(jax.experimental.pallas.pallas_call, interpret=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.experimental.pallas, "pallas_call", kernel)
        patch.setattr(jax.lax, "platform_dependent", of_gpu)
        patch.setattr(pallas_gpu, "WINDOW", 4)
        yield


def _sums(graph, backend, x, weights, cotangent):
    """A weighted sum and its gradients, in one program; and whether the kernel is in it."""

    def run(x, weights, cotangent):
        out, pullback = jax.vjp(lambda x, weights: weighted_sum(graph, x, weights, backend), x, weights)
        return out, pullback(cotangent)

    with described():
        return jax.jit(run)(x, weights, cotangent), "pallas_call" in str(jax.make_jaxpr(run)(x, weights, cotangent))


@settings(max_examples=3, deadline=None, derandomize=True)
@given(edges=edge_lists())
def test_any_graph(edges):
    x, cotangent = (features(seed, edges.size, 5) for seed in range(2))
    graph = prepare(raw_graph(edges, x))
    weights = jnp.asarray(graph.edges.features)
    (out, (grad_x, grad_weights)), ours = _sums(graph, "csr", x, weights, cotangent)
    matrix, wide = dense_adjacency(edges), cotangent.astype(np.float64)
    same((out, grad_x), (matrix @ x.astype(np.float64), matrix.T @ wide))
    same(grad_weights, (wide[graph.receivers] * x[graph.senders]).sum(axis=1))
    for backend in ("segment", "auto"):
        others, kernel = _sums(graph, backend, x, weights, cotangent)
        same((out, (grad_x, grad_weights)), others)
        assert not kernel
    assert ours == (edges.senders.size > 0)


@pytest.mark.parametrize("name", ["propagate", "attention_sum"])
def test_other_sums(name):
    """Weights in the order of the transpose, and several heads."""
    op, graph = OPS[name], arranged(typed_graph(MANY), "csr")
    arguments = arguments_of(op, MANY)
    cotangent = cotangent_of(op, MANY, arguments)
    with described():
        got = jax.jit(lambda arguments, cotangent: results(op, graph, arguments, cotangent))(arguments, cotangent)
    same(got, model_results(op, MANY, arguments, cotangent))


@pytest.mark.parametrize(("heads", "width", "ones"), [(1, 130, True), (3, 50, False), (1, 1, False)])
def test_rows_of_every_length(heads, width, ones, monkeypatch):
    """Empty ones, whole windows and parts of them, and a hub; more columns than a warp has, or one."""
    monkeypatch.setattr(pallas_gpu, "WINDOW", 16)
    degrees, rng = np.array([0, 16, 32, 3, 0, 45, 1, 170, 15, 0]), np.random.default_rng(0)
    row_ptr, size = np.concatenate([[0], np.cumsum(degrees)]).astype(np.int32), degrees.sum()
    rows, cols = np.repeat(np.arange(10, dtype=np.int32), degrees), rng.integers(0, 7, size, dtype=np.int32)
    matrix = RowEntries(*map(jnp.asarray, (rows, cols, row_ptr)))
    values, x = rng.normal(size=(size, heads)), rng.normal(size=(7, heads, width))
    given = None if ones else jnp.asarray(values, jnp.float32)
    got = jax.jit(pallas_gpu.warp_row_sums)(matrix, given, jnp.asarray(x, jnp.float32))
    expected = np.zeros((10, heads, width))
    np.add.at(expected, rows, (1.0 if ones else values[:, :, None]) * x[cols])
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_it_runs_on_one_gpu_in_float32():
    x = jnp.ones((2, 1, 3))
    assert not pallas_gpu.reads(x)  # no GPU is in scope
    with described():
        assert pallas_gpu.reads(x)
        assert not pallas_gpu.reads(x.astype(jnp.bfloat16))
    with described(devices=2):
        assert not pallas_gpu.reads(x)  # XLA would have to split it
    with described(devices=2, manual=True):
        assert pallas_gpu.reads(x)


# In a process of its own: the settings of the compiler must be there before jax is imported, and nowhere else.
COMPILE = """
import json
import jax, jax.numpy as jnp, numpy as np
from abkd_jax import aggregate, graph
from experiments.bench.ahead_of_time.compile import compile_program, on_device
from experiments.bench.ahead_of_time.targets import TARGETS, describe_devices, traced_for

rng = np.random.default_rng(0)
ends = rng.integers(0, 300, (2, 900)).astype(np.int32)
device, found = describe_devices(TARGETS["h100"])[0], {}
sharding = jax.sharding.SingleDeviceSharding(device)
for backend in ("auto", "csr", "segment"):
    prepared = graph.prepare(graph.from_edges(*ends, num_nodes=300), backend=backend)

    @jax.jit
    def step(prepared, x, cotangent):
        return jax.vjp(lambda x: aggregate.propagate(prepared, x), x)[1](cotangent)

    arguments = prepared, jnp.ones((300, 64)), jnp.ones((300, 64))
    with traced_for(device):
        found[backend] = compile_program(step, on_device(arguments, sharding))["counts"]
print(json.dumps(found))
"""


@pytest.mark.skipif(not HAS_PLUGIN, reason="no CUDA plugin: pip install --no-deps jax-cuda12-plugin jax-cuda12-pjrt")
def test_it_compiles_for_an_h100():
    """Only where it is asked for, and without a scatter."""
    command, settings = [sys.executable, "-c", COMPILE], environment(TARGETS["h100"])
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    triton = {name: counts["custom_calls"].get("__gpu$xla.gpu.triton", 0) for name, counts in found.items()}
    assert triton == {"auto": 0, "csr": 2, "segment": 0}  # windows and rows
    assert found["csr"]["scatters"] == 0 < found["segment"]["scatters"]
