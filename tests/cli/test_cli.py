"""The command line: help, the four commands, and one clear line for everything that can be wrong."""

import json
import logging
import os
import subprocess
import sys

import pytest
from pipeline_samples import OPTIONS, TEACHER_OPTIONS, contents

from abkd_jax import datasets
from abkd_jax.cli import commands, parser
from abkd_jax.configs import presets
from abkd_jax.datasets.files import download
from abkd_jax.inference import serving

COMMANDS = ("teacher", "distill", "evaluate", "datasets")


def printed(capsys, *arguments):
    """Standard output of a command that succeeds."""
    parser.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def refused(capsys, *arguments):
    """The one line with which a command ends; `sys.exit` writes it to stderr and makes the status 1."""
    with pytest.raises(SystemExit) as caught:
        parser.main([str(argument) for argument in arguments])
    line = caught.value.code
    assert isinstance(line, str)
    assert line.startswith(f"abkd_jax {arguments[0]}: ")
    assert "\n" not in line
    assert "Traceback" not in capsys.readouterr().err
    return line


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        parser.main([*arguments, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


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


def test_help_lists_the_commands(capsys):
    text = help_of(capsys)
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_its_defaults(capsys, command):
    text = " ".join(help_of(capsys, command).split())
    assert ("--seeds INT Number of seeds" in text.replace("│ ", "")) == (command != "datasets")
    assert all(option in text for option in ("--data-root", "-q, --quiet", "-v, --verbose", "(default: 0)"))


def test_defaults_are_those_of_the_data_set(capsys):
    twice = ["--dataset=digits", "--dataset", "cora"]  # the last one counts
    for arguments, layers in ((["--dataset", "cora"], 64), (["--dataset=synthetic"], 16), ([], 16), (twice, 64)):
        lines = help_of(capsys, "distill", *arguments).split("--teacher.model.layers", 1)[1]
        assert f"(default: {layers})" in lines.split("--teacher.model.hidden", 1)[0]


def test_a_method_with_a_student_of_its_own_has_options_for_it(capsys):
    text = help_of(capsys, "distill")
    assert "--glnn.student.hidden" in text
    assert "--soft-label.student" not in text
    assert all(method in " ".join(text.split()) for method in ("fitnet, attention_transfer, lsp, gsp, gcrd", "glnn"))


def test_bad_option_names_it_and_exits_with_two(capsys):
    with pytest.raises(SystemExit) as caught:
        parser.main(["distill", "--seeds", "three"])
    assert caught.value.code == 2
    assert "seeds" in capsys.readouterr().err


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
        (["--dataset", "ogbg-molbace", "--batches.kind", "full"], "labels graphs: --batches.kind is full"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_settings_are_one_line_and_touch_nothing(capsys, tmp_path, options, message):
    line = refused(capsys, "distill", *options, f"--out={tmp_path}/run", f"--teachers={tmp_path}/teachers")
    assert message in line
    assert list(tmp_path.iterdir()) == []


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
    assert "holds no results of abkd: " in refused(capsys, "evaluate", *run[:-3], "supervised", "abkd")


def test_distill_again_prints_the_table_at_once(capsys, finished):
    folder, run = finished
    parser.main(["distill", *run])
    said = capsys.readouterr()
    assert said.out.index("teacher") < said.out.index("supervised") < said.out.index("soft_label")
    assert str(folder) in said.out
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
    listing, root = printed(capsys, "datasets", "--data-root=/nowhere").split("\n\n")
    lines = listing.splitlines()
    assert max(map(len, lines)) <= 80
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


def test_completion_is_for_this_program_and_offers_names(capsys):
    with pytest.raises(SystemExit):
        parser.main(["--tyro-print-completion", "bash"])
    script = capsys.readouterr().out
    assert "\ncomplete -F _tyro_abkd_jax abkd-jax\n" in script
    assert not any(line.startswith("complete") and "python" in line for line in script.splitlines())
    assert repr(list(datasets.names())) in script
    assert repr(["supervised", "soft_label", "abkd"])[1:-1] in script


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


def test_interrupt_is_one_line(capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(parser, "_run", interrupt)
    with pytest.raises(SystemExit) as caught:
        parser.main(["distill", "-q"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "abkd_jax distill: interrupted; the same command goes on from here\n"
    assert logging.getLogger("abkd_jax").handlers == []


def test_a_fault_of_the_machine_is_one_line(capsys, monkeypatch):
    def run(_):
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
    def run(_):
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
