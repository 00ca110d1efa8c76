"""Compiles programs for targets, stores what the compilers say, prints a table: see the package.

Each cell is kept as it finishes; the same command goes on where it stopped. Data sets that are missing are named in
their cells.
"""

import datetime
import itertools
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tyro

from abkd_jax import datasets
from abkd_jax.datasets.files.atomic import read_json, write_atomic
from abkd_jax.study.report.excerpt import filled
from abkd_jax.training.provenance import PACKAGE, commit
from abkd_jax.types import InputError
from experiments.bench.ahead_of_time.programs import PROGRAMS
from experiments.bench.ahead_of_time.table import NAME, as_text, markdown
from experiments.bench.ahead_of_time.targets import environment, require
from experiments.program import run_program

LIBRARIES = ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin")


@dataclass(frozen=True)
class Args:
    """Compile programs for devices that are not there."""

    programs: tuple[str, ...] = tuple(PROGRAMS)
    """Programs."""
    targets: tuple[str, ...] = ("v5e", "v6e", "h100")
    """Devices."""
    label: str = "after"
    """Names this state of the code beside others in the file."""
    again: bool = False
    """Compile cells that are there once more."""
    limit: float = 3600.0
    """Seconds after which a compilation is given up."""
    data_root: Path | None = None
    """Folder of the data files."""
    out: Path = Path("experiments/results/bench_ahead_of_time.json")
    """File of the cells."""
    readme: Path | None = None
    """Text with lines `<!-- study ahead_of_time -->` and `<!-- end -->`, between which its table is put as well."""


def main(args: Args) -> None:
    """Compiles what is missing, and prints the table of all cells.

    Raises:
        InputError: an unknown program or target, or a text without a place for the table.
    """
    if args.readme is not None:
        filled(args.readme, NAME, "")  # what is wrong with it is said before an hour of compiling
    stored = read_json(args.out) if args.out.exists() else {"stated": "compiled, not run", "cells": []}
    for program, target in itertools.product(args.programs, args.targets):
        if program not in PROGRAMS:
            raise InputError(f"program is {program!r}, expected one of {', '.join(PROGRAMS)}")
        key = {"label": args.label, "program": program, "target": target}
        others = [cell for cell in stored["cells"] if any(cell[name] != key[name] for name in key)]
        if len(others) < len(stored["cells"]) and not args.again:
            continue
        print(f"{args.label}: {program} for {target}", flush=True)
        stored["cells"] = [*others, key | _origin() | _cell(program, target, args)]
        write_atomic(args.out, json.dumps(stored, indent=1) + "\n")
    print(markdown(stored["cells"]))
    if args.readme is not None:
        write_atomic(args.readme, filled(args.readme, NAME, as_text(stored["cells"])))


def _cell(program: str, target: str, args: Args) -> dict[str, Any]:
    """Returns the record of one compilation in a process of its own, or why there is none."""
    chosen = require(target)
    with tempfile.TemporaryDirectory(prefix="bundles-") as folder:
        bundles = [folder] if chosen.platform == "tpu" else []
        command = [sys.executable, "-m", "experiments.bench.ahead_of_time.worker", program, target]
        command += [str(datasets.data_root(args.data_root)), *bundles]
        try:
            settings: dict[str, Any] = {"env": environment(chosen, folder), "timeout": args.limit}
            done = subprocess.run(command, capture_output=True, text=True, check=False, **settings)
        except subprocess.TimeoutExpired:
            return {"failed": f"not compiled in {args.limit:.0f} s"}
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"failed": next((line for line in reversed(lines) if "Error" in line), f"exit {done.returncode}")[:500]}
    return json.loads(done.stdout)


def _origin() -> dict[str, Any]:
    """Returns commit, versions and date of a cell."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"commit": commit(PACKAGE), "versions": versions, "date": now}


if __name__ == "__main__":
    run_program("experiments.bench.ahead_of_time", lambda: main(tyro.cli(Args)), resumes=True)
