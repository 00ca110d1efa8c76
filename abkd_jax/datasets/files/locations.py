"""Folders of the user's files: the cache, home directories, and temporary folders where there are none."""

import functools
import logging
import os
import tempfile
from pathlib import Path

from abkd_jax.types import InputError

__all__ = ["cache_root", "expanded", "writable"]

logger = logging.getLogger(__name__)


def cache_root() -> Path:
    """Returns the default folder of the user's files: `~/.cache/abkd_jax`, which need not exist.

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
    """Replaces a leading `~` by the home directory.

    Raises:
        InputError: there is no such home directory.

    Examples:
        >>> expanded("~/data") == Path.home() / "data"
        True
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: {error}; expected a path without ~") from error


def writable(folder: Path) -> Path:
    """Creates a folder of the user's cache; where it cannot be written, one of the same name among the temporary files.

    One warning says so then.

    Args:
        folder: a folder of `cache_root()`.

    Returns:
        `folder`, or its replacement.

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
            root = Path(tempfile.mkdtemp(prefix="abkd_jax-"))  # another user owns the name
    except OSError as error:
        raise InputError(
            f"{reason}, and there is no place for temporary files ({error}); expected HOME to be set"
        ) from error
    logger.warning("%s: what is kept between runs is kept in %s", reason, root)
    return root
