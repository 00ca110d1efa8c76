"""Provenance of a number: commit, version and digest of the code, hardware, versions of the libraries, date."""

import datetime
import functools
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

__all__ = ["code", "commit", "of_other_code", "provenance", "same_code"]

PACKAGE = Path(__file__).resolve().parents[1]
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "jraph", "numpy")


def provenance() -> dict[str, Any]:
    """Returns what a record or a checkpoint that is made now says of its making.

    Returns:
        JSON-like: `commit` (see `commit`), `version` of the package, `code` (digest of its sources), `hardware`,
        `versions` of Python and the libraries, `date` (UTC, to the second).
    """
    return {
        "commit": commit(PACKAGE),
        "version": _installed("abkd_jax"),
        "code": code(),
        "hardware": f"{os.cpu_count()} x {platform.machine()} cores, jax on {jax.devices()[0].device_kind}",
        "versions": {"python": platform.python_version(), **{name: _installed(name) for name in LIBRARIES}},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def same_code(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tells whether two provenances differ in nothing but the date.

    Examples:
        >>> same_code({"commit": "68f2c12", "date": "2026-11-26"}, {"commit": "68f2c12", "date": "2026-11-27"})
        True
    """
    return {k: v for k, v in one.items() if k != "date"} == {k: v for k, v in other.items() if k != "date"}


def of_other_code(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns those provenances that name other code than this process runs.

    Examples:
        >>> of_other_code([{"code": code()}, {"code": "0123456789ab"}])
        [{'code': '0123456789ab'}]
    """
    return [one for one in found if one.get("code") != code()]


def commit(package: Path) -> str:
    """Returns the commit of the checkout whose top level holds `package`, with a plus sign where files were changed.

    `"unknown"` for an installed package: a repository that merely encloses the environment says nothing about it.
    """
    top = _git(package, "rev-parse", "--show-toplevel")
    own = top is not None and Path(top).resolve() == package.resolve().parent
    if not own or _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return "unknown"
    return _git(package, "describe", "--always", "--dirty=+") or "unknown"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


@functools.cache
def code() -> str:
    """Returns a digest of the sources of the package that this process runs, those of its kernels included."""
    digest = hashlib.sha256()
    for path in sorted(path for kind in ("*.py", "*.cc") for path in PACKAGE.rglob(kind)):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
