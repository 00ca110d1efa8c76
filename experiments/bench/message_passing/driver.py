"""Starts one worker per side, checks that their results agree, and times their variants in turn."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from experiments.bench.message_passing.cases import CASES
from experiments.bench.message_passing.worker import SIDES

__all__ = ["Bench", "Side", "SideFailed"]

TUNABLES = "GLIBC_TUNABLES"
TUNED = ":".join(  # huge pages, and freed memory is kept
    f"glibc.malloc.{setting}" for setting in ("hugetlb=1", "arena_max=1", "mmap_max=0", f"trim_threshold={2**62}")
)
LEAST_SECONDS = 0.2  # per timing: short calls are repeated


class SideFailed(RuntimeError):
    """Raised when a worker cannot start, or dies; the message is one line."""


class Side:
    """Process of one side."""

    def __init__(self, name: str, threads: int, tuned: bool) -> None:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        environment = {k: v for k, v in os.environ.items() if k != TUNABLES} | limits | {"JAX_PLATFORMS": "cpu"}
        if tuned:
            environment[TUNABLES] = TUNED
        command = [sys.executable, "-m", "experiments.bench.message_passing.worker", name, str(threads)]
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def receive(self) -> dict[str, Any]:
        """Returns the worker's next answer."""
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise SideFailed(f"side {self.name} ended with code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise SideFailed(f"side {self.name} cannot start: {answer['error']} (the `dev` extra brings the peers)")
        return answer

    def request(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Sends a command and returns its answer."""
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            raise SideFailed(f"side {self.name} ended with code {self.process.wait()}") from None
        return self.receive()

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()


class Bench:
    """Context manager of the workers of one case under one setting.

    Attributes:
        sides: the workers that started.
        versions: versions of their libraries.
        failures: one line per side that did not start.
        variants: facts of each `(side, variant)`.
    """

    def __init__(self, case: str, threads: int, tuned: bool) -> None:
        self.case = case
        needed = {"jax"} | {comparison.side for comparison in CASES[case].comparisons}
        self.sides = {name: Side(name, threads, tuned) for name in SIDES if name in needed}
        self.versions: dict[str, str] = {}
        self.failures: list[str] = []
        self.variants: dict[tuple[str, str], dict[str, Any]] = {}

    def __enter__(self) -> "Bench":
        for name, side in list(self.sides.items()):
            try:
                self.versions |= side.receive()["versions"]
            except SideFailed as failure:
                self._drop(name, failure)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for side in self.sides.values():
            side.close()

    def load(self) -> None:
        """Builds the case on every side, and compares the results."""
        for name, side in list(self.sides.items()):
            try:
                facts = side.request("load", case=self.case)["variants"]
                self.variants |= {(name, variant): facts[variant] for variant in facts}
            except SideFailed as failure:
                self._drop(name, failure)
        if CASES[self.case].comparable:
            self._compare()

    def time(self, rounds: int) -> dict[tuple[str, str], list[float]]:
        """Returns seconds per call, `rounds` numbers per variant; each round takes all variants in turn."""
        calls = {key: self._warm_up(*key) for key in self.variants}
        seconds: dict[tuple[str, str], list[float]] = {key: [] for key in self.variants}
        for _ in range(rounds):
            for side, variant in self.variants:
                seconds[side, variant].append(self._once(side, variant, calls[side, variant]))
        return seconds

    def _warm_up(self, side: str, variant: str) -> int:
        self._once(side, variant, 1)
        return max(1, round(LEAST_SECONDS / self._once(side, variant, 1)))

    def _once(self, side: str, variant: str, calls: int) -> float:
        return self.sides[side].request("time", variant=variant, calls=calls)["seconds"]

    def _compare(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            results = {}
            for name, side in self.sides.items():
                Path(folder, name).mkdir()
                side.request("values", folder=str(Path(folder, name)))
                for variant in (variant for owner, variant in self.variants if owner == name):
                    results[name, variant] = np.load(Path(folder, name, f"{variant}.npz"))
            reference = next(iter(results))
            for other in list(results)[1:]:
                _require_equal(self.case, reference, other, results[reference], results[other])

    def _drop(self, name: str, failure: SideFailed) -> None:
        if name == "jax":
            raise SystemExit(str(failure))
        self.failures.append(str(failure))
        self.sides.pop(name).close()
        self.variants = {key: facts for key, facts in self.variants.items() if key[0] != name}


def _require_equal(case: str, one: tuple[str, str], two: tuple[str, str], a: Any, b: Any) -> None:
    """Exits where two variants compute other arrays, or values beyond the tolerance of the case."""
    if set(a.files) != set(b.files):
        raise SystemExit(f"{case}: {one} computes {sorted(a.files)}, {two} computes {sorted(b.files)}")
    for name in a.files:
        x, y = a[name], b[name]
        if x.shape != y.shape:
            raise SystemExit(f"{case}: {name} has shape {x.shape} for {one}, {y.shape} for {two}")
        excess = np.abs(x - y) - CASES[case].tolerance * (np.abs(y) + np.sqrt(np.mean(y.astype(np.float64) ** 2)))
        if not np.max(excess, initial=-1.0) <= 0:
            raise SystemExit(f"{case}: {name} of {one} and of {two} differ by up to {np.max(np.abs(x - y)):.3g}")
