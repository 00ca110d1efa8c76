"""How the programs of experiments/ run: progress is seen in logs, and what is wrong is one line."""

import logging
import re
from pathlib import Path

import jax
import pytest

from abkd_jax.datasets.files.progress import training
from abkd_jax.types import InputError
from experiments import folds, study, tune
from experiments.configs.tables import TABLES
from experiments.program import run_program, table_named

FOLDER = Path(__file__).parents[2] / "experiments"
PROGRAMS = sorted(
    path
    for path in FOLDER.rglob("*.py")
    if '__name__ == "__main__"' in path.read_text() and path.name != "worker.py"  # which other programs start and read
)


def test_progress_and_warnings_are_on_standard_error(capsys):
    def work():
        with training("teacher digits seed 0", 300, None):
            logging.getLogger("abkd_jax.study").warning("cells of other teachers")
        return 3

    assert run_program("experiments.study", work) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "teacher digits seed 0: epoch 0 of 300, compiling" in err
    assert "cells of other teachers" in err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("seeds 0: expected at least 1"), None, "experiments.study: seeds 0: expected at least 1"),
        (OSError("no space left"), None, "experiments.study: no space left"),
        (KeyboardInterrupt(), 130, "experiments.study: interrupted"),
        (BrokenPipeError(), 141, ""),
    ],
    ids=["input", "system", "interrupt", "pipe"],
)
def test_what_is_wrong_is_one_line(capsys, error, status, line):
    def work():
        raise error

    with pytest.raises(SystemExit) as ending:
        run_program("experiments.study", work)
    printed = capsys.readouterr().err.strip() if status else ending.value.code
    assert printed == line
    assert status is None or ending.value.code == status


def test_an_interrupt_says_so_where_the_program_goes_on(capsys):
    def work():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        run_program("experiments.study", work, resumes=True)
    assert capsys.readouterr().err == "experiments.study: interrupted; the same command goes on from here\n"


def test_a_table_is_named_or_refused():
    arguments = ["curve", "--smoke"]
    assert (table_named(arguments).name, arguments) == ("curve", ["--smoke"])
    assert table_named(arguments).name == "main"
    with pytest.raises(InputError, match="table 'mains': expected one of main, regimes"):
        table_named(["mains"])


def test_every_program_runs_so_under_its_own_name():
    assert len(PROGRAMS) > 15
    for path in PROGRAMS:
        name = ".".join(("experiments", *path.relative_to(FOLDER).with_suffix("").parts)).removesuffix(".__main__")
        named = re.findall(r'run_(?:program|excerpt)\(\s*"([^"]+)"', path.read_text())
        assert named == [name], path


@pytest.mark.parametrize(
    ("module", "first", "train"),
    [
        (study, "run_table", lambda: study.train(study.Run(TABLES["main"]))),
        (folds.pipeline, "distill", lambda: folds.main(folds.Args("mutag"))),
        (tune, "prepare_data", lambda: tune.main(tune.Args("cora"))),
    ],
    ids=["study", "folds", "tune"],
)
def test_what_trains_keeps_its_compiled_programs(program_folder, monkeypatch, module, first, train):
    seen = []

    def look(*_: object) -> None:
        seen.append(jax.config.values["jax_compilation_cache_dir"])
        raise InputError("seen")

    monkeypatch.setattr(module, first, look)
    with pytest.raises(InputError, match=r"^seen$"):
        train()
    assert seen == [str(program_folder)]
