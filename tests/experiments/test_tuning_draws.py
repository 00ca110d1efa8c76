"""Draws of the tuning budget: which tables they are, and what is said of their cells."""

from dataclasses import replace
from pathlib import Path

import pytest
import study_samples as samples

from abkd_jax.study.report.claims import Claim
from abkd_jax.types import InputError
from experiments import tuning_draws
from experiments.configs.tables import TABLES

PLACE = "before\n<!-- study main -->\n<!-- end -->\nafter\n"


def test_draw_0_is_the_table_itself_and_others_differ_in_their_tuning_alone():
    args = tuning_draws.Args("layers_differ", draws=3)
    first, second, _ = (tuning_draws.draw(args, number) for number in range(3))
    assert first == replace(TABLES["layers_differ"], datasets=("cora",), methods=("soft_label", "abkd"))
    assert second == replace(first, name="tuning_draws/layers_differ_1", tuning=replace(first.tuning, draw=1))
    assert second.small().tuning == replace(first.small().tuning, draw=1)
    assert [replace(first, seeds=seeds).small().seeds for seeds in (1, 2, 10)] == [1, 2, 2]
    assert not set(first.tuning.student_seeds()) & set(second.tuning.student_seeds())
    assert tuning_draws.draw(replace(args, students=("gcn:2x8",)), 1) == replace(second, students=("gcn:2x8",))


def test_what_the_table_claims_is_asked_and_other_methods_are_compared_with_the_first():
    learned, uniform = Claim("abkd", ("soft_label",)), Claim("abkd", ("abkd_uniform",))
    assert tuning_draws.claims_of("main", ("soft_label", "abkd", "abkd_uniform")) == [learned, uniform]
    assert tuning_draws.claims_of("main", ("soft_label", "abkd", "lsp")) == [learned, Claim("lsp", ("soft_label",))]
    assert tuning_draws.claims_of("molecules", ("abkd", "gcrd")) == [Claim("gcrd", ("abkd",))]  # which claims nothing
    unseen = Claim("fitnet", ("soft_label",), view="test: unseen nodes")
    assert tuning_draws.claims_of("inductive", ("soft_label", "fitnet")) == [unseen]


def test_draws_are_trained_one_after_the_other_and_then_compared(tmp_path, monkeypatch, capsys):
    def train(run):
        made = [
            cell for cell in samples.cells(datasets=("cora",)) if cell["method"] in ("teacher", "soft_label", "gcrd")
        ]
        samples.write(run.results / run.table.name, made)

    monkeypatch.setattr(tuning_draws, "train", train)
    readme = tmp_path / "README.md"
    readme.write_text(PLACE)
    args = tuning_draws.Args("main", methods=("soft_label", "gcrd"), draws=6, results=tmp_path, readme=readme)
    tuning_draws.main(args)
    printed = capsys.readouterr().out
    assert "ahead in 0 of them: the opposite holds." in printed
    assert readme.read_text() == PLACE.replace("-->\n<", f"-->\n{printed.partition(chr(10) * 2)[2]}<")
    assert b"gcrd above soft_label" in (tmp_path / "draws.svg").read_bytes()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (tuning_draws.Args("mine"), "table 'mine': expected one of main, regimes"),
        (tuning_draws.Args("main", draws=0), "draws 0: expected at least 1"),
        (tuning_draws.Args("main", methods=("abkd",)), "methods abkd: expected a baseline and at least one other"),
        (tuning_draws.Args("main", readme=Path("absent/README.md")), "absent/README.md: cannot be read"),
    ],
    ids=["table", "draws", "methods", "readme"],
)
def test_what_cannot_be_drawn_is_said_before_training(args, message, monkeypatch):
    monkeypatch.setattr(tuning_draws, "train", None)
    with pytest.raises(InputError, match=message):
        tuning_draws.main(args)
