"""The command line: the commands, and one clear line for everything that can be wrong."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from cli_samples import printed, refused
from layout_samples import write_gnn_benchmark
from pipeline_samples import OPTIONS, TEACHER_OPTIONS, contents
from problem_samples import graph_dataset, typed_dataset

from abkd_jax import compress, datasets, load
from abkd_jax.cli import commands, parser
from abkd_jax.configs import names, presets
from abkd_jax.datasets.files import download
from abkd_jax.datasets.files.atomic import read_arrays
from abkd_jax.inference import serving
from abkd_jax.types import InputError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Options of a finished run of three students, one of them of another model."""
    root = tmp_path_factory.mktemp("cli")
    run = [
        *OPTIONS,
        f"--out={root}/run",
        f"--teachers={root}/teachers",
        "--methods",
        "supervised",
        "soft_label",
        "glnn",
    ]
    parser.main(["distill", *run])
    return root / "run", run


def test_a_set_outside_the_list_is_distilled_by_its_rules(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands.runfolder, "write_report", lambda path: (path / "report.md").write_text(""))
    write_gnn_benchmark(tmp_path)
    small = (
        "--teacher.model.layers=2",
        "--teacher.model.name=mlp",
        "--student.name=mlp",
        "--student.layers=2",
        "--max-epochs=2",
    )
    run = ("distill", "--dataset=gnn_benchmark:dblp", f"--data-root={tmp_path}", "--teachers=t", "--methods=supervised")
    parser.main([*run, *small])
    said = capsys.readouterr()
    assert (
        "settings by rule: classification on 104 nodes, 104 edges, 40 for training: GCNII 64 x 64 to 4 x 4" in said.err
    )
    (folder,) = (path for path in (tmp_path / "runs" / "dblp").iterdir() if path.name != "latest")
    results = json.loads((folder / "results.json").read_text())
    assert (results["dataset"], results["data"]["name"]) == ("dblp", "dblp")
    assert {record["dataset"] for record in results["records"]} == {"dblp"}
    assert (tmp_path / "t" / "dblp").is_dir()
    before = contents(folder)
    parser.main([*run, *small, "-q"])
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "syntetic"], "did you mean 'synthetic'?"),
        ([*OPTIONS, "--student.hidden", 0], "--student.hidden is 0"),
        ([*OPTIONS, "--student.readout", "sum"], "--student.readout is sum"),
        ([*OPTIONS, "--student.heads", 2], "it has no option heads"),
        ([*OPTIONS, "--teacher.model.layers", 0], "--teacher.model.layers is 0"),
        ([*OPTIONS, "--abkd.temperature", 0], "--abkd.temperature is 0.0"),
        ([*OPTIONS, "--abkd.axes", 0], "--abkd.axes is 0"),
        ([*OPTIONS, "--methods", "glnn", "--glnn.student.hidden", 0], "--glnn.student.hidden is 0"),
        ([*OPTIONS, "--methods", "gsp", "--gsp.auxiliary-max-nodes", 0], "--gsp.auxiliary-max-nodes is 0"),
        ([*OPTIONS, "--methods", "glnn", "--glnn.start", "attention_map"], "not mlp of gcnii"),
        ([*OPTIONS, "--student.hidden", 9, "--abkd.start", "attention_map"], "got 9 and 8 units"),
        ([*OPTIONS, "--student.hidden", 9, "--abkd.start", "teacher_directions"], "got 9 and 8 units"),
        ([*OPTIONS, "--seeds", 0], "--seeds is 0"),
        ([*OPTIONS, "--max-epochs", 0], "--max-epochs is 0"),
        ([*OPTIONS, "--abkd.optim.learning-rate", -1], "--abkd.optim.learning-rate is -1.0"),
        ([*OPTIONS, "--soft-label.task-weight", "nan"], "--soft-label.task-weight is nan"),
        ([*OPTIONS, "--teacher.optim.patience", -1], "--teacher.optim.patience is -1"),
        ([*OPTIONS, "--methods", "abkd", "abkd"], "each named once"),
        ([*OPTIONS, "--methods", "abdk"], "did you mean abkd?"),
        ([*OPTIONS, "--methods", "GCRD"], "did you mean gcrd?"),
        ([*OPTIONS, "--methods", "kdr"], "or module:function; did you mean krd?"),
        ([*OPTIONS, "--methods", "krd", "--krd.temperature", 0], "--krd.temperature is 0.0"),
        ([*OPTIONS, "--methods", "gsp", "--krd.dim", 3], "--krd.dim: krd has options where --methods names it"),
        ([*OPTIONS, "--methods", "gsp", "--sedds", 3], "--sedds is no option here"),
        ([*OPTIONS, "--methods", "nowhere:loss"], "nowhere:loss: there is no module nowhere"),
        ([*OPTIONS, "--methods", "mine:quiet"], "mine:quiet would be called quiet, which is taken"),
        ([*OPTIONS, "--methods", "mine:gsp"], "would be called gsp, which is taken; expected another function, or gsp"),
        ([*OPTIONS, "--methods", "one:loss", "two:loss"], "two:loss would be called loss, which is taken"),
        ([*OPTIONS, "--methods", "one:"], "'one:' names no loss, expected module:function"),
        (["--dataset", "ogbg-molbace", "--batches.kind", "full"], "labels graphs: --batches.kind is full"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_settings_are_one_line_and_touch_nothing(capsys, tmp_path, options, message):
    line = refused(capsys, "distill", *options, f"--out={tmp_path}/run", f"--teachers={tmp_path}/teachers")
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (
            typed_dataset,
            "graphs",
            "labels nodes: --batches.kind is graphs, expected full, neighbours, walks or clusters",
        ),
        (graph_dataset, "neighbours", "labels graphs: --batches.kind is neighbours, expected graphs"),
    ],
    ids=["nodes", "graphs"],
)
def test_the_kind_of_batches_is_compared_with_an_own_graph_first(capsys, tmp_path, make, kind, message):
    path = tmp_path / "own.npz"
    datasets.save_npz(make(), path)
    for command in ("distill", "teacher"):
        line = refused(capsys, command, "--dataset", path, "--batches.kind", kind)
        assert line.startswith(f"abkd_jax {command}: {path} {message}")
    config = presets.distill_config(str(path), datasets.facts(str(path)))
    batches = dataclasses.replace(config.batches, kind=kind)
    with pytest.raises(InputError, match=message):
        compress(path, config=dataclasses.replace(config, batches=batches))


def test_missing_files_say_where_they_belong(capsys, tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(download._OPENER, "open", unreachable)
    line = refused(capsys, "distill", "--dataset", "cora", f"--data-root={tmp_path}", f"--out={tmp_path}/run")
    assert "cannot be downloaded (no network)" in line
    assert f"{tmp_path}/planetoid" in line
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folders_are_named(capsys, tmp_path):
    (tmp_path / "file").write_text("here first")
    below = tmp_path / "file" / "x"
    line = refused(capsys, "distill", *OPTIONS, f"--out={below}", f"--teachers={tmp_path}/teachers")
    assert line == f"abkd_jax distill: run folder {below} cannot be written: Not a directory"
    line = refused(capsys, "teacher", *TEACHER_OPTIONS, f"--teachers={below}")
    assert f"checkpoint folder {below}" in line
    assert (tmp_path / "file").read_text() == "here first"


def test_another_config_in_the_folder_names_the_setting(capsys, finished):
    folder, run = finished
    before = contents(folder)
    line = refused(capsys, "distill", *run, "--student.hidden", 5)
    assert "student.hidden is 4 there, 5 here" in line
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["config.json", "results.json"])
@pytest.mark.parametrize("damage", ['{"records": [', "[]", '{"records": 3, "complete": true}'])
@pytest.mark.parametrize("command", ["distill", "evaluate"])
def test_damaged_files_are_named_and_kept(capsys, finished, name, damage, command):
    folder, run = finished
    whole = (folder / name).read_text()
    (folder / name).write_text(damage)
    try:
        assert str(folder) in refused(capsys, command, *run)
        assert (folder / name).read_text() == damage
    finally:
        (folder / name).write_text(whole)


def test_evaluate_needs_a_run_with_these_methods(capsys, finished, tmp_path):
    assert "holds no results of teacher, " in refused(capsys, "evaluate", *OPTIONS, f"--out={tmp_path}")
    _, run = finished
    others = ["digits" if part == "synthetic" else part for part in run]
    assert "holds a run on synthetic, expected --dataset as there, not digits" in refused(capsys, "evaluate", *others)
    assert "holds no results of abkd: " in refused(capsys, "evaluate", *run[:-3], "supervised", "abkd")


def test_distill_again_prints_the_table_at_once(capsys, finished):
    folder, run = finished
    parser.main(["distill", *run])
    said = capsys.readouterr()
    assert said.out.index("teacher") < said.out.index("supervised") < said.out.index("soft_label")
    assert str(folder) in said.out
    assert "training s: with the compilation of the program" in said.out
    assert said.err == "distill synthetic: starting\n"


def test_evaluate_prints_a_row_a_method(capsys, monkeypatch, finished):
    monkeypatch.setattr(serving, "QUERIES", 2)
    monkeypatch.setattr(serving, "BATCHES", 1)
    folder, run = finished
    scores, _, latency, _ = printed(capsys, "evaluate", *run).split("\n\n")
    rows = {line.split()[0]: line.split()[1:] for line in scores.splitlines()}
    records = json.loads((folder / "results.json").read_text())["records"]
    for method in ("teacher", "supervised", "soft_label", "glnn"):
        mine = [record for record in records if record["method"] == method]
        assert float(rows[method][2]) == pytest.approx(50 * sum(r["test_accuracy"] for r in mine), abs=0.006)
        assert rows[method][5] == f"{mine[0]['parameters']:,}"
    assert rows["teacher"][3:5] == ["100.00", "1.000"]  # it agrees with itself
    assert [line.split()[0] for line in latency.splitlines()[2:]] == list(rows)[2:]
    assert "## Latency" in (folder / "report.md").read_text()


def test_evaluate_counts_as_distill_does_with_node_embeddings_beside(capsys, monkeypatch, finished):
    monkeypatch.setattr(commands, "parameter_counts", lambda module, variables: (1234, 5678))
    monkeypatch.setattr(commands, "_time", lambda run: None)
    scores, footnote = printed(capsys, "evaluate", *finished[1]).split("\n\n")
    assert "parameters    node embeddings    MFLOP" in scores.splitlines()[0]
    for row in scores.splitlines()[2:]:
        assert row.split()[-3:-1] == ["1,234", "5,678"]
    assert footnote.startswith("means over 2 seeds; ")
    assert "parameters: without learned node embeddings" in footnote


def test_predict_prints_or_writes_what_the_student_says(capsys, finished, tmp_path):
    folder, _ = finished
    options = ["predict", "--model", folder, "--method", "supervised", "--graph", "synthetic"]
    rows = [line.split(",") for line in printed(capsys, *options, "-q", "--nodes", 7, 299, 7).splitlines()]
    assert rows[0] == ["node", "predicted", "class_0", "class_1", "class_2"]
    assert [row[0] for row in rows[1:]] == ["7", "299", "7"]
    expected = load(folder, "supervised").predict("synthetic")
    np.testing.assert_array_equal(np.array([row[2:] for row in rows[1:]], np.float32), expected[[7, 299, 7]])
    assert [row[1] for row in rows[1:]] == [f"class_{k}" for k in expected[[7, 299, 7]].argmax(axis=1)]
    (tmp_path / "nodes.txt").write_text("299, 0\n7\n")
    for suffix in ("csv", "npz", "parquet"):
        options[2] = folder / "students" / "supervised" / f"seed_{load(folder, 'supervised').card['seed']}"
        own = [option for option in options if option not in ("--method", "supervised")]
        printed(capsys, *own, "--nodes", tmp_path / "nodes.txt", "--out", tmp_path / f"out.{suffix}")
    written = read_arrays(tmp_path / "out.npz")
    assert written["nodes"].tolist() == [299, 0, 7]
    np.testing.assert_array_equal(written["values"], expected[[299, 0, 7]])
    for table in (pd.read_csv(tmp_path / "out.csv"), pd.read_parquet(tmp_path / "out.parquet")):
        assert table["node"].tolist() == [299, 0, 7]
        assert table["predicted"].tolist() == written["predicted"].tolist()
        np.testing.assert_array_equal(table[list(written["names"])].to_numpy(np.float32), expected[[299, 0, 7]])


def test_predict_reads_a_graph_without_labels_and_knows_its_nodes_by_name(capsys, finished, tmp_path):
    data = datasets.load("synthetic")
    names = np.array([f"node {k}" for k in range(300)])
    arrays = {"senders": names[data.senders], "receivers": names[data.receivers]}
    np.savez(tmp_path / "mine.npz", features=data.features, node_ids=names, **arrays)
    folder, _ = finished
    options = ["--model", folder, "--method", "supervised", "--graph", tmp_path / "mine.npz", "-q"]
    rows = [
        line.split(",") for line in printed(capsys, "predict", *options, "--nodes", "node 7", "node 0").splitlines()
    ]
    assert [row[0] for row in rows[1:]] == ["node 7", "node 0"]
    expected = load(folder, "supervised").predict(data, np.array([7, 0]))
    np.testing.assert_array_equal(np.array([row[2:] for row in rows[1:]], np.float32), expected)
    assert "no node 7 in the graph, expected an identifier" in refused(capsys, "predict", *options, "--nodes", "7")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no method is named, expected one of glnn, soft_label, supervised"),
        (["--method", "abkd"], "method is abkd, expected one of glnn, "),
        (["--method", "glnn", "--seed", 2], "seed 2, expected one of 0, 1"),
        (["--method", "glnn", "--out", "x.txt"], "x.txt: suffix is .txt, expected one of .csv, .npz, .parquet"),
        (["--method", "glnn", "--out", "no/x.csv"], "no/x.csv: no folder no, expected one that exists"),
        (["--method", "glnn", "--nodes", 300], "nodes: no node 300 in the graph, expected 0 to 299"),
        (["--method", "glnn", "--nodes", "x"], "nodes: 'x' is none, expected whole numbers"),
        (["--method", "glnn", "--nodes", "empty"], "empty: no node in it, expected one a line"),
        (["--method", "glnn", "--graph", "digits"], "node features have shape (1797, 64), expected [nodes, 32]"),
        (["--method", "glnn", "--graph", "sintetic"], "did you mean 'synthetic'?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_prediction_that_cannot_be_made_is_one_line(capsys, finished, monkeypatch, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("\n")
    assert message in refused(capsys, "predict", "--model", finished[0], "--graph", "synthetic", *options)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_teacher_prints_a_row_a_seed(capsys, finished):
    folder, run = finished
    teachers = next(option for option in run if option.startswith("--teachers="))
    parser.main(["teacher", *TEACHER_OPTIONS, teachers, "--quiet"])
    out, said = capsys.readouterr()
    assert said == ""
    records = json.loads((folder / "results.json").read_text())["records"]
    for record in records[:2]:
        row = next(line.split() for line in out.splitlines() if line.split()[:1] == [str(record["seed"])])
        assert float(row[1]) == pytest.approx(100 * record["test_accuracy"], abs=0.006)


def test_datasets_are_listed_for_a_terminal_of_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    listing, layouts, root = printed(capsys, "datasets", "--data-root=/nowhere").split("\n\n")
    lines = listing.splitlines()
    assert max(map(len, [*lines, *layouts.splitlines()])) <= 80
    assert all(f"{layout}:NAME (" in layouts for layout in names.LAYOUTS)
    assert tuple(line.split()[0] for line in lines if not line.startswith(" ")) == datasets.names()
    assert len(lines) <= 3 * len(datasets.names())
    text = " ".join(listing.split())
    assert "20/30/rest of each class [embedded]" in text
    assert "[7 files missing in planetoid/; downloads itself]" in text
    assert "[1 file missing in gnn_benchmark/]" in text
    assert root == "data root (--data-root, or $ABKD_JAX_DATA): /nowhere\n"


@pytest.mark.parametrize("name", [["synthetic"], ["--dataset", "synthetic"]])
def test_a_data_set_is_described(capsys, name):
    described = printed(capsys, "datasets", *name)
    assert "stochastic block model" in described
    assert "60 / 90 / 150" in described


def test_names_of_data_sets_are_known_without_the_readers():
    assert datasets.names() == presets.DATASETS


def test_a_model_that_diverged_is_in_the_exit_status(capsys, monkeypatch, finished):
    folder, run = finished
    results = json.loads((folder / "results.json").read_text())
    results["records"][3]["diverged"] = 5
    monkeypatch.setattr(commands.runfolder, "read_results", lambda _: results)
    monkeypatch.setattr(commands.pipeline, "distill", lambda _: folder)
    with pytest.raises(SystemExit) as caught:
        parser.main(["distill", *run, "-q"])
    assert caught.value.code == 3
    said = capsys.readouterr()
    assert said.err == "abkd_jax: error: 1 of 8 models diverged: supervised seed 1 at epoch 5\n"
    assert "supervised" in said.out
