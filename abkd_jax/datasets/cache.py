"""Data sets that are slow to read are read once: afterwards their arrays come memory-mapped from a folder of the user.

The folder is `~/.cache/abkd_jax/graphs`, or that of the environment variable `ABKD_JAX_CACHE`. In it each data set has
a folder `<name>-<digest>` of `.npy` files; the digest is of the places, sizes and times of the files it was read from,
so that a changed file is read anew. Any of these folders may be deleted at any time.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from abkd_jax.types import InputError

__all__ = ["cache_root", "cached", "cached_folder", "write_rows"]

FORMAT = 1  # of the folders: another number where their files mean something else
DAY = 86_400.0  # seconds; what a killed process has left is removed after this time


def cache_root() -> Path:
    """The folder of all cached data sets, which need not exist."""
    return Path(os.environ.get("ABKD_JAX_CACHE") or "~/.cache/abkd_jax/graphs").expanduser()


def cached_folder(name: str, sources: Iterable[Path]) -> Path:
    """Where the arrays of a data set are, or will be.

    Args:
        name: of the data set.
        sources: the files that it is read from; they must exist.
    """
    words = [name, str(FORMAT)]
    for path in sources:
        facts = path.stat()
        words += [str(path.resolve()), str(facts.st_size), str(facts.st_mtime_ns)]
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
    return cache_root() / f"{name}-{digest}"


def cached(
    name: str, sources: Iterable[Path], read: Callable[[Path], dict[str, np.ndarray]], mapped: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of a data set, read from its files the first time and from the cache afterwards.

    The folder of the cache appears whole or not at all: it is written under another name and then renamed.

    Args:
        name: of the data set.
        sources: the files that `read` reads; they must exist.
        read: reads and checks them. It gets a folder in which it may write large arrays itself (`write_rows`), as
            `<key>.npy`, and returns the others.
        mapped: keys of the arrays that are memory-mapped, read-only, instead of read.

    Returns:
        The arrays of `read` and those it has written, by key.

    Raises:
        InputError: from `read`; no room or no right to write; or a damaged folder in the cache. In each case what was
            in the cache before is untouched.
    """
    folder = cached_folder(name, sources)
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            _fill(folder, read)
        except OSError as error:
            raise InputError(
                f"{name}: cannot be written to {folder.parent} ({error.strerror or error}); expected room and "
                "the right to write there, or another folder in ABKD_JAX_CACHE"
            ) from error
    return {path.stem: _load(path, path.stem in set(mapped)) for path in sorted(folder.glob("*.npy"))}


def write_rows(path: Path, dtype: type, shape: tuple[int, int], parts: Iterable[np.ndarray]) -> None:
    """Write a `.npy` file part by part, for arrays that do not fit in memory.

    Plain writes: a memory map would end the process with a signal where the disk is full.

    Args:
        path: the file.
        dtype: of the array.
        shape: of the array.
        parts: its rows, in order, each `[some, shape[1]]`; together `shape[0]` of them.

    Raises:
        OSError: the disk is full or not writable.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).data)
        _flush(file)


def _fill(folder: Path, read: Callable[[Path], dict[str, np.ndarray]]) -> None:
    _sweep(folder.parent)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for key, array in read(temporary).items():
            with (temporary / f"{key}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
                _flush(file)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same content
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())  # the content must reach the disk before the name does


def _sweep(root: Path) -> None:
    for left in root.glob(".*-*.*"):
        with contextlib.suppress(OSError):  # another process may sweep too
            if time.time() - left.stat().st_mtime > DAY:
                shutil.rmtree(left, ignore_errors=True)


def _load(path: Path, mapped: bool) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"{path}: damaged ({error}); delete the folder {path.parent}, and the data set is read anew"
        ) from error
