"""Files of a data set: which are missing, their bytes up to a stated size, and one clear line when one is damaged."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from abkd_jax.types import InputError

__all__ = ["MAX_BYTES", "missing_files", "read_bytes", "reading", "require_files"]

MAX_BYTES = 2**26
"""Bytes of a binary file, as it is and unpacked; the largest published one (`amazon_photo.npz`) unpacks to 17 MB."""

SHOWN = 200  # characters of an error's own text


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """Returns the paths where no file can be found, in their order."""
    return [path for path in paths if not os.path.isfile(path)]


def require_files(name: str, paths: Iterable[Path], published: str) -> None:
    """Refuses to go on where files are missing.

    Args:
        name: of the data set.
        paths: the files it needs, all in one folder.
        published: where they can be had, for the message.

    Raises:
        InputError: all files that are missing, where they belong and where they can be had.
    """
    missing = missing_files(paths)
    if missing:
        verb, files = ("is", "file") if len(missing) == 1 else ("are", "files")
        raise InputError(
            f"{name}: {', '.join(path.name for path in missing)} {verb} missing; put the {files} in "
            f"{missing[0].parent} by hand, from {published}"
        )


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Turns whatever the content of a file raises into one line that names the file.

    A damaged file can raise anything: SciPy, NumPy, zipfile, csv, pickle and ast raise some twenty classes, MemoryError
    and RecursionError among them. So this holds the parsing of one file and nothing else.

    Args:
        path: the file.
        expected: what it should hold.

    Raises:
        InputError: instead of any other exception; KeyboardInterrupt and the like pass.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        words = "".join(letter if letter.isprintable() else " " for letter in text[:SHOWN]).split()
        reason = " ".join(words) or type(error).__name__
        raise InputError(f"{path}: damaged ({reason}); expected {expected}") from error


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Reads a whole file of at most `limit` bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger.
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"more than {limit} bytes")
    return content
