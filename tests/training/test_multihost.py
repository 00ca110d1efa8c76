"""Two processes over loopback train to the numbers of one; where one is killed the other ends, and both go on later."""

import dataclasses
import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from abkd_jax.configs.options import BatchConfig
from abkd_jax.configs.presets import distill_config
from abkd_jax.run import pipeline, resolve
from abkd_jax.run.teachers import train_teachers
from abkd_jax.training import multihost
from abkd_jax.types import InputError

SECONDS = 60  # in which a process must have noticed the end of the other
BLOCKS = [
    *("distill", "--dataset", "synthetic", "--seeds", "1", "--max-epochs", "2", "--methods", "soft_label"),
    *("--teacher.model.name", "gcn", "--teacher.model.layers", "2", "--teacher.model.hidden", "4"),
    *("--mesh", "nodes=2"),
]
OPTIONS = [
    *("teacher", "--dataset", "synthetic", "--seeds", "1", "--max-epochs", "4", "--mesh", "data=2"),
    *("--teacher.model.name", "graphsage", "--teacher.model.layers", "2", "--teacher.model.hidden", "4"),
    *("--batches.kind", "neighbours", "--batches.size", "5", "--batches.fan-outs", "3", "2", "--batches.per-step", "2"),
]
DRIVER = """
import os, sys
from abkd_jax.cli import parser
from abkd_jax.training import loops, multihost, resume

multihost.LOST_AFTER = 5
resume.SAVE_EVERY, resume.SAVE_SHARE = 0.0, 1e9  # a checkpoint after every epoch
train, killed = loops._train_epochs, sys.argv[1] == "killed"

def train_epochs(step, state, batches, epochs):
    if killed and epochs[0] == 3:
        os.kill(os.getpid(), 9)
    return train(step, state, batches, epochs)

loops._train_epochs = train_epochs
parser.main(sys.argv[2:])
"""


def two_processes(root, options, killed=None):
    """Runs a command in two processes of one device each; returns their statuses, outputs and errors."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
        "--xla_cpu_parallel_codegen_split_count=1",
        "JAX_COMPILATION_CACHE_DIR": str(root / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    shared = [*options, "--teachers", str(root / "two"), "--process"]
    commands = [
        [sys.executable, "-c", DRIVER, "killed" if index == killed else "", *shared, f"{index}/2@127.0.0.1:{port}"]
        for index in range(2)
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    started = [subprocess.Popen(command, **pipes) for command in commands]
    try:
        outputs = [process.communicate(timeout=4 * SECONDS) for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], *zip(*outputs, strict=True)


def test_one_that_is_killed_ends_the_other_and_the_same_command_goes_on_to_the_numbers_of_one(tmp_path):
    statuses, _, errors = two_processes(tmp_path, OPTIONS, killed=1)
    assert statuses == [1, -9]
    assert errors[0].splitlines()[-1].count("another process of this run has ended") == 1
    assert "Traceback" not in errors[0]
    statuses, outputs, errors = two_processes(tmp_path, OPTIONS)
    assert statuses == [0, 0]
    assert "test accuracy" in outputs[0]
    assert "epoch 2 of 4" in errors[0]  # it goes on from there
    assert "test accuracy" not in outputs[1]
    assert not errors[1]

    config = settings()
    data = pipeline.prepare(config)
    two = train_teachers(data, config.teacher, 1, tmp_path / "two", may_train=False)
    one = train_teachers(data, config.teacher, 1, tmp_path / "one")
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-4, atol=1e-5), two.variables, one.variables)
    for name in ("loss", "val_loss", "epoch", "recorded"):
        assert_allclose(two.history[name], one.history[name], rtol=1e-5, err_msg=name)


def test_a_graph_in_blocks_of_two_processes_is_trained_and_scored_as_on_one_device(tmp_path):
    """Each holds one block of nodes; the scores are of both, and process 0 alone writes them."""
    statuses, outputs, errors = two_processes(tmp_path, [*BLOCKS, "--out", str(tmp_path / "run")])
    assert statuses == [0, 0], errors
    assert "test accuracy" in outputs[0]
    assert "test accuracy" not in outputs[1]
    two = json.loads((tmp_path / "run" / "results.json").read_text())["records"]

    base = distill_config("synthetic")
    model = dataclasses.replace(base.teacher.model, name="gcn", layers=2, hidden=4)
    teacher = dataclasses.replace(base.teacher, model=model)
    config = dataclasses.replace(base, seeds=1, max_epochs=2, methods=("soft_label",), teacher=teacher)
    config = dataclasses.replace(config, out=tmp_path / "alone", teachers=tmp_path / "one")
    one = json.loads((pipeline.distill(config) / "results.json").read_text())["records"]
    assert [(record["method"], record["seed"]) for record in two] == [(r["method"], r["seed"]) for r in one]
    for found, expected in zip(two, one, strict=True):
        for name in ("test_accuracy", "val_accuracy", "parameters"):
            assert found[name] == pytest.approx(expected[name], abs=1e-6), name


def settings():
    """The settings of the command."""
    base = distill_config("synthetic")
    model = dataclasses.replace(base.teacher.model, name="graphsage", layers=2, hidden=4)
    batches = BatchConfig(kind="neighbours", size=5, fan_outs=(3, 2), per_step=2)
    config = dataclasses.replace(base, seeds=1, max_epochs=4, batches=batches)
    return resolve.resolve(dataclasses.replace(config, teacher=dataclasses.replace(base.teacher, model=model)))


@pytest.mark.parametrize("process", ["", "2/2@host:1", "0@host:1", "0/2", "0/2@host", "-1/2@host:1", "Auto"])
def test_another_form_is_refused(process):
    with pytest.raises(InputError, match="expected auto, or <index>/<number>@<address>:<port> such as"):
        multihost.start(process)


def test_a_process_alone_is_the_first():
    assert multihost.is_first()
    assert not multihost.are_several()
    assert multihost.from_first(lambda: 3) == 3
    assert multihost.arrays_from_first(np.ones(2)).tolist() == [1.0, 1.0]
