"""Keeps SHA-256 digests beside files, so that damage on the disk is found before the content is read.

Both documents are JSON, `{"sha256": ..., "content": ...}`, with the digest of their own content. `manifest.json` covers
all files of a folder that is never changed again, such as a checkpoint; `digests.json` covers some files of a folder in
which each may be replaced, such as a run folder.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from abkd_jax.datasets.files.atomic import MAX_ARRAYS, read_json, write_atomic
from abkd_jax.types import InputError

__all__ = ["DIGESTS", "MANIFEST", "check_seal", "read_manifest", "write_manifest", "write_sealed"]

DIGESTS = "digests.json"
MANIFEST = "manifest.json"
FORMAT = 1  # of both documents


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Writes the manifest of a folder: `content`, and size and digest of every file below.

    Raises:
        OSError: a file cannot be read, or the manifest not be written.
    """
    files = {name: {"bytes": path.stat().st_size, "sha256": _digest(path)} for name, path in _files(folder).items()}
    write_atomic(folder / MANIFEST, _signed(content | {"files": files}))


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Compares a folder with its manifest and returns the `content` of it, or None where there is no manifest.

    Raises:
        InputError: the manifest or a file is damaged, or a file is missing or not listed.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "weights").write_text("0.5")
        ...     write_manifest(Path(folder), {"step": 3})
        ...     read_manifest(Path(folder))
        {'format': 1, 'step': 3}
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    content = _read_signed(path)
    listed, present = content.pop("files"), _files(folder)
    for name in sorted(listed.keys() | present.keys()):
        if name not in present:
            raise InputError(f"{name}: missing")
        if name not in listed:
            raise InputError(f"{name}: not in the manifest")
        _compare(present[name], name, **listed[name])
    return content


def write_sealed(folder: Path, contents: Mapping[str, str | bytes]) -> None:
    """Writes files atomically, and their digests into `digests.json`.

    While files are replaced both the old and the new digests are valid: a kill leaves no file that would be refused.

    Args:
        folder: it must exist; digests of other files in it stay.
        contents: text or bytes by file name.

    Raises:
        OSError: the folder cannot be written to.
    """
    try:
        known = _read_digests(folder)
    except InputError:  # a damaged list cannot be carried on
        known = {}
    new: dict[str, str | None] = {name: _digest_of(_encoded(content)) for name, content in contents.items()}
    old = {name: _digest_or_none(folder / name) for name in new}
    _write_digests(folder, known | {name: [old[name], new[name]] for name in new})
    for name, content in contents.items():
        write_atomic(folder / name, content)
    _write_digests(folder, known | {name: [digest] for name, digest in new.items()})


def check_seal(folder: Path, names: Iterable[str]) -> None:
    """Compares files with the digests that `write_sealed` wrote; files without one, as in older folders, pass.

    Raises:
        InputError: a file differs from the one that was written, or is missing, or the list of digests is damaged.
    """
    known = _read_digests(folder)
    for name in names:
        path = folder / name
        if name in known and _digest_or_none(path) not in known[name]:
            raise InputError(
                f"{path}: not what was written there, so damaged, removed or changed by hand; put the file back, or "
                f"remove {DIGESTS} to take the folder as it is"
            )


def _read_digests(folder: Path) -> dict[str, list[str | None]]:
    path = folder / DIGESTS
    return _read_signed(path)["files"] if path.exists() else {}


def _write_digests(folder: Path, files: dict[str, list[str | None]]) -> None:
    write_atomic(folder / DIGESTS, _signed({"files": files}))


def _signed(content: dict[str, Any]) -> str:
    content = json.loads(json.dumps({"format": FORMAT} | content, allow_nan=False))  # as it will be read
    return json.dumps({"sha256": _digest_of(_canonical(content)), "content": content}, indent=1) + "\n"


def _read_signed(path: Path) -> dict[str, Any]:
    document = read_json(path)
    if not isinstance(document, dict) or document.keys() != {"sha256", "content"}:
        raise InputError(f"{path}: expected a signed JSON object, but it is damaged")
    content = document["content"]
    if not isinstance(content, dict) or _digest_of(_canonical(content)) != document["sha256"]:
        raise InputError(f"{path}: damaged, its own digest differs")
    if content["format"] != FORMAT:
        raise InputError(f"{path}: format {content['format']}, expected {FORMAT}: a newer version wrote it")
    return content


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_or_none(path: Path) -> str | None:
    """Returns the digest, None where there is no file, "" where it is larger than readers of a run folder accept."""
    try:
        if not path.is_file():
            return None
        return _digest(path) if path.stat().st_size <= MAX_ARRAYS else ""
    except OSError as error:
        raise InputError(f"{path}: cannot read this file: {error.strerror}") from error


def _encoded(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _files(folder: Path) -> dict[str, Path]:
    """Returns all files below a folder but the manifest, by their relative path."""
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): path for path in paths if path != folder / MANIFEST}


def _compare(path: Path, name: str, *, bytes: int, sha256: str) -> None:  # noqa: A002
    if not path.is_file():
        raise InputError(f"{name}: expected a regular file")
    if (size := path.stat().st_size) != bytes:
        raise InputError(f"{name}: {size} bytes, expected {bytes}")
    try:
        digest = _digest(path)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from error
    if digest != sha256:
        raise InputError(f"{name}: digest differs")
