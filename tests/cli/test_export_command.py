"""The command `export`: it says which student it wrote and what that is worth; `predict` takes what it wrote."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from cli_samples import printed
from export_samples import bundle_of, graphs_of
from pipeline_samples import tiny

from abkd_jax import datasets
from abkd_jax.cli import parser
from abkd_jax.inference import bundle as bundles
from abkd_jax.inference.predict import logits, probabilities
from abkd_jax.run import pipeline
from abkd_jax.run.identity import fingerprint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder of two students that read the synthetic graph; the second has the better validation score."""
    data, sample = datasets.load("synthetic"), bundle_of("mlp")
    card = {"data": {"name": "synthetic", "split": 0, "fingerprint": fingerprint(data)}}
    rng = np.random.default_rng(0)
    for seed, score in ((0, 0.25), (1, 0.75)):
        params = {
            f"dense_{layer}": {
                "kernel": rng.normal(size=shape).astype(np.float32),
                "bias": np.zeros(shape[1], np.float32),
            }
            for layer, shape in enumerate([(32, 4), (4, 3)])
        }
        student = dataclasses.replace(
            sample,
            inputs=bundles.inputs_of(data),
            variables={"params": params},
            card={**card, "seed": seed, "val_accuracy": score},
        )
        bundles.save(student, tmp_path / "students" / "abkd" / f"seed_{seed}")
    return tmp_path


@pytest.mark.usefixtures("unchecked")
def test_the_best_seed_is_exported_measured_and_predicts(run: Path, capsys: pytest.CaptureFixture[str]):
    out = printed(capsys, "export", run, "--precision", "int8")
    folder = run / "students" / "abkd" / "seed_1"
    assert out.startswith(f"student: {folder}, by its validation score\n")
    path = folder / "exported" / "model.int8.stablehlo"
    assert out.splitlines()[-1] == str(path)
    rows = json.loads(path.with_name("card.json").read_text())["files"][path.name]["measured"]
    assert [row["precision"] for row in rows] == ["float32", "int8"]
    assert f"{100 * rows[1]['score']:.2f}" in out
    assert rows[1]["weight_bytes"] < rows[0]["weight_bytes"]
    words = ("predict", "--graph", "synthetic", "--nodes", "7", "3", "--model")
    found, wanted = (printed(capsys, *words, model).splitlines() for model in (path, folder))
    assert found[0] == wanted[0]
    for line, other in zip(found[1:], wanted[1:], strict=True):
        assert line.split(",")[0] == other.split(",")[0]
        np.testing.assert_allclose(
            np.array(line.split(",")[2:], float), np.array(other.split(",")[2:], float), atol=0.05
        )


@pytest.mark.usefixtures("unchecked")
def test_graphs_are_predicted_by_the_identifiers_of_their_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    student, data = bundle_of("gin_graphs"), graphs_of("gin_graphs")[0]
    wanted = probabilities(student.task, logits(student, data))
    path = datasets.save_npz(data._replace(graphs=np.array([2, 0, 7])), tmp_path / "mine.npz")
    words = ("predict", "--model", bundles.save(student, tmp_path / "student"), "--graph", path)
    for nodes, rows in (((), {"2": 0, "0": 1, "7": 2}), (("--nodes", "7", "2"), {"7": 2, "2": 0})):
        lines = [line.split(",") for line in printed(capsys, *words, *nodes).splitlines()[1:]]
        assert [line[0] for line in lines] == list(rows)
        found = np.array([line[2:] for line in lines], np.float32)
        np.testing.assert_allclose(found, wanted[list(rows.values())], rtol=1e-5, atol=1e-6)


REFUSALS = {
    "a seed that is not there": (("--seed", "5"), "seed 5, expected one of 0, 1"),
    "a method that is not there": (("--method", "fitnet"), "method is fitnet, expected one of abkd"),
    "a graph that is not there": (("--graph", "nothing.npz"), "nothing.npz"),
    "int8 for PyTorch Geometric": (("--format", "pyg", "--precision", "int8"), "expected float32"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_cannot_be_exported_is_refused_in_one_line(refusal: str, run: Path):
    words, message = REFUSALS[refusal]
    before = sorted(run.rglob("*"))
    with pytest.raises(SystemExit) as caught:
        parser.main(["export", str(run), *words])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(run.rglob("*")) == before


@pytest.mark.usefixtures("unchecked")
def test_without_the_data_of_the_run_it_is_exported_unmeasured(run: Path, capsys: pytest.CaptureFixture[str]):
    folder = run / "students" / "abkd" / "seed_0"
    student = bundles.load(folder)
    bundles.save(dataclasses.replace(student, card={"data": {"name": "elsewhere"}}), folder)
    out = printed(capsys, "export", folder, "--out", run / "new")
    assert out.splitlines()[4].split()[-2:] == ["-", "-"]
    assert (run / "new" / "model.stablehlo").is_file()


@pytest.mark.usefixtures("unchecked")
def test_classes_of_another_file_are_told_by_name(run: Path, capsys: pytest.CaptureFixture[str]):
    folder, data = run / "students" / "abkd" / "seed_0", datasets.load("synthetic")
    student = dataclasses.replace(bundles.load(folder), classes=("a", "b", "c"))
    bundles.save(student, folder)
    known, tested = data.labels > 0, data.test_mask & (data.labels > 0)
    masks = {f"{part}_mask": getattr(data, f"{part}_mask") & known for part in ("train", "val", "test")}
    other = data._replace(labels=np.where(known, 2 - data.labels, -1).astype(np.int32), num_classes=2, **masks)
    path = datasets.save_npz(other._replace(classes=("c", "b")), run / "other.npz")
    right = logits(student, data).argmax(axis=1) == data.labels
    shown = printed(capsys, "export", folder, "--graph", path).splitlines()[4].split()[-2]
    assert shown == f"{100 * right[tested].mean():.2f}"
    datasets.save_npz(other._replace(classes=("c", "d")), path)
    with pytest.raises(SystemExit, match="other: 'd' among its labels, expected those of the model: a, b, c"):
        parser.main(["export", str(folder), "--graph", str(path)])


@pytest.mark.usefixtures("unchecked")
def test_it_is_measured_on_the_own_file_of_the_run_while_that_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path, student = tmp_path / "mine.npz", tmp_path / "run" / "students" / "supervised" / "seed_0"
    datasets.save_npz(datasets.load("synthetic"), path)
    run = pipeline.distill(tiny(tmp_path, dataset=str(path), methods=("supervised",), seeds=1))
    score = bundles.load(student).card["test_accuracy"]
    for folder in (run, student):  # the folder of the run, or that of the student
        assert printed(capsys, "export", folder).splitlines()[4].split()[-2] == f"{100 * score:.2f}"
    datasets.save_npz(datasets.load("synthetic", seed=1), path)
    for lost in (False, True):
        if lost:
            path.unlink()
        assert printed(capsys, "export", run).splitlines()[4].split()[-2] == "-"
