"""What is shown of long work: a bar on a terminal, lines in a log, nothing where that is asked for."""

import io
import logging
import warnings

import numpy as np
import pytest

from abkd_jax.datasets.files import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Gone(io.StringIO):
    def write(self, _):
        raise BrokenPipeError


class State:
    """What `progress` reads of a `FitState`, by seed."""

    def __init__(self, active, best_epoch):
        self.active, self.best_epoch = np.array(active), np.array(best_epoch)


def history_of(epochs, recorded, loss=1.0):
    """The history of one seed at these epochs."""
    recorded = np.array(recorded)[:, None]
    values = np.full(recorded.shape, loss)
    return {"epoch": np.array(epochs)[:, None], "recorded": recorded, "loss": values, "val_accuracy": values}


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "abkd_jax")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_log_has_a_line_at_the_start_and_one_at_the_end(lines):
    with progress.training("teacher", 300, None) as show:
        for end in (20, 40, 60):
            show(history_of([20, 40, 60], [end >= 20, end >= 40, end >= 60]))
    assert lines() == ["teacher: epoch 0 of 300, compiling", "teacher: epoch 60 of 60, loss=1.0000, val=1.0000"]


def test_a_log_has_a_line_every_few_seconds(lines, monkeypatch):
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    with progress.bar(total=3, desc="work", unit="step") as shown:
        for _ in range(3):
            shown.update(1)
    assert lines() == [f"work: step {done} of 3" for done in range(4)]


def test_bytes_have_their_unit_behind_them(lines):
    with progress.bar(total=3_000_000, desc="file", unit="B", unit_scale=True, leave=False) as shown:
        shown.update(3_000_000)
    assert lines() == ["file: 0.00B of 3.00MB", "file: 3.00MB of 3.00MB"]


def test_what_is_disabled_stays_silent(lines):
    assert list(progress.bar(iterable=range(3), disable=True)) == [0, 1, 2]
    assert lines() == []


@pytest.mark.parametrize(("best", "said"), [([44], "44"), ([44, 60, 51], "44 to 60"), (44, "44")])
def test_a_finished_program_was_read(lines, best, said):
    """Its last chunk went on after early stopping: those epochs were not trained."""
    progress.was_read("teacher", State([False], best), history_of([100, 144, 160], [True, True, False]))
    assert lines() == [f"teacher: read (144 epochs, best {said})"]


def test_a_program_goes_on_from_where_it_was(lines):
    with progress.training("teacher", 300, (State([True], [20]), history_of([20, 40], [True, True]))):
        pass
    assert lines()[0] == "teacher: epoch 40 of 300, compiling"


def test_losses_of_a_seed_that_diverged_are_shown(lines):
    history = history_of([10], [True], loss=np.nan)
    with progress.training("a", 10, None) as show:
        show(history)
    history["loss"] = np.array([[np.inf, -np.inf]])  # whose mean NumPy warns of
    with progress.training("b", 10, None) as show:
        show(history)
    assert all("loss=nan" in line for line in lines()[1::2])


def test_a_bar_ends_at_its_total(monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with progress.training("teacher", 300, None) as show:
        show(history_of([100, 144, 160], [True, True, False]))
    assert "teacher: 100%" in terminal.getvalue()
    assert "144/144" in terminal.getvalue().rpartition("\r")[2]


def test_a_bar_does_not_claim_an_end_that_was_not_reached(monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())

    def train():
        with progress.training("teacher", 300, None) as show:
            show(history_of([100], [True]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert "100/300" in terminal.getvalue().rpartition("\r")[2]


def test_quiet_work_that_would_show_nothing_anyhow(monkeypatch):
    monkeypatch.setattr(progress.package, "level", logging.WARNING)
    for disable in (True, False):
        with progress.bar(total=3, desc="reading", disable=disable) as shown:
            shown.update(3)


def test_quiet_leaves_warnings_alone(monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    log = logging.getLogger("abkd_jax.somewhere")
    with progress.logging_to_stderr(logging.WARNING), progress.training("teacher", 10, None) as show:
        show(history_of([10], [True]))
        log.info("a detail")
        log.warning("two\nlines of %s", "text")
    assert terminal.getvalue() == "abkd_jax: warning: two lines of text\n"


def test_the_log_is_written_plainly_once_and_for_a_time(capsys):
    package = logging.getLogger("abkd_jax")
    before = (package.level, package.propagate, list(package.handlers))
    with progress.logging_to_stderr(logging.DEBUG):
        package.debug("in detail")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("as Python does", stacklevel=1)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "in detail"
    assert len(said) == 2
    assert "UserWarning: as Python does" in said[1]
    assert (package.level, package.propagate, package.handlers) == before


@pytest.mark.parametrize("stream", [Gone(), None])
def test_work_goes_on_where_nobody_reads(monkeypatch, capsys, stream):
    monkeypatch.setattr("sys.stderr", stream)
    with progress.logging_to_stderr(logging.INFO), progress.training("teacher", 10, None) as show:
        show(history_of([10], [True]))
    assert capsys.readouterr().out == ""


def test_the_libraries_below_are_heard_in_detail_alone():
    absl = logging.getLogger("absl")
    before = absl.level
    for level, heard in ((logging.INFO, False), (logging.DEBUG, True)):
        with progress.logging_to_stderr(level):
            assert absl.isEnabledFor(logging.WARNING) is heard
    assert absl.level == before
