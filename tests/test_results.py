"""What the experiments' README says of studies is what their stored cells give."""

import pytest

from abkd_jax.study.cells import load
from abkd_jax.study.report.excerpt import excerpt, names_of_excerpts, with_excerpt
from experiments.configs.tables import CLAIMS, TABLES
from experiments.report import Args
from experiments.study import RESULTS

README = RESULTS.parent / "README.md"
TEXT = README.read_text()


@pytest.mark.parametrize("name", TABLES)
def test_numbers_of_a_study_are_those_of_its_cells(name):
    """Once `experiments.report FOLDER --readme experiments/README.md` has put them there."""
    if name not in names_of_excerpts(TEXT):
        assert f"<!-- study {name} -->" not in TEXT
        return
    cells = load(RESULTS / name)
    assert {cell["table"] for cell in cells} == {name}
    options = Args(RESULTS / name)
    made = excerpt(cells, options.baseline, options.test, CLAIMS.get(name, ()))
    assert with_excerpt(TEXT, name, made) == TEXT


def test_all_excerpts_are_of_tables():
    found = names_of_excerpts(TEXT)
    assert len(found) == len(set(found)) == TEXT.count("<!-- study ")
    assert set(found) <= set(TABLES)
