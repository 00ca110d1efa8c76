"""One side in a process of its own: reads one JSON command a line, answers with one JSON line.

`load` builds a case, `values` writes what its variants compute, `time` runs one of them, `machine` measures the
machine. What libraries print goes to the standard error, so that the pipe carries answers alone.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.bench.message_passing.cases import CASES
from experiments.bench.message_passing.inputs import make_inputs

__all__ = ["SIDES", "Variant"]

SIDES = {"jax": "side_jax", "pyg": "side_pyg", "torch": "side_torch"}


class Variant(NamedTuple):
    """One way to do the work of a case.

    Attributes:
        run: does it once, and returns when all is done.
        values: what it computes from the inputs, name by name; called once, before any `run`.
        facts: what else is known of it, for the record.
        steps: how often `run` does the work; times are of one.
    """

    run: Callable[[], None]
    values: Callable[[], dict[str, np.ndarray]]
    facts: dict[str, Any]
    steps: int = 1


class _Worker:
    def __init__(self, side: Any) -> None:
        self.side = side
        self.variants: dict[str, Variant] = {}

    def load(self, case: str) -> dict[str, Any]:
        self.variants = self.side.BUILD[CASES[case].kind](CASES[case], make_inputs(CASES[case]))
        return {"variants": {name: variant.facts for name, variant in self.variants.items()}}

    def values(self, folder: str) -> dict[str, Any]:
        """Writes `<variant>.npz` files into the folder; arrays as float32."""
        for name, variant in self.variants.items():
            np.savez(Path(folder) / f"{name}.npz", **{k: np.asarray(v) for k, v in variant.values().items()})
        return {}

    def time(self, variant: str, calls: int) -> dict[str, float]:
        """Seconds a step."""
        run, steps = self.variants[variant].run, self.variants[variant].steps
        began = time.perf_counter()
        for _ in range(calls):
            run()
        return {"seconds": (time.perf_counter() - began) / (calls * steps)}

    def machine(self, threads: int) -> dict[str, float]:
        from experiments.bench.message_passing.roofline import measure_machine

        return measure_machine(threads)


def main() -> None:
    """Serves commands until the pipe closes. Arguments: the side, the number of threads."""
    side, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):  # XLA takes as many threads as it may use cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    try:
        module = importlib.import_module(f"experiments.bench.message_passing.{SIDES[side]}")
        reply: dict[str, Any] = {"versions": module.start(threads)}
    except ImportError as error:
        reply = {"error": str(error)}
    worker = None if "error" in reply else _Worker(module)
    print(json.dumps(reply), file=answers, flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(getattr(worker, command.pop("do"))(**command)), file=answers, flush=True)


if __name__ == "__main__":
    main()
