"""Files that are written whole or not at all, and read with one clear line when they are damaged."""

import functools
import io
import json
import logging
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.types import InputError

__all__ = ["cache_root", "expanded", "read_arrays", "read_json", "read_json_lines", "writable", "write_atomic"]

logger = logging.getLogger(__name__)


def cache_root() -> Path:
    """Answers where the user's files are kept by default: `~/.cache/abkd_jax`, which need not exist.

    Without a home directory (a container with any user id) it is a folder of the user among the temporary files, and
    one warning says so.

    Raises:
        InputError: there is neither a home directory nor a place for temporary files.
    """
    try:
        return Path("~/.cache/abkd_jax").expanduser()
    except RuntimeError:
        return _temporary_root("there is no home directory")


def expanded(path: str | os.PathLike[str]) -> Path:
    """Puts the home directory in the place of a leading `~`.

    Raises:
        InputError: there is no such home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: {error}; expected a path without ~") from error


def writable(folder: Path) -> Path:
    """Creates a folder of the user's cache; where it cannot be written to, one of its name among the temporary files.

    One warning says so then.

    Args:
        folder: a folder of `cache_root()`.

    Returns:
        `folder`, or the one that takes its place.

    Raises:
        InputError: there is no place for temporary files either.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return _temporary_root(f"{folder} cannot be created ({error.strerror})") / folder.name
    if os.access(folder, os.W_OK | os.X_OK):
        return folder
    return _temporary_root(f"{folder} cannot be written to") / folder.name


@functools.cache  # one warning for each reason
def _temporary_root(reason: str) -> Path:
    try:
        root = Path(tempfile.gettempdir()) / f"abkd_jax-{os.getuid()}"
        root.mkdir(mode=0o700, exist_ok=True)
        if root.lstat().st_uid != os.getuid() or root.is_symlink():
            root = Path(tempfile.mkdtemp(prefix="abkd_jax-"))  # somebody else has taken the name
    except OSError as error:
        raise InputError(
            f"{reason}, and there is no place for temporary files ({error}); expected HOME to be set"
        ) from error
    logger.warning("%s: what is kept between runs is kept in %s", reason, root)
    return root


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file whole or not at all: a kill at any moment leaves the old file or the new one, never a part.

    Args:
        path: the file; its folder must exist.
        content: text, written as UTF-8 with line feeds as they are, or bytes.

    Raises:
        OSError: the folder cannot be written to; the old file, if any, is untouched.
    """
    path = Path(path)
    temporary = path.with_name(
        f".{path.name}.{os.getpid()}.tmp"
    )  # same folder: a rename within one file system is atomic
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # the content must reach the disk before the name does
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, cannot be read, or is not JSON.
    """
    content = _read_bytes(path)
    try:
        return json.loads(content)
    except ValueError as error:
        raise InputError(f"{path}: expected a JSON file, but it is damaged: {error}") from error


def read_json_lines(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read a file with one JSON object a line. A last line that a kill has torn is left out.

    Raises:
        InputError: the file is missing or cannot be read, or a line before the last is not a JSON object.
    """
    lines = _read_bytes(path).split(b"\n")
    lines = lines[:-1] if not lines[-1] else lines
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        elif number < len(lines):
            raise InputError(f"{path}, line {number}: expected one JSON object a line, got {line[:40]!r}")
    return records


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read all arrays of an `npz` file; no pickled object is ever loaded.

    Raises:
        InputError: the file is missing, cannot be read, or is not an archive of plain arrays.
    """
    content = io.BytesIO(_read_bytes(path))
    try:
        with np.load(content, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: expected an npz file of arrays, but it is damaged: {error}") from error


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read this file: {error.strerror}") from error
