"""How commands end that cannot go on: interrupts, faults of the machine, and output that nobody takes."""

import logging
import os
import subprocess
import sys

import pytest
from cli_samples import refused
from pipeline_samples import OPTIONS

from abkd_jax.cli import parser


@pytest.mark.parametrize(("command", "resumes"), [("distill", True), ("teacher", True), ("evaluate", False)])
def test_interrupt_is_one_line(capsys, monkeypatch, command, resumes):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(parser, "_run", interrupt)
    with pytest.raises(SystemExit) as caught:
        parser.main([command, "-q"])
    assert caught.value.code == 130
    goes_on = "; the same command goes on from here" if resumes else ""
    assert capsys.readouterr().err == f"abkd_jax {command}: interrupted{goes_on}\n"
    assert logging.getLogger("abkd_jax").handlers == []


def test_a_fault_of_the_machine_is_one_line(capsys, monkeypatch):
    def run(*_):
        raise OSError(28, "No space left on device", "some/file")

    monkeypatch.setattr(parser, "_run", run)
    assert refused(capsys, "distill") == "abkd_jax distill: [Errno 28] No space left on device: 'some/file'"


def test_a_folder_that_cannot_be_made_below_the_current_one_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("a file")
    assert refused(capsys, "distill", *OPTIONS, f"--teachers={tmp_path}/t").startswith(
        "abkd_jax distill: run folder runs/"
    )


class Full:
    """Standard output on a full disk."""

    def flush(self):
        raise OSError(28, "No space left on device")

    def fileno(self):
        raise OSError


def test_output_that_cannot_be_written_is_one_line(monkeypatch):
    def run(*_):
        monkeypatch.setattr("sys.stdout", Full())
        return 0

    monkeypatch.setattr(parser, "_main", run)
    with pytest.raises(SystemExit) as caught:
        parser.main([])
    assert caught.value.code == "abkd_jax: standard output cannot be written: No space left on device"


@pytest.mark.parametrize("arguments", [["datasets"], ["--help"]], ids=" ".join)
def test_a_reader_that_goes_away_ends_the_command_quietly(arguments):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "abkd_jax", *arguments]
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 141
    assert done.stderr in ("", "datasets: starting\n")
