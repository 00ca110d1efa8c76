"""Checkpoints after a kill or on a full disk: the last complete step is read, and the error is one line."""

import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
from checkpoint_samples import CONFIG, HISTORY, first_step, make_state, names, restored, template
from numpy.testing import assert_array_equal

from abkd_jax.training import checkpoint, trees


@pytest.fixture
def saved(tmp_path):
    return first_step(tmp_path / "run")


def test_a_step_counts_from_the_moment_its_manifest_is_there(saved):
    shutil.copytree(saved, saved.parent / "next")
    checkpoint.save(saved.parent / "next", make_state(2.0), HISTORY, CONFIG, step=40)
    new = shutil.copytree(saved.parent / "next" / "40", saved / "40.new")
    manifest = (new / "manifest.json").read_bytes()
    (new / "manifest.json").unlink()
    assert restored(saved) == 1.0  # killed before the manifest
    (new / "manifest.json").write_bytes(manifest)
    assert restored(saved) == 2.0  # killed after it
    checkpoint.prepare(saved)
    assert names(saved) == ["20", "40"]
    assert restored(saved) == 2.0


def test_a_kill_while_a_step_is_replaced_leaves_the_new_one(saved):
    shutil.copytree(saved, saved.parent / "next")
    checkpoint.save(saved.parent / "next", make_state(2.0), HISTORY, CONFIG, step=20)
    shutil.copytree(saved.parent / "next" / "20", saved / "20.new")
    assert restored(saved) == 2.0
    checkpoint.prepare(saved)
    assert names(saved) == ["20"]
    assert restored(saved) == 2.0


def test_prepare_removes_what_kills_have_left(saved):
    for name in ("40.new.orbax-checkpoint-tmp", "40.orbax-checkpoint-tmp-1234", "40.new"):
        (saved / name / "state").mkdir(parents=True)
        (saved / name / "state" / "half").write_bytes(b"truncated")
    checkpoint.prepare(saved)
    assert names(saved) == ["20"]


FULL = """
import resource, sys
import numpy as np
from abkd_jax.training import checkpoint
from abkd_jax.types import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
state = {f"w{i}": np.random.default_rng(i).normal(size=300_000) for i in range(8)}
try:
    checkpoint.save(sys.argv[1], state, {"loss": np.zeros(2)}, {"a": 1}, step=40)
except InputError as error:
    print(error)
"""


def test_a_file_that_cannot_grow_is_one_line(saved):
    """As on a full disk: the write fails in orbax's threads."""
    done = subprocess.run([sys.executable, "-c", FULL, saved], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"checkpoint folder {saved} cannot be written: File too large\n"
    assert names(saved) == ["20"]
    assert restored(saved) == 1.0


def test_failed_save_leaves_the_old_step(saved):
    with pytest.raises(TypeError):
        checkpoint.save(saved, make_state(2.0), HISTORY, {**CONFIG, "optim": object()}, step=40)  # not JSON
    assert_array_equal(checkpoint.restore(saved, template(), CONFIG)[0]["params"]["w"], np.full((2, 3), 1.0))


def test_leftovers_of_a_killed_save_do_not_matter(saved):
    leftover = saved / "40.orbax-checkpoint-tmp-1234"
    (leftover / "state").mkdir(parents=True)
    (leftover / "state" / "half").write_bytes(b"truncated")
    assert_array_equal(checkpoint.restore(saved, template(), CONFIG)[0]["params"]["w"], np.full((2, 3), 1.0))
    checkpoint.save(saved, make_state(2.0), HISTORY, CONFIG, step=40)
    assert_array_equal(checkpoint.restore(saved, template(), CONFIG)[0]["params"]["w"], np.full((2, 3), 2.0))


def test_later_messages_of_asyncio_about_a_full_disk_are_dropped():
    """Its tasks complain when they are collected, long after the one line that told the user."""

    def record(error):
        return logging.LogRecord("asyncio", logging.ERROR, "", 0, "never retrieved", (), (type(error), error, None))

    assert not trees._is_unrelated(record(ValueError("RESOURCE_EXHAUSTED [os_error_code='28']")))
    assert trees._is_unrelated(record(ValueError("another")))
    assert trees._is_unrelated(logging.LogRecord("asyncio", logging.ERROR, "", 0, "", (), None))
