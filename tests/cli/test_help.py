"""What commands say of their options: help, defaults, suggestions, completion."""

import dataclasses
import re

import pytest
from cli_samples import refused
from layout_samples import write_heterophilous, write_tu

from abkd_jax import datasets
from abkd_jax.cli import parser
from abkd_jax.configs.methods import METHODS
from abkd_jax.configs.options import MODELS, MethodConfig

COMMANDS = ("teacher", "distill", "evaluate", "predict", "datasets")


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        parser.main([*arguments, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_help_lists_the_commands(capsys):
    text = help_of(capsys)
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_its_defaults(capsys, command):
    text = " ".join(help_of(capsys, command).split())
    assert ("--seeds INT Number of seeds" in text.replace("│ ", "")) == (command not in ("predict", "datasets"))
    assert all(option in text for option in ("--data-root", "-q, --quiet", "-v, --verbose", "(default: False)"))


def test_defaults_are_those_of_the_data_set(capsys):
    twice = ["--dataset=digits", "--dataset", "cora"]  # the last one counts
    for arguments, layers in ((["--dataset", "cora"], 64), (["--dataset=synthetic"], 16), ([], 16), (twice, 64)):
        lines = help_of(capsys, "distill", *arguments).split("--teacher.model.layers", 1)[1]
        assert f"(default: {layers})" in lines.split("--teacher.model.hidden", 1)[0]


def test_defaults_of_a_set_outside_the_list_are_those_of_the_rules(capsys, tmp_path):
    write_heterophilous(tmp_path)
    write_tu(tmp_path)
    for name, kind in (("heterophilous:mines", "graphsage"), ("tu:Pairs", "gin")):
        text = help_of(capsys, "distill", "--dataset", name, f"--data-root={tmp_path}")
        lines = text.split("--teacher.model.name", 1)[1].split("--teacher.model.layers", 1)[0]
        assert f"(default: {kind})" in " ".join(lines.replace("│", "").split())
    assert "mine.npz is missing" in refused(
        capsys, "distill", "--dataset=gnn_benchmark:mine", "--data_root", tmp_path, "--help"
    )


def test_help_lists_the_options_of_the_methods_that_are_trained(capsys):
    text = help_of(capsys, "distill")
    assert len(text.splitlines()) < 500
    assert [name for name in METHODS if f"--{name.replace('_', '-')}." in text] == ["supervised", "soft_label", "abkd"]
    flowing = " ".join(text.replace("│", "").split())
    assert "--help --methods NAME lists them" in flowing
    assert all(name in flowing for name in METHODS)
    assert flowing.count("auto is fitted where that is possible") == 1  # of the last method, whose text others name
    assert "labels alone. Options as of abkd, below." in flowing
    assert "--supervised.optim.epochs INT (default: 1500)" in flowing
    for methods, there in (("glnn", ["glnn"]), ("abkd,krd", ["abkd", "krd"]), ("mine:my_loss", ["my-loss"])):
        options = help_of(capsys, "distill", "--methods", methods)
        assert re.findall(r"^\W+([\w-]+) options\W+$", options, re.MULTILINE) == ["batches", "student", *there]
    assert "--glnn.student.hidden" in help_of(capsys, "distill", "--methods=glnn")
    assert "--soft-label.student" not in text


def test_no_option_of_a_method_is_lost(capsys):
    """Each field of each method of the package is an option of a help that names it, and taken without that."""
    options = {option.name.replace("_", "-") for option in dataclasses.fields(MethodConfig)} - {"student", "optim"}
    for method in METHODS:
        own = method.replace("_", "-")
        text = help_of(capsys, "evaluate", "--methods", method)
        assert options <= {part.split()[0] for part in text.replace("\n", " ").split(f"--{own}.")[1:]}
        assert f"--{own}.optim.learning-rate" in text
    assert "--seeds is 0" in refused(capsys, "distill", "--dataset=synthetic", "--gcrd.dim=3", "--seeds=0")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--krd.dim", "3"], "--krd.dim: krd has options where --methods names it"),
        (["--mine.dim", "3"], "--mine.dim: mine has options where --methods names it, as in module:mine"),
        (["--methods", "krd", "--seeds", "2", "--krd.din", "3"], None),
        (["--teacher.din", "3"], None),
    ],
)
def test_an_option_of_a_method_that_is_not_named_says_so(capsys, arguments, line):
    with pytest.raises(SystemExit) as caught:
        parser.main(["distill", *arguments])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == line if line else "has options where" not in last


def test_bad_option_names_it_and_exits_with_two(capsys):
    with pytest.raises(SystemExit) as caught:
        parser.main(["distill", "--seeds", "three"])
    assert caught.value.code == 2
    assert "seeds" in capsys.readouterr().err


def test_options_of_other_programs_are_named_as_they_are_here(capsys):
    for command, option, meant in (
        ("distill", "--epochs=10", "--epochs: did you mean --max-epochs?"),
        ("teacher", "--lr", "--lr: did you mean --teacher.optim.learning-rate and --<method>.optim.learning-rate?"),
        ("predict", "--epochs", ""),
    ):
        with pytest.raises(SystemExit) as caught:
            parser.main([command, "--dataset", "synthetic", option, "10"])
        assert caught.value.code == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == meant if meant else "did you mean" not in last


def test_completion_is_for_this_program_and_offers_names(capsys):
    with pytest.raises(SystemExit):
        parser.main(["--tyro-print-completion", "bash"])
    script = capsys.readouterr().out
    assert "\ncomplete -F _tyro_abkd_jax abkd-jax\n" in script
    assert not any(line.startswith("complete") and "python" in line for line in script.splitlines())
    assert repr(list(datasets.names())) in script
    assert repr(["supervised", "soft_label", "abkd"])[1:-1] in script
    assert repr(list(MODELS)) in script
    assert repr(["krd", "ff_g2m", "propagate"])[1:-1] in script
    assert "--gcrd.auxiliary-weight" in script  # of methods that the words before may name
