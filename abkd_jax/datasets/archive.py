"""Fetching a zip archive and unpacking it into its own folder, which is present whole or not at all.

OGB publishes no checksums. What can be checked is checked: the size that the server announces, the CRC of each file in
the archive, and that every file stays inside the folder. The SHA-256 of the archive is kept beside the unpacked files
(`archive.sha256`), so that two copies can be compared.
"""

import hashlib
import http.client
import os
import re
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from abkd_jax.datasets.download import TIMEOUT
from abkd_jax.progress import bar
from abkd_jax.types import InputError

__all__ = ["fetch_zip"]

BLOCK = 2**20  # bytes


def fetch_zip(url: str, folder: Path) -> None:
    """Download an archive, check it, and unpack the folder in it that holds `raw/`.

    Nobody is asked anything. A progress bar on stderr shows the size. An interrupted download goes on where it stopped:
    its part lies beside the folder as `.<folder>.zip.part`.

    Args:
        url: where the archive is published.
        folder: where its content goes; must not exist.

    Raises:
        InputError: no network, a failed transfer, a damaged archive or one that reaches outside the folder, or no room.
            There is nothing at `folder` then; the message says where to put the files by hand.
    """
    part = folder.with_name(f".{folder.name}.zip.part")
    by_hand = f"expected {url}, or its content put in {folder} by hand"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part)
        _unpack(part, folder)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise InputError(f"{folder.name}: cannot be downloaded ({error}); {by_hand}") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{folder.name}: the downloaded archive is damaged ({error}); {by_hand}") from error
    except OSError as error:
        raise InputError(f"{folder.name}: cannot be written ({error.strerror or error}); {by_hand}") from error
    part.unlink(missing_ok=True)


def _download(url: str, part: Path) -> None:
    done = part.stat().st_size if part.exists() else 0
    try:
        response = _open(url, done)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers.get("Content-Range") == f"bytes */{done}":
            return  # all of it is there
        done, response = 0, _open(url, 0)
    with response:
        if done and not re.match(rf"bytes {done}-", response.headers.get("Content-Range", "")):
            done = 0  # the server sends all of it
        total = done + int(response.headers.get("Content-Length", 0))
        if total - done > shutil.disk_usage(part.parent).free:
            raise OSError(f"{total:,} bytes, more than the disk has room for")
        with (
            part.open("ab" if done else "wb") as file,
            bar(total=total, initial=done, desc=part.name[1:-5], unit="B", unit_scale=True, leave=False) as progress,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                progress.update(len(block))
    found = part.stat().st_size
    if found < total:
        raise http.client.HTTPException(f"it stopped after {found:,} of {total:,} bytes; started again, it goes on")


def _open(url: str, done: int) -> http.client.HTTPResponse:
    headers = {"Range": f"bytes={done}-"} if done else {}
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)


def _unpack(part: Path, folder: Path) -> None:
    with zipfile.ZipFile(part) as archive:
        top = _top_folder(archive)
        if sum(member.file_size for member in archive.infolist()) > shutil.disk_usage(part.parent).free:
            raise OSError("the unpacked archive is larger than the room on the disk")
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"wrong CRC of {damaged}")
        temporary = Path(tempfile.mkdtemp(dir=part.parent, prefix=f".{folder.name}."))
        try:
            archive.extractall(temporary)
            with part.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            (temporary / top / "archive.sha256").write_text(f"{digest}  {top}.zip\n")
            os.rename(temporary / top, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _top_folder(archive: zipfile.ZipFile) -> str:
    """The one folder with `raw/` in it; no member may leave the archive's own folder or be a link."""
    tops = set()
    for member in archive.infolist():
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
            raise zipfile.BadZipFile(f"{member.filename!r} reaches outside its folder")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise zipfile.BadZipFile(f"{member.filename!r} is a link")
        if path.parts[1:2] == ("raw",):
            tops.add(path.parts[0])
    if len(tops) != 1:
        raise zipfile.BadZipFile(f"{len(tops)} folders with raw/ in it, expected one")
    return tops.pop()
