"""A whole table in seconds: trained, found finished, trained again to the same file, changed."""

import dataclasses
import functools
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import optax
import pytest
from pipeline_samples import TEACHER
from problem_samples import several_dataset

from abkd_jax.configs import presets
from abkd_jax.datasets import validate
from abkd_jax.study import places, runner
from abkd_jax.study.cells import load
from abkd_jax.study.options import Table, Tuning
from abkd_jax.study.places import open_place
from abkd_jax.study.report.write import write_report
from abkd_jax.training import provenance
from abkd_jax.types import InputError
from experiments.reproduce import Reproduce, reproduce
from experiments.study import Run, train

METHODS = ("soft_label", "teacher_input")
TABLE = Table("tiny", ("synthetic",), ("inductive",), ("2x4",), METHODS, teacher=TEACHER)
TABLE = dataclasses.replace(TABLE.small(), name="tiny")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a trained table, and its lines."""
    folder = tmp_path_factory.mktemp("study")
    train(Run(TABLE, folder / "results", folder))
    return folder


def test_cells_hold_what_was_trained(trained):
    cells = {cell["method"]: cell for cell in load(trained / "results" / "tiny")}
    assert set(cells) == {"teacher", "soft_label", "teacher_input"}
    for cell in cells.values():
        assert set(cell["scores"]) >= {"test", "validation", "test: unseen nodes", "test: production"}
        assert all(len(scores) == len(cell["seeds"]) == 2 for scores in cell["scores"].values())
    student = cells["soft_label"]
    assert student["compression"] == cells["teacher"]["parameters"] / student["parameters"]
    trials = student["tuning"]["trials"]
    assert [len(trial["validation"]) for trial in trials] == [
        2 if at == student["tuning"]["chosen"] else 1 for at in (0, 1)
    ]
    assert student["tuning"]["seeds"] == [1000, 1001]
    chosen = student["tuning"]["trials"][student["tuning"]["chosen"]]["numbers"]
    assert student["settings"]["temperature"] == chosen["temperature"]
    assert student["settings"]["optim"]["epochs"] == student["epochs"] == 4
    assert student["settings"]["optim"]["eval_every"] == 2  # what divides the epochs
    assert cells["teacher_input"]["settings"]["input"] == "teacher"
    assert all(0.0 < cell["times"]["peak_memory_gib"] < 100.0 for cell in cells.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("soft_label", "sotf_label")}, "method is 'sotf_label', expected one of .* mean soft_label?"),
        ({"methods": ("nowhere:loss",)}, "nowhere:loss: there is no module nowhere"),
        ({"methods": ()}, "tiny: no methods, expected at least one"),
        ({"seeds": 0}, "tiny: seeds is 0, expected at least 1"),
        ({"lengths": (300, 0)}, "tiny: lengths is 0, expected at least 1"),
        ({"tuning": Tuning(final_seeds=0)}, "tiny: tuning.final_seeds is 0, expected at least 1"),
        ({"tuning": Tuning(trials=-1)}, "tiny: tuning.trials is -1, expected at least 1"),
        ({"tuning": Tuning(draw=-1)}, "tiny: tuning.draw is -1, expected at least 0"),
        ({"regimes": ("transductiv",)}, "tiny: regime is 'transductiv', expected one of"),
        ({"students": ("4",)}, "student '4': expected layers x units"),
        ({"students": ("0x4",)}, "student '0x4': expected layers x units"),
        ({"datasets": ("a/mine.npz", "b/mine.npz")}, "tiny: a/mine.npz and b/mine.npz would be one file"),
    ],
    ids=[
        "method",
        "module",
        "no method",
        "seeds",
        "length",
        "finalists",
        "trials",
        "draw",
        "regime",
        "student",
        "no layer",
        "one file",
    ],
)
def test_what_is_wrong_with_a_table_is_said_before_teachers_are_trained(tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(runner, "open_place", None)
    with pytest.raises(InputError, match=message):
        next(runner.run_table(dataclasses.replace(TABLE, **change), tmp_path, tmp_path))


def test_methods_that_are_not_for_a_data_set_are_left_out_before_its_teachers_are_trained(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(places, "load_splits", lambda *_: (validate(several_dataset()),))
    monkeypatch.setattr(places, "teachers_of", lambda *_: None)
    table = dataclasses.replace(TABLE, datasets=("several",), regimes=("transductive",), methods=("soft_label", "krd"))
    assert open_place(table, "several", "transductive", tmp_path, tmp_path).methods == ("soft_label",)
    said = "krd on several: auxiliary is krd, which needs one class per node"
    assert [record.message for record in caplog.records] == [f"{said}; expected another loss here; left out"]
    monkeypatch.setattr(places, "teachers_of", None)
    with pytest.raises(InputError, match=said):
        next(runner.run_table(dataclasses.replace(table, methods=("krd",)), tmp_path, tmp_path))


def test_a_table_can_have_teachers_of_its_own(trained):
    place = open_place(TABLE, "synthetic", "inductive", trained / "teachers", trained / "results/teachers")
    assert place.teacher.config == TEACHER.model != place.preset.teacher.model


def test_similarity_before_and_after_training(trained):
    for cell in load(trained / "results" / "tiny"):
        if cell["method"] != "teacher":
            before, after = cell["cka"]["before"], cell["cka"]["after"]
            assert len(before) == len(after) == len(cell["seeds"])
            assert all(0.0 <= value <= 1.0 for value in before + after)
            assert before != after


def test_what_is_finished_is_skipped(trained):
    found = list(runner.run_table(TABLE, trained / "results", trained))
    assert [was_trained for _, _, was_trained in found] == [False, False]


def test_cells_of_a_graph_from_a_path_have_its_name(trained, tmp_path, monkeypatch):
    place = open_place(TABLE, "synthetic", "inductive", trained / "teachers", trained / "results/teachers")
    monkeypatch.setattr(runner, "open_place", lambda *_: place)
    shutil.copytree(trained / "results/tiny/synthetic", tmp_path / "tiny/mine")
    found = [*runner.run_table(dataclasses.replace(TABLE, datasets=("./graphs/mine.npz",)), tmp_path, tmp_path)]
    assert {path.relative_to(tmp_path / "tiny").parts[0] for path, _, _ in found} == {"mine"}
    assert not any(was_trained for _, _, was_trained in found)


def test_students_are_those_of_the_teachers_at_hand(trained, tmp_path, monkeypatch, caplog):
    """The same settings give other teachers on another machine: their cell is written again."""
    shutil.copytree(trained / "results", tmp_path / "results")
    file = tmp_path / "results/tiny/synthetic/inductive/teacher/teacher.json"
    stored = json.loads(file.read_text())
    file.write_text(file.read_text().replace(stored["weights"][1], "0" * 16))
    monkeypatch.setattr(runner, "_cell", lambda *arguments: (arguments[-1], True))
    found = runner.run_table(TABLE, tmp_path / "results", tmp_path / "work")
    assert [of_teacher["weights"] for _, of_teacher, _ in found] == [stored["weights"]] * len(METHODS)
    assert json.loads(file.read_text())["weights"] == stored["weights"]
    assert "not of the teachers that are stored here" in caplog.text


def test_students_that_other_code_has_trained_are_named(trained, tmp_path, monkeypatch, caplog):
    """A cell was deleted, to train it anew, and its checkpoints are still there."""
    shutil.copytree(trained / "results", tmp_path / "results")
    work = shutil.copytree(trained / "tiny", tmp_path / "work/tiny").parent
    table = dataclasses.replace(TABLE, methods=("soft_label",))
    file = tmp_path / "results/tiny/synthetic/inductive/2x4/soft_label.json"
    for own, warned in ((provenance.code(), False), ("0" * 12, True)):
        file.unlink()
        monkeypatch.setattr(provenance, "code", lambda own=own: own)
        caplog.clear()
        ((_, cell, again),) = runner.run_table(table, tmp_path / "results", work)
        assert again
        assert ("trained these students" in caplog.text) == warned, caplog.text
    assert f"other code (commit {cell['provenance']['commit']})" in caplog.text


def test_other_settings_are_trained_again_beside_the_checkpoints_of_the_first(trained, tmp_path, monkeypatch):
    before = presets.preset("synthetic", None)
    soft_label = dataclasses.replace(before.soft_label, temperature=3.0)
    monkeypatch.setattr(presets, "preset", lambda dataset, facts: dataclasses.replace(before, soft_label=soft_label))
    one = dataclasses.replace(TABLE.tuning, trials=1)
    other = dataclasses.replace(TABLE, methods=("soft_label",), tuning=one)
    shutil.copytree(trained / "results", tmp_path / "results")
    found = runner.run_table(other, tmp_path / "results", trained)
    (_, cell, again), *_ = found
    assert again
    assert cell["settings"]["temperature"] == 3.0
    stored = {one["method"]: one for one in load(tmp_path / "results/tiny")}
    assert stored["soft_label"] == cell
    assert set(stored) == {"teacher", "soft_label", "teacher_input"}


def test_a_table_is_reproduced_and_a_changed_constant_of_the_training_is_seen(trained, tmp_path, monkeypatch, capsys):
    one = Reproduce(dataclasses.replace(TABLE, methods=("soft_label",)), trained / "results", work=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (trained / "results").rglob("*")}
    assert reproduce(dataclasses.replace(one, retrain_teachers=True)) == 0
    assert capsys.readouterr().out.count("2 of 2") == 2  # teachers and students
    monkeypatch.setattr(optax, "adam", functools.partial(optax.adam, b1=0.0))
    assert reproduce(one) == 1
    out = capsys.readouterr().out
    assert ("2 of 2" in out) + ("0 of 2" in out) == 2  # the students of the stored teachers
    assert {path: path.stat().st_mtime_ns for path in (trained / "results").rglob("*")} == before


def test_an_interrupted_comparison_goes_on_and_leaves_nothing(trained, tmp_path, monkeypatch):
    one = Reproduce(dataclasses.replace(TABLE, methods=("soft_label",)), trained / "results", work=tmp_path)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("experiments.reproduce.compare", interrupt)
        with pytest.raises(KeyboardInterrupt):
            reproduce(one)
    monkeypatch.setattr("abkd_jax.study.runner.train_lanes", interrupt)  # all is trained already
    assert reproduce(one) == 0
    assert list(tmp_path.iterdir()) == []


# Runs the table, and is killed where the checkpoint of the finalists gets its name.
KILLED = """
import dataclasses, os, signal, sys
sys.path.insert(0, sys.argv[2])

def audit(event, arguments):
    if event == "os.rename" and "finalists" in str(arguments[1]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(audit)
from pathlib import Path
from experiments.study import Run, train
from study.test_runner import TABLE
table = dataclasses.replace(TABLE, methods=("soft_label",))
train(Run(table, Path(sys.argv[1]) / "results", Path(sys.argv[1])))
"""


def test_a_killed_study_goes_on_to_the_same_cells(trained, tmp_path):
    tests = Path(__file__).parents[1]
    shutil.copytree(trained / "results/teachers", tmp_path / "results/teachers")
    child = [sys.executable, "-c", KILLED, str(tmp_path), str(tests)]
    assert subprocess.run(child, cwd=tests.parent, check=False).returncode == -signal.SIGKILL
    assert not list(tmp_path.rglob("soft_label.json"))
    assert list(tmp_path.rglob("tuning/*"))
    train(Run(dataclasses.replace(TABLE, methods=("soft_label",)), tmp_path / "results", tmp_path))
    whole, resumed = (
        {c["method"]: c | {"times": None, "provenance": None} for c in load(folder / "results/tiny")}
        for folder in (trained, tmp_path)
    )
    assert resumed == {method: whole[method] for method in ("teacher", "soft_label")}


def test_a_loss_from_outside_is_tuned_stored_and_reported(trained, tmp_path, monkeypatch, own_module):
    lines = "from abkd_jax import distill\n\n\ndef sharper():\n    return distill.soft_label(0.5)\n"
    source = own_module("losses_of_mine", lines)
    table = dataclasses.replace(TABLE, methods=("soft_label", "losses_of_mine:sharper"))
    shutil.copytree(trained / "results", tmp_path / "results")
    (tmp_path / "results/tiny/synthetic/inductive/2x4/teacher_input.json").unlink()

    def run():
        return list(runner.run_table(table, tmp_path / "results", tmp_path / "work"))

    _, (_, cell, _) = run()
    assert {tuple(trial["numbers"]) for trial in cell["tuning"]["trials"]} == {
        ("optim.learning_rate", "optim.dense_decay", "temperature", "auxiliary_weight", "start")
    }
    assert "sharper" in cell["terms"]
    report = write_report(load(tmp_path / "results/tiny"), tmp_path / "report")
    assert "losses_of_mine:sharper" in report.read_text().replace("<wbr>", "")  # where lines may break
    assert any("losses_of_mine:sharper" in picture.read_text() for picture in (tmp_path / "report").glob("tuning*.svg"))
    assert [again for _, _, again in run()] == [False, False]
    source.write_text(source.read_text().replace("0.5", "0.25"))
    sys.modules.pop("losses_of_mine")
    monkeypatch.setattr(runner, "train_lanes", lambda *_, **options: pytest.fail("trained again"))
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        run()
