"""Prepares JAX for a command: checks the device, and keeps compiled programs on disk."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator

import jax

from abkd_jax.run.compiled import kept_programs
from abkd_jax.types import InputError

__all__ = ["ready"]

THREADS = 4  # per faked device: independent collectives of a program may wait at once

log = logging.getLogger(__name__)


@contextlib.contextmanager
def ready() -> Iterator[None]:
    """Checks that JAX has a device, and keeps compiled programs for later commands, see `compiled.kept_programs`.

    Raises:
        InputError: there is no device of the platform that `JAX_PLATFORMS` names.
    """
    _allow_waiting()
    try:
        log.debug("jax %s on %s", jax.__version__, jax.devices()[0].device_kind)
    except (RuntimeError, AssertionError) as error:  # JAX asserts that CUDA, if named, is installed
        named, reason = os.environ.get("JAX_PLATFORMS"), " ".join(str(error).split())
        raise InputError(
            f"JAX_PLATFORMS is {named or 'not set'}, expected a platform that JAX finds here, such as cpu"
            + (f": {reason}" if reason else "")
        ) from error
    with kept_programs():
        yield


def _allow_waiting() -> None:
    """Gives XLA threads for the devices that `XLA_FLAGS` fakes on a CPU.

    XLA has as many threads as there are cores, and a device that waits for the others in a collective holds one: where
    devices are more than cores, all would wait.
    """
    faked = re.search(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    if faked:
        os.environ.setdefault("NPROC", str(max(os.cpu_count() or 1, THREADS * int(faked[1]))))
