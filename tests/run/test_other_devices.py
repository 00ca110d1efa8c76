"""A run that was interrupted on eight devices goes on, on one and on two, to the table of one that was not."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
from numpy.testing import assert_allclose

from abkd_jax import datasets
from abkd_jax.cli import parser
from abkd_jax.run.report import figures

COMMAND = [
    *("distill", "--dataset", "synthetic", "--methods", "soft_label", "--seeds", "2", "--max-epochs", "4"),
    *("--soft-label.start", "positive"),  # a fitted one passes the rounding of other sums on from step to step
    *("--student.name", "gcn", "--student.layers", "2", "--student.hidden", "4"),
]
SAMPLED = ["--batches.kind", "neighbours", "--batches.size", "8", "--batches.fan-outs", "3", "2"]
COMMANDS = {"whole": COMMAND, "sampled": [*COMMAND, *SAMPLED, "--batches.per-step", "4"]}
MESHES = {"whole": {8: ["seeds=8"], 2: ["seeds=2"]}, "sampled": {8: ["data=4", "seeds=2"], 2: ["data=2"]}}
DRIVER = """
import json, sys
from pathlib import Path
from abkd_jax.cli import parser
from abkd_jax.run.report import figures
from abkd_jax.training import checkpoint, loops, resume

figures.run_figures = lambda *_: []
loops.CHUNK_EVALUATIONS, resume.SAVE_EVERY, resume.SAVE_SHARE = 1, 0.0, 1e9  # a checkpoint at every evaluation
save = checkpoint.save

def saved(directory, state, history, config, step=0):
    save(directory, state, history, config, step)
    if step == 2 and "checkpoints" in Path(directory).parts:  # of a student
        raise KeyboardInterrupt

checkpoint.save = saved
ends = []
for command in json.loads(sys.argv[1]):
    try:
        parser.main(command)
        ends.append(0)
    except SystemExit as end:
        ends.append(end.code)
print(json.dumps(ends))
"""


def command(root, name, devices):
    """The words of a command on so many devices."""
    mesh = MESHES[name].get(devices, [])
    own = ["--out", str(root / name), "--teacher-outputs", str(root.parent / "teacher.npz")]
    return [*COMMANDS[name], *own, *(["--mesh", *mesh] if mesh else [])]


def interrupt_on_eight(root):
    """Runs both commands in a process of eight fake devices until the first students have a checkpoint."""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    quick = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    environment = os.environ | {"XLA_FLAGS": f"{flags} {quick}", "NPROC": "32"}
    line = [sys.executable, "-c", DRIVER, json.dumps([command(root, name, 8) for name in COMMANDS])]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [130, 130]
    assert done.stderr.count("interrupted; the same command goes on from here") == 2


def table(root):
    """Scores by method and seed, and all that was measured on the way there."""
    records = json.loads((root / "results.json").read_text())["records"]
    scores = {
        (r["method"], r["seed"], name): r[name]
        for r in records
        for name in ("test_accuracy", "val_accuracy", "test_accuracy_best_val", "epochs")
    }
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    steps = {
        (line["method"], line["seed"], line["epoch"], name): value
        for line in lines
        for name, value in line.items()
        if name not in ("method", "seed", "epoch")
    }
    return scores | steps


def test_from_eight_devices_to_one_and_to_two(tmp_path, monkeypatch, capsys):
    logits = np.random.default_rng(0).normal(size=(300, 3)) + 2.0 * np.eye(3)[datasets.load("synthetic").labels]
    np.savez(tmp_path / "teacher.npz", logits=logits.astype(np.float32))
    interrupt_on_eight(tmp_path / "eight")
    monkeypatch.setattr(figures, "run_figures", lambda *_: [])
    for name in COMMANDS:
        parser.main(command(tmp_path / "unbroken", name, 1))
        expected = table(tmp_path / "unbroken" / name)
        for devices in (1, 2):
            shutil.copytree(tmp_path / "eight" / name, tmp_path / str(devices) / name)
            capsys.readouterr()
            parser.main(command(tmp_path / str(devices), name, devices))
            assert "epoch 2 of 4" in capsys.readouterr().err  # a student goes on from there
            found = table(tmp_path / str(devices) / name)
            assert found.keys() == expected.keys()
            assert_allclose(list(found.values()), list(expected.values()), rtol=1e-5, atol=1e-5)
