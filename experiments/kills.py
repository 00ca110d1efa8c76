"""Interrupts a small run and compares its final results: `python -m experiments.kills --seed 0 --kills 30`.

Runs are killed at a random file operation (SIGKILL or Ctrl-C, in teachers, checkpoints, tables and reports) or after a
random time, several times in a row; started in pairs on one output folder and on one teacher cache; and given a full
disk. Each is then resumed and run to its end. Its records (times aside), metrics and maps must equal those of an
uninterrupted run to the bit, and no temporary file may be left over. Exits with status 1 on any difference.
"""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from abkd_jax.datasets.files.atomic import read_arrays
from experiments.program import run_program

OPTIONS = [
    *("--dataset", "synthetic", "--seeds", "2", "--max-epochs", "6", "--methods", "soft_label", "abkd"),
    *("--teacher.model.layers", "2", "--teacher.model.hidden", "8", "--teacher.optim.patience", "0"),
    *("--student.layers", "2", "--soft-label.optim.eval-every", "1", "--abkd.optim.eval-every", "1"),
]
NOT_COMPARED = ("seconds", "latency_ms", "provenance")  # of a record
LEFT_OVER = (".tmp", ".new", "orbax-checkpoint-tmp")
KILLS_IN_A_ROW = 4
LIMIT = 600  # seconds; a run that takes longer is an error

# Counts the operations that change files below a folder, and sends a signal to its own process before one of them.
CHILD = """
import os, sys
root, number, at, counted = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
count = 0

def audit(event, arguments):
    global count
    changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
    if event == "open":
        changes = bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    if changes and str(arguments[0]).startswith(root):
        count += 1
        if count == at:
            os.kill(os.getpid(), number)

sys.addaudithook(audit)
from abkd_jax.cli import parser
from abkd_jax.training import loops, resume
resume.SAVE_EVERY = 0.0
loops.CHUNK_EVALUATIONS = 2
try:
    parser.main(sys.argv[5:])
finally:
    with open(counted, "w") as file:
        file.write(str(count))
"""


Case = tuple[str, list[str]]  # kind of case, errors found after it


@dataclass(frozen=True)
class Args:
    """Interrupt a small run in many ways and compare its final results."""

    seed: int = 0
    """Seed of all random choices; times differ between machines."""
    kills: int = 30
    """Number of interrupted processes; pairs and full disks come in addition."""


@dataclass(frozen=True)
class Reference:
    """Results of the uninterrupted run.

    Attributes:
        outcome: results that every other run must reach.
        operations: number of its file operations.
        seconds: approximate time of a run whose programs are compiled.
    """

    outcome: dict[str, bytes | str]
    operations: int
    seconds: float


@dataclass(frozen=True)
class Sandbox:
    """Folder and environment that all runs share.

    Attributes:
        root: a temporary folder; file operations below it are counted.
        environment: environment of the processes, with one compilation cache.
    """

    root: Path
    environment: dict[str, str]

    def start(self, out: Path, teachers: Path, number: int = 0, at: int = 0) -> subprocess.Popen[str]:
        """Starts a run, which sends signal `number` to itself before its file operation `at`; 0: never."""
        where = [str(self.root), str(number), str(at), str(self.root / "operations")]
        folders = [f"--out={out}", f"--teachers={teachers}"]
        command = [sys.executable, "-c", CHILD, *where, "distill", *OPTIONS, *folders]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def finish(self, folder: Path) -> list[str]:
        """Runs to the end and returns the errors."""
        process = self.start(folder / "run", folder / "teachers")
        return complaints(process, {0})


def complaints(process: subprocess.Popen[str], allowed: set[int]) -> list[str]:
    """Waits for a process; returns one line if it ends with another status or a traceback."""
    _, log = process.communicate(timeout=LIMIT)
    if process.returncode not in allowed or "Traceback" in log:
        return [f"status {process.returncode}: {log[-2000:]}"]
    return []


def outcome(run: Path) -> dict[str, bytes | str]:
    """Returns the results in which all runs must agree."""
    records = json.loads((run / "results.json").read_bytes())["records"]
    kept = [{key: value for key, value in record.items() if key not in NOT_COMPARED} for record in records]
    maps = {f"maps.npz {name}": values.tobytes() for name, values in read_arrays(run / "maps.npz").items()}
    files = sorted(path.name for path in run.iterdir() if path.is_file())
    metrics = (run / "metrics.jsonl").read_bytes()
    return {"records": json.dumps(kept), "metrics.jsonl": metrics, "files": " ".join(files)} | maps


def differences(folder: Path, run: Path, expected: dict[str, bytes | str]) -> list[str]:
    """Returns the results that differ from those of the uninterrupted run, and the files left over below `folder`."""
    actual = outcome(run)
    changed = [f"{name} differs" for name in actual.keys() | expected.keys() if actual.get(name) != expected.get(name)]
    left = [path for path in folder.rglob("*") if any(part in path.name for part in LEFT_OVER)]
    return changed + [f"{path} is left over" for path in left]


def interrupted(box: Sandbox, reference: Reference, rng: np.random.Generator, kills: int) -> Iterator[Case]:
    """Interrupts runs several times each, then lets them finish; yields each case with its errors."""
    episode = 0
    while kills > 0:
        folder = box.root / f"killed_{episode}"
        for _ in range(min(kills, 1 + rng.integers(KILLS_IN_A_ROW))):
            number = int(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
            by_time = number == signal.SIGKILL and rng.random() < 0.5
            at = 0 if by_time else 1 + int(reference.operations * rng.random() ** 2)  # a resumed run takes fewer
            process = box.start(folder / "run", folder / "teachers", number, at)
            if by_time:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0, reference.seconds))
                process.send_signal(number)
            wrong = complaints(process, {0, -number} if number == signal.SIGKILL else {0, 1, 130, -number})
            ended = "finished before the signal" if process.returncode == 0 else signal.Signals(number).name
            kills -= 1
            yield ended, wrong
        wrong = box.finish(folder)
        yield "finished after kills", wrong or differences(folder, folder / "run", reference.outcome)
        episode += 1


def pairs(box: Sandbox, reference: Reference) -> Iterator[Case]:
    """Yields the cases of two processes at once, on one folder and on one teacher cache."""
    folder = box.root / "one_folder"
    both = [box.start(folder / "run", folder / "teachers") for _ in range(2)]
    wrong = [line for process in both for line in complaints(process, {0, 1})]
    if all(process.returncode for process in both):
        wrong.append("both were refused")
    yield "two on one folder", wrong or differences(folder, folder / "run", reference.outcome)
    folder = box.root / "one_cache"
    both = [box.start(folder / name, folder / "teachers") for name in ("run_a", "run_b")]
    wrong = [line for process in both for line in complaints(process, {0})]
    for name in ("run_a", "run_b"):
        yield "two on one teacher cache", wrong or differences(folder, folder / name, reference.outcome)


def full_disks(box: Sandbox, reference: Reference, rng: np.random.Generator) -> Iterator[Case]:
    """Yields the cases of a disk that is too small, and is then enlarged."""
    used = sum(path.stat().st_blocks * 512 for path in (box.root / "whole").rglob("*"))
    for share in rng.uniform(0.05, 0.9, 3):
        folder = box.root / f"full_{share:.2f}"
        folder.mkdir()
        mounted = ["mount", "-t", "tmpfs", "-o", f"size={int(share * used) // 4096 * 4}k", "tmpfs", folder]
        if subprocess.run(mounted, capture_output=True, check=False).returncode:
            print("full disk: skipped, no permission to mount a small one")
            return
        try:
            wrong = complaints(box.start(folder / "run", folder / "teachers"), {0, 1})
            yield "full disk", wrong + [f"{path} is left over" for path in folder.rglob("*") if ".tmp" in path.name]
            subprocess.run(["mount", "-o", "remount,size=1g", folder], check=True)
            wrong = box.finish(folder)
            yield "finished after a full disk", wrong or differences(folder, folder / "run", reference.outcome)
        finally:
            subprocess.run(["umount", folder], check=True)


def main(args: Args) -> int:
    """Runs all cases and prints one line per case and kind; returns the exit status."""
    rng = np.random.default_rng(args.seed)
    done, bad = Counter(), Counter()
    with tempfile.TemporaryDirectory(prefix="abkd_jax_kills_") as root:
        runs = Path(root) / "runs"
        runs.mkdir()
        settings = {"JAX_COMPILATION_CACHE_DIR": f"{root}/compiled", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        box = Sandbox(runs, os.environ | settings)
        began = time.monotonic()
        wrong = box.finish(runs / "whole")
        if wrong:
            sys.exit(f"experiments.kills: the uninterrupted run failed: {wrong[0]}")
        seconds = (time.monotonic() - began) / 2
        reference = Reference(outcome(runs / "whole" / "run"), int((runs / "operations").read_text()), seconds)
        kills = interrupted(box, reference, rng, args.kills)
        for kind, complaint in itertools.chain(pairs(box, reference), full_disks(box, reference, rng), kills):
            done[kind] += 1
            bad[kind] += bool(complaint)
            print(f"{kind}: {'; '.join(complaint) or 'correct'}", flush=True)
    for kind, number in done.items():
        print(f"{kind}: {number}, {bad[kind]} of them wrong")
    return int(bad.total() > 0)


if __name__ == "__main__":
    sys.exit(run_program("experiments.kills", lambda: main(tyro.cli(Args, description=__doc__))))
