"""Freed memory is kept."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from abkd_jax.cli.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
block = b"x" * 2**26  # the first one takes its pages in both cases
del block
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    block = b"x" * 2**26
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, **environment: str) -> int:
    """Counts the pages that four blocks of 64 MB, one after the other, take from the system."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GLIBC", "MALLOC"))}
    run = [sys.executable, "-c", PROGRAM, how]
    found = subprocess.run(run, env=inherited | environment, capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator of Linux")
class TestKeepFreedMemory:
    def test_takes_no_page_twice(self):
        assert faults("left") > 4 * 1000 * faults("kept")

    def test_leaves_settings_of_the_user(self):
        assert faults("kept", MALLOC_ARENA_MAX="2") > 4000
