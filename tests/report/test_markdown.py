"""The report of a run: whole, partial, diverged and damaged runs, and the files they are read from."""

import math
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from report_samples import TEST, cells, diverged, full_results, log, maps, pixels, record, regression_records, write_run

from abkd_jax.datasets.files import atomic
from abkd_jax.run.report import canvas, figures, markdown, statistics
from abkd_jax.types import InputError
from experiments import run

STORED = Path(__file__).resolve().parents[2] / "experiments" / "results"


def test_roc_auc_is_not_called_accuracy(tmp_path):
    write_run(tmp_path, results={"dataset": "ogbg-molbace", "records": [record("abkd", 0, 0.75, metric="ROC-AUC")]})
    text = markdown.write_report(tmp_path).read_text()
    assert cells(text, "abkd")[1] == "75.00"
    assert "test ROC-AUC %" in text
    assert "## ROC-AUC" in text
    assert "accuracy" not in text.lower()


def test_a_report_that_cannot_be_written_is_one_line(tmp_path):
    write_run(tmp_path, results=full_results())
    (tmp_path / "report.md").mkdir()
    with pytest.raises(InputError, match=f"^{tmp_path}: the report cannot be written: Is a directory$"):
        markdown.write_report(tmp_path)


def test_comparisons_of_errors_say_that_lower_is_better(tmp_path):
    write_run(tmp_path, results={"dataset": "ogbg-molesol", "records": regression_records()})
    text = markdown.write_report(tmp_path).read_text()
    section = text[text.index("## Paired") :]
    assert cells(section, "abkd")[2] == "+0.55 +- 0.21"  # 0.4 and 0.7 more error than supervised
    assert "percent" not in text
    assert "negative differences are better" in section.replace("\n", " ")
    assert "## RMSE" in text


def test_before_and_after_of_a_study_of_errors(tmp_path):
    logged = [("a", 0, 0, -3.0), ("a", 1, 0, -2.0), ("a", 0, 5, -1.5), ("a", 1, 5, None), ("teacher", 0, 1, -1.0)]
    metrics = [{"method": m, "seed": s, "epoch": e, "val_accuracy": v} for m, s, e, v in logged]
    write_run(tmp_path, results={"complete": True, "records": regression_records()}, metrics=metrics)
    header, _, row = run._before_and_after(tmp_path).splitlines()
    assert "validation RMSE" in header
    assert "%" not in header
    assert row.split() == ["a", "2.5", "1.5"]


def test_after_training_is_the_last_epoch_of_each_seed(tmp_path):
    logged = [(0, 0, 0.1), (1, 0, 0.3), (0, 10, 0.9), (1, 10, 0.4), (1, 20, 0.5)]
    metrics = [{"method": "a", "seed": s, "epoch": e, "val_accuracy": v} for s, e, v in logged]
    write_run(tmp_path, results=full_results(), metrics=metrics)
    assert run._before_and_after(tmp_path).splitlines()[-1].split() == ["a", "20.00", "70.00"]


def test_write_report_of_a_full_run(tmp_path):
    metrics = [row for method in TEST for row in log(method, 2, dissimilarity=1e-3)]
    write_run(tmp_path, results=full_results(), metrics=metrics, arrays=maps())
    path = markdown.write_report(tmp_path)
    assert path == tmp_path / "report.md"
    text = path.read_text()
    for fact in ("cora", "0123abc", "one CPU core", "jax 0.10.2, flax 0.12.8", "Seeds: 0, 1, 2, 3\n"):
        assert fact in text
    for number in ("73.85 +- 1.39", "+0.55 +- 0.44", "-10.55 +- 1.27", "3 -> 0.0015", " collapsed |", "0.07 -> 0.055"):
        assert number in text
    assert "not complete" not in text
    for name in ("learning_curves.png", "attention_abkd.png", "dissimilarity_abkd.png"):
        assert f"]({name})" in text
        image = pixels((tmp_path / name).read_bytes())
        assert min(image.shape[:2]) > 200
        assert image.std() > 0.05  # not blank
    assert not list(tmp_path.glob(".*"))  # no temporary file is left


def test_write_report_of_one_method_and_one_seed(tmp_path):
    results = full_results() | {"complete": False, "records": [record("abkd", 0, 0.8)]}
    write_run(tmp_path, results=results, metrics=log("abkd", 1), arrays=maps(seeds=1))
    text = markdown.write_report(tmp_path).read_text()
    assert "not complete" in text
    assert "Paired" not in text
    assert "80.00 |" in text
    assert "nan" not in text


def test_write_report_of_a_killed_run(tmp_path):
    write_run(tmp_path, metrics=log("teacher", 2))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"method": "teacher", "seed": 1, "epo')
    text = markdown.write_report(tmp_path).read_text()
    assert "No method has finished yet." in text
    assert "learning_curves.png" in text
    assert "Commit: unknown" in text
    assert "Gradient shares" not in text


def test_write_report_without_logs(tmp_path):
    write_run(tmp_path, results={"dataset": "cora"})
    text = markdown.write_report(tmp_path).read_text()
    assert "cora" in text
    assert "Figures" not in text


def test_write_report_of_a_run_with_diverged_seeds(tmp_path):
    """Bare NaN in the logs, as the first versions wrote it, and null both stand for what is not finite."""
    records = [record("abkd", 0, 0.8), diverged("abkd", 1, 10), diverged("fitnet", 0, 5)]
    metrics = log("abkd", 2) + log("fitnet", 1)
    for row in metrics:
        if row["method"] == "fitnet" or row["seed"] == 1:
            row |= {"loss": math.nan, "val_loss": None, "val_accuracy": 99.0}
    write_run(tmp_path, results={"dataset": "cora", "records": records}, metrics=metrics, arrays=maps())
    assert "NaN" in (tmp_path / "metrics.jsonl").read_text()
    text = markdown.write_report(tmp_path).read_text()
    assert "- abkd, seed 1: diverged at epoch 10, left out of all means" in text
    assert "- fitnet, seed 0: diverged at epoch 5, left out of all means" in text
    assert cells(text[: text.index("## Collapse")], "abkd")[-1] == "2 (1 diverged)"
    assert "2 -> 0.5" in text  # D of the seed that finished
    assert "nan" not in text.lower()
    assert markdown.DIVERGED_NOTE in text


def test_maps_of_diverged_seeds_are_not_drawn(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "layer_maps", lambda epochs, values, quantity, data: drawn.update({quantity: values}))
    monkeypatch.setattr(figures, "png", lambda figure: b"")
    monkeypatch.setattr(markdown, "write_atomic", lambda path, content: None)
    write_run(tmp_path, results={"records": [record("abkd", 0, 0.8), diverged("abkd", 1, 10)]}, arrays=maps())
    markdown.write_report(tmp_path)
    assert np.isfinite(drawn["attention"][:, 0]).all()
    assert np.isnan(drawn["attention"][:, 1]).all()


DATA = {"name": "ogbn-arxiv", "source": "Open Graph Benchmark", "fingerprint": "a1b2", "split": "by year"}


COUNTS = {"nodes": 169343, "edges": 1166243, "features": 128, "outputs": 40, "train": 9, "validation": 5, "test": 6}


@pytest.mark.parametrize(
    ("more", "title"),
    [
        ({}, "ogbn-arxiv"),
        ({"source": "OGB; files differ from the published ones: edge.csv"}, "ogbn-arxiv (not the published data)"),
        ({"source": "OGB, stand-in features (spectral)"}, "ogbn-arxiv (stand-in features)"),
        ({"source": "generated in the layout of OGB"}, "ogbn-arxiv (generated data)"),
        (None, "ogbn-arxiv"),
    ],
)
def test_the_title_and_the_figures_tell_data_that_is_not_the_published_one(tmp_path, monkeypatch, more, title):
    footers = []
    monkeypatch.setattr(figures, "footer", lambda figure, *parts: footers.append(parts))
    data = {} if more is None else {"data": {**DATA, "counts": COUNTS, **more}}
    records = [record("teacher", 0, 0.6) | data, record("abkd", 0, 0.5) | data]
    write_run(tmp_path, results={"dataset": "ogbn-arxiv", "records": records}, metrics=log("teacher", 1))
    text = markdown.write_report(tmp_path).read_text()
    assert text.splitlines()[0] == f"# Distillation on {title}"
    assert footers == [(title, "1 seed")]
    if more is not None:
        assert f"- Source: {data['data']['source']}\n- Fingerprint: a1b2\n- Counts: nodes 169,343, edges" in text
        assert "- Split: by year" in text


def test_the_heading_lists_every_commit_with_what_it_made(tmp_path):
    def made(commit: str, date: str, **more: object) -> dict:
        return {
            "provenance": {"commit": commit, "hardware": "one core", "versions": {"jax": "1"}, "date": date, **more}
        }

    records = [
        record("teacher", 0, 0.9) | made("abc", "2026-01-02"),
        record("abkd", 0, 0.8) | made("abc", "2026-01-03"),
    ]
    records += [record("abkd", 1, 0.8) | made("def", "2026-02-01", versions={"jax": "2"}), record("old", 0, 0.7)]
    about = {"dataset": "cora", "commit": "000", "hardware": "one core", "versions": {"jax": "1"}}
    write_run(tmp_path, results={**about, "records": records})
    lines = markdown.write_report(tmp_path).read_text().splitlines()
    assert "- Commit: abc [teacher, abkd seed 0]; def [abkd seed 1]; 000 [old]" in lines
    assert "- Hardware: one core" in lines
    assert "- Versions: jax 1 [teacher, abkd seed 0, old]; jax 2 [abkd seed 1]" in lines
    assert "- Date: 2026-01-02 to 2026-02-01" in lines


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("results.json", "[]", "expected a JSON object with the records of a run"),
        ("results.json", '{"records": {}}', "expected a JSON object with the records of a run"),
        ("results.json", '{"records": [{"method": "abkd"}]}', "record 0: expected method, seed and test_accuracy"),
        ("results.json", '{"records": [{"method": "a", "seed": 0, "test_accuracy": 1, "data": 3}]}', "data is 3"),
        ("metrics.jsonl", '{"method": "abkd", "seed": 0}\n', "line 1: expected method, seed, epoch .* a bad epoch"),
        ("metrics.jsonl", '{"method": "a", "seed": 0, "epoch": 1, "loss": "low"}\n', "line 1: .* got a bad loss"),
    ],
)
def test_write_report_refuses_content_of_another_kind(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        markdown.write_report(tmp_path)


@pytest.mark.parametrize("folder", sorted(STORED.glob("*/results.json")), ids=lambda path: path.parent.name)
def test_stored_studies_can_be_reported(folder):
    stored = atomic.read_json(folder)["records"]
    if "fold" not in stored[0]:  # folds repeat the seed
        assert markdown.table(statistics.summarise(stored), "github") in (folder.parent / "report.md").read_text()


def test_write_report_needs_a_run(tmp_path):
    with pytest.raises(InputError, match="expected the folder of a run"):
        markdown.write_report(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["results.json", "maps.npz"])
def test_write_report_names_the_damaged_file(tmp_path, name):
    write_run(tmp_path, results=full_results(), arrays=maps())
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=f"{name}: expected .* damaged"):
        markdown.write_report(tmp_path)
    assert not (tmp_path / "report.md").exists()


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("abkd:attention", np.full((3, 1, 2, 2), "a"), r"abkd:attention is <U1 .*, expected real numbers on 4 axes"),
        ("abkd:attention", np.zeros((3, 2, 2)), "expected real numbers on 4 axes"),
        ("abkd:epochs", np.zeros(3), "abkd:epochs is float64 .*, expected whole numbers on 1 axes"),
    ],
)
def test_write_report_refuses_maps_of_another_kind(tmp_path, key, values, message):
    write_run(tmp_path, arrays=maps() | {key: values})
    with pytest.raises(InputError, match=message):
        markdown.write_report(tmp_path)


def test_importing_the_report_loads_no_plotting():
    modules = "abkd_jax.run.report.markdown, abkd_jax.inference.evaluation"
    code = f"import sys, {modules}; print({{'matplotlib', 'scipy.stats'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "set()"


# --- files


def test_write_atomic_keeps_the_old_file_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    atomic.write_atomic(path, "old ±\n")
    assert path.read_bytes() == "old ±\n".encode()
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        atomic.write_atomic(path, b"new")
    assert path.read_bytes() == "old ±\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_threads_that_write_one_file_leave_one_of_their_texts(tmp_path, monkeypatch):
    path, flush = tmp_path / "results.json", os.fsync
    both = threading.Barrier(2, timeout=60)

    def together(file: int) -> None:
        flush(file)
        both.wait()

    monkeypatch.setattr(os, "fsync", together)
    texts = ["1" * 100, "22"]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda text: atomic.write_atomic(path, text), texts)) == [None, None]
    assert path.read_text() in texts
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_read_json_names_the_file(tmp_path):
    path = tmp_path / "results.json"
    with pytest.raises(InputError, match=r"results\.json: cannot read this file: No such file"):
        atomic.read_json(path)
    path.write_text('{"a": ')
    with pytest.raises(InputError, match=r"results\.json: expected a JSON file, but it is damaged"):
        atomic.read_json(path)
    path.write_text('{"a": [1]}')
    assert atomic.read_json(path) == {"a": [1]}


@pytest.mark.parametrize("tail", [b"", b'{"a": 2', b"\xff\x00", b"3", b'{"a": 2\n'])
def test_read_json_lines_ignores_a_torn_last_line(tmp_path, tail):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"a": 1}\n' + tail)
    assert atomic.read_json_lines(tmp_path / "metrics.jsonl") == [{"a": 1}]


def test_read_json_lines_rejects_damage_in_the_middle(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"a": 1}\n{"a"\n{"a": 3}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: expected one JSON object per line"):
        atomic.read_json_lines(tmp_path / "metrics.jsonl")


def test_read_arrays_loads_no_pickle(tmp_path):
    np.savez(tmp_path / "maps.npz", a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"maps\.npz: expected an npz file of arrays"):
        atomic.read_arrays(tmp_path / "maps.npz")


def test_without_matplotlib_the_report_has_no_figures_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_run(tmp_path, results=full_results(), metrics=log("abkd", 2), arrays=maps())
    text = markdown.write_report(tmp_path).read_text()
    assert caplog.messages == [f"{tmp_path}: report.md has no figures: {canvas.MISSING}"]
    assert text.endswith(f"## Figures\n\nThere are none: {canvas.MISSING}\n")
    assert not list(tmp_path.glob("*.png"))
    with pytest.raises(InputError, match=r"^figures need matplotlib, .*: pip install 'abkd_jax\[report\]'$"):
        figures.learning_curves(log("abkd", 2))
