"""Losses as methods by their own names, one of the package and one of the user: train, go on, evaluate, predict."""

import json
import sys

import pytest
from cli_samples import printed, refused
from pipeline_samples import OPTIONS, contents

from abkd_jax.cli import commands
from abkd_jax.run.report import markdown

SOURCE = """
from abkd_jax import distill

def logit_error():
    return distill.output_error()
"""


@pytest.fixture
def module(own_module):
    """The file of a module `losses_of_mine` in the current folder."""
    return own_module("losses_of_mine", SOURCE)


def test_losses_are_methods_from_training_to_prediction(capsys, monkeypatch, tmp_path, module):
    monkeypatch.setattr(commands, "_time", lambda run: None)
    monkeypatch.setattr(markdown, "write_report", lambda path: (path / "report.md").write_text(""))
    monkeypatch.setattr(commands.runfolder, "write_report", lambda path: (path / "report.md").write_text(""))
    folder, own = tmp_path / "run", "losses_of_mine:logit_error"
    small = ["--teacher.model.name=mlp", "--student.name=mlp", "--seeds=1", "--max-epochs=4"]
    run = [*OPTIONS, *small, f"--out={folder}", "--teachers=t", "-q"]
    new = ["--methods", "soft_label", "krd", own, "--krd.auxiliary-weight", 0.5, "--logit-error.temperature", 0.5]

    names = ["teacher", "soft_label", "krd", "logit_error"]
    rows = printed(capsys, "distill", *run, *new).splitlines()
    assert [row.split()[0] for row in rows[2:6]] == names
    results = json.loads((folder / "results.json").read_text())
    assert [record["method"] for record in results["records"]] == names
    assert sorted(path.name for path in (folder / "students").iterdir()) == sorted(names[1:])
    described = json.loads((folder / "config.json").read_text())
    settings = {name: (described[name]["auxiliary"], described[name]["auxiliary_weight"]) for name in names[2:]}
    assert settings == {"krd": ("krd", 0.5), "logit_error": (own, 1.0)}
    assert described["logit_error"]["temperature"] == 0.5
    assert described["logit_error"]["soft_label_weight"] == described["soft_label"]["soft_label_weight"] == 1.0
    losses = (folder / "metrics.jsonl").read_text()
    assert '"krd/loss"' in losses
    assert '"logit_error/loss"' in losses

    before = contents(folder)
    printed(capsys, "distill", *run, *new)
    assert contents(folder) == before
    printed(capsys, "distill", *run, "--methods", "supervised")  # names neither of them
    after = json.loads((folder / "results.json").read_text())["records"]
    assert after[:4] == results["records"]
    assert [record["method"] for record in after] == [*names, "supervised"]

    rows = printed(capsys, "evaluate", *run, "--methods", own, "--logit-error.temperature", 0.5).splitlines()
    assert [row.split()[0] for row in rows[2:7]] == [*names, "supervised"]
    asked = ["predict", "--model", folder, "--graph", "synthetic", "-q", "--method"]
    assert printed(capsys, *asked, own) == printed(capsys, *asked, "logit_error")
    assert "holds no results of lsp" in refused(capsys, "evaluate", *run, "--methods", "lsp")
    other = refused(capsys, "distill", *run, "--methods", "krd")  # at its default weight
    assert "another config: krd.auxiliary_weight is 0.5 there, 1.0 here" in other
    module.write_text(SOURCE + "# edited\n")
    edited = refused(capsys, "distill", *run, "--methods", own, "--logit-error.temperature", 0.5)
    assert "losses_of_mine.py has changed since it was imported" in edited
    sys.modules.pop("losses_of_mine")
    assert "logit_error.auxiliary_source is " in refused(capsys, "distill", *run, "--methods", "supervised")
