"""Compiled programs on disk, for later calls and commands."""

import contextlib
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import jax
from jax.experimental.compilation_cache import compilation_cache

from abkd_jax.datasets.files.atomic import read_json, write_atomic
from abkd_jax.datasets.files.locations import cache_root
from abkd_jax.types import InputError

__all__ = ["kept_programs"]

SIZE = 512 * 2**20  # bytes of compiled programs on disk; the least recently used go first
LEAST_SECONDS = 0.1  # programs that compile faster are not kept
SUFFIXES = ("-cache", "-atime")  # of the two files that JAX keeps for each program
WAIT = 10.0  # seconds for the lock of the folder

log = logging.getLogger(__name__)


@contextlib.contextmanager
def kept_programs() -> Iterator[None]:
    """Turns on JAX's cache of compiled programs, in `<cache root>/xla`.

    JAX does not verify the entries that it reads, and a damaged program could compute other numbers. Hence only entries
    are kept whose digests an earlier process stored at its end; those of an interrupted one are compiled anew. Where
    the user has set `JAX_COMPILATION_CACHE_DIR`, JAX's own cache is used as it is. Nothing is kept where
    `JAX_ENABLE_COMPILATION_CACHE` is false or the folder cannot be written.
    """
    options = jax.config.values
    if options["jax_compilation_cache_dir"] or not options["jax_enable_compilation_cache"]:
        yield
        return
    try:
        folder = cache_root() / "xla"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            _remove_unknown(folder)
    except (OSError, filelock.Timeout, InputError) as error:
        log.debug("compiled programs are not kept: %s", error)
        yield
        return
    log.debug("compiled programs: %s", folder)
    changes = {
        "jax_compilation_cache_dir": str(folder),
        "jax_compilation_cache_max_size": SIZE,
        "jax_persistent_cache_min_compile_time_secs": LEAST_SECONDS,
    }
    before = {name: jax.config.values[name] for name in changes}
    try:
        _configure(changes)
        with warnings.catch_warnings():  # JAX then compiles the program anew
            warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
            yield
    finally:
        _configure(before)
        with contextlib.suppress(OSError, filelock.Timeout), _alone(folder):
            write_atomic(folder / "digests.json", json.dumps(_digests(folder)))


def _configure(values: dict[str, Any]) -> None:
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # else JAX keeps the values that it has read first


def _alone(folder: Path) -> filelock.BaseFileLock:
    """Returns the lock that JAX itself takes on its cache."""
    return filelock.FileLock(folder / ".lockfile", timeout=WAIT)


def _remove_unknown(folder: Path) -> None:
    """Removes the entries whose digests are missing or differ: JAX would use them or fail."""
    try:
        known = dict(read_json(folder / "digests.json"))
    except (InputError, ValueError, TypeError):
        known = {}
    kept = {key for key, digest in _digests(folder).items() if known.get(key) == digest}
    for suffix in SUFFIXES:
        for path in folder.glob(f"*{suffix}"):
            if path.name.removesuffix(suffix) not in kept:
                path.unlink()


def _digests(folder: Path) -> dict[str, str]:
    """Returns the digest of each entry by its key; an entry is a program and the time of its last use."""
    program, used = SUFFIXES
    keys = (path.name.removesuffix(program) for path in folder.glob(f"*{program}"))
    return {
        key: hashlib.sha256((folder / f"{key}{program}").read_bytes()).hexdigest()
        for key in keys
        if (folder / f"{key}{used}").exists()
    }
