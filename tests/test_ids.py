"""The name of a test is the same in every process: at any time, under any hash seed."""

import os
import subprocess
import sys
from pathlib import Path


def test_another_process_collects_the_same_names(request):
    """Whatever is collected here, be it one file or all: later, and with strings hashed otherwise."""
    here = [item.nodeid for item in request.session.items]
    files = sorted({name.partition("::")[0] for name in here})
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    for name in [name for name in environment if name.startswith("PYTEST_")]:
        del environment[name]
    options = ["-o", "addopts=", "--assert=plain", "--doctest-modules", "-q", "--collect-only"]  # names alone
    command = [sys.executable, "-m", "pytest", *options, *files]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    there = {line for line in done.stdout.splitlines() if "::" in line}
    assert set(here) <= there, sorted(set(here) - there)[:5]
    assert all(name.isprintable() for name in here)
