"""Differences between methods that were tuned again and again: one number per draw is what is tested."""

import numpy as np
import pytest
import study_samples as samples

from abkd_jax.study.report.claims import Claim
from abkd_jax.study.report.draws import draws_blocks
from abkd_jax.study.report.grid import make_grid
from abkd_jax.types import InputError

GAINS = (0.03, 0.01, 0.02, 0.04, 0.02, 0.03, 0.01)  # of each draw
ABOVE = (Claim("abkd_x", ("soft_label",)),)


def drawn(gains=GAINS, datasets=("cora",)):
    grids = []
    for gain in gains:
        made = samples.cells(datasets=datasets)
        scores = {(cell["dataset"], cell["method"]): cell["scores"]["test"] for cell in made}
        for cell in made:
            if cell["method"] == "abkd_x":
                gained = [score + gain for score in scores[cell["dataset"], "soft_label"]]
                cell["scores"] = cell["scores"] | {"test": gained}
        grids.append(make_grid(made, "soft_label"))
    return grids


def entries(table):
    return [[entry.text for entry in line] for line in table.rows]


def test_one_mean_difference_of_each_draw_is_tested():
    said, by_draw, tested, _ = draws_blocks(drawn(), ABOVE)
    rows = entries(by_draw)
    assert [(row[1], row[4]) for row in rows[:-1]] == [(str(n), f"{100 * gain:+.2f}") for n, gain in enumerate(GAINS)]
    mean, deviation = 100 * np.mean(GAINS), 100 * np.std(GAINS, ddof=1)
    assert rows[-1][1] == "mean of draws"
    assert rows[-1][4] == f"{mean:+.2f} +- {deviation:.2f}"
    (row,) = entries(tested)
    assert row[:4] == ["abkd_x above soft_label", "cora", "soft_label", f"{mean:+.2f} +- {deviation:.2f}"]
    least = 2 / 2 ** len(GAINS)  # of the signs of all draws, not of seeds, two are as far out
    assert row[5:7] == [str(len(GAINS)), f"{least:.2g}"]
    assert said.text == "cora, abkd_x above soft_label: +2.29 over 7 draws, ahead in 7 of them: holds."


def test_draws_that_disagree_decide_nothing():
    said, *_ = draws_blocks(drawn((0.03, -0.02, 0.01, -0.03, 0.02, -0.01, 0.03)), ABOVE)
    assert "ahead in 4 of them: undecided." in said.text


def test_every_data_set_is_decided_and_all_of_them_with_the_means_of_each_draw():
    grids = drawn(datasets=("cora", "film & co"))
    for number, grid in enumerate(grids):
        for (column, method), cell in grid.cells.items():
            if column.dataset == "cora" and method == "abkd_x":  # one data set turns the sign of every draw
                scores = [score - 2 * GAINS[number] for score in cell["scores"]["test"]]
                cell["scores"] = cell["scores"] | {"test": scores}
    said, by_draw, tested, _ = draws_blocks(grids, ABOVE)
    assert len(by_draw.rows) == 2 * (len(GAINS) + 1)
    assert [row[1] for row in entries(tested)] == ["cora", "film & co", "all data sets"]
    assert [row[-1] for row in entries(tested)] == ["the opposite holds", "holds", "undecided"]
    assert "All data sets, abkd_x above soft_label: +0.00 over 7 draws" in said.text


def test_data_sets_of_other_metrics_are_in_no_mean_over_all():
    grids = drawn(datasets=("cora", "film & co"))
    for grid in grids:
        for (column, _), cell in grid.cells.items():
            if column.dataset != "cora":
                errors = [-50.0 * len(cell["method"])] * 8
                cell |= {"metric": "-RMSE", "scores": {"test": errors, "validation": errors}}
    _, _, tested, _ = draws_blocks(grids, ABOVE)
    assert [row[1] for row in entries(tested)] == ["cora", "film & co"]


def test_claims_are_corrected_among_themselves_and_tested_on_their_own_scores():
    grids = drawn()
    for grid in grids:
        for cell in grid.cells.values():
            cell["scores"] = cell["scores"] | {"test: unseen nodes": cell["scores"]["test"]}
            if cell["method"] == "abkd_x":
                cell["scores"] = cell["scores"] | {"test": [0.0] * len(cell["scores"]["test"])}
    _, _, _, tested, _ = draws_blocks(grids, (ABOVE[0]._replace(view="test: unseen nodes"), *ABOVE))
    unseen, test = entries(tested)
    assert unseen[0] == "abkd_x above soft_label on unseen nodes"
    assert (unseen[-1], test[-1]) == ("holds", "the opposite holds")
    least = 2 / 2 ** len(GAINS)
    assert (unseen[6], unseen[9]) == (f"{least:.2g}", f"{2 * least:.2g}")  # Holm's correction for two


def test_columns_that_a_draw_has_not_are_left_out():
    first, second = drawn((0.01, 0.02))
    (wide,) = drawn((0.01,), datasets=("cora", "film & co"))
    _, by_draw, *_ = draws_blocks([wide, second], ABOVE)
    _, of_common, *_ = draws_blocks([first, second], ABOVE)
    assert by_draw.rows == of_common.rows


@pytest.mark.parametrize("fault", ["teachers", "method", "data set"])
def test_draws_that_cannot_be_compared(fault):
    (first, second), claims = drawn((0.01, 0.02)), ABOVE
    message = "draws of main: expected scores of abkd_x, soft_label in each, on one data set at least"
    if fault == "teachers":
        of_place = {place: cell | {"weights": ["other"]} for place, cell in second.teachers.items()}
        second, message = second._replace(teachers=of_place), "draw 1: expected the teachers of draw 0"
    elif fault == "method":
        claims, message = (Claim("abkd_y", ("soft_label",)),), message.replace("abkd_x", "abkd_y")
    else:
        second = make_grid(samples.cells(datasets=("film & co",)), "soft_label")
    with pytest.raises(InputError, match=message):
        draws_blocks([first, second], claims)


def test_targets_of_any_scale_have_no_percentages():
    grids = drawn((1.0, 2.0, 4.0))
    for grid in grids:
        for cell in grid.cells.values():
            cell["metric"] = "-RMSE"
    said, by_draw, *_ = draws_blocks(grids, ABOVE)
    assert [row[4] for row in entries(by_draw)[:3]] == ["-1", "-2", "-4"]  # of the errors, which are smaller
    assert "ahead in 3 of them" in said.text
