"""Runs the processes that read damaged files, and watches time, memory and exit status of each."""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from experiments.fuzz import worker
from experiments.fuzz.worker import CHANGED, Outcome

__all__ = ["Process", "run"]

LIMIT_SECONDS = 10.0
LIMIT_BYTES = 2 * 2**30
TOO_MUCH = f"memory over {LIMIT_BYTES / 2**30:.0f} GiB"
POLL_EVERY = 0.02  # seconds between two measurements of the memory
START = 120.0  # seconds that loading the package and writing clean files may take
PAGE = os.sysconf("SC_PAGE_SIZE")

Case = tuple[str, int]


def run(cases: list[Case], seed: int, data_root: Path | None, workers: int) -> Iterator[tuple[Case, Outcome]]:
    """Runs cases in processes of their own; one that dies or is ended is a fault of its case and is replaced.

    Args:
        cases: names and numbers, see `cases.plan`.
        seed: of all cases.
        data_root: of published data sets, or None for the small ones of the program.
        workers: number of processes.

    Yields:
        Each case and its outcome, in the order in which they end.
    """
    waiting = iter(cases)
    with tempfile.TemporaryDirectory(prefix="abkd_jax_fuzz_") as root:
        pool = [Process(Path(root) / str(number), seed, data_root) for number in range(min(workers, len(cases)))]
        try:
            for process in pool:
                process.give(next(waiting))
            while busy := [process for process in pool if process.case]:
                wait([process.connection for process in busy], POLL_EVERY)
                for process in busy:
                    case = process.case
                    outcome = process.poll()
                    if outcome is not None:
                        yield case, outcome
                        process.give(next(waiting, None))
        finally:
            for process in pool:
                process.end()


class Process:
    """A process and its current case."""

    def __init__(self, root: Path, seed: int, data_root: Path | None):
        self.arguments = (seed, root, data_root)
        self.case: Any = None
        self.damage: str | None = None  # None until the case begins
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with jax in it may hang
        self.connection, other_end = context.Pipe()
        self.process = context.Process(target=worker.serve, args=(other_end, *self.arguments), daemon=True)
        self.process.start()
        other_end.close()

    def give(self, case: Case | None) -> None:
        """Starts a case, or nothing where there is none."""
        self.case, self.damage, self.since = case, None, time.monotonic()
        if case is not None:
            self.connection.send(case)

    def poll(self) -> Outcome | None:
        """Returns the outcome of the case, or None while it runs; ends a process that is beyond the limits."""
        seconds = time.monotonic() - self.since
        try:
            if self.connection.poll():
                message = self.connection.recv()
                if isinstance(message, Outcome):
                    return self._checked(message)
                self.damage, self.since = message, time.monotonic()
                return None
        except (EOFError, ConnectionResetError):
            self.process.join()
            return self._replace(_end(self.process.exitcode), seconds)
        if self._memory() > LIMIT_BYTES:
            return self._replace(TOO_MUCH, seconds)
        if seconds > (START if self.damage is None else LIMIT_SECONDS):
            return self._replace(f"no end after {LIMIT_SECONDS:.0f} s", seconds)
        return None

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _checked(self, outcome: Outcome) -> Outcome:
        """Checks the peak memory too, which may have been high between two measurements."""
        return self._replace(TOO_MUCH, outcome.seconds) if outcome.most_memory > LIMIT_BYTES else outcome

    def _replace(self, what: str, seconds: float) -> Outcome:
        self.end()
        if self.damage is None:
            printed = (self.arguments[1] / "output").read_text()[-2000:]
            raise RuntimeError(f"{self.case}: {what} before the reading began\n{printed}")
        self._start()
        return Outcome("fault", what, "", self.damage, seconds, 0)

    def _memory(self) -> int:
        """Returns the resident bytes now; 0 where the system does not tell."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE
        except (OSError, IndexError):
            return 0


def _end(status: int | None) -> str:
    if status == CHANGED:
        return "a class was changed by reading"
    return f"the process ended by signal {-status}" if status and status < 0 else f"the process ended with {status}"
