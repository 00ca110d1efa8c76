"""Helpers of the readers: which files are missing, bytes up to a limit, and one clear line when a file is damaged."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from abkd_jax.types import InputError

__all__ = ["LARGE_BYTES", "MAX_BYTES", "missing_files", "read_bytes", "reading", "require_files"]

MAX_BYTES = 2**26
"""Most bytes of a binary file, packed and unpacked; the largest published one (`amazon_photo.npz`) unpacks to 17 MB."""

LARGE_BYTES = 2**31
"""Likewise, of a file that is not among the published ones: its size is the user's choice."""

SHOWN = 200  # characters of an error's own text


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """Returns the paths of files that do not exist, in their order.

    Examples:
        >>> [path.name for path in missing_files([Path(__file__), Path("no/such/file")])]
        ['file']
    """
    return [path for path in paths if not os.path.isfile(path)]


def require_files(name: str, paths: Iterable[Path], published: str) -> None:
    """Checks that all files of a data set exist.

    Args:
        name: of the data set.
        paths: the files it needs, all in one folder.
        published: address of their publication, for the message.

    Raises:
        InputError: names all files that are missing, their folder and where they are published.
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
    """Turns any exception while a file is parsed into one line that names the file.

    A damaged file can raise anything: SciPy, NumPy, zipfile, csv, pickle and ast raise some twenty classes, MemoryError
    and RecursionError among them. So the body should parse one file and do nothing else.

    Args:
        path: the file.
        expected: what it should hold.

    Raises:
        InputError: instead of any other exception; KeyboardInterrupt and the like pass.

    Examples:
        >>> with reading(Path("labels.txt"), "whole numbers"):
        ...     int("three")
        Traceback (most recent call last):
        abkd_jax.types.InputError: labels.txt: damaged (invalid literal ...); expected whole numbers
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
