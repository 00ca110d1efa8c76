"""Stored outputs of a teacher: read, checked against the data, written; and runs that learn from them."""

import dataclasses
import logging

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pipeline_samples import STUDENT, TEACHER, TEACHER_PARAMETERS, contents, tiny
from problem_samples import graph_dataset, several_dataset, targets_dataset

from abkd_jax.cli import commands
from abkd_jax.configs.options import BatchConfig, RunConfig
from abkd_jax.datasets.files.atomic import read_json
from abkd_jax.inference import serving
from abkd_jax.run import pipeline
from abkd_jax.run.data import prepare_data
from abkd_jax.run.given_teachers import given_teacher
from abkd_jax.run.identity import source_of
from abkd_jax.run.program import select_seed
from abkd_jax.run.records import parameter_counts
from abkd_jax.run.resolve import resolve
from abkd_jax.run.teacher_outputs import read_outputs, save_outputs
from abkd_jax.run.teachers import check_hiddens, teacher_of
from abkd_jax.types import GNNOutput, InputError

ROWS = np.random.default_rng(0)
LOGITS, HIDDEN = (ROWS.normal(size=(300, width)) for width in (3, 5))


pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def data():
    return prepare_data("synthetic")


def written(folder, name="teacher.npz", **arrays):
    np.savez(folder / name, **arrays)
    return folder / name


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def test_what_is_written_is_read(data, tmp_path):
    output = GNNOutput(LOGITS.astype(np.float32), (HIDDEN.astype(np.float16), LOGITS))
    save_outputs(tmp_path / "t.npz", output, data, 70)
    found, parameters = read_outputs(tmp_path / "t.npz", data)
    assert parameters == 70
    assert_array_equal(found.logits, output.logits)
    assert [h.dtype for h in found.hiddens] == [np.float32] * 2
    assert_array_equal(found.hiddens[0], output.hiddens[0].astype(np.float32))
    with np.load(tmp_path / "t.npz") as arrays:
        assert str(arrays["fingerprint"]) == data.identity.fingerprint


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_probabilities_are_read_as_logits_that_give_them(data, tmp_path, task):
    if task == "classification":
        p = softmax(LOGITS)
        found, _ = read_outputs(written(tmp_path, probabilities=p), data)
        assert_allclose(softmax(found.logits), p, atol=1e-6)
        return
    several = prepare_data(several_dataset())
    p = 1.0 / (1.0 + np.exp(-LOGITS[:40, :2]))
    found, _ = read_outputs(written(tmp_path, probabilities=p), several)
    assert_allclose(found.logits, LOGITS[:40, :2], rtol=1e-4, atol=1e-5)


def without_row(array, row=7):
    changed = array.copy()
    changed[row] = np.nan
    return changed


FOREIGN = {
    "fewer rows": ({"logits": LOGITS[:-1]}, "logits has 299 rows, expected 300, the nodes of synthetic"),
    "other classes": ({"logits": np.ones((300, 4))}, "logits of 4 classes, expected 3 as synthetic has"),
    "a missing row": ({"logits": without_row(LOGITS)}, "logits: 1 rows are not finite, the first is 7"),
    "a missing hidden row": ({"logits": LOGITS, "hidden_0": without_row(HIDDEN)}, "hidden_0: 1 rows are not finite"),
    "beyond float32": ({"logits": LOGITS * 1e300}, "logits: 300 rows are not finite, the first is 0"),
    "hidden rows": ({"logits": LOGITS, "hidden_0": HIDDEN[1:]}, "hidden_0 has 299 rows, expected 300"),
    "no logits": ({"hidden_0": HIDDEN}, "arrays are hidden_0, expected either logits or probabilities"),
    "both": ({"logits": LOGITS, "probabilities": softmax(LOGITS)}, "expected either logits or probabilities"),
    "a misspelt layer": ({"logits": LOGITS, "hiddens_0": HIDDEN}, "arrays are hiddens_0, logits, expected"),
    "layers from 1": ({"logits": LOGITS, "hidden_1": HIDDEN}, "no hidden_0, expected the 1 hidden layers"),
    "classes for logits": ({"logits": np.zeros(300, np.int64)}, "logits is int64 (300,), expected floats [300, width]"),
    "another graph": (
        {"logits": LOGITS, "fingerprint": np.array("0" * 16)},
        "of fingerprint 0000000000000000, expected",
    ),
    "no probabilities": ({"probabilities": LOGITS}, "expected 0 to 1"),
    "half of them": ({"probabilities": softmax(LOGITS) / 2}, "probabilities of row "),
    "a bad size": ({"logits": LOGITS, "parameters": np.array(-3)}, "parameters are array(-3), expected one whole"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_outputs_of_other_data_are_refused_in_one_line(data, tmp_path, case):
    arrays, message = FOREIGN[case]
    path = written(tmp_path, **arrays)
    with pytest.raises(InputError) as caught:
        read_outputs(path, data)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_probabilities_are_no_real_targets(tmp_path):
    with pytest.raises(InputError, match="a task of real targets, expected logits"):
        read_outputs(written(tmp_path, probabilities=np.full((40, 2), 0.5)), prepare_data(targets_dataset()))


def test_damaged_files_leave_no_folder(tmp_path):
    whole = written(tmp_path, logits=LOGITS).read_bytes()
    for name, content in {"cut.npz": whole[:-40], "text.npz": b"logits", "missing.npz": None, "t.csv": whole}.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            pipeline.distill(tiny(tmp_path, teacher_outputs=(path,)))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def outputs_of(teacher):
    return select_seed(teacher.models.variables, 0)["outputs"]


def test_an_ensemble_is_the_mean_of_the_probabilities(data, tmp_path):
    others = [written(tmp_path, f"{i}.npz", logits=40 * i * LOGITS, hidden_0=HIDDEN * i) for i in (1, 2)]
    ensemble = given_teacher(data, others, 3)
    assert_allclose(
        softmax(outputs_of(ensemble).logits), (softmax(40 * LOGITS) + softmax(80 * LOGITS)) / 2, rtol=1e-4, atol=1e-6
    )
    assert_allclose(outputs_of(ensemble).hiddens[1], 2 * HIDDEN, rtol=1e-6)
    several = prepare_data(several_dataset())
    one, two = LOGITS[:40, :2].astype(np.float32), LOGITS[40:80, :2].astype(np.float32)
    sigmoid = lambda x: 1.0 / (1.0 + np.exp(-x))  # noqa: E731
    mean = outputs_of(given_teacher(several, [one, two], 1)).logits
    assert_allclose(sigmoid(mean), (sigmoid(one) + sigmoid(two)) / 2, rtol=1e-5)
    real = outputs_of(given_teacher(prepare_data(targets_dataset()), [one, two], 1)).logits
    assert_allclose(real, (one + two) / 2, rtol=1e-6)


def test_rows_in_another_order_are_a_warning(data, tmp_path, caplog):
    right = np.eye(3, dtype=np.float32)[data.dataset.labels]
    with caplog.at_level(logging.WARNING, "abkd_jax"):
        given_teacher(data, right, 1)
        assert not caplog.records
        given_teacher(data, written(tmp_path, logits=np.roll(right, 1, axis=1)), 1)
    (record,) = caplog.records
    assert "teacher.npz: the teacher's accuracy on the training labels is 0.0000, that of a constant" in record.message


def test_logits_alone_do_for_methods_that_compare_no_layers(data, tmp_path):
    path = written(tmp_path, logits=LOGITS)
    with pytest.raises(InputError, match="logits alone, but abkd compare hidden layers: expected hidden_0"):
        pipeline.distill(tiny(tmp_path, teacher_outputs=(path,), methods=("soft_label", "abkd")))
    assert not (tmp_path / "run").exists()
    check_hiddens(data, given_teacher(data, LOGITS, 1), ())


def test_rows_of_graphs_and_of_their_nodes(tmp_path):
    """Outputs of a graph-level teacher: logits of graphs, layers of nodes; one row more is the padding of the batch."""
    rings = prepare_data(graph_dataset(), batches=BatchConfig(kind="graphs", size=8))
    nodes = rings.dataset.features.shape[0]
    found = outputs_of(given_teacher(rings, (LOGITS[:36, :1], [ROWS.normal(size=(nodes, 4))]), 1))
    assert (found.logits.shape, found.hiddens[0].shape) == ((37, 1), (nodes + 1, 4))
    with pytest.raises(InputError, match="logits has 37 rows, expected 36, the graphs of rings"):
        given_teacher(rings, LOGITS[:37, :1], 1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on the digits that learned from a file, which the command `teacher` could have written."""
    root = tmp_path_factory.mktemp("digits")
    digits = prepare_data("digits")
    labels = np.eye(10, dtype=np.float32)[digits.dataset.labels]
    path = root / "teacher.npz"
    save_outputs(path, GNNOutput(3.0 * labels, (labels @ ROWS.normal(size=(10, 6)),)), digits)
    changes = {"dataset": "digits", "teacher_outputs": (path,), "methods": ("soft_label",), "max_epochs": 3, "seeds": 1}
    config = tiny(root, **changes, student=dataclasses.replace(STUDENT, hidden=3))
    pipeline.distill(config)
    return config


def test_a_run_knows_no_more_than_the_outputs(finished):
    results = read_json(finished.out / "results.json")
    teachers = [record for record in results["records"] if record["method"] == "teacher"]
    assert [record["test_accuracy"] for record in teachers] == [1.0]
    unknown = ("parameters", "latency_ms", "compression", "seconds")
    assert all(record[key] is None for record in teachers for key in unknown)
    students = [record for record in results["records"] if record["method"] == "soft_label"]
    assert all(record["compression"] is None and record["parameters"] > 0 for record in students)
    assert students[0]["teacher_weights"] == teachers[0]["weights"]
    row = next(line for line in (finished.out / "report.md").read_text().splitlines() if line.startswith("| teacher"))
    assert [cell.strip() for cell in row.split("|")[5:9]] == ["-", "-", "-", "-"]
    assert str(finished.teacher_outputs[0]) not in (finished.out / "config.json").read_text()
    assert "teacher" not in read_json(finished.out / "config.json")


def test_the_same_file_resumes_and_another_is_refused(finished, tmp_path, monkeypatch):
    before = contents(finished.out)
    moved = tmp_path / "moved.npz"
    moved.write_bytes(finished.teacher_outputs[0].read_bytes())
    pipeline.distill(dataclasses.replace(finished, teacher_outputs=(moved,)))
    assert {k: v for k, v in contents(finished.out).items() if "finished" not in k} == {
        k: v for k, v in before.items() if "finished" not in k
    }
    digits = prepare_data("digits")
    save_outputs(moved, GNNOutput(np.eye(10, dtype=np.float32)[digits.dataset.labels], ()), digits)
    with pytest.raises(InputError, match=r"holds a run of another config: teacher_outputs"):
        pipeline.distill(dataclasses.replace(finished, teacher_outputs=(moved,)))


def test_evaluate_prints_what_is_known(finished, capsys, monkeypatch):
    monkeypatch.setattr(serving, "QUERIES", 1)
    monkeypatch.setattr(serving, "BATCHES", 1)
    assert commands.evaluate(finished) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("teacher")]
    assert rows[0] == ["teacher", "100.00", "100.00", "100.00", "100.00", "1.000", "-", "-"]
    assert rows[1] == ["teacher", *["-"] * 10]


def test_saved_outputs_of_teachers_make_their_ensemble(data, tmp_path):
    config = resolve(tiny(tmp_path, teacher_ensemble=2))
    plain = RunConfig(**{f.name: getattr(config, f.name) for f in dataclasses.fields(RunConfig)})
    assert commands.train_teacher(dataclasses.replace(plain, teacher_ensemble=1), tmp_path / "out_{seed}.npz") == 0
    files = [tmp_path / f"out_{seed}.npz" for seed in (0, 1)]
    one, saved, own = given_teacher(data, files[0], 1), given_teacher(data, files, 2), teacher_of(data, config)
    assert own.source == source_of(config)
    assert saved.models.module.parameters == 2 * one.models.module.parameters == 2 * TEACHER_PARAMETERS
    assert parameter_counts(own.models.module, select_seed(own.models.variables, 1)) == (2 * TEACHER_PARAMETERS, 0)
    found = jax.jit(own.models.module.apply)(select_seed(own.models.variables, 1), data.batch.graph)
    assert len(found.hiddens) == 2 * TEACHER.model.layers
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(outputs_of(saved)), strict=True):
        assert_allclose(a, b, rtol=1e-4, atol=1e-5)
