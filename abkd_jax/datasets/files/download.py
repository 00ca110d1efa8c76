"""Downloads a file, verified against its checksum; the file is complete or absent."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.types import InputError

__all__ = ["TooLargeError", "announced", "fetch", "one_line", "open_url", "received"]

TIMEOUT = 15.0  # seconds without an answer
REDIRECTS = 5
BLOCK = 2**20  # bytes
SLOW, PATIENCE = 1024, 60.0  # least bytes per second on average, and the seconds after which this is checked
LIMIT = 64 * 2**20  # bytes of a file with a checksum; the largest of Planetoid has 17 million


class TooLargeError(http.client.HTTPException):
    """A server sends more bytes than are expected at most."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to `open_url`: the handler of urllib reads the whole response, and follows to ftp and http."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> None:
        return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


_OPENER = urllib.request.build_opener(_NoRedirect)


def fetch(url: str, path: Path, sha256: str) -> None:
    """Downloads a file, compares its checksum, then gives it its name.

    Args:
        url: address of the file.
        path: its destination; the folder is created.
        sha256: hexadecimal SHA-256 of the content.

    Raises:
        InputError: no network, a failed transfer, more than 64 MiB, an unwritable folder, or another content than
            expected. Nothing is left at `path`; the message says where to put the file by hand.
    """
    by_hand = f"put the file in {path.parent} by hand, from {url}"
    try:
        with open_url(url) as response:
            content = b"".join(received(response, LIMIT))
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{path.name}: cannot be downloaded ({one_line(error)}); {by_hand}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(f"{path.name}: the download has SHA-256 {found}, expected {sha256}; {by_hand}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        raise InputError(f"{path.name}: cannot be written ({one_line(error)}); {by_hand}") from error


def open_url(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """Requests a file; follows at most five redirects, to https or to the protocol of the first address only.

    Args:
        url: its address.
        headers: of the request.

    Returns:
        The open response, to be closed by the caller.

    Raises:
        urllib.error.URLError, http.client.HTTPException, OSError: the request fails.
    """
    allowed = {"https", urlsplit(url).scheme}
    for _ in range(REDIRECTS + 1):
        try:
            return _OPENER.open(urllib.request.Request(url, headers=dict(headers or {})), timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            target = error.headers.get("Location")
            if error.code // 100 != 3 or target is None:
                raise
            error.close()
        try:
            url = urljoin(url, target)
            scheme = urlsplit(url).scheme
        except ValueError:
            scheme = None
        if scheme not in allowed:
            raise urllib.error.URLError(f"redirected to {target[:100]!r}; expected {' or '.join(sorted(allowed))}")
    raise urllib.error.URLError(f"more than {REDIRECTS} redirects")


def received(response: Any, limit: int) -> Iterator[bytes]:
    """Yields the content of a response as it arrives.

    Args:
        response: from `open_url`.
        limit: most bytes that it may have.

    Yields:
        Blocks of at most a megabyte.

    Raises:
        TooLargeError: there are more, or more are announced.
        TimeoutError: a minute has passed at less than a kilobyte per second.
    """
    began, done, total = time.monotonic(), 0, announced(response)
    if total is not None and total > limit:
        raise TooLargeError(f"{total:,} bytes are announced, more than the {limit:,} that are expected at most")
    while (total is None or done < total) and (block := response.read1(BLOCK)):
        done += len(block)
        if done > limit:
            raise TooLargeError(f"more than the {limit:,} bytes that are expected at most")
        yield block
        seconds = time.monotonic() - began
        if seconds > PATIENCE and done < SLOW * seconds:
            raise TimeoutError(f"{done:,} bytes in {seconds:.0f} seconds")


def announced(response: Any) -> int | None:
    """Returns the number of bytes that a response announces, or None."""
    length = response.headers.get("Content-Length") or ""
    chunked = response.headers.get("Transfer-Encoding")
    return int(length) if not chunked and length.isascii() and length.isdigit() and len(length) < 20 else None


def one_line(error: BaseException) -> str:
    r"""Returns the message of an error without line breaks, or its class where it has none.

    Examples:
        >>> one_line(ValueError("first line\n  second line"))
        'first line second line'
    """
    return " ".join(str(error).split())[:300] or type(error).__name__
