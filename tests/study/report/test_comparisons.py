import copy

import numpy as np
import pytest
import study_samples as samples

from abkd_jax.study.cells import load
from abkd_jax.study.report.comparisons import best_attainable, compare, compare_over_datasets, gap_to_teacher
from abkd_jax.study.report.grid import Column, make_grid
from abkd_jax.study.report.score_tables import comparison_table, groups, main_table, ranks
from abkd_jax.study.report.statistics import holm
from abkd_jax.types import InputError


def table_of(made, **options):
    grid = make_grid(made, "soft_label")
    rows = compare(grid, "soft_label", **options)
    title, columns = groups(grid)[0]
    return grid, rows, main_table(grid, title, columns, rows)


def test_bold_follows_the_corrected_test():
    grid, rows, table = table_of(samples.cells())
    assert [row.holm_p for row in rows] == holm([row.difference.permutation_p for row in rows])
    lines = {line[0].text: line for line in table.rows}
    for row in rows:
        entry = lines[row.method][1 + grid.columns.index(row.column)]
        expected = "open" if row.holm_p >= 0.05 else "better" if row.difference.estimate.mean > 0 else "worse"
        assert entry.mark == expected
    assert {row.method: row.verdict for row in rows} == {"abkd_x": "better", "gcrd": "worse", "fitnet": "open"}
    assert list(lines)[:4] == ["measured", "student, times smaller", "teacher", "soft_label"]
    assert table.headers[1:3] == tuple(column.dataset for column in grid.columns)
    cell = grid.cells[grid.columns[0], "gcrd"]
    assert lines["student, times smaller"][1].text == f"{cell['student']}, {cell['compression']:.1f}x"


def test_seeds_that_fail_are_those_that_end_far_below_their_teachers():
    made = samples.cells(datasets=("cora",))
    for number, drop in ((1, 0.2), (2, 0.2), (5, 0.2), (6, 0.2)):  # of seeds that are harder for teachers too
        for cell in made:
            cell["scores"]["validation"][number] -= drop
    gcrd = next(c for c in made if c["method"] == "gcrd")
    gcrd["scores"]["validation"][3] -= 0.06
    gcrd["scores"]["validation"][4], gcrd["diverged"][4] = None, 20
    failed = {line[0].text: line[-1].text for line in table_of(made)[-1].rows}
    assert (failed["gcrd"], failed["soft_label"]) == ("2 of 8", "0 of 8")


def test_seeds_that_diverged_have_failed_whatever_the_others_did():
    made = samples.cells()
    for cell in made:
        if cell["method"] == "gcrd" and cell["dataset"] == "cora":
            cell["scores"]["validation"] = cell["scores"]["test"] = [None] * 8
            cell["diverged"] = [20] * 8
    failed = {line[0].text: line[-1].text for line in table_of(made)[-1].rows}
    assert (failed["gcrd"], failed["fitnet"]) == ("8 of 16", "0 of 16")


def test_of_real_targets_those_have_failed_whose_error_is_five_percent_larger():
    made = samples.cells(datasets=("cora",))
    for cell in made:
        errors = [-1000.0 - seed for seed in range(8)]
        cell |= {"metric": "-RMSE", "scores": {"test": errors, "validation": errors}}
        if cell["method"] == "gcrd":
            cell["scores"] = {"test": errors, "validation": [*errors[:7], -1070.0]}
    failed = {line[0].text: line[-1].text for line in table_of(made)[-1].rows}
    assert (failed["gcrd"], failed["fitnet"]) == ("1 of 8", "0 of 8")


def test_equal_scores_in_another_order_share_their_rank():
    made, scores = samples.cells(seeds=5), [0.853, 0.851, 0.847, 0.861, 0.842]
    assert np.mean(scores) != np.mean([*scores[:3], scores[4], scores[3]])
    for cell in made:
        if cell["method"] in ("gcrd", "fitnet"):
            cell["scores"]["test"] = [*scores[:3], scores[4], scores[3]] if cell["method"] == "gcrd" else scores
    grid = make_grid(made, "soft_label")
    found = ranks(grid, grid.columns).ranks
    assert found["gcrd"] == found["fitnet"]


def test_numbers_of_the_table_are_those_of_the_cells():
    made = samples.cells()
    _, _, table = table_of(made)
    test = next(c for c in made if (c["dataset"], c["method"]) == ("cora", "gcrd"))["scores"]["test"]
    entry = next(line for line in table.rows if line[0].text == "gcrd")[1]
    assert entry.text == f"{100 * np.mean(test):.2f} +- {100 * np.std(test, ddof=1):.2f}"


def test_undefined_scores_leave_their_pairs_out():
    made = samples.cells(datasets=("cora",))
    gcrd = next(c for c in made if c["method"] == "gcrd")
    gcrd["scores"]["test"][2], gcrd["diverged"][5] = None, 20
    _, rows, _ = table_of(made)
    assert {row.method: row.difference.pairs for row in rows} == {"abkd_x": 8, "gcrd": 6, "fitnet": 8}


def test_pairs_are_those_of_seed_and_split():
    made = samples.cells(datasets=("cora",))
    before = table_of(copy.deepcopy(made))[1]
    fitnet = next(c for c in made if c["method"] == "fitnet")
    for values in (fitnet["seeds"], fitnet["scores"]["test"]):  # the three scores of a sample are one list
        values.reverse()
    after = table_of(made)[1]
    means = [{row.method: row.difference.estimate.mean for row in rows} for rows in (before, after)]
    assert means[0] == pytest.approx(means[1])


def test_one_seed_has_no_test():
    grid, rows, table = table_of(samples.cells(seeds=1))
    assert {row.verdict for row in rows} == {"open"}
    assert {row.holm_p for row in rows} == {None}
    assert all("+-" not in entry.text for line in table.rows for entry in line)
    assert compare_over_datasets(grid, "soft_label") == []
    assert comparison_table(grid, "soft_label", rows).rows


def test_the_bound_of_corrected_sign_flips():
    _, rows, _ = table_of(samples.cells(seeds=5))
    assert best_attainable(rows, "permutation") == 6 * 2 / 2**5 > 0.05
    assert {row.verdict for row in rows} == {"open"}
    assert best_attainable(rows, "t") == 0.0
    _, rows, _ = table_of(samples.cells(seeds=20))  # more sign flips than are tried, but Wilcoxon's p is exact
    assert best_attainable(rows, "permutation") == pytest.approx(6 / 10_000)
    assert best_attainable(rows, "wilcoxon") == 6 * 2 / 2**20
    assert "better" in {row.verdict for row in table_of(samples.cells(seeds=5), test="t")[1]}


def test_gap_to_the_teacher():
    made = samples.cells(datasets=("cora",))
    grid = make_grid(made, "soft_label")
    teacher, student = (next(c for c in made if c["method"] == m)["scores"]["test"] for m in ("teacher", "abkd_x"))
    gap = gap_to_teacher(grid, grid.columns[0], "abkd_x")
    assert gap.estimate.mean == pytest.approx(np.mean(np.subtract(student, teacher)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "IQ"}, "metric is 'IQ'"),
        ({"splits": [0]}, "expected 8 values of splits"),
        ({"scores": {"test": [0.5]}}, "expected 8 values of test"),
        ({"seeds": [0] * 8}, "every pair of seed and split once"),
        ({"dataset": 3}, "dataset is 3, expected text"),
    ],
)
def test_damaged_cells_are_one_line(tmp_path, change, said):
    folder = samples.write(tmp_path, samples.cells(datasets=("cora",)))
    path = folder / "cora" / "transductive" / "4x4" / "gcrd.json"
    path.write_text(samples.json.dumps(samples.json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=said) as error:
        load(folder)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_tables_are_one_line(tmp_path):
    with pytest.raises(InputError, match="expected cells"):
        load(tmp_path)
    with pytest.raises(
        InputError, match="report: main: expected the baseline 'best' among the methods, got soft_label"
    ):
        make_grid(samples.cells(), "best")
    other = samples.cells(datasets=("cora",))[1] | {"table": "other"}
    with pytest.raises(InputError, match="cells of one table, got main, other"):
        make_grid([*samples.cells(), other], "soft_label")


def test_students_of_a_data_set_are_not_more_pairs():
    """The same scores for a second size of student change nothing over all data sets, and add nothing to one."""
    made = samples.cells()
    again = [cell | {"student": "2x4"} for cell in made if cell["dataset"] == "cora" and cell["method"] != "teacher"]
    grid, twice = make_grid(made, "soft_label"), make_grid([*made, *again], "soft_label")
    assert len(twice.columns) == len(grid.columns) + 1
    of_twice, of_grid = (
        [(row.method, row.difference, row.holm_p) for row in compare_over_datasets(one, "soft_label")]
        for one in (twice, grid)
    )
    assert of_twice == of_grid

    alone = make_grid([cell for cell in made if cell["dataset"] == "cora"] + again, "soft_label")
    by_method = {row.method: row.difference for row in compare(alone, "soft_label") if row.column.student == "4x4"}
    rows = compare_over_datasets(alone, "soft_label")
    assert {row.method: row.difference for row in rows} == by_method
    assert {line[1].text for line in comparison_table(alone, "soft_label", rows).rows} == {"all students"}


def test_what_several_columns_are_is_said():
    """A claim that a part of the columns has is not said of all of them."""
    grid = make_grid(samples.cells(), "soft_label")
    first, *others = (Column(name, "transductive", "4x4") for name in ("a", "b", "c"))
    small = first._replace(student="2x4")
    three = grid._replace(columns=(first, *others))
    assert three.together(three.columns) == "all data sets"
    assert three.together(others) == "2 of 3 data sets"
    sizes = grid._replace(columns=(first, small, first._replace(student="1x4")))
    assert (sizes.together(sizes.columns), sizes.together(sizes.columns[:2])) == ("all students", "2 of 3 students")
    both = grid._replace(columns=(first, *others, small))
    assert both.together(both.columns[:3]) == "3 of 4 columns"
