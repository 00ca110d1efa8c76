"""Fetching one file: verified against its checksum, and present whole or not at all."""

import hashlib
import http.client
import os
import tempfile
import urllib.request
from pathlib import Path

from abkd_jax.types import InputError

__all__ = ["fetch"]

TIMEOUT = 15.0  # seconds without an answer


def fetch(url: str, path: Path, sha256: str) -> None:
    """Download a file, compare its checksum, then give it its name.

    Args:
        url: where the file is published.
        path: where it goes; its folder is created.
        sha256: hexadecimal SHA-256 of the content.

    Raises:
        InputError: no network, a failed transfer, an unwritable folder, or another content than expected. Nothing is
            left at `path`; the message says where to put the file by hand.
    """
    by_hand = f"put the file in {path.parent} by hand, from {url}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{path.name}: cannot be downloaded ({error}); {by_hand}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(f"{path.name}: the download has SHA-256 {found}, expected {sha256}; {by_hand}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, content)
    except OSError as error:
        raise InputError(f"{path.name}: cannot be written ({error}); {by_hand}") from error


def _write_whole(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
