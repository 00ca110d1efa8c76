"""Compiles one cell in this process: `python -m experiments.bench.ahead_of_time.worker PROGRAM TARGET ROOT [BUNDLES]`.

Prints one line of JSON. The environment is that of `targets.environment`, with the same folder for bundles.
"""

import json
import os
import resource
import sys
from contextlib import nullcontext
from pathlib import Path

import jax

from experiments.bench.ahead_of_time.compile import compile_program, on_device
from experiments.bench.ahead_of_time.programs import PROGRAMS, TOPOLOGIES
from experiments.bench.ahead_of_time.steps import Site
from experiments.bench.ahead_of_time.targets import TARGETS, describe_devices, traced_for


def main(program: str, target: str, root: Path, bundles: Path | None = None) -> None:
    """Compiles a program and prints its record."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print too
    devices = describe_devices(TARGETS[target], TOPOLOGIES.get((program, target), ""))
    made = PROGRAMS[program](Site(root, devices, TARGETS[target].platform))
    arguments = on_device(made.arguments, jax.sharding.SingleDeviceSharding(devices[0]))
    several = any(len(leaf.sharding.device_set) > 1 for leaf in jax.tree.leaves(arguments))
    with nullcontext() if several else traced_for(devices[0]):
        record = compile_program(made.function, arguments, bundles)
    record["host_peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(record), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(Path, sys.argv[3:]))
