"""The distillation step compiled for a TPU v5e that is not there: what must never grow into it."""

import importlib.util
import json
import subprocess
import sys

import pytest

from experiments.bench.ahead_of_time.targets import TARGETS, environment

HAS_LIBTPU = importlib.util.find_spec("libtpu") is not None
pytestmark = pytest.mark.skipif(not HAS_LIBTPU, reason="libtpu is missing: pip install 'abkd_jax[tpu]'")

# In a process of its own: the settings of the compiler must be there before jax is imported, and nowhere else.
COMPILE = """
import json
from dataclasses import replace
import jax, numpy as np, scipy.sparse as sp
from abkd_jax.configs import presets
from abkd_jax.graph import prepare
from abkd_jax.graph.host import host_graph, whole_graph
from abkd_jax.run.data import prepare_data
from abkd_jax.types import Dataset
from experiments.bench.ahead_of_time.compile import compile_program, on_device
from experiments.bench.ahead_of_time.steps import distilled
from experiments.bench.ahead_of_time.targets import TARGETS, describe_devices

nodes, rng = 300, np.random.default_rng(0)
hubs = (nodes * rng.power(0.3, 2 * nodes)).astype(np.int32)
others = rng.integers(0, nodes, 2 * nodes).astype(np.int32)
words = sp.csr_matrix(sp.random_array((nodes, 200), density=0.02, rng=rng, dtype=np.float32))
labels, thirds = rng.integers(0, 3, nodes).astype(np.int32), [np.arange(nodes) % 3 == part for part in range(3)]
data = prepare_data(Dataset("small", words, others, hubs, labels, 3, *thirds, "drawn"))
config = presets.distill_config("cora")
teacher = replace(config.teacher, model=replace(config.teacher.model, layers=4, hidden=16))
config = replace(config, student=replace(config.student, layers=6), teacher=teacher)
device, found = jax.sharding.SingleDeviceSharding(describe_devices(TARGETS["v5e"])[0]), {}
for backend in ("auto", "bucketed"):
    graph = prepare(whole_graph(host_graph(data.dataset)), platform="tpu", backend=backend)
    program = distilled(data._replace(batch=data.batch._replace(graph=graph)), config, config.abkd)
    found[backend] = compile_program(program.function, on_device(program.arguments, device))["counts"]
print(json.dumps(found))
"""
NODES = 300


@pytest.fixture(scope="module")
def compiled():
    """Counts of the step on a small graph with hubs and bags of words, by form of its sums."""
    command, settings = [sys.executable, "-c", COMPILE], environment(TARGETS["v5e"])
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=["auto", "bucketed"])
def step(request, compiled):
    return compiled[request.param]


def test_the_host_is_left_alone(step):
    assert step["host_transfers"] == 0


def test_single_numbers_are_gathered_for_the_labels_of_the_nodes_alone(step):
    assert step["numbers_gathered"] < 2 * NODES  # there are four edges per node, in every layer twice


def test_layers_run_under_a_scan_as_few_kernels(step):
    assert step["loops"]
    assert all(loop["kernels"] < 60 for loop in step["loops"])
    assert step["kernels"] < 200
