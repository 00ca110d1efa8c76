"""Claims that were fixed beforehand: rivals chosen on validation nodes, one correction over the family."""

import numpy as np
import pytest
import study_samples as samples

from abkd_jax.study.regimes import DROPPED, NOISY, UNSEEN
from abkd_jax.study.report import write
from abkd_jax.study.report.claims import Claim, claims_table, claims_text, decide
from abkd_jax.study.report.excerpt import excerpt
from abkd_jax.study.report.grid import make_grid
from abkd_jax.study.report.statistics import holm
from experiments.configs.tables import CLAIMS, TABLES

BEYOND = Claim("abkd_x", ("soft_label",))
BEST = Claim("abkd_x", ("gcrd", "fitnet"), "best earlier loss")
WORSE = Claim("gcrd", ("soft_label",))
VIEWS = {"inductive": {UNSEEN}, "unseen_validation": {UNSEEN}, "perturbed": {DROPPED, NOISY}}


def decided(made, *claims):
    grid = make_grid(made, "soft_label")
    return grid, decide(grid, claims)


def test_the_correction_is_over_the_claims_alone():
    _, found = decided(samples.cells(), BEYOND, WORSE)
    alone = [one.comparison for one in found if one.comparison.column is not None]
    over = [one.comparison for one in found if one.comparison.column is None]
    assert (len(alone), len(over)) == (4, 2)
    for family in (alone, over):
        assert [one.holm_p for one in family] == holm([one.difference.permutation_p for one in family])
    assert {(one.method, one.verdict) for one in alone} == {("abkd_x", "better"), ("gcrd", "worse")}


def test_the_rival_is_the_best_on_validation_nodes_of_each_data_set():
    made = samples.cells()
    for cell in made:
        ahead = (cell["dataset"], cell["method"]) in (("cora", "fitnet"), ("film & co", "gcrd"))
        cell["scores"] = cell["scores"] | {"validation": [0.9 if ahead else 0.1] * len(cell["seeds"])}
    _, found = decided(made, BEST)
    assert [one.rivals for one in found] == [("fitnet",), ("gcrd",), ("fitnet", "gcrd")]
    scores = {(c["dataset"], c["method"]): c["scores"]["test"] for c in made}
    for one, (dataset, rival) in zip(found, (("cora", "fitnet"), ("film & co", "gcrd")), strict=False):
        gap = np.subtract(scores[dataset, "abkd_x"], scores[dataset, rival])
        assert one.comparison.difference.estimate.mean == pytest.approx(gap.mean())


def test_a_method_counts_where_validation_chooses_it():
    """On film & co it is not chosen: the difference is 0 there, whatever the test scores."""
    made = samples.cells()
    for cell in made:
        ahead = cell["method"] == "soft_label" or (cell["dataset"] == "cora" and cell["method"] == "abkd_x")
        validation = 0.8 + 0.1 * (cell["dataset"] == "cora" and cell["method"] == "abkd_x") if ahead else 0.1
        cell["scores"] = cell["scores"] | {"validation": [validation] * len(cell["seeds"])}
    _, always = decided(made, BEYOND)
    grid, found = decided(made, BEYOND._replace(by_validation=True))
    on_cora, on_film, over = (one.comparison.difference for one in found)
    assert on_cora == always[0].comparison.difference
    assert (on_film.estimate.mean, on_film.permutation_p, found[1].in_words) == (0.0, 1.0, "undecided")
    assert over.estimate.mean == pytest.approx(on_cora.estimate.mean / 2)
    rows = [line[0].text for line in claims_table(grid, found).rows]
    assert rows == ["abkd_x where validation chooses it above soft_label"] * 3


def test_a_claim_is_on_the_scores_that_it_names():
    """Others would answer another question: students see soft labels of all test nodes but the unseen ones."""
    made = samples.cells()
    for cell in made:
        worse = [score - 0.2 * (cell["method"] == "abkd_x") for score in cell["scores"]["test"]]
        cell["scores"] = cell["scores"] | {UNSEEN: worse}
    grid, found = decided(made, BEYOND, BEYOND._replace(view=UNSEEN))
    said = [(line[0].text, line[1].text, line[-1].text) for line in claims_table(grid, found).rows]
    above, below = "abkd_x above soft_label", "abkd_x above soft_label on unseen nodes"
    assert said[:2] == [(above, "cora", "holds"), (above, "film & co", "holds")]
    assert said[2:4] == [(below, "cora", "the opposite holds"), (below, "film & co", "the opposite holds")]
    text, pictures = excerpt(made, "soft_label", claims=[BEYOND._replace(view=UNSEEN)])
    assert {picture.name.partition("_")[0] for picture in pictures} == {"scores-test-unseen-nodes"}
    cell = next(cell for cell in made if cell["method"] == "abkd_x")
    assert f"{100 * np.mean(cell['scores'][UNSEEN]):.2f} +- " in text.partition("test: unseen nodes:")[2]


def test_what_is_said():
    grid, found = decided(samples.cells(), BEYOND, WORSE)
    text = claims_text(grid, found, "permutation")
    assert "2 hold (abkd_x above soft_label on cora; abkd_x above soft_label on film & co)" in text
    assert "2 are the other way round (gcrd above soft_label on cora; gcrd above soft_label on film & co)" in text
    assert f"The smallest p that the pairs allow is {4 * 2 / 2**8:.2g}." in text
    few = decided(samples.cells(seeds=3), *[WORSE] * 4)  # eight tests of p .25
    assert claims_text(*few, "permutation").endswith("The smallest p that the pairs allow is 1.")
    said = [line[-1].text for line in claims_table(grid, found).rows]
    assert said == ["holds", "holds", "the opposite holds", "the opposite holds", "holds", "the opposite holds"]


def test_claims_stand_in_the_report_where_there_are_any(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "can_draw", lambda: False)
    for name, claims in (("with", (BEYOND,)), ("without", ())):
        write.write_report(samples.cells(), tmp_path / name, claims=claims)
    assert "abkd_x above soft_label" in (tmp_path / "with/report.html").read_text()
    assert "Claims" not in (tmp_path / "without/report.md").read_text()


def test_names_of_claims_in_tables_and_pictures():
    claim = Claim("mine.losses:mine", ("soft_label",), view=UNSEEN)
    assert str(claim) == "mine.losses:mine above soft_label on unseen nodes"
    assert (claim.short(), claim.where) == ("mine above soft_label", " on unseen nodes")
    assert (BEST.short("`"), BEST.where) == ("`abkd_x` above best earlier loss", "")


def test_claims_of_the_tables_name_their_methods():
    for name, claims in CLAIMS.items():
        named = {method for claim in claims for method in (claim.method, *claim.rivals)}
        assert named <= set(TABLES[name].methods)
        for regime in TABLES[name].regimes:
            assert {claim.view for claim in claims} == VIEWS.get(regime, {"test"})
