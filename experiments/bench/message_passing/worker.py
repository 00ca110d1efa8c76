"""Worker process of one side: reads one JSON command per line, answers with one JSON line.

`load` builds a case, `values` writes the results of its variants, `time` runs one of them, `machine` measures the
machine. Output of libraries is redirected to standard error, so that the pipe holds only answers.
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
    """Implementation of a case.

    Attributes:
        run: runs it once and waits for the result.
        values: returns the computed arrays by name; called once, before any `run`.
        facts: further facts for the record, such as the temporary memory.
        steps: number of steps per `run`; times are per step.
    """

    run: Callable[[], None]
    values: Callable[[], dict[str, np.ndarray]]
    facts: dict[str, Any]
    steps: int = 1


class _Worker:
    """Commands of a worker, by method."""

    def __init__(self, side: Any) -> None:
        self.side = side
        self.variants: dict[str, Variant] = {}

    def load(self, case: str) -> dict[str, Any]:
        self.variants = self.side.BUILD[CASES[case].kind](CASES[case], make_inputs(CASES[case]))
        return {"variants": {name: variant.facts for name, variant in self.variants.items()}}

    def values(self, folder: str) -> dict[str, Any]:
        """Writes the arrays of each variant as `<variant>.npz` into the folder."""
        for name, variant in self.variants.items():
            np.savez(Path(folder) / f"{name}.npz", **{k: np.asarray(v) for k, v in variant.values().items()})
        return {}

    def time(self, variant: str, calls: int) -> dict[str, float]:
        """Returns the seconds per step."""
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
    if hasattr(os, "sched_setaffinity"):  # XLA starts a thread per core that it may use
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
