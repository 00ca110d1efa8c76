"""Builds the kernels of `kernels.cc` for this machine at their first use, and loads them."""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
import jaxlib

from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.datasets.files.locations import cache_root, writable
from abkd_jax.datasets.files.locks import exclusive
from abkd_jax.types import InputError

__all__ = ["SWITCH", "load"]

SWITCH = "ABKD_JAX_NATIVE"  # environment variable; 0 leaves all sums to XLA
SOURCE = Path(__file__).with_name("kernels.cc")
# `-ffp-contract=off`: no fused multiply-add, which would round otherwise than XLA's own kernel.
FLAGS = ("-O2", "-march=native", "-ffp-contract=off", "-std=c++17", "-shared", "-fPIC", "-w")
HANDLERS = {
    "abkd_jax_row_sums": "AbkdRowSums",
    "abkd_jax_ordered_row_sums": "AbkdOrderedRowSums",
    "abkd_jax_edge_dots": "AbkdEdgeDots",
    "abkd_jax_row_maxima": "AbkdRowMaxima",
}
LONGEST = 120.0  # seconds for the compiler

_logger = logging.getLogger(__name__)


@functools.cache
def load() -> bool:
    """Registers the kernels with XLA, built before if need be, and returns whether they can be used.

    They are built against the headers of the installed jaxlib, which an installation cannot know, and for the
    instructions of this processor; the file is kept in `<cache root>/native`. Where there is no C++ compiler, where
    it fails, or where `$ABKD_JAX_NATIVE` is 0, XLA's own kernels compute the same numbers on one thread.
    """
    if os.environ.get(SWITCH) == "0":
        return False
    try:
        library = ctypes.cdll.LoadLibrary(str(_built()))
        for target, symbol in HANDLERS.items():
            jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, symbol)), platform="cpu")
    except (InputError, OSError, AttributeError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        _logger.info("sums run on XLA's own kernels, those of this package cannot be built here: %s", error)
        return False
    return True


def _built() -> Path:
    """Returns the file of the built kernels, verified by its digest.

    Raises:
        InputError: there is no compiler.
        OSError: the folder cannot be written, or the compiler cannot be run.
        subprocess.SubprocessError: the compiler fails, or takes too long.
    """
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "c++", "g++", "clang++"))), None)
    if compiler is None:
        raise InputError("no C++ compiler, expected c++, g++, clang++ or the one that $CXX names")
    folder = writable(cache_root() / "native")
    path = folder / f"kernels-{_digest(compiler)}.so"
    if _is_whole(path):  # without the lock: programs that start together would wait for each other
        return path
    with exclusive(path):
        if not _is_whole(path):  # else another process was faster
            _build(compiler, path)
    return path


def _build(compiler: str, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder, path.name)
        command = [compiler, *FLAGS, f"-I{jax.ffi.include_dir()}", str(SOURCE), "-o", str(new)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
        if done.returncode:
            raise InputError(f"{compiler} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
        content = new.read_bytes()
        write_atomic(path, content)
        write_atomic(path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest())


def _is_whole(path: Path) -> bool:
    """Returns whether the file is as it was built: a damaged one would end the process."""
    try:
        known = path.with_suffix(".sha256").read_text()
        return hashlib.sha256(path.read_bytes()).hexdigest() == known
    except OSError:
        return False


def _digest(compiler: str) -> str:
    """Returns a digest of all that the kernels are built from: homes are shared between machines."""
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=LONGEST, check=True).stdout
    processor = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        processor += platform.processor()
    parts = SOURCE.read_bytes(), version, repr(FLAGS).encode(), jaxlib.__version__.encode(), processor.encode()
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
