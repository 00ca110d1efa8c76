"""Keeps memory that was freed for the next arrays of a command."""

import ctypes
import os
import platform

__all__ = ["keep_freed_memory"]

ARENA_MAX, MMAP_MAX, TRIM_THRESHOLD = -8, -4, -1  # parameters of mallopt(3)
NEVER = -1


def keep_freed_memory() -> None:
    """Has glibc keep large blocks that are freed; does nothing with another C library or allocator settings of its own.

    By default glibc returns them to the system, which hands them out again page by page, each filled with zeros. A
    program that allocates 40 MB per step of minibatches spends 5 to 8 percent of its time on that, a single sum over
    neighbours half of it. One arena for all threads: only that one grows beyond 64 MB. The settings are those of
    `GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=...`; where the
    environment has `GLIBC_TUNABLES` or `MALLOC_...` variables, they stand.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(("GLIBC_TUNABLES", "MALLOC_")) for name in os.environ):
        return
    set_parameter = ctypes.CDLL(None).mallopt
    for parameter, value in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER)):
        set_parameter(parameter, value)
