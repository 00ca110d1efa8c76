"""What tables and draws decide, of made-up cells: the line of a claim."""

import numpy as np
import pytest
import study_samples as samples

from abkd_jax.study.report.claims import Claim
from experiments import findings, tuning_draws

ABOVE = Claim("abkd_x", ("soft_label",))  # by .04
LEVEL = Claim("fitnet", ("soft_label", "gcrd"), "best other")
DATASETS = ("cora", "film & co")


@pytest.fixture
def claimed(monkeypatch):
    for module in (findings, tuning_draws):
        monkeypatch.setattr(module, "CLAIMS", {"main": (ABOVE, LEVEL)})


def lines(folder):
    head, rule, *found = findings.as_text(folder).splitlines()
    assert head.count("|") == rule.count("|") == 6
    return [line.strip("|").split("|") for line in found]


def test_a_claim_has_the_difference_on_all_data_sets_and_where_it_holds_alone(tmp_path, claimed):
    cells = samples.cells(datasets=DATASETS)
    samples.write(tmp_path / "main", cells)
    above, level = lines(tmp_path)
    means = {(one["dataset"], one["method"]): np.mean(one["scores"]["test"]) for one in cells}
    gap = 100 * np.mean([means[dataset, "abkd_x"] - means[dataset, "soft_label"] for dataset in DATASETS])
    assert above[0] == " [main](results/main/README.md) "
    assert above[1] == " `abkd_x` above `soft_label` "
    assert above[2].startswith(f" **{gap:+.2f}** on 2 data sets, p ")
    assert above[2].endswith("; holds on cora; holds on film & co ")
    assert above[3:] == level[3:] == [" - ", " - "]  # no draws
    assert level[:2] == ["  ", " `fitnet` above best other "]
    assert "*" not in level[2]
    assert "holds" not in level[2]


def test_draws_are_tested_over_draws_and_shown_one_data_set_after_the_other(tmp_path, claimed):
    for name in ("main", *(f"tuning_draws/main_{number}" for number in range(1, 8))):
        samples.write(tmp_path / name, samples.cells(datasets=DATASETS))
    above, _ = lines(tmp_path)
    assert above[3].startswith(" **+")
    assert " on 2 data sets (8 of 8, p 0.016)" in above[3]  # 2 of 256 signs are as far out; two claims
    assert [one.split(" on ")[1].split(" (")[0] for one in above[4].split("; ")] == [*DATASETS]
    assert above[4].count("(8 of 8, p 0.031)") == above[4].count("**+") == 2  # two claims on two data sets


def test_one_draw_more_than_the_table_is_no_test(tmp_path, claimed):
    for name in ("main", "tuning_draws/main_1"):
        samples.write(tmp_path / name, samples.cells(datasets=DATASETS))
    above, _ = lines(tmp_path)
    assert " on 2 data sets (2 of 2, p -)" in above[3]
