"""Gains of the advised settings over draws, of made-up cells: means over graphs and tables, and their tests."""

import numpy as np
import pytest
import study_samples as samples

from abkd_jax.study.report.claims import Claim
from abkd_jax.types import InputError
from experiments import recommended

DRAWS = 8
GAINS = {"main": (0.03, 0.04), "curve": (0.01,)}  # over the best other loss, of each graph
GRAPHS = ("cora", "film & co")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    claim = Claim("abkd_x", ("soft_label", "fitnet"), recommended.BEST_OTHER)
    monkeypatch.setattr(recommended, "CLAIMS_OF_DRAWS", dict.fromkeys((*GAINS, "inductive"), (claim,)))
    monkeypatch.setattr(recommended, "RECOMMENDED", dict.fromkeys((*GAINS, "inductive"), "abkd_x"))
    for number in range(DRAWS):
        for table, gains in GAINS.items():
            made = samples.cells(datasets=GRAPHS[: len(gains)])
            level = {cell["dataset"]: cell["scores"]["test"] for cell in made if cell["method"] == "soft_label"}
            for cell in made:
                gain = gains[GRAPHS.index(cell["dataset"])] + 0.001 * (number % 2)
                above = {"soft_label": 0.0, "fitnet": -0.02, "abkd_x": gain, "teacher": 0.05}.get(cell["method"], -0.1)
                scores = [score + above for score in level[cell["dataset"]]]
                cell |= {"scores": {"test": scores, "validation": scores}}
            samples.write(tmp_path / (f"tuning_draws/{table}_{number}" if number else table), made)
    return tmp_path


def rows(text):
    head, rule, *lines = [[part.strip() for part in line.strip("|\n").split("|")] for line in text.splitlines()]
    assert len(head) == len(rule)
    return head, {line[0]: line[1:] for line in lines}


def test_a_graph_has_the_mean_of_its_tables_and_all_graphs_that_of_tables(folder):
    head, found = rows(recommended.as_text(folder))
    assert head[1:3] == ["[main](results/main/README.md), `abkd_x`", "[curve](results/curve/README.md), `abkd_x`"]
    assert found["cora"][:2] == ["+3.05 of 5.00", "+1.05 of 5.00"]  # the teacher is 5 above soft labels
    assert found["film & co"][:2] == ["+4.05 of 5.00", "-"]
    assert found["all"][:2] == ["+3.55 of 5.00", "+1.05 of 5.00"]
    deviation = 0.1 * np.std([0, 1] * 4, ddof=1)
    assert [found[name][2] for name in (*GRAPHS, "all")] == [
        f"**{mean:+.2f} +- {deviation:.2f}**" for mean in (2.05, 4.05, 2.30)
    ]
    least = 2 / 2**DRAWS  # of the signs of all draws two are as far out
    assert [found[name][3] for name in (*GRAPHS, "all")] == [f"{2 * least:.2g}"] * 2 + [f"{least:.2g}"]
    assert {line[4] for line in found.values()} == {f"{DRAWS} of {DRAWS}"}


def test_draws_that_a_table_has_more_of_are_not_compared(folder):
    for path in (folder / "tuning_draws/curve_7").rglob("*.json"):
        path.unlink()
    (folder / "tuning_draws/curve_7").rename(folder / "tuning_draws/left_7")
    _, after = rows(recommended.as_text(folder))
    assert after["all"][4] == "7 of 7"
    assert after["film & co"][0] == "+4.04 of 5.00"  # every second of seven draws has .1 more, of eight +4.05


def test_without_draws_there_is_nothing_to_say(tmp_path):
    samples.write(tmp_path / "regimes", samples.cells(datasets=("cora",)))
    with pytest.raises(InputError, match="expected draws of the tuning of regimes or deep_to_shallow or curve"):
        recommended.as_text(tmp_path)


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (("soft_label", "abkd_x"), "^draws of main: expected scores of abkd_x, soft_label, fitnet in each"),
        ((), "^report: tuning_draws/main_7: expected the baseline 'soft_label' among the methods, got none"),
    ],
)
def test_a_draw_that_was_begun_is_one_line(folder, left, message):
    for path in (folder / "tuning_draws/main_7").rglob("*.json"):
        if path.stem not in ("teacher", *left):
            path.unlink()
        else:
            path.write_text(path.read_text().replace('"table": "main"', '"table": "tuning_draws/main_7"'))
    with pytest.raises(InputError, match=message):
        recommended.as_text(folder)


def test_teachers_of_a_first_draw_are_no_draw(folder):
    paths = [path for path in folder.glob("tuning_draws/main_*/**/*.json") if path.stem != "teacher"]
    for path in paths:
        path.unlink()
    with pytest.raises(InputError, match="tuning_draws/main_1: expected cells of soft_label and of another method"):
        recommended.as_text(folder)
