"""What a run folder is believed: records with their checkpoints, finished runs, more seeds, other settings."""

import dataclasses
import json
import shutil

import pytest
from pipeline_samples import STUDENT, TEACHER, tiny

from abkd_jax.cli import commands
from abkd_jax.configs.options import OptimConfig
from abkd_jax.datasets.files.atomic import read_json, read_json_lines
from abkd_jax.run import finished as finished_module
from abkd_jax.run import folder as runfolder
from abkd_jax.run import pipeline
from abkd_jax.run.plan import run_path
from abkd_jax.run.resolve import resolve
from abkd_jax.training import provenance
from abkd_jax.types import InputError

pytestmark = pytest.mark.usefixtures("without_figures")


def records(config):
    return read_json(config.out / "results.json")["records"]


def scores(found):
    return [{k: v for k, v in r.items() if k not in ("seconds", "latency_ms", "provenance")} for r in found]


def refuse(*_, **__):
    raise AssertionError("read or trained again")


def test_records_say_what_they_were_made_of(finished):
    for record in records(finished):
        assert record["data"]["source"].startswith("generated")
        assert record["data"]["counts"]["nodes"] == 300
        assert record["data"]["counts"]["train"] == 60
        assert record["data"]["split"] == 0
        assert {"commit", "code", "hardware", "versions", "date"} <= record["provenance"].keys()


def test_a_finished_run_is_shown_without_its_data(finished, monkeypatch):
    monkeypatch.setattr(pipeline, "prepare_data", refuse)
    for methods in (finished.methods, ("soft_label",)):
        assert pipeline.distill(dataclasses.replace(finished, methods=methods)) == finished.out


def test_a_finished_run_of_another_split_is_not_shown(finished):
    with pytest.raises(InputError, match=r"another config: data is '.*' there, '.*' here; choose another --out"):
        pipeline.distill(dataclasses.replace(finished, split=1))


@pytest.mark.parametrize("lost", ["report.md", "checkpoints/soft_label", "checkpoints/finished.json"])
def test_a_run_that_lost_a_part_is_made_whole(copied, lost, monkeypatch):
    before = records(copied)
    path = copied.out / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    pipeline.distill(copied)
    assert scores(records(copied)) == scores(before)
    monkeypatch.setattr(pipeline, "prepare_data", refuse)
    pipeline.distill(copied)


def test_a_run_of_other_code_is_shown_with_a_warning(finished, monkeypatch, caplog):
    pipeline.distill(finished)
    assert "other code" not in caplog.text
    monkeypatch.setattr(provenance, "code", lambda: "of tomorrow")
    pipeline.distill(finished)
    assert "4 of 4 models were trained by other code (commit " in caplog.text


def test_a_changed_data_file_is_read_again(copied, monkeypatch, tmp_path):
    data = tmp_path / "data"
    data.write_text("one")
    monkeypatch.setattr(finished_module.datasets, "paths", lambda name, root: (data,))
    pipeline.distill(copied)
    monkeypatch.setattr(pipeline, "prepare_data", refuse)
    pipeline.distill(copied)
    data.write_text("other")
    with pytest.raises(AssertionError, match="again"):
        pipeline.distill(copied)


def test_records_without_checkpoints_are_made_anew_and_not_signed(copied, caplog):
    """A stored table in a fresh clone: its numbers are compared with those of today, never shown as today's."""
    results = read_json(copied.out / "results.json")
    for record in results["records"]:
        record["provenance"] = {"commit": "long ago"}
        if record["method"] == "soft_label":
            record["test_accuracy"] = 0.999
    for path in (copied.out / "digests.json", copied.out / "checkpoints"):  # neither is stored with a table
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (copied.out / "results.json").write_text(json.dumps(results))
    pipeline.distill(copied)
    found = records(copied)
    assert all(r["test_accuracy"] != 0.999 for r in found)
    by_method = {r["method"]: r["provenance"]["commit"] for r in found}
    assert by_method["teacher"] == "long ago"  # which was kept
    assert by_method["soft_label"] != "long ago"
    assert "soft_label: 2 stored records had no checkpoint and were made anew; 2 differ" in caplog.text
    assert "stored 0.9990, 0.9990" in caplog.text


def test_students_of_a_teacher_that_is_gone_are_named(copied, tmp_path, caplog):
    """The kept teachers are lost, and training them anew gives other weights than their students' records name."""
    results = read_json(copied.out / "results.json")
    students = [record for record in results["records"] if record["method"] == "soft_label"]
    assert [r["teacher_weights"] for r in students] == [r["weights"] for r in results["records"][:2]]
    students[1]["teacher_weights"] = "0" * 16
    results["records"].remove(students[0])  # its new one has them from the checkpoint
    beside = copied.out / "checkpoints/soft_label/teachers.json"
    assert read_json(beside) == {str(r["seed"]): r["weights"] for r in results["records"][:2]}
    beside.write_text(json.dumps({"0": "1" * 16}))
    (copied.out / "digests.json").unlink()
    (copied.out / "results.json").write_text(json.dumps(results))
    for teachers in (tmp_path / "others", tmp_path / "others"):  # trained anew, and then shown
        caplog.clear()
        pipeline.distill(dataclasses.replace(copied, teachers=teachers))
        assert "soft_label 0, soft_label 1 learned from teachers that are gone" in caplog.text
    assert [r["teacher_weights"] for r in records(copied) if r["method"] == "soft_label"] == ["1" * 16, "0" * 16]


def test_more_seeds_extend_a_run(copied):
    before, lines = records(copied), (copied.out / "metrics.jsonl").read_text().splitlines()
    pipeline.distill(dataclasses.replace(copied, seeds=3))
    found = records(copied)
    assert [(r["method"], r["seed"]) for r in found] == [(m, s) for m in ("teacher", "soft_label") for s in range(3)]
    assert [r for r in found if r["seed"] < 2] == before  # times and provenance included
    assert set(lines) < set((copied.out / "metrics.jsonl").read_text().splitlines())
    pipeline.distill(dataclasses.replace(copied, methods=("supervised",)))  # fewer seeds: the run keeps its own
    found = records(copied)
    assert [r["seed"] for r in found if r["method"] == "supervised"] == [0, 1, 2]


def test_settings_of_what_does_not_run_are_no_conflict(copied):
    other = dataclasses.replace(copied.abkd, temperature=0.5)
    pipeline.distill(dataclasses.replace(copied, abkd=other))
    with pytest.raises(InputError, match=r"another config: soft_label.temperature is .* there, 0.5 here; choose"):
        pipeline.distill(
            dataclasses.replace(copied, soft_label=dataclasses.replace(copied.soft_label, temperature=0.5))
        )


def test_overwrite_starts_anew_and_leaves_other_files(copied):
    (copied.out / "notes.txt").write_text("mine")
    pipeline.distill(dataclasses.replace(copied, max_epochs=6, overwrite=True))
    assert {r["epochs"] for r in records(copied) if r["method"] == "soft_label"} == {6}
    assert (copied.out / "notes.txt").read_text() == "mine"


def test_runs_of_other_settings_have_their_own_folders(finished, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = resolve(dataclasses.replace(finished, out=None))
    folder = run_path(config)
    assert folder.parts[:2] == ("runs", "synthetic")
    same = [{"seeds": 9}, {"methods": ("abkd",)}, {"data_root": tmp_path}, {"teachers": tmp_path}, {"overwrite": True}]
    other = [{"max_epochs": 6}, {"split": 1}, {"student": TEACHER.model}]
    assert {run_path(resolve(dataclasses.replace(config, **c))) for c in same} == {folder}
    assert len({run_path(resolve(dataclasses.replace(config, **c))) for c in other} | {folder}) == 4
    latest = tmp_path / "runs" / "synthetic" / "latest"
    pipeline.distill(config)
    assert latest.resolve() == (tmp_path / folder).resolve()
    runfolder.point_to(folder.with_name("another"))
    pipeline.distill(config)  # which is finished
    assert latest.resolve() == (tmp_path / folder).resolve()


def test_evaluate_trains_nothing(copied, monkeypatch):
    shutil.rmtree(copied.out / "checkpoints" / "soft_label")
    with pytest.raises(InputError, match=r"soft_label x 2 seeds: .* holds no finished checkpoint"):
        commands.evaluate(copied)


def test_a_diverged_seed_has_no_score(tmp_path):
    """The teacher diverges: students that learn from it have no score either, those of the labels have."""
    teacher = dataclasses.replace(TEACHER, optim=OptimConfig(epochs=4, learning_rate=1e38))
    config = tiny(
        tmp_path, teacher=teacher, student=STUDENT, seeds=1, methods=("supervised", "soft_label"), max_epochs=2
    )
    pipeline.distill(config)
    found = {r["method"]: r for r in records(config)}
    for name in ("teacher", "soft_label"):
        assert found[name]["diverged"] in (1, 2)
        assert (
            found[name]["test_accuracy"] is found[name]["val_accuracy"] is found[name]["test_accuracy_best_val"] is None
        )
    assert "diverged" not in found["supervised"]
    assert 0.0 <= found["supervised"]["test_accuracy"] <= 1.0
    assert [path.name for path in (config.out / "students").glob("*/seed_0")] == ["seed_0"]  # that of the labels
    for line in read_json_lines(config.out / "metrics.jsonl"):
        json.dumps(line, allow_nan=False)
    assert runfolder.read_results(config.out)["complete"]
