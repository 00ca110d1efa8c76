"""Writes files atomically, and reads JSON and npz files with one clear line when they are damaged."""

import io
import json
import math
import os
import re
import textwrap
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.types import InputError

__all__ = ["MAX_ARRAYS", "as_json", "parse_json", "read_arrays", "read_json", "read_json_lines", "write_atomic"]

MAX_JSON = 256 << 20  # bytes; parsed, such a file takes several times as much
MAX_ARRAYS = 1 << 30  # bytes of all arrays of an npz file, unpacked
LONG = re.compile(rb"[0-9]{19}|[eE]\+?[0-9]{3}")  # in all text of a number that may leave the range of its type


# Writing -------------------------------------------------------------------------------------------------------------


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file atomically: a kill at any moment leaves the old file or the new one, never a part.

    Args:
        path: the file; its folder must exist.
        content: text, written as UTF-8 with line feeds as they are, or bytes.

    Raises:
        OSError: the folder cannot be written to; the old file, if any, is untouched.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomic(Path(folder) / "config.json", as_json({"epochs": 3}))
        ...     read_json(Path(folder) / "config.json")
        {'epochs': 3}
    """
    path = Path(path)
    # In the same folder, since a rename is atomic within one file system only.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # the content must reach the disk before the name does
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def as_json(value: Any, indent: int | None = None) -> str:
    """Formats a value as JSON, with null for NaN and infinities, which JSON does not have.

    Examples:
        >>> as_json({"loss": [0.5, float("nan")]})
        '{"loss": [0.5, null]}'
    """
    return json.dumps(_without_non_finite(value), indent=indent, allow_nan=False)


def _without_non_finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_non_finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_non_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Reading -------------------------------------------------------------------------------------------------------------


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file, as strictly as `parse_json`.

    Raises:
        InputError: the file is missing, cannot be read, is larger than 256 MiB, or is not JSON.
    """
    content = _read_bytes(path, MAX_JSON)
    try:
        return parse_json(content)
    except ValueError as error:
        raise InputError(f"{path}: expected a JSON file, but it is damaged: {_line(error)}") from error


def read_json_lines(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads a file with one JSON object per line. A truncated last line, as a kill leaves it, is left out.

    NaN and infinities, which older files hold, are read as None.

    Raises:
        InputError: the file is missing, cannot be read or is larger than 256 MiB, or a line before the last is not a
            JSON object.
    """
    records: list[dict[str, Any]] = []
    bad = None
    for number, line in enumerate(io.BytesIO(_read_bytes(path, MAX_JSON)), start=1):
        if bad is not None:
            raise InputError(f"{path}, line {number - 1}: expected one JSON object per line, got {bad[:40]!r}")
        try:
            record = parse_json(line, non_finite_as_null=True)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            bad = line.rstrip(b"\n")
    return records


def parse_json(content: bytes, *, non_finite_as_null: bool = False) -> Any:
    """Parses JSON: UTF-8, finite numbers, integers of 64 bits, no repeated names in an object, printable text.

    Args:
        content: the JSON text.
        non_finite_as_null: whether `NaN` and `Infinity` are read as None instead of being refused.

    Raises:
        ValueError: anything else.

    Examples:
        >>> parse_json(b'{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: a name appears twice in one object
    """

    def constant(name: str) -> None:
        if not non_finite_as_null:
            raise ValueError(f"{name} is no JSON")

    def number(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            raise ValueError(f"{digits} is out of range")
        return value

    def integer(digits: str) -> int:
        value = int(digits)
        if not -(2**63) <= value < 2**64:
            raise ValueError(f"{digits[:20]}... has more than 64 bits")
        return value

    def pairs(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(entries)
        if len(value) < len(entries):
            raise ValueError("a name appears twice in one object")
        return value

    checked = {"parse_float": number, "parse_int": integer} if LONG.search(content) else {}  # slow for many numbers
    try:
        value = json.loads(content.decode(), parse_constant=constant, object_pairs_hook=pairs, **checked)
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode()  # an escaped half of a surrogate pair cannot be encoded
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is nested too deeply, or too large") from error
    return value


def read_arrays(path: str | os.PathLike[str], most: int | None = None) -> dict[str, np.ndarray]:
    """Reads all arrays of an `npz` file; no pickled object is ever loaded.

    Args:
        path: the file.
        most: bytes of the file, and of all its arrays; None is `MAX_ARRAYS`.

    Raises:
        InputError: the file is missing, cannot be read, is not an archive of plain arrays, or its arrays take more.
    """
    most = MAX_ARRAYS if most is None else most
    _require_file(path, most)
    try:
        with Path(path).open("rb") as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            file.seek(-12, os.SEEK_END)  # the number of members at the end of the archive, which zipfile does not read
            if int.from_bytes(file.read(2), "little") != len(members):
                raise ValueError("its list of arrays is incomplete")
            names = [member.filename.removesuffix(".npy") for member in members]
            if len(set(names)) < len(names):
                raise ValueError("a name appears twice")
            if sum(member.file_size for member in members) > most:
                raise ValueError(f"its arrays take more than {most >> 20} MiB")
            return {name: _read_member(archive, member) for name, member in zip(names, members, strict=True)}
    except Exception as error:  # zipfile, its decompressors and numpy's header parser raise a dozen kinds
        raise InputError(f"{path}: expected an npz file of arrays, but it is damaged: {_line(error)}") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Reads one array; its header is compared with the member's size before memory is allocated."""
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(member) as file:
        shape, _, dtype = headers[np.lib.format.read_magic(file)](file)
        if dtype.kind not in "biufcSU" or dtype.itemsize == 0:
            raise ValueError(f"{member.filename} has type {dtype}, expected numbers or text")
        expected, found = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        if expected != found:
            raise ValueError(f"{member.filename} has {found} bytes, expected {expected} by its shape")
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # zipfile compares the checksum at the end of the member
            raise ValueError(f"{member.filename} goes on after its array")
    return array


def _read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    _require_file(path, limit)
    try:
        return Path(path).read_bytes()
    except (OSError, MemoryError) as error:
        raise InputError(f"{path}: cannot read this file: {_line(error)}") from error


def _require_file(path: str | os.PathLike[str], limit: int) -> None:
    """Checks kind and size of a file before it is opened: reading a pipe or a device would not end."""
    try:
        size = os.stat(path).st_size
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read this file: {_line(error)}") from error
    if not os.path.isfile(path):
        raise InputError(f"{path}: cannot read this file: expected a regular file")
    if size > limit:
        raise InputError(f"{path}: cannot read this file: it has {size:,} bytes, expected at most {limit:,}")


def _line(error: BaseException) -> str:
    """Returns the message of an exception, short and on one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return textwrap.shorten(text, 160) or type(error).__name__
