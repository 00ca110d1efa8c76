"""Caches the arrays of data sets that are slow to read in a folder of the user, from where they can be memory-mapped.

The folder is `graphs` in the user's cache (`locations.cache_root`), or that of the environment variable
`ABKD_JAX_CACHE`. In it each data set has a folder `<name>-<digest>` of `.npy` files; the digest is of the places, sizes
and times of the files it was read from, so that a changed file is read anew. Any of these folders may be deleted at any
time.

`SHA256SUMS` holds the digest and the size of every array and, in its last line, its own. All are compared whenever the
arrays are read, at about 1 GB per second with the SHA-256 of OpenSSL: half a second for ogbn-mag. Where an array
differs or is missing the data set is read again from its files; a file that is not listed is never read.
"""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from abkd_jax.datasets.files import locations
from abkd_jax.datasets.files.locks import exclusive
from abkd_jax.types import InputError

__all__ = ["cache_root", "cached", "cached_folder", "write_rows"]

FORMAT = 1  # of the arrays: another number where they mean something else
SUMS = "SHA256SUMS"
LONGEST_SUMS = 2**16  # characters; a line has some hundred, and there is one per array
DAY = 86_400.0  # seconds; temporary folders of killed processes are removed after this time
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # another folder would not help

logger = logging.getLogger(__name__)


class _DamagedError(ValueError):
    """A folder of the cache is damaged or missing."""


def cache_root() -> Path:
    """Returns the folder of all cached data sets, which need not exist."""
    named = os.environ.get("ABKD_JAX_CACHE")
    return locations.expanded(named) if named else locations.cache_root() / "graphs"


def cached_folder(name: str, sources: Iterable[Path]) -> Path:
    """Returns the folder of the arrays of a data set, which need not exist.

    Args:
        name: of the data set.
        sources: the files that it is read from; they must exist.

    Raises:
        InputError: one of the files is missing.
    """
    words = [name, str(FORMAT)]
    for path in sources:
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; expected a file of {name}") from error
        words += [str(path.resolve()), str(status.st_size), str(status.st_mtime_ns)]
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
    return cache_root() / f"{name}-{digest}"


def cached(
    name: str, sources: Iterable[Path], read: Callable[[Path], dict[str, np.ndarray]], mapped: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Reads the arrays of a data set from its files the first time and from the cache afterwards.

    The folder of the cache is complete or absent: it is written under another name and then renamed. Where it is
    damaged it is written again, and where the cache cannot be written the files are read each time; one warning says so
    in both cases. A second process waits for the first one's folder.

    Args:
        name: of the data set.
        sources: the files that `read` reads; they must exist.
        read: function that reads and checks them. It is given a folder in which it may write large arrays itself
            (`write_rows`), as `<key>.npy`, and returns the others.
        mapped: keys of the arrays that are memory-mapped, read-only, instead of read.

    Returns:
        The arrays that `read` returns and those it has written, by key.

    Raises:
        InputError: from `read`; or no space on the disk. In each case the former content of the cache is kept.
    """
    folder, keys = cached_folder(name, sources), frozenset(mapped)
    with contextlib.suppress(_DamagedError):
        return _load(folder, keys)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(folder):
            return _load_or_fill(folder, read, keys)
    except OSError as error:
        if error.errno in FULL:
            raise InputError(_unwritable(name, folder.parent, error)) from error
        logger.warning("%s; the data set is read without the cache", _unwritable(name, folder.parent, error))
    try:
        with tempfile.TemporaryDirectory(prefix="abkd_jax-", ignore_cleanup_errors=True) as temporary:
            _write(Path(temporary), read)
            return _load(Path(temporary), keys)  # a memory map outlives the name of its file
    except OSError as error:
        raise InputError(_unwritable(name, folder.parent, error)) from error


def write_rows(path: Path, dtype: type, shape: tuple[int, int], parts: Iterable[np.ndarray]) -> None:
    """Writes a `.npy` file part by part, for arrays that do not fit in memory.

    Plain writes: a memory map would end the process with a signal where the disk is full.

    Args:
        path: the file.
        dtype: of the array.
        shape: of the array.
        parts: its rows, in order, each `[some, shape[1]]`; together `shape[0]` of them.

    Raises:
        OSError: the disk is full or not writable.

    Examples:
        >>> with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        ...     write_rows(Path(file.name), np.float32, (3, 2), [np.zeros((2, 2)), np.ones((1, 2))])
        ...     np.load(file.name).sum(axis=1).tolist()
        [0.0, 0.0, 2.0]
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).data)
        _flush(file)


def _unwritable(name: str, root: Path, error: OSError) -> str:
    return (
        f"{name}: cannot be written to {root} ({error.strerror or error}); expected room and "
        "the right to write there, or another folder in ABKD_JAX_CACHE"
    )


def _load_or_fill(
    folder: Path, read: Callable[[Path], dict[str, np.ndarray]], mapped: frozenset[str]
) -> dict[str, np.ndarray]:
    """Loads the arrays, or reads and stores them; called under the lock, since another process may have done so."""
    try:
        return _load(folder, mapped)
    except _DamagedError as damage:
        if os.path.lexists(folder):
            logger.warning("%s: %s; the data set is read anew from its files", folder, damage)
    _sweep(folder.parent)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _write(temporary, read)
        _replace(folder, temporary, mapped)
    finally:
        _remove(temporary)
    try:
        return _load(folder, mapped)
    except _DamagedError as damage:
        raise InputError(f"{folder}: {damage} right after it was written; expected a working disk") from None


def _write(folder: Path, read: Callable[[Path], dict[str, np.ndarray]]) -> None:
    for key, array in read(folder).items():
        with (folder / f"{key}.npy").open("wb") as file:
            np.save(file, array, allow_pickle=False)
            _flush(file)
    paths = sorted(folder.glob("*.npy"))
    sums = "".join(f"{_digest(path)}  {path.stat().st_size}  {path.name}\n" for path in paths)
    with (folder / SUMS).open("wb") as file:
        file.write(f"{sums}{_own_digest(sums)}".encode())
        _flush(file)


def _replace(folder: Path, new: Path, mapped: frozenset[str]) -> None:
    """Renames the new folder to its place; a damaged one there is removed, a complete one is kept."""
    aside = new.with_name(f"{new.name}.old")
    try:
        if os.path.lexists(folder):
            with contextlib.suppress(_DamagedError):
                _load(folder, mapped)
                return
            folder.rename(aside)
        new.rename(folder)
    finally:
        _remove(aside)


def _load(folder: Path, mapped: frozenset[str]) -> dict[str, np.ndarray]:
    """Loads the arrays of a folder, each compared with its digest; raises `_DamagedError`."""
    try:
        with (folder / SUMS).open(encoding="ascii") as file:
            lines = file.read(LONGEST_SUMS).splitlines(keepends=True)
        if not lines or lines[-1] != _own_digest("".join(lines[:-1])):
            raise _DamagedError(f"{SUMS} is damaged")
        arrays = {}
        for digest, size, name in (line.split() for line in lines[:-1]):
            if (folder / name).stat().st_size != int(size) or _digest(folder / name) != digest:
                raise _DamagedError(f"{name} is damaged")
            key = name.removesuffix(".npy")
            arrays[key] = np.load(folder / name, mmap_mode="r" if key in mapped else None, allow_pickle=False)
        return arrays
    except OSError as error:
        raise _DamagedError(f"{Path(error.filename or SUMS).name}: {error.strerror or error}") from error
    except (ValueError, EOFError, MemoryError) as error:
        raise _DamagedError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_digest(sums: str) -> str:
    return f"{hashlib.sha256(sums.encode()).hexdigest()}  {SUMS}\n"


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())  # the content must reach the disk before the name does


def _sweep(root: Path) -> None:
    for left in root.glob(".*-*.*"):
        with contextlib.suppress(OSError):  # another process may sweep too
            if time.time() - left.lstat().st_mtime > DAY:
                _remove(left)


def _remove(path: Path) -> None:
    """Removes a file or folder; of a link the link itself, not its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
