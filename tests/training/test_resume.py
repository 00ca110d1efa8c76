"""Programs that share a checkpoint folder: one trains, the others wait and read."""

import logging
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abkd_jax.configs.options import OptimConfig
from abkd_jax.training import checkpoint, resume
from abkd_jax.training.fit_state import FitState
from abkd_jax.types import InputError

CONFIG = {"seed": 0}
OPTIM = OptimConfig(epochs=2)


def make_state(value, active):
    return FitState({"w": jnp.full(2, value)}, {}, {}, jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.asarray(active))


def make_history():
    ones = np.ones((1, 1), np.float32)
    return {"recorded": ones > 0, "epoch": ones.astype(np.int32), "loss": ones, "val_accuracy": ones}


def program(directory, fit, teachers=None):
    """A program in which `fit` is all that trains."""
    template = jax.eval_shape(lambda: make_state(0.0, True))
    digests = teachers and (lambda: teachers)
    return resume.fit_with_checkpoints(directory, CONFIG, fit, template, OPTIM, "program", teachers=digests)


def train(*, resume, on_chunk):
    """Ends at once."""
    assert resume is None
    state, history = make_state(3.0, False), make_history()
    on_chunk(state, history, 2)
    return state, history


def test_a_second_program_waits_and_then_reads(tmp_path, caplog):
    started, waiting, found = threading.Event(), threading.Event(), []

    def slow(**arguments):
        started.set()
        assert waiting.wait(60)
        return train(**arguments)

    def never(**arguments):
        raise AssertionError("a finished program has nothing to start")

    class Waits(logging.Handler):
        def emit(self, record):
            waiting.set()

    first = threading.Thread(target=lambda: found.append(program(tmp_path, slow)))
    first.start()
    assert started.wait(60)
    logging.getLogger("abkd_jax.datasets.files.locks").addHandler(handler := Waits())
    try:
        state, history, _ = program(tmp_path, never)
    finally:
        logging.getLogger("abkd_jax.datasets.files.locks").removeHandler(handler)
        waiting.set()
        first.join()
    assert float(state.train["w"][0]) == float(found[0][0].train["w"][0]) == 3.0
    assert history["seconds"] == found[0][1]["seconds"]
    assert [record.getMessage() for record in caplog.records] == [
        f"waiting for another process that trains program ({tmp_path})"
    ]


def test_a_finished_program_is_read_from_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(directory):
        raise InputError(f"checkpoint folder {directory} cannot be written: Read-only file system")

    program(tmp_path / "finished", train)
    checkpoint.save(tmp_path / "half", make_state(1.0, True), make_history() | {"seconds": np.ones(())}, CONFIG, step=1)
    monkeypatch.setattr(checkpoint, "prepare", refuse)
    state, _, origin = program(tmp_path / "finished", train)
    assert not origin.trained
    assert float(state.train["w"][0]) == 3.0
    for unfinished in ("half", "absent"):
        with pytest.raises(InputError, match="cannot be written: Read-only file system"):
            program(tmp_path / unfinished, train)


def test_a_program_in_progress_goes_on_with_its_own_teachers_alone(tmp_path, caplog):
    first, others = {"0": "a" * 16}, {"0": "b" * 16}

    def interrupted(*, resume, on_chunk):
        on_chunk(make_state(1.0, True), make_history(), 2)
        raise KeyboardInterrupt

    def goes_on(*, resume, on_chunk):
        assert float(resume[0].train["w"][0]) == 1.0
        return train(resume=None, on_chunk=on_chunk)

    with pytest.raises(KeyboardInterrupt):
        program(tmp_path, interrupted, first)
    with pytest.raises(InputError, match=r"program: the checkpoint in .* is of other teachers .*; remove it, or give"):
        program(tmp_path, goes_on, others)
    assert program(tmp_path, goes_on, first)[2].teachers == first
    assert not caplog.records
    *_, origin = program(tmp_path, goes_on, others)
    assert (origin.trained, origin.teachers) == (False, first)
    assert caplog.records[0].getMessage().endswith("is of other teachers than those of now; it is read as it is")


@pytest.mark.parametrize("content", [None, "damaged", "3"])
def test_a_program_whose_teachers_are_not_known_goes_on(tmp_path, content):
    """As those of older versions do."""
    checkpoint.save(tmp_path, make_state(1.0, True), make_history() | {"seconds": np.ones(())}, CONFIG, step=1)
    if content is not None:
        (tmp_path / "teachers.json").write_text(content)
    *_, origin = program(tmp_path, lambda *, resume, on_chunk: train(resume=None, on_chunk=on_chunk), {"0": "b" * 16})
    assert (origin.trained, origin.teachers) == (True, {})
