"""The whole job on the embedded graph: what the run folder holds, and that nothing in it is ever lost."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pipeline_samples import EPOCHS, OPTIONS, STUDENT_PARAMETERS, TEACHER, TEACHER_PARAMETERS, contents, tiny

from abkd_jax.configs.options import OptimConfig
from abkd_jax.datasets.files.atomic import read_arrays, read_json, read_json_lines
from abkd_jax.models import build
from abkd_jax.run import lanes, pipeline, program
from abkd_jax.run.data import prepare_data
from abkd_jax.run.resolve import resolve, with_starts
from abkd_jax.run.teachers import teacher_folder, train_teachers
from abkd_jax.training import checkpoint
from abkd_jax.types import InputError

METHODS = ("teacher", "supervised", "soft_label", "abkd", "abkd_paper")
TIMES = ("seconds", "latency_ms", "provenance")  # a provenance holds the date


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The config of a finished run of all methods, whose students start plainly: so their losses fall."""
    config = tiny(tmp_path_factory.mktemp("finished"))
    plain = {name: dataclasses.replace(getattr(config, name), start="positive") for name in config.methods}
    config = dataclasses.replace(config, **plain, fitnet=plain["soft_label"])  # to be added: a program built already
    assert pipeline.distill(config) == config.out
    return config


@pytest.fixture(scope="module")
def data():
    return prepare_data("synthetic", None)


def test_every_method_and_seed_has_a_record(finished):
    results = read_json(finished.out / "results.json")
    assert results["complete"] is True
    assert [(r["method"], r["seed"]) for r in results["records"]] == [(m, seed) for m in METHODS for seed in (0, 1)]
    for record in results["records"]:
        parameters = TEACHER_PARAMETERS if record["method"] == "teacher" else STUDENT_PARAMETERS
        assert record["parameters"] == parameters
        assert record["compression"] == pytest.approx(TEACHER_PARAMETERS / parameters)
        assert record["dataset"] == "synthetic"
        assert record["seconds"] > 0.0
        assert record["latency_ms"] > 0.0
        assert record["epochs"] == EPOCHS or (record["method"] == "teacher" and 1 <= record["epochs"] <= EPOCHS)


def test_finished_models_are_read_without_a_program(finished, monkeypatch):
    """Nothing is started and no epoch 0 is evaluated: their histories hold it."""

    def refuse(*arguments, **options):
        raise AssertionError("a finished program has nothing to start")

    monkeypatch.setattr(program, "fit", refuse)
    monkeypatch.setattr(lanes, "vmap_seeds", refuse)
    histories = {name: trained.history for name, _, trained in pipeline.read_finished(resolve(finished)).models}
    assert tuple(histories) == METHODS
    lines = [line for line in read_json_lines(finished.out / "metrics.jsonl") if line["method"] == "abkd"]
    read = histories["abkd"]
    assert read["epoch"][0].tolist() == [0, 0]
    of_seed_1 = [line["loss"] for line in lines if line["seed"] == 1]
    assert read["loss"][read["recorded"][:, 1], 1].tolist() == pytest.approx(of_seed_1)
    assert histories["teacher"]["epoch"][0, 0] > 0


def test_checkpoints_without_an_epoch_0_have_it_evaluated(finished, monkeypatch):
    """As those of older versions."""
    names = ("soft_label", "abkd")
    some = resolve(dataclasses.replace(finished, methods=names))
    known = {name: trained.history for name, _, trained in pipeline.read_finished(some).models}
    monkeypatch.setattr(program, "kept", lambda history: {})
    again = {name: trained.history for name, _, trained in pipeline.read_finished(some).models}
    for name in names:
        assert again[name].keys() == known[name].keys()
        for key, values in known[name].items():
            assert_allclose(again[name][key], values, rtol=1e-5, atol=1e-7, err_msg=key)


def test_accuracies_are_those_of_the_stored_parameters(finished, data):
    """Recomputed with NumPy from the parameters on disk."""
    records = read_json(finished.out / "results.json")["records"]
    stored = {name: models for name, _, models in pipeline.read_finished(resolve(finished)).models}
    labels = data.dataset.labels
    for record in records:
        run, seed = stored[record["method"]], record["seed"]
        model = build(finished.teacher.model if record["method"] == "teacher" else finished.student, 3)
        predict = jax.jit(lambda p, graph, model=model: model.apply(p, graph).logits)
        last, best = (
            np.asarray(predict(jax.tree.map(lambda x, s=seed: x[s], p), data.batch.graph)).argmax(axis=1) == labels
            for p in (run.variables, run.best_variables)
        )
        assert record["test_accuracy"] == pytest.approx(last[data.dataset.test_mask].mean(), abs=1e-6)
        assert record["val_accuracy"] == pytest.approx(last[data.dataset.val_mask].mean(), abs=1e-6)
        assert record["test_accuracy_best_val"] == pytest.approx(best[data.dataset.test_mask].mean(), abs=1e-6)


def test_metrics_hold_every_evaluation_and_fall(finished):
    lines = read_json_lines(finished.out / "metrics.jsonl")
    counts = Counter((line["method"], line["seed"]) for line in lines)
    every = math.gcd(EPOCHS, 10)
    assert counts == {(m, seed): EPOCHS if m == "teacher" else 1 + EPOCHS // every for m in METHODS for seed in (0, 1)}
    assert all(math.isfinite(value) for line in lines for value in line.values() if not isinstance(value, str))
    for method in METHODS:
        losses = [line["loss"] for line in lines if line["method"] == method and line["seed"] == 0]
        assert losses[-1] < losses[0]
    assert all("abkd/dissimilarity" in line for line in lines if line["method"].startswith("abkd"))


def test_every_evaluation_says_what_drives_the_student(finished):
    for line in read_json_lines(finished.out / "metrics.jsonl"):
        shares = {name: value for name, value in line.items() if name.startswith("gradient_share/")}
        expected = {f"gradient_share/{term}" for term in ("soft_label", "abkd")}
        assert shares.keys() == (expected if line["method"].startswith("abkd") else set())  # the others have one term
        assert not shares or sum(shares.values()) == pytest.approx(1.0, abs=1e-5)
        assert all(0.0 < value < 1.0 for value in shares.values())
    assert "## Gradient shares" in (finished.out / "report.md").read_text()


def test_records_agree_with_the_metrics(finished):
    lines = read_json_lines(finished.out / "metrics.jsonl")
    for record in read_json(finished.out / "results.json")["records"]:
        mine = [line for line in lines if (line["method"], line["seed"]) == (record["method"], record["seed"])]
        at = next(line for line in mine if line["epoch"] == record["epochs"])
        assert record["val_accuracy"] == pytest.approx(at["val_accuracy"], abs=1e-6)
        if record["method"] == "teacher":
            assert at["val_loss"] == min(line["val_loss"] for line in mine)


def test_layer_maps_are_kept(finished):
    maps = read_arrays(finished.out / "maps.npz")
    names = ("attention", "dissimilarity", "epochs", "unexplained")
    assert sorted(maps) == sorted(f"{m}:{n}" for m in ("abkd", "abkd_paper") for n in names)
    assert maps["abkd:attention"].shape == (len(maps["abkd:epochs"]), 2, 4, 2)  # evaluations, seeds, T_l, S_l
    assert_allclose(maps["abkd:attention"].sum(axis=-1), 1.0, rtol=1e-5)  # a row is one teacher layer
    assert maps["abkd:epochs"][0] == 0
    assert maps["abkd:epochs"][-1] == EPOCHS


def test_report_and_figures_are_there(finished):
    report = (finished.out / "report.md").read_text()
    assert all(method in report for method in METHODS)
    figures = {path.name for path in finished.out.glob("*.png")}
    assert {"learning_curves.png", "attention_abkd.png", "dissimilarity_abkd.png"} <= figures
    assert all(f"({name})" in report for name in figures)


def test_same_command_again_trains_nothing_and_changes_nothing(finished, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a finished program was trained again")

    monkeypatch.setattr(checkpoint, "save", refuse)
    before, teachers = contents(finished.out), contents(finished.teachers)
    stamps = {path: path.stat().st_mtime_ns for path in finished.teachers.rglob("*") if path.is_file()}
    pipeline.distill(finished)
    after = contents(finished.out)
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name] and not name.endswith(".png")] == []
    assert contents(finished.teachers) == teachers
    assert stamps == {path: path.stat().st_mtime_ns for path in finished.teachers.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"max_epochs": 6}, "teacher.optim.epochs is 12 there, 6 here"),
        ({"student": dataclasses.replace(TEACHER.model, dropout=0.0)}, "student.layers is 2 there, 4 here"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(finished, change, line):
    before = contents(finished.out)
    with pytest.raises(InputError) as caught:
        pipeline.distill(dataclasses.replace(finished, **change))
    assert line in str(caught.value)
    assert "fitnet" not in str(caught.value)  # which does not run
    assert "\n" not in str(caught.value)
    assert contents(finished.out) == before


def test_methods_can_be_added_and_none_is_lost(copied):
    first = read_json(copied.out / "results.json")["records"]
    lines = (copied.out / "metrics.jsonl").read_text()
    for wanted in ("fitnet", "supervised"):
        pipeline.distill(dataclasses.replace(copied, methods=(wanted,)))
        results = read_json(copied.out / "results.json")
        assert list(dict.fromkeys(r["method"] for r in results["records"])) == [*METHODS, "fitnet"]
        assert results["records"][: len(first)] == first  # times included
        assert results["complete"] is True
        assert (copied.out / "metrics.jsonl").read_text().startswith(lines)


def test_methods_by_name_have_their_losses_and_their_own_students(finished, tmp_path):
    names = ("gcrd", "glnn")
    config = tiny(tmp_path, teachers=finished.teachers, methods=names, max_epochs=EPOCHS)
    pipeline.distill(config)
    records = read_json(config.out / "results.json")["records"]
    assert [(r["method"], r["seed"]) for r in records] == [(m, seed) for m in ("teacher", *names) for seed in (0, 1)]
    perceptron = (32 * 128 + 128) + (128 * 3 + 3)
    for record in records[2:]:
        parameters = perceptron if record["method"] == "glnn" else STUDENT_PARAMETERS
        assert record["parameters"] == parameters
        assert record["compression"] == pytest.approx(TEACHER_PARAMETERS / parameters)
    logged = {line["method"]: line for line in read_json_lines(config.out / "metrics.jsonl")}
    assert math.isfinite(logged["gcrd"]["gcrd/loss"])
    assert [key for key in logged["glnn"] if key.endswith("/loss")] == ["soft_label/loss"]


def test_stop_while_reading_back_loses_no_record(copied, monkeypatch):
    before = contents(copied.out)
    train = pipeline.train_students

    def stop(*arguments, **options):
        if arguments[1].name == "soft_label":
            raise KeyboardInterrupt
        return train(*arguments, **options)

    monkeypatch.setattr(pipeline, "train_students", stop)
    with pytest.raises(KeyboardInterrupt):
        pipeline.distill(dataclasses.replace(copied, methods=("supervised", "soft_label", "fitnet")))
    assert contents(copied.out) == before


def test_teacher_has_its_own_folder_by_config_seed_and_data(finished, data):
    folders = [
        teacher_folder(finished.teachers, data.identity, config, seed)
        for config in (TEACHER, dataclasses.replace(TEACHER, model=dataclasses.replace(TEACHER.model, dropout=0.4)))
        for seed in (0, 1)
    ]
    folders.append(teacher_folder(finished.teachers, data.identity._replace(fingerprint="other"), TEACHER, 0))
    assert len(set(folders)) == 5
    capped = resolve(finished).teacher
    assert teacher_folder(finished.teachers, data.identity, capped, 0).is_dir()


def test_teacher_is_the_best_epoch_of_its_history(finished, data):
    teachers = train_teachers(data, resolve(finished).teacher, 2, finished.teachers)
    assert list(teachers.epochs) == list(teachers.history["val_loss"].argmin(axis=0) + 1)
    assert not np.allclose(*teachers.variables["params"]["input"]["kernel"], atol=1e-2)


def test_unwritable_teachers_are_found_before_training(finished, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("trained before it looked")

    monkeypatch.setattr(program, "fit", refuse)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/teachers.* cannot be written"):
        pipeline.distill(dataclasses.replace(finished, out=tmp_path / "run", teachers=tmp_path / "file" / "teachers"))


def test_cap_leaves_evaluations_that_divide_the_epochs(tmp_path):
    config = resolve(tiny(tmp_path, max_epochs=25))
    assert (config.teacher.optim.epochs, config.teacher.optim.eval_every) == (25, 1)
    assert (config.abkd.optim.epochs, config.abkd.optim.eval_every) == (25, 5)
    uncapped = with_starts(tiny(tmp_path, max_epochs=None), TEACHER.model)
    assert resolve(uncapped) == uncapped
    assert resolve(dataclasses.replace(uncapped, max_epochs=10**6)).abkd == uncapped.abkd
    odd = dataclasses.replace(uncapped.abkd, optim=OptimConfig(epochs=301, eval_every=10))
    assert resolve(dataclasses.replace(uncapped, abkd=odd)).abkd.optim.eval_every == 1


# Killed --------------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from abkd_jax.cli import parser
from abkd_jax.training import resume
resume.SAVE_EVERY = 0.0
parser.main(sys.argv[1:])
"""
# Ten chunks for the students, each with a checkpoint.
LONG = ["--max-epochs", "200", "--methods", "soft_label", "--soft-label.optim.eval-every", "1"]


def command(root):
    folders = [f"--out={root}/run", f"--teachers={root}/teachers"]
    return [sys.executable, "-c", SCRIPT, "distill", *OPTIONS, *LONG, *folders]


def environment(cache):
    """Compiled once for all processes; the settings of the other tests do not apply."""
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return kept | {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def steps(folder, pattern):
    return [int(path.name) for path in folder.glob(pattern) if path.name.isdigit()]


def kill_at(root, env, pattern):
    """Starts the run and kills it once a checkpoint matches."""
    with (root / "log").open("w") as log, subprocess.Popen(command(root), stdout=log, stderr=log, env=env) as process:
        while not steps(root, pattern):
            assert process.poll() is None, (root / "log").read_text()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert 0 < max(steps(root, pattern)) < 200  # in the middle


def test_killed_run_ends_at_the_same_numbers(tmp_path):
    """Killed in the students, run to the end: equal to a run that was left alone. Teachers train by the same loop."""
    env = environment(tmp_path / "compiled")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    kill_at(killed, env, "run/checkpoints/soft_label/*")
    assert read_json(killed / "run" / "results.json")["complete"] is False
    for root in (killed, whole):
        done = subprocess.run(command(root), env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def records(root):
        found = json.loads((root / "run" / "results.json").read_text())
        assert found["complete"] is True
        return [{k: v for k, v in record.items() if k not in TIMES} for record in found["records"]]

    assert len(records(whole)) == 4
    assert records(killed) == records(whole)
    assert (killed / "run" / "metrics.jsonl").read_bytes() == (whole / "run" / "metrics.jsonl").read_bytes()
    ours, theirs = (read_arrays(root / "run" / "maps.npz") for root in (killed, whole))
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert_array_equal(values, theirs[name])
