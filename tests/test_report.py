"""The report of a run: statistics against their definitions, partial and damaged runs, figures that show something."""

import io
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import scipy.stats
from matplotlib.image import imread

from abkd_jax import figures, files, report, results
from abkd_jax.types import InputError

TEST = {
    "teacher": (0.853, 0.850, 0.856, 0.853),
    "supervised": (0.740, 0.755, 0.721, 0.738),
    "soft_label": (0.842, 0.850, 0.845, 0.839),
    "abkd": (0.851, 0.849, 0.852, 0.846),
}
PARAMETERS = {"teacher": 354_000, "supervised": 5_900, "soft_label": 5_900, "abkd": 5_900}


def record(method: str, seed: int, test: float, **more: object) -> dict:
    record = {"dataset": "cora", "method": method, "seed": seed, "test_accuracy": test, "val_accuracy": test - 0.01}
    record |= {"test_accuracy_best_val": test - 0.002, "parameters": PARAMETERS.get(method, 5_900), "epochs": 20}
    record |= {"compression": 354_000 / record["parameters"], "seconds": 10.0 + seed, "latency_ms": 0.394}
    return record | more


def all_records() -> list[dict]:
    return [record(method, seed, test) for method, tests in TEST.items() for seed, test in enumerate(tests)]


def log(method: str, seeds: int, dissimilarity: float = 0.5) -> list[dict]:
    """Epochs 5, 10, ..., 20; D falls from 2 to `dissimilarity` in its last epoch, the other values likewise."""
    rows = []
    for seed, epoch in itertools.product(range(seeds), range(5, 21, 5)):
        row = {"method": method, "seed": seed, "epoch": epoch, "loss": 2.0 / epoch, "val_loss": 1.0 / epoch}
        row["val_accuracy"] = 0.5 + epoch / 100 + seed / 50
        if method == "abkd":
            d = {5: 2.0, 20: dissimilarity}.get(epoch, 1.0) * (1 + seed)
            row |= {
                "abkd/attended_dissimilarity": d,
                "abkd/attended_variance": d / 10,
                "abkd/attended_unexplained": 10.0,
                "abkd/row_entropy": d / 9,
                "gradient_share/soft_label": 1.0 - 0.1 / epoch - seed / 10,
                "gradient_share/abkd": 0.1 / epoch + seed / 10,
            }
        rows.append(row)
    return rows


def maps(seeds: int = 2, layers: tuple[int, int] = (6, 2)) -> dict[str, np.ndarray]:
    attention = np.random.default_rng(0).random((3, seeds, *layers))
    return {"abkd:epochs": np.array([0, 10, 20]), "abkd:attention": attention, "abkd:dissimilarity": 2 * attention}


def write_run(folder: Path, *, results: dict | None = None, metrics: list | None = None, arrays: dict | None = None):
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))
    if metrics is not None:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    if arrays is not None:
        np.savez(folder / "maps.npz", **arrays)


def full_results() -> dict:
    about = {"dataset": "cora", "complete": True, "commit": "0123abc", "hardware": "one CPU core", "config": {}}
    return about | {"versions": {"jax": "0.10.2", "flax": "0.12.8"}, "records": all_records()}


def pixels(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png))[..., :3]


# --- statistics


def test_summarise_by_hand():
    summaries = results.summarise(all_records())
    assert [s.method for s in summaries] == ["teacher", "supervised", "soft_label", "abkd"]
    supervised = summaries[1]
    assert supervised.seeds == 4
    assert supervised.test.mean == pytest.approx(0.7385)
    assert supervised.test.std == pytest.approx(math.sqrt((1.5**2 + 16.5**2 + 17.5**2 + 0.5**2) / 3) / 1000)
    assert supervised.val.mean == pytest.approx(0.7285)
    assert supervised.test_best_val.mean == pytest.approx(0.7365)
    assert (supervised.parameters, supervised.compression, supervised.latency_ms) == (5_900, 60.0, 0.394)
    assert supervised.seconds == 11.5


def test_summarise_a_single_seed_and_missing_facts():
    (summary,) = results.summarise([{"method": "abkd", "seed": 3, "test_accuracy": 0.8, "latency_ms": None}])
    assert summary == results.Summary("abkd", 1, results.Estimate(0.8, None), *[None] * 6)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"method": "abkd", "seed": 0}], "record 0: expected method, seed and test_accuracy, lacks test_accuracy"),
        ([record("abkd", 0, 0.8), record("abkd", 0, 0.7)], "expected one of abkd, seed 0, got two or more"),
    ],
)
def test_summarise_rejects(records, message):
    with pytest.raises(InputError, match=message):
        results.summarise(records)


def test_comparisons_against_the_definitions():
    rows = {row.method: row for row in results.comparisons(all_records(), "soft_label")}
    assert list(rows) == ["teacher", "supervised", "abkd"]
    d = np.array([9.0, -1.0, 7.0, 7.0]) / 1000  # abkd - soft_label
    mean, std = d.sum() / 4, math.sqrt(((d - d.sum() / 4) ** 2).sum() / 3)
    row = rows["abkd"]
    assert (row.baseline, row.pairs) == ("soft_label", 4)
    assert row.difference == pytest.approx((mean, std))
    assert row.t_p == pytest.approx(2 * scipy.stats.t.sf(mean / (std / 2), df=3))
    assert rows["supervised"].difference.mean == pytest.approx(-0.1055)
    # All four differences are negative: of the 16 equally likely signs only two are as extreme.
    assert rows["supervised"].wilcoxon_p == pytest.approx(2 / 16)


def test_wilcoxon_counts_sign_patterns_with_ties():
    differences, ranks = (0.004, -0.002, 0.006, 0.006, 0.003), (3, 1, 4.5, 4.5, 2)
    records = [record("supervised", seed, 0.7) for seed in range(5)]
    records += [record("abkd", seed, 0.7 + d) for seed, d in enumerate(differences)]
    (row,) = results.comparisons(records, "supervised")
    sums = [
        sum(r for r, keep in zip(ranks, signs, strict=True) if keep) for signs in itertools.product((0, 1), repeat=5)
    ]
    assert row.wilcoxon_p == pytest.approx(2 * sum(s <= 1 for s in sums) / 32)


def test_comparisons_use_common_seeds_only():
    records = [record("supervised", s, 0.7) for s in (0, 1, 2)]
    records += [record("abkd", s, 0.8 + s / 100) for s in (2, 1, 7)] + [record("soft_label", 9, 0.9)]
    (row,) = results.comparisons(records, "supervised")
    assert (row.method, row.pairs) == ("abkd", 2)
    assert row.difference.mean == pytest.approx(0.115)
    assert (row.t_p, row.wilcoxon_p) == (None, None)  # two pairs


@pytest.mark.parametrize(("shift", "wilcoxon"), [(0.0, None), (0.02, 0.25)])
def test_comparisons_of_equal_differences(shift, wilcoxon):
    base = (0.853, 0.551, 0.741)  # 0.873 - 0.853 and 0.571 - 0.551 differ in the last bits
    records = [record("supervised", s, a) for s, a in enumerate(base)]
    records += [record("abkd", s, round(a + shift, 3)) for s, a in enumerate(base)]
    (row,) = results.comparisons(records, "supervised")
    assert row.t_p is None
    assert row.wilcoxon_p == wilcoxon


def test_comparisons_without_the_baseline():
    with pytest.raises(InputError, match="expected the baseline 'fitnet' in the records, got teacher, supervised"):
        results.comparisons(all_records(), "fitnet")


def test_table_formats():
    text = report.table(results.summarise(all_records()), "github")
    header, _, teacher, supervised, *_ = text.splitlines()
    cells = [cell.strip() for cell in supervised.strip("|").split("|")]
    expected = ["supervised", "73.85 +- 1.39", "73.65 +- 1.39", "72.85 +- 1.39", "5,900", "60.0x", "0.394", "11.5", "4"]
    assert cells == expected
    assert "354,000" in teacher
    assert header.count("|") == len(expected) + 1
    assert "|" not in report.table(results.summarise(all_records()))
    assert "method" in report.table([])


def test_collapse_takes_first_and_last_epoch_of_each_seed():
    rows = results.collapse(log("supervised", 2) + log("abkd", 2, dissimilarity=0.5)[::-1])
    (row,) = rows
    assert row.method == "abkd"
    assert row.dissimilarity == pytest.approx((3.0, 0.75))  # means of 2, 4 and of 0.5, 1
    assert row.variance == pytest.approx((0.3, 0.075))
    assert row.unexplained == pytest.approx((10.0, 10.0))
    assert row.row_entropy == pytest.approx((1 / 3, 1 / 12))
    assert row.verdict == "no collapse"


@pytest.mark.parametrize(
    ("last", "verdict"), [(0.0199, "collapsed"), (0.0201, "no collapse"), (math.nan, "unknown"), (None, "unknown")]
)
def test_collapse_verdict(last, verdict):
    assert results.collapse(log("abkd", 1, dissimilarity=0.1))[0].verdict == "no collapse"
    d = None if last is None else results.Trend(2.0, last)
    assert results.Collapse("abkd", results.Trend(1.0, 1.0), d, None, None).verdict == verdict


def test_gradient_shares_take_first_and_last_epoch_of_each_seed():
    rows = results.gradient_shares(log("supervised", 2) + log("abkd", 2)[::-1])
    assert [row[:2] for row in rows] == [("abkd", "soft_label"), ("abkd", "abkd")]
    assert rows[0].share == pytest.approx((0.93, 0.945))  # of 0.98 and 0.88, of 0.995 and 0.895
    assert rows[1].share == pytest.approx((0.07, 0.055))
    assert results.gradient_shares(log("supervised", 1)) == []


# --- the report


def test_write_report_of_a_full_run(tmp_path):
    metrics = [row for method in TEST for row in log(method, 2, dissimilarity=1e-3)]
    write_run(tmp_path, results=full_results(), metrics=metrics, arrays=maps())
    path = report.write_report(tmp_path)
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
    text = report.write_report(tmp_path).read_text()
    assert "not complete" in text
    assert "Paired" not in text
    assert "80.00 |" in text
    assert "nan" not in text


def test_write_report_of_a_killed_run(tmp_path):
    write_run(tmp_path, metrics=log("teacher", 2))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"method": "teacher", "seed": 1, "epo')
    text = report.write_report(tmp_path).read_text()
    assert "No method has finished yet." in text
    assert "learning_curves.png" in text
    assert "Commit: unknown" in text
    assert "Gradient shares" not in text


def test_write_report_without_logs(tmp_path):
    write_run(tmp_path, results={"dataset": "cora"})
    text = report.write_report(tmp_path).read_text()
    assert "cora" in text
    assert "Figures" not in text


def test_write_report_needs_a_run(tmp_path):
    with pytest.raises(InputError, match="expected the folder of a run"):
        report.write_report(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["results.json", "maps.npz"])
def test_write_report_names_the_damaged_file(tmp_path, name):
    write_run(tmp_path, results=full_results(), arrays=maps())
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=f"{name}: expected .* damaged"):
        report.write_report(tmp_path)
    assert not (tmp_path / "report.md").exists()


# --- figures


def test_layer_maps_share_one_scale_from_zero():
    values = np.zeros((2, 1, 4, 2))
    values[0], values[1] = 0.5, 1.0
    image = pixels(figures.layer_maps(np.array([0, 9]), values, "attention"))
    middle = image[image.shape[0] // 2]
    for share in (0.5, 1.0):  # of the largest entry of all maps
        colour = matplotlib.colormaps["YlGnBu"](share)[:3]
        assert np.sum(np.all(np.abs(middle - colour) < 0.01, axis=1)) > 50  # pixels of one row of the figure


def test_layer_maps_of_zeros_nan_and_many_epochs():
    values = np.zeros((9, 2, 64, 4))
    values[:, 1] = np.nan
    assert pixels(figures.layer_maps(np.arange(9), values, "attention")).std() > 0.01


@pytest.mark.parametrize("shape", [(3, 1, 4, 2), (0, 1, 4, 2)])
def test_layer_maps_rejects(shape):
    with pytest.raises(InputError, match="layer_maps: expected"):
        figures.layer_maps(np.arange(min(shape[0], 2)), np.zeros(shape), "attention")


def test_maps_need_their_epochs():
    arrays = maps()
    del arrays["abkd:epochs"]
    with pytest.raises(InputError, match="expected abkd:epochs beside abkd:attention"):
        figures.run_figures([], arrays)


def test_learning_curves_survive_nan_and_uneven_seeds():
    rows = log("abkd", 2)
    rows[1] |= {"loss": math.nan}
    assert pixels(figures.learning_curves(rows[:-2])).std() > 0.01
    assert figures.run_figures([{"method": "abkd", "seed": 0, "epoch": 1}], {}) == []
    with pytest.raises(InputError, match="learning_curves: expected metrics with one of"):
        figures.learning_curves([])


def test_importing_the_report_loads_no_plotting():
    code = "import sys, abkd_jax.report, abkd_jax.evaluation; print({'matplotlib', 'scipy.stats'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "set()"


# --- files


def test_write_atomic_keeps_the_old_file_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    files.write_atomic(path, "old ±\n")
    assert path.read_bytes() == "old ±\n".encode()
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == "old ±\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_read_json_names_the_file(tmp_path):
    path = tmp_path / "results.json"
    with pytest.raises(InputError, match=r"results\.json: cannot read this file: No such file"):
        files.read_json(path)
    path.write_text('{"a": ')
    with pytest.raises(InputError, match=r"results\.json: expected a JSON file, but it is damaged"):
        files.read_json(path)
    path.write_text('{"a": [1]}')
    assert files.read_json(path) == {"a": [1]}


@pytest.mark.parametrize("tail", [b"", b'{"a": 2', b"\xff\x00", b"3", b'{"a": 2\n'])
def test_read_json_lines_ignores_a_torn_last_line(tmp_path, tail):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"a": 1}\n' + tail)
    assert files.read_json_lines(tmp_path / "metrics.jsonl") == [{"a": 1}]


def test_read_json_lines_rejects_damage_in_the_middle(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"a": 1}\n{"a"\n{"a": 3}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: expected one JSON object a line"):
        files.read_json_lines(tmp_path / "metrics.jsonl")


def test_read_arrays_loads_no_pickle(tmp_path):
    np.savez(tmp_path / "maps.npz", a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"maps\.npz: expected an npz file of arrays"):
        files.read_arrays(tmp_path / "maps.npz")
