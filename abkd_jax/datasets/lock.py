"""One process at a time where several would do the same long work: parse a data set, download an archive.

A lock saves work; nothing depends on it. What is written under it appears whole by a rename, so that file systems
without locks serve too.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["exclusive"]

logger = logging.getLogger(__name__)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Waits until no other process is at work on a path; a process that is killed lets go.

    Args:
        path: what is worked on. The lock is the hidden file `.<name>.lock` beside it, which is gone afterwards.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    held = False
    try:
        held = _acquire(lock, path)
        yield
    finally:
        if held:
            with suppress(OSError):
                Path(lock.lock_file).unlink()  # before it is released: who waits looks for the name again
            lock.release()


def _acquire(lock: FileLock, path: Path) -> bool:
    """Whether the lock is held; not where the file system has none, or this thread holds it already."""
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("%s: another process is at work on it; waiting", path)
            lock.acquire()
    except (OSError, NotImplementedError, RuntimeError) as error:
        logger.info("%s: no lock (%s)", path, error)
        return False
    return True
