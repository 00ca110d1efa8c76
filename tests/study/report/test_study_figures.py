"""Figures of studies: small files, every name in them, nothing pressed together by one bad method."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
import study_samples as samples

from abkd_jax.run.report.canvas import COLOURS
from abkd_jax.study.cells import load
from abkd_jax.study.report import score_figures, tuning
from abkd_jax.study.report.axes import least_drawn
from abkd_jax.study.report.cost_figures import cost_pictures
from abkd_jax.study.report.draw_figures import draws_figure
from abkd_jax.study.report.grid import make_grid
from abkd_jax.study.report.ranks import average_ranks
from abkd_jax.study.report.size_figures import size_pictures
from experiments.study import RESULTS

LARGEST = 150_000  # bytes
NAMES = ["soft_label", *(f"a_method_of_name_{number}" for number in range(24))]


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


def drawings(grid):
    found = [draw(grid, c) for c in grid.columns for draw in (score_figures.dots, tuning.tuning_strip)]
    return found + [picture.svg for picture in (*cost_pictures(grid), *size_pictures(grid))]


@pytest.fixture(scope="module")
def wide():
    """25 methods, 16 trials each, two students."""
    rng = np.random.default_rng(0)
    made = []
    for student in ("4x4", "2x4"):
        for number, name in enumerate(NAMES):
            cell = samples.cell(rng, "cora", name, 0.8 + number / 1000, 3, student=student)
            cell["times"]["latency_ms"] = 1.0 + number / 10
            cell["tuning"]["trials"] = [
                {"numbers": {"temperature": 1.0}, "validation": [float(score)]} for score in rng.uniform(0.5, 0.9, 16)
            ]
            made.append(cell)
    return make_grid([*made, samples.cell(rng, "cora", "teacher", 0.85, 3)], "soft_label")


def test_figures_of_the_stored_table_are_small():
    grid = make_grid(load(RESULTS / "main"), "soft_label")
    assert max(map(len, drawings(grid))) < LARGEST


def test_figures_of_many_methods_are_small_and_name_them_all(wide):
    assert max(map(len, drawings(wide))) < LARGEST
    scores = {name: rng.tolist() for name, rng in zip(NAMES, np.random.default_rng(0).random((25, 4)), strict=True)}
    ranks = score_figures.critical_difference(average_ranks(scores))
    for made in (score_figures.dots(wide, wide.columns[0]), tuning.tuning_strip(wide, wide.columns[0]), ranks):
        assert set(NAMES) <= set(texts(made))


def test_names_beside_costs_do_not_overlap(wide):
    """Every method costs more than the one before and is better: all are on the Pareto line."""
    (picture,) = cost_pictures(wide)
    assert picture.name == "costs_cora_transductive_milliseconds.svg"
    elements = [e for e in ElementTree.fromstring(picture.svg).iter() if e.text in {f"{n} 4x4" for n in NAMES}]
    places = [float(element.attrib["y"]) for element in elements]
    assert len(places) > 12
    gaps = np.diff(sorted(places))
    assert gaps.min() > 7.0  # points; text is 6.7 high


def by_size(sizes):
    """Returns cells of two methods of every student, from how many times smaller it is."""
    rng = np.random.default_rng(0)
    pairs = [(student, method) for student in sizes for method in ("soft_label", "abkd")]
    return [samples.cell(rng, "cora", of, 0.8, student=name, compression=sizes[name]) for name, of in pairs]


def test_students_of_one_architecture_stand_by_size():
    rng = np.random.default_rng(1)
    sizes = {"4x2": 120.0, "4x4": 60.0, "1x4": 61.0, "mlp:2x8": 10.0}
    made = by_size(sizes)
    made.append(samples.cell(rng, "cora", "of_one_size", 0.8, student="4x4", compression=60.0))
    made.append(samples.cell(rng, "cora", "abkd", 0.15, student="1x2", compression=130.0))
    (picture,) = size_pictures(make_grid(made, "soft_label"))  # the perceptron has one size
    assert picture.name == "sizes_cora_transductive.svg"
    said = texts(picture.svg)
    assert [text for text in said if text in {*sizes, "1x2"}] == ["4x4", "1x4", "4x2", "1x2"]
    assert [text for text in said if re.fullmatch(r"[\d.]+x", text)] == ["60.0x", "61.0x", "120.0x", "130.0x"]
    assert {"soft_label", "abkd"} <= set(said)
    assert "of_one_size" not in said
    assert re.search(r"not drawn: .*abkd 1x2 1\d\.", " ".join(said))


def test_the_best_methods_and_the_baseline_are_drawn_by_size(wide):
    (picture,) = size_pictures(wide)
    said = re.findall(r"soft_label|a_method_of_name_\d+", " ".join(texts(picture.svg)))
    assert set(said) == {"soft_label", *NAMES[-5:]}


def test_one_bad_method_does_not_press_the_others_together():
    rng = np.random.default_rng(0)
    made = [samples.cell(rng, "cora", name, 0.85 + n / 1000) for n, name in enumerate(("soft_label", "a", "b", "c"))]
    grid = make_grid([*made, samples.cell(rng, "cora", "bad", 0.5)], "soft_label")
    said = texts(score_figures.dots(grid, grid.columns[0]))
    mean = 100 * np.mean(grid.cells[grid.columns[0], "bad"]["scores"]["test"])
    assert f"\u2190 {mean:.2f}" in said
    assert "bad" in said
    assert min(float(text) for text in said if re.fullmatch(r"[\d.]+", text)) > 80
    assert "not drawn: bad" in " ".join(texts(cost_pictures(grid)[0].svg))


def test_every_draw_is_a_mark_where_its_difference_is():
    again = [0.1, 0.2, 0.6]
    root = ElementTree.fromstring(draws_figure({"a table:\na claim": [2.1, *again], "another": [0.0] * 4}))
    assert {"a table:", "a claim", "another"} <= {element.text for element in root.iter()}
    marks = [element.attrib for element in root.iter() if element.tag.endswith("}use")]
    (first, first_zero), blue = (
        [float(mark["x"]) for mark in marks if f"fill: {colour}" in mark["style"]]
        for colour in (COLOURS[1].lower(), COLOURS[0].lower())
    )
    assert blue[3:] == [first_zero] * 3
    np.testing.assert_allclose([(x - first_zero) / (first - first_zero) for x in blue[:3]], np.divide(again, 2.1), 1e-4)


def test_what_is_drawn():
    assert least_drawn([0.5, 0.5]) == 0.5
    assert least_drawn([0.1, 0.9, 0.9]) == 0.1  # the best is the median: nothing is far
    assert 0.1 < least_drawn([0.1, 0.8, 0.85, 0.9]) < 0.8


def test_chosen_numbers_are_in_a_table():
    grid = make_grid(samples.cells(datasets=("cora",)), "soft_label")
    (row, *_) = [[entry.text for entry in line] for line in tuning.tuning_table(grid).rows if line[0].text == "gcrd"]
    assert row == ["gcrd", "cora", "temperature 0.25", "3", "75.00", "75.75"]


def test_normalised_students_stand_by_size_beside_others():
    made = by_size({"gcn:4x4:batch": 60.0, "gcn:4x4": 61.0, "gcn:2x4:batch": 90.0, "gcn:2x4": 91.0})
    found = {picture.name: texts(picture.svg) for picture in size_pictures(make_grid(made, "soft_label"))}
    assert found.keys() == {"sizes_cora_transductive_gcn.svg", "sizes_cora_transductive_gcn-batch.svg"}
    for said in found.values():
        assert [text for text in said if text in ("4x4", "2x4", "batch")] == ["4x4", "2x4"]


def test_a_trial_that_could_not_be_chosen_has_no_mean():
    cell = samples.cell(np.random.default_rng(0), "cora", "soft_label", 0.8)
    first, chosen = ({"numbers": {}, "validation": scores} for scores in ([0.9, None], [0.85, 0.75]))
    grid = make_grid([cell | {"tuning": {"chosen": 1, "trials": [first, chosen]}}], "soft_label")
    (row,) = tuning.tuning_table(grid).rows
    assert [entry.text for entry in row[-2:]] == ["-", "80.00"]
