"""Hours of a study, and its excerpt in a text."""

import re

import numpy as np
import pytest
import study_samples as samples
import tyro

from abkd_jax.study.report.claims import Claim
from abkd_jax.study.report.excerpt import excerpt, names_of_excerpts, with_excerpt
from abkd_jax.study.report.grid import make_grid
from abkd_jax.study.report.hours import hours_table
from abkd_jax.types import InputError
from experiments import report as command

PLACE = "before\n\n<!-- study main -->\n<!-- end -->\n\n<!-- study other -->\nkept\n<!-- end -->\n"


def test_hours_are_sums_and_memory_is_the_most():
    made = samples.cells()
    for number, cell in enumerate(made):
        cell["times"] |= {"seconds": 4000.0, "peak_memory_gib": 1.0 + number}
        cell["weights"] = [cell["dataset"], cell["method"]]
    teacher = made[0] | {"regime": "inductive"}  # the same teachers in a second regime
    rows = [[entry.text for entry in row] for row in hours_table(make_grid([*made, teacher], "soft_label")).rows]
    hours = [1800 / 3600, 4 * 1800 / 3600, 4 * 1800 / 3600, (1800 + 4 * 4000) / 3600]
    assert rows[0] == ["cora", "4", *(f"{of:.2f}" for of in hours), "5.00"]
    assert rows[-1] == ["all data sets", "8", *(f"{2 * of:.2f}" for of in hours), "10.00"]


def test_cells_without_times_have_no_hours():
    made = [cell | {"times": {}} for cell in samples.cells(datasets=("cora",))]
    (row,) = hours_table(make_grid(made, "soft_label")).rows
    assert [entry.text for entry in row] == ["cora", "4", "-", "-", "-", "-", "-"]


def test_an_excerpt_holds_the_numbers_of_its_cells_and_nothing_else_changes():
    made = samples.cells(datasets=("cora",))
    text = with_excerpt(PLACE, "main", excerpt(made, "soft_label", claims=[Claim("abkd_x", ("soft_label",))])[0])
    scores = made[2]["scores"]["test"]
    assert re.search(rf"\| abkd_x .*{100 * np.mean(scores):.2f} \+- {100 * np.std(scores, ddof=1):.2f}", text)
    assert re.search(r"\| abkd_x above soft_label .* holds \|", text)
    assert text.startswith("before\n\n<!-- study main -->\n")
    assert text.endswith("<!-- end -->\n\n<!-- study other -->\nkept\n<!-- end -->\n")
    assert names_of_excerpts(text) == ["main", "other"]
    made[2]["scores"]["test"][0] += 0.01
    assert with_excerpt(text, "main", excerpt(made, "soft_label")[0]) != text


def test_pictures_of_an_excerpt_are_beside_the_cells(tmp_path):
    folder, readme = samples.write(tmp_path / "results" / "main", samples.cells(datasets=("cora",))), tmp_path / "R.md"
    readme.write_text(PLACE)
    command.main(command.Args(folder, out=tmp_path / "out", readme=readme))
    (linked,) = re.findall(r"^!\[Test scores with 95 % intervals: [^]]*cora[^]]*\]\((\S+)\)$", readme.read_text(), re.M)
    picture = tmp_path / linked
    assert picture.parent == folder
    assert picture.read_bytes() == (tmp_path / "out" / picture.name).read_bytes()


def test_a_text_without_a_place_is_one_line_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="no place for study absent, expected lines"):
        with_excerpt(PLACE, "absent", "")
    folder, readme = samples.write(tmp_path / "main", samples.cells(seeds=3, datasets=("cora",))), tmp_path / "R.md"
    arguments = [str(folder), "--out", str(tmp_path / "out"), "--readme", str(readme)]
    for text in (None, "no place"):
        if text:
            readme.write_text(text)
        with pytest.raises(SystemExit, match=r"^experiments.report: [^\n]*R.md[^\n]*$"):
            command.main(tyro.cli(command.Args, args=arguments))
    assert readme.read_text() == "no place"
    assert not (tmp_path / "out").exists()
