"""Downloads a zip archive and unpacks it into a folder, which is complete or absent.

OGB publishes no checksums. Where one is known from elsewhere it is compared; the SHA-256 of every archive is kept, in
its folder (`archive.sha256`) and beside it, so that a second download must return the same. Also checked are the size
that the server announces, the CRC of each file, that every file stays inside the folder, that no name is repeated, and
that no file unpacks to more than it can be.
"""

import errno
import hashlib
import http.client
import io
import os
import re
import shutil
import ssl
import stat
import struct
import tempfile
import urllib.error
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.datasets.files.download import TooLargeError, announced, one_line, open_url, received
from abkd_jax.datasets.files.locks import exclusive
from abkd_jax.datasets.files.progress import bar
from abkd_jax.types import InputError

__all__ = ["check_recorded", "fetch_zip"]

LIMIT = 2**30  # bytes of an archive; ogbn-mag's, the largest, has 413 million
GROWTH, SMALL = 4, 2**24  # times its size, and bytes, to which it unpacks at most: its files are compressed already
DIRECTORY = 2**21  # bytes of the list of its files: about 20,000 of them
NAME = re.compile(r"[\w .+=@()-]{1,255}", re.ASCII)

TRANSFERS = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)
DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError)
"""What `zipfile` raises for a damaged archive; `NotImplementedError` is a `RuntimeError`."""


def fetch_zip(url: str, folder: Path, sha256: str | None = None) -> None:
    """Downloads an archive, checks it, and unpacks the folder in it that holds `raw/`.

    A progress bar on stderr shows the size. An interrupted download resumes where it stopped: its part is kept beside
    the folder as `.<folder>.zip.part`. A second process waits for the first one's folder.

    Args:
        url: address of the archive.
        folder: destination of its content; must not exist.
        sha256: hexadecimal SHA-256 of the archive, where it is known. Else it must be that of the last download, which
            is kept in `.<folder>.zip.sha256` beside the folder.

    Raises:
        InputError: no network, a failed transfer, more than 1 GiB, a damaged archive, another one than expected or one
            that reaches outside the folder, or no room. There is nothing at `folder` then; the message says where to
            put the files by hand.
    """
    part = folder.with_name(f".{folder.name}.zip.part")
    by_hand = f"expected {url}, or its content put in {folder} by hand"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(folder):
            if not folder.is_dir():  # else another process was faster
                _download(url, part)
                _unpack(part, folder, sha256)
                part.unlink()
    except TRANSFERS as error:
        if isinstance(error, TooLargeError):
            part.unlink(missing_ok=True)
        raise InputError(f"{folder.name}: cannot be downloaded ({one_line(error)}); {by_hand}") from error
    except DAMAGES as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{folder.name}: the downloaded archive is damaged ({one_line(error)}); {by_hand}") from error
    except OSError as error:
        raise InputError(f"{folder.name}: cannot be written ({error.strerror or error}); {by_hand}") from error


def check_recorded(folder: Path, sha256: str) -> None:
    """Compares the archive that a folder was unpacked from with the published one.

    Args:
        folder: from `fetch_zip`, or filled by hand: then nothing is recorded and nothing is compared.
        sha256: of the published archive.

    Raises:
        InputError: it was another archive.
    """
    record = folder / "archive.sha256"
    found = _recorded(record)
    if found is not None and found != sha256:
        raise InputError(
            f"{record}: this folder was unpacked from an archive of SHA-256 {found}; expected {sha256}, as published: "
            f"delete {folder}, and it is downloaded again"
        )


def _recorded(path: Path) -> str | None:
    try:
        words = path.read_bytes()[:200].split()
    except OSError:
        return None
    return words[0].decode("ascii", "replace") if words else ""


def _download(url: str, part: Path) -> None:
    done = part.stat().st_size if part.exists() else 0
    try:
        response = _open(url, done)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            if error.headers.get("Content-Range") == f"bytes */{done}":
                return  # all of it is there
        done, response = 0, _open(url, 0)
    with response:
        if done and not re.match(rf"bytes {done}-", response.headers.get("Content-Range", "")):
            done = 0  # the server sends all of it
        rest = announced(response)
        if rest is not None and rest > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, f"{done + rest:,} bytes, more than the disk has room for")
        total = None if rest is None else done + rest
        with (
            part.open("ab" if done else "wb") as file,
            bar(total=total, initial=done, desc=part.name[1:-5], unit="B", unit_scale=True, leave=False) as progress,
        ):
            for block in received(response, LIMIT - done):
                file.write(block)
                progress.update(len(block))
    found = part.stat().st_size
    if total is not None and found < total:
        raise http.client.HTTPException(f"it stopped after {found:,} of {total:,} bytes; started again, it goes on")


def _open(url: str, done: int) -> http.client.HTTPResponse:
    return open_url(url, {"Range": f"bytes={done}-"} if done else {})


def _unpack(part: Path, folder: Path, sha256: str | None) -> None:
    digest, record = _checked_digest(part, folder, sha256)
    with _LimitedReads(part) as file:
        archive, top = _opened(file, part.stat().st_size)
        if sum(member.file_size for member in archive.infolist()) > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, "the unpacked archive is larger than the room on the disk")
        temporary = Path(tempfile.mkdtemp(dir=part.parent, prefix=f".{folder.name}."))
        try:
            archive.extractall(temporary)
            line = f"{digest}  {top}.zip\n"
            (temporary / top / "archive.sha256").write_text(line)
            os.rename(temporary / top, folder)
            write_atomic(record, line)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _opened(file: io.FileIO, size: int) -> tuple[zipfile.ZipFile, str]:
    """Opens an archive and checks all of it; returns also the folder in it."""
    try:
        archive = zipfile.ZipFile(file)
        top = _checked_top(archive, size)
        damaged = archive.testzip()
    except OSError as error:  # of a place that the file does not have
        raise zipfile.BadZipFile(one_line(error)) from error
    if damaged is not None:
        raise zipfile.BadZipFile(f"wrong CRC of {damaged}")
    return archive, top


def _checked_digest(part: Path, folder: Path, sha256: str | None) -> tuple[str, Path]:
    """Returns the SHA-256 of the archive, which is the expected one, and where it is kept for the next download."""
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    record = folder.with_name(f".{folder.name}.zip.sha256")
    expected = sha256 or _recorded(record)
    if expected not in (None, found):
        origin = "as published" if sha256 else f"as the one before it, which {record} is of"
        raise zipfile.BadZipFile(f"or another one: its SHA-256 is {found}, not {expected} {origin}")
    return found, record


class _LimitedReads(io.FileIO):
    """A file with a limit per read: `zipfile` reads the whole list of members at once before it checks any of it."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY:
            raise zipfile.BadZipFile(f"a list of files of {size:,} bytes; {DIRECTORY:,} are expected at most")
        return super().read(-1 if size is None else size)


def _checked_top(archive: zipfile.ZipFile, size: int) -> str:
    """Checks name, size and kind of every member; returns the one folder with `raw/` in it."""
    members = [(PurePosixPath(member.filename), member) for member in archive.infolist()]
    for path, member in members:
        _check_member(path, member)
    files = [path for path, member in members if not member.is_dir()]
    inside = {parent for path, _ in members for parent in path.parents}
    if len(set(files)) != len(files) or not inside.isdisjoint(files):
        raise zipfile.BadZipFile("two of its files have the same name")
    if sum(member.compress_size for _, member in members) > size:
        raise zipfile.BadZipFile("its files overlap")
    unpacked = sum(member.file_size for _, member in members)
    if unpacked > GROWTH * size + SMALL:
        raise zipfile.BadZipFile(f"its {size:,} bytes unpack to {unpacked:,}; expected {GROWTH} times as many at most")
    tops = {path.parts[0] for path in files if path.parts[1:2] == ("raw",)}
    if len(tops) != 1:
        raise zipfile.BadZipFile(f"{len(tops)} folders with raw/ in it, expected one")
    return tops.pop()


def _check_member(path: PurePosixPath, member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise zipfile.BadZipFile(f"{name[:100]!r} reaches outside its folder")
    if "\0" in name or not all(NAME.fullmatch(part) for part in path.parts) or not path.parts:
        raise zipfile.BadZipFile(f"{name[:100]!r} is not the name of a file of OGB")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise zipfile.BadZipFile(f"{name!r} is a link")
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"{name!r} is encrypted or compressed in another way than deflate")
