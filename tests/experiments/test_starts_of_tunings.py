"""Starts over the trials of stored tunings: against means worked out by hand."""

from pathlib import Path

import pytest

from abkd_jax.datasets.files.atomic import read_json
from abkd_jax.study.cells import cell_path, write_cell
from abkd_jax.types import InputError
from experiments import excerpts, starts


@pytest.fixture(autouse=True)
def one_table(monkeypatch):
    monkeypatch.setattr(starts, "TABLES", ("main",))
    monkeypatch.setattr(starts, "OF_FITTED", ("main",))


def trial(start, *validation):
    return {"numbers": {"start": start}, "validation": validation}


def store(
    results: Path,
    draw: int,
    dataset: str,
    gained: float,
    tried=tuple(starts.STARTS),
    method="soft_label",
    test=(0.5,),
    epochs=(1,),
):
    """A cell of one draw: plain students have .5, those cut out so much more; the first trial is of no start."""
    trials = [
        trial("positive", 0.9, 0.9, 0.0) if method == "soft_label" else trial(tried[0], 0.9 + gained, 0.9),
        trial("positive", 0.4, 0.5, 1.0, 1.0),
        trial("positive", 0.6, 0.5),
        trial("teacher_directions", 0.7, 0.7),
        trial("attention_map", 0.5 + gained, 0.5 + gained),
        trial("fitted", 0.6, 0.65),
    ]
    names = {"dataset": dataset, "regime": "transductive", "student": "4x4", "method": method}
    cell = {
        "table": "main",
        **names,
        "metric": "accuracy",
        "seeds": [*range(len(test))],
        "splits": [0] * len(test),
        "scores": {"test": test},
        "cost": {"epochs_to_half_point": epochs},
        "tuning": {"starts": tried, "trials": trials},
    }
    write_cell(cell_path(results / (f"tuning_draws/main_{draw}" if draw else "main"), *names.values()), cell)


def entries(row: str) -> list[str]:
    return [entry.strip() for entry in row.strip("|").split("|")]


def test_the_points_of_each_start_have_the_means_of_the_students_that_all_points_have(tmp_path):
    for draw in range(8):
        store(tmp_path, draw, "cora", 0.1 if draw else -0.06)
        store(tmp_path, draw, "citeseer", 0.1, tried=("positive", "teacher_directions"))
        if draw < 7:
            store(tmp_path, draw, "acm", 0.1)
    *_, row = starts.as_text(tmp_path).split("\n\n")[0].splitlines()
    place, *numbers = entries(row)
    assert len(starts.as_text(tmp_path).split("\n\n")[0].splitlines()) == 3  # eight of all starts are of Cora alone
    assert place == "main, cora, 4x4, soft_label"
    assert numbers == ["50.0", "70.0", "58.0", "+8.0 +- 5.7", "7 of 8"]


def test_the_numbers_of_the_preset_are_compared_draw_by_draw(tmp_path):
    for draw in range(8):
        store(tmp_path, draw, "cora", 0.0)
        store(tmp_path, draw, "cora", -0.04 if draw else 0.12, tried=("attention_map",), method="soft_label_cut_out")
    (row,) = starts.as_text(tmp_path).split("\n\n")[1].splitlines()[2:]
    assert entries(row) == ["main, cora, 4x4, soft_label", "90.0", "89.0", "-1.0 +- 2.8", "1 of 8"]


def test_the_fitted_start_stands_beside_the_plain_one_with_what_each_costs(tmp_path):
    """Of the tunings in which it was tried: means of its points, of the preset's, of the tests, and of the epochs."""
    for draw in range(3):
        store(tmp_path, draw, "cora", 0.1, test=(0.8, 0.9, None), epochs=(100, 300, None))
        if draw < 2:
            tested = {"test": (0.9, 0.9 + 0.1 * draw), "epochs": (30, 50)}
            store(tmp_path, draw, "cora", 0.1, tried=("fitted",), method="soft_label_fitted", **tested)
    (row,) = starts.as_text(tmp_path).split("\n\n")[2].splitlines()[2:]
    assert entries(row) == ["main, cora, 4x4", "2", "50.0 / 62.5", "90.0 / 95.0", "85.0 / 92.5", "200 / 40"]


def test_epoch_0_is_an_epoch_and_a_preset_that_diverged_is_in_no_mean(tmp_path):
    for method, tried in (("soft_label", tuple(starts.STARTS)), ("soft_label_fitted", ("fitted",))):
        store(tmp_path, 0, "cora", 0.1, tried=tried, method=method, epochs=(0,))
    path = tmp_path / "main/cora/transductive/4x4/soft_label.json"
    cell = read_json(path)
    cell["tuning"]["trials"][0]["validation"][0] = None
    write_cell(path, cell)
    (row,) = starts.as_text(tmp_path).split("\n\n")[2].splitlines()[2:]
    assert entries(row)[3:] == ["90.0 / 95.0", "50.0 / 50.0", "0 / 0"]


def test_the_table_is_put_between_its_marks(tmp_path, capsys):
    store(tmp_path, 0, "cora", 0.1)
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- study starts -->\nold\n<!-- end -->\nb\n")
    excerpts.put("starts", starts.as_text, excerpts.Args(tmp_path, readme))
    printed = capsys.readouterr().out
    assert readme.read_text() == f"a\n<!-- study starts -->\n{printed}<!-- end -->\nb\n"
    readme.write_text("no place")
    with pytest.raises(InputError, match="starts"):
        excerpts.put("starts", starts.as_text, excerpts.Args(tmp_path, readme))


def test_a_start_whose_students_all_diverged_has_no_mean(tmp_path):
    for method, tried in (("soft_label", tuple(starts.STARTS)), ("soft_label_fitted", ("fitted",))):
        store(tmp_path, 0, "cora", 0.1, tried=tried, method=method)
    path = tmp_path / "main/cora/transductive/4x4/soft_label.json"
    cell = read_json(path)
    cell["tuning"]["trials"][0]["validation"] = [None] * 3
    write_cell(path, cell)
    (row,) = starts.as_text(tmp_path).split("\n\n")[2].splitlines()[2:]
    assert entries(row)[3] == "nan / 95.0"
