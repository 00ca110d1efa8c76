"""Locks folders and files for one process at a time. A lock ends with its process, even a killed one."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from abkd_jax.types import InputError

__all__ = ["LOCK", "exclusive", "locked"]

LOCK = ".lock"  # in the folder; it stays there, since a lock file cannot be removed without a race
POLL = 0.2  # seconds between two attempts to take a lock that another process holds

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str], what: str, *, wait: bool) -> Iterator[None]:
    """Locks a folder for this process alone, and removes temporary files of a killed `write_atomic` in it.

    A folder that cannot be written is not locked, since no process changes it; where the file system has no locks, a
    warning says so.

    Args:
        folder: created where missing.
        what: what the holder of the lock does, for the message: "trains teacher cora seed 0".
        wait: whether to wait for another process to release it, with one line in the log, instead of raising.

    Raises:
        InputError: another process holds the folder, and `wait` is False.
    """
    folder = Path(folder)
    lock = filelock.FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(lock, folder, what, wait=wait)
        for left in folder.glob(".*.tmp"):
            if left.is_file():
                left.unlink(missing_ok=True)
    except (OSError, NotImplementedError) as error:
        if os.access(folder, os.W_OK):
            _logger.warning("%s cannot be locked (%s): let no second process write there", folder, error)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Waits until no other process makes a file or folder, so that the work is not done twice.

    Correctness does not depend on it: the file or folder is written under another name and renamed, so that file
    systems without locks serve too.

    Args:
        path: the file or folder. The lock is the hidden file `.<name>.lock` beside it, which is removed afterwards.
    """
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        _acquire(lock, path, "works on it", wait=True)
    except (OSError, NotImplementedError, RuntimeError) as error:  # the last: this thread holds it already
        _logger.info("%s: no lock (%s)", path, error)
    try:
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()  # before it is released: a waiting process opens the name again
        lock.release()


def _acquire(lock: filelock.BaseFileLock, path: Path, what: str, *, wait: bool) -> None:
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        if not wait:
            raise InputError(
                f"{path} is in use: another process {what}; expected to be alone, wait for it or name another folder"
            ) from error
        _logger.warning("waiting for another process that %s (%s)", what, path)
        lock.acquire(poll_interval=POLL)
