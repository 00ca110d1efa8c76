"""The process that reads damaged files: it loads the package once, and may be ended at any time."""

import logging
import os
import resource
import shutil
import sys
import threading
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from abkd_jax.types import InputError
from experiments.fuzz import cases
from experiments.fuzz.compare import Reading, reading

__all__ = ["CHANGED", "Bench", "Outcome", "serve"]


class Outcome(NamedTuple):
    """The outcome of one case.

    Attributes:
        kind: a column of the table: equal, same counts, refused, recovered, or fault.
        what: the message of a refusal or a warning, or what the fault is.
        place: file and line of the package that a fault comes from, or "".
        damage: what was done to the files.
        seconds: that the reading took.
        most_memory: the most bytes that the process has had resident so far.
    """

    kind: str
    what: str
    place: str
    damage: str
    seconds: float
    most_memory: int


class _Clean(NamedTuple):
    """The reading of the undamaged files."""

    reading: Reading
    warnings: list[str]


def serve(connection: Connection, seed: int, root: Path, data_root: Path | None) -> None:
    """Runs the cases that come through a connection, until None comes.

    Sends what was done to the files of a case when their reading begins, then its `Outcome`. What the package prints
    goes to a file `output`.

    Args:
        connection: receives (name, number).
        seed: of all cases.
        root: a folder of this process.
        data_root: of published data sets, or None to read small ones of the program itself.
    """
    shutil.rmtree(root, ignore_errors=True)  # of a process that was ended
    root.mkdir()
    with (root / "output").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    tqdm.set_lock(threading.RLock())  # its own lock between processes outlives one that is ended
    os.environ["ABKD_JAX_CACHE"] = str(root / "case" / "cache")
    os.environ |= {"http_proxy": NO_NETWORK, "https_proxy": NO_NETWORK, "no_proxy": ""}
    with Bench(root, cases.layouts(data_root)) as bench:
        while (case := connection.recv()) is not None:
            name, number = case
            connection.send(bench.run(name, number, seed, connection.send))


NO_NETWORK = "http://127.0.0.1:9"  # the discard port: nobody answers


class Bench:
    """Keeps, damages and reads clean files; as a context it records the warnings of the package.

    Args:
        root: a folder for the files.
        layouts: by name, see `cases.plan`.
    """

    def __init__(self, root: Path, layouts: dict[str, cases.Layout]):
        self.root, self.layouts = root, layouts
        self.clean: dict[str, _Clean] = {}
        self.messages: list[str] = []
        self.listener = _Listener(self.messages)

    def __enter__(self) -> "Bench":
        logging.getLogger("abkd_jax").addHandler(self.listener)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("abkd_jax").removeHandler(self.listener)

    def run(self, name: str, number: int, seed: int, begin: Callable[[str], None]) -> Outcome:
        """Damages and reads one case.

        Args:
            name: of a layout, or one of the other names of `cases.plan`.
            number: of the case.
            seed: of all cases.
            begin: is told what was done to the files, before they are read.
        """
        base, damage = cases.plan(name, number)
        layout, case = self.layouts[base], self.root / "case"
        clean = self._prepare(base)
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of NumPy about the damage itself
            done = damage(case / layout.damaged, rng)
        begin(done)
        start = time.perf_counter()
        kind, what, place = self._classify(layout, clean)
        return Outcome(kind, what, place, done, time.perf_counter() - start, _most_memory())

    def _prepare(self, base: str) -> _Clean:
        """Puts the clean files of a layout into the folder of the case; the first time they are written and read."""
        layout, case, kept = self.layouts[base], self.root / "case", self.root / "clean" / base
        shutil.rmtree(case, ignore_errors=True)
        if base not in self.clean:
            case.mkdir(parents=True)
            layout.write(case)
            shutil.copytree(case, kept, symlinks=True)
            self.messages.clear()
            self.clean[base] = _Clean(reading(layout.read(case)), list(self.messages))
            shutil.rmtree(case)
        shutil.copytree(kept, case, symlinks=True)  # times too, which the cache compares
        return self.clean[base]

    def _classify(self, layout: cases.Layout, clean: _Clean) -> tuple[str, str, str]:
        self.messages.clear()
        before = cases.globals_of_pickles()
        with warnings.catch_warnings(record=True) as stray:
            warnings.simplefilter("always")
            try:
                found = reading(layout.read(self.root / "case"))
            except BaseException as error:
                found = error
        if cases.globals_of_pickles() != before:
            os._exit(CHANGED)  # nothing that this process reads can be believed any more
        loud = [w for w in stray if issubclass(w.category, RuntimeWarning | UserWarning)]
        if loud:
            return "fault", f"{loud[0].category.__name__}: {loud[0].message}", _short(loud[0].filename, loud[0].lineno)
        if isinstance(found, BaseException):
            return _classify_error(found)
        heard = [message for message in self.messages if message not in clean.warnings]
        if found.digest == clean.reading.digest:
            return ("recovered", heard[0], "") if heard else ("equal", "", "")
        different = [
            f"{key} {clean.reading.counts.get(key)} became {found.counts.get(key)}"
            for key in {**clean.reading.counts, **found.counts}
            if clean.reading.counts.get(key) != found.counts.get(key)
        ]
        if heard and (layout.sealed or not different):
            return "recovered", heard[0], ""
        if different:
            return "fault", f"other counts: {'; '.join(different)}", ""
        if layout.sealed:
            return "fault", "another content without a word", ""
        return "same counts", "", ""


CHANGED = 99
"""Exit status of a process in which reading files has changed a class or a function."""


def _classify_error(error: BaseException) -> tuple[str, str, str]:
    text = str(error)
    if isinstance(error, InputError) and len(text.splitlines()) == 1:
        return "refused", text, ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "abkd_jax/" in f.filename]
    place = _short(frames[-1].filename, frames[-1].lineno) if frames else ""
    first = (text.splitlines() or [""])[0]
    return "fault", f"{type(error).__name__}: {first}"[:200], place


def _short(file: str, line: int | None) -> str:
    return f"{file[file.rfind('abkd_jax/') :]}:{line}" if "abkd_jax/" in file else f"{Path(file).name}:{line}"


class _Listener(logging.Handler):
    def __init__(self, messages: list[str]):
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _most_memory() -> int:
    """Returns the peak resident bytes of this process; `ru_maxrss` counts its parent's too."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
