"""Differences between methods that were tuned again and again: one number per draw is what is tested."""

import numpy as np
import pytest
import study_samples as samples

from abkd_jax.study.report.draws import draws_blocks
from abkd_jax.study.report.grid import make_grid
from abkd_jax.types import InputError

GAINS = (0.03, 0.01, 0.02, 0.04, 0.02, 0.03, 0.01)  # of each draw


def drawn(gains=GAINS):
    grids = []
    for gain in gains:
        made = samples.cells(datasets=("cora",))
        scores = {cell["method"]: cell["scores"]["test"] for cell in made}
        for cell in made:
            if cell["method"] == "abkd_x":
                cell["scores"] = cell["scores"] | {"test": [score + gain for score in scores["soft_label"]]}
        grids.append(make_grid(made, "soft_label"))
    return grids


def entries(table):
    return [[entry.text for entry in line] for line in table.rows]


def test_one_mean_difference_of_each_draw_is_tested():
    said, by_draw, tested, _ = draws_blocks(drawn(), "abkd_x")
    rows = entries(by_draw)
    assert [(row[1], row[4]) for row in rows[:-1]] == [(str(n), f"{100 * gain:+.2f}") for n, gain in enumerate(GAINS)]
    mean, deviation = 100 * np.mean(GAINS), 100 * np.std(GAINS, ddof=1)
    assert rows[-1][1] == "mean of draws"
    assert rows[-1][4] == f"{mean:+.2f} +- {deviation:.2f}"
    (row,) = entries(tested)
    assert row[:2] == ["cora", f"{mean:+.2f} +- {deviation:.2f}"]
    least = 2 / 2 ** len(GAINS)  # of the signs of all draws, not of seeds, two are as far out
    assert row[3:5] == [str(len(GAINS)), f"{least:.2g}"]
    assert "is +2.29 over 7 draws, ahead in 7 of them: it holds." in said.text


def test_draws_that_disagree_decide_nothing():
    said, *_ = draws_blocks(drawn((0.03, -0.02, 0.01, -0.03, 0.02, -0.01, 0.03)), "abkd_x")
    assert "ahead in 4 of them: undecided." in said.text


@pytest.mark.parametrize("fault", ["teachers", "method", "data set"])
def test_draws_that_cannot_be_compared(fault):
    first, second = drawn((0.01, 0.02))
    if fault == "teachers":
        of_place = {place: cell | {"weights": ["other"]} for place, cell in second.teachers.items()}
        second, message = second._replace(teachers=of_place), "draw 1: expected the data sets, students and teachers of"
    elif fault == "method":
        message = "draw 0: cora, transductive, 4x4: expected scores of soft_label and abkd_y"
    else:
        second, message = make_grid(samples.cells(datasets=("film & co",)), "soft_label"), "draw 1: .* expected scores"
    with pytest.raises(InputError, match=message):
        draws_blocks([first, second], "abkd_y" if fault == "method" else "abkd_x")


def test_targets_of_any_scale_have_no_percentages():
    grids = drawn((1.0, 2.0, 4.0))
    for grid in grids:
        for cell in grid.cells.values():
            cell["metric"] = "-RMSE"
    said, by_draw, *_ = draws_blocks(grids, "abkd_x")
    assert [row[4] for row in entries(by_draw)[:3]] == ["-1", "-2", "-4"]  # of the errors, which are smaller
    assert "ahead in 3 of them" in said.text
