"""A type checker finds a function that is no part of an objective."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOSSES = """
import jax.numpy as jnp

from abkd_jax.types import Objective


def init(key, teacher, student):
    return {}


def targets(teacher, *, graph, mask):
    return teacher.logits


def apply(params, targets, student, *, graph, mask, key):
    return jnp.sum(student.logits - targets), {}


def without_key(params, targets, student, *, graph, mask):
    return jnp.sum(student.logits - targets), {}


def without_metrics(params, targets, student, *, graph, mask, key):
    return jnp.sum(student.logits - targets)


def with_other_names(p, t, s, *, graph, mask, key):
    return jnp.sum(s.logits - t), {}


Objective(init, targets, apply)
Objective(init, targets, without_key)  # wrong
Objective(init, targets, without_metrics)  # wrong
Objective(init, targets, with_other_names)  # wrong
Objective(apply, targets, apply)  # wrong
Objective(init, init, apply)  # wrong
"""


def test_pyright_names_the_lines_with_a_wrong_function_and_no_others(tmp_path):
    pytest.importorskip("pyright")  # of the dev extra: the oldest versions are tested without it
    file = tmp_path / "losses.py"
    file.write_text(LOSSES)
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    lines = {item["range"]["start"]["line"] for item in report["generalDiagnostics"] if item["severity"] == "error"}
    assert lines == {i for i, line in enumerate(LOSSES.splitlines()) if line.endswith("# wrong")}
