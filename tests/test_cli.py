"""The command line: help, the four commands, and one clear line for everything that can be wrong."""

import json

import pytest
from pipeline_samples import OPTIONS, TEACHER_OPTIONS, contents

from abkd_jax import cli
from abkd_jax.datasets import download

COMMANDS = ("teacher", "distill", "evaluate", "datasets")


def printed(capsys, *arguments):
    """Standard output of a command that succeeds."""
    cli.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def refused(capsys, *arguments):
    """The one line with which a command ends; `sys.exit` writes it to stderr and makes the status 1."""
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    line = caught.value.code
    assert isinstance(line, str)
    assert line.startswith(f"abkd_jax {arguments[0]}: ")
    assert "\n" not in line
    assert "Traceback" not in capsys.readouterr().err
    return line


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, "--help"])
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
    cli.main(["distill", *run])
    return root / "run", run


def test_help_lists_the_commands(capsys):
    text = help_of(capsys)
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_its_defaults(capsys, command):
    text = " ".join(help_of(capsys, command).split())
    assert "--seeds" in text
    assert "(default: 3)" in text


def test_defaults_are_those_of_the_data_set(capsys):
    for arguments, layers in ((["--dataset", "cora"], 64), (["--dataset=synthetic"], 16), ([], 16)):
        lines = help_of(capsys, "distill", *arguments).split("--teacher.model.layers", 1)[1]
        assert f"(default: {layers})" in lines.split("--teacher.model.hidden", 1)[0]


def test_a_method_with_a_student_of_its_own_has_options_for_it(capsys):
    text = help_of(capsys, "distill")
    assert "--glnn.student.hidden" in text
    assert "--soft-label.student" not in text
    assert all(method in " ".join(text.split()) for method in ("fitnet, attention_transfer, lsp, gsp, gcrd", "glnn"))


def test_bad_option_names_it_and_exits_with_two(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["distill", "--seeds", "three"])
    assert caught.value.code == 2
    assert "seeds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "syntetic"], "did you mean 'synthetic'?"),
        ([*OPTIONS, "--student.hidden", 0], "hidden width is 0"),
        ([*OPTIONS, "--student.readout", "sum"], "readout is sum"),
        ([*OPTIONS, "--student.heads", 2], "it has no option heads"),
        ([*OPTIONS, "--teacher.model.layers", 0], "number of layers is 0"),
        ([*OPTIONS, "--abkd.temperature", 0], "temperature is 0.0"),
        ([*OPTIONS, "--abkd.axes", 0], "k is 0"),
        ([*OPTIONS, "--methods", "glnn", "--glnn.student.hidden", 0], "mlp: hidden width is 0"),
        ([*OPTIONS, "--methods", "gsp", "--gsp.auxiliary-max-nodes", 0], "gsp: max_nodes is 0"),
        ([*OPTIONS, "--methods", "glnn", "--glnn.start", "attention_map"], "not mlp of gcnii"),
        ([*OPTIONS, "--student.hidden", 9, "--abkd.start", "attention_map"], "got 9 and 8 units"),
        ([*OPTIONS, "--student.hidden", 9, "--abkd.start", "teacher_directions"], "got 9 and 8 units"),
        ([*OPTIONS, "--seeds", 0], "seeds is 0"),
        ([*OPTIONS, "--max-epochs", 0], "max_epochs is 0"),
        ([*OPTIONS, "--abkd.optim.learning-rate", -1], "learning rate is -1.0"),
        ([*OPTIONS, "--teacher.optim.patience", -1], "patience is -1"),
        ([*OPTIONS, "--methods", "abkd", "abkd"], "each named once"),
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

    monkeypatch.setattr(download.urllib.request, "urlopen", unreachable)
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


def test_distill_again_prints_the_table(capsys, finished):
    folder, run = finished
    out = printed(capsys, "distill", *run)
    assert out.index("teacher") < out.index("supervised") < out.index("soft_label")
    assert str(folder) in out


def test_evaluate_prints_a_row_a_method(capsys, finished):
    folder, run = finished
    rows = {line.split()[0]: line.split()[1:] for line in printed(capsys, "evaluate", *run).splitlines() if line}
    records = json.loads((folder / "results.json").read_text())["records"]
    for method in ("teacher", "supervised", "soft_label", "glnn"):
        mine = [record for record in records if record["method"] == method]
        assert float(rows[method][2]) == pytest.approx(50 * sum(r["test_accuracy"] for r in mine), abs=0.006)
        assert rows[method][5] == f"{mine[0]['parameters']:,}"
    assert rows["teacher"][3:5] == ["100.00", "1.000"]  # it agrees with itself


def test_teacher_prints_a_row_a_seed(capsys, finished):
    folder, run = finished
    teachers = next(option for option in run if option.startswith("--teachers="))
    out = printed(capsys, "teacher", *TEACHER_OPTIONS, teachers)
    records = json.loads((folder / "results.json").read_text())["records"]
    for record in records[:2]:
        row = next(line.split() for line in out.splitlines() if line.split()[:1] == [str(record["seed"])])
        assert float(row[1]) == pytest.approx(100 * record["test_accuracy"], abs=0.006)


def test_datasets_lists_and_describes(capsys, tmp_path):
    listing = printed(capsys, "datasets", f"--data-root={tmp_path}")
    assert "embedded" in listing
    assert "missing in" in listing
    described = printed(capsys, "datasets", "--dataset", "synthetic")
    assert "stochastic block model" in described
    assert "60 / 90 / 150" in described


def test_interrupt_is_one_line(capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupt)
    assert "interrupted" in refused(capsys, "distill")
