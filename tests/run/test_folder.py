"""A run folder without a run: who owns it, which one is `latest`, and which layer maps are kept."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from abkd_jax.run.folder import claim, map_rows, open_run, point_to
from abkd_jax.types import InputError

DESCRIPTION = {"data": "0123", "seeds": 1, "abkd": {"student": {"layers": 2}, "task_weight": 1.0}}


def test_latest_is_the_run_that_was_started_last_and_so_one_that_goes_on(tmp_path):
    for _ in range(2):
        claim(open_run(tmp_path / "long"), DESCRIPTION, ["abkd"], latest=True)
        assert (tmp_path / "latest").readlink().name == "long"
        point_to(tmp_path / "quick")
        assert (tmp_path / "latest").readlink().name == "quick"
    claim(open_run(tmp_path / "long"), DESCRIPTION, ["abkd"], latest=False)
    assert (tmp_path / "latest").readlink().name == "quick"


def test_a_folder_with_a_method_that_the_settings_lack_is_refused(tmp_path):
    records = [{"method": name, "seed": 0} for name in ("teacher", "abkd", "ours")]
    (tmp_path / "results.json").write_text(json.dumps({"complete": True, "records": records}))
    run = open_run(tmp_path)
    claim(run, DESCRIPTION, ["abkd", "ours"], latest=False)
    with pytest.raises(InputError, match="holds results of ours, a method that these settings do not have; choose"):
        claim(run, DESCRIPTION, ["abkd"], latest=False)


def history(recorded):
    """Two seeds, evaluated every 10 epochs; the attention is the number of the evaluation, 0 where there was none."""
    recorded = np.array(recorded).T
    number = np.where(recorded, np.arange(1, len(recorded) + 1)[:, None], 0)
    maps = {f"abkd/{name}": number[..., None, None] * np.ones((1, 2)) for name in ("attention", "dissimilarity")}
    return {"recorded": recorded, "epoch": 10 * number, **maps, "abkd/unexplained": number[..., None]}


def test_layer_maps_are_those_of_evaluations_that_were_made():
    stopped = [*[True] * 5, *[False] * 25], [*[True] * 9, *[False] * 21]
    found = map_rows(history(stopped))
    assert found["epochs"].tolist() == [10, 20, 40, 60, 90]
    assert_array_equal(found["attention"][:, 0, 0, 0], [1, 2, 4, 5, 5])  # seed 0 keeps those it stopped with
    assert_array_equal(found["attention"][:, 1, 0, 1], [1, 2, 4, 6, 9])
    assert_array_equal(found["dissimilarity"], found["attention"])
    assert_array_equal(found["unexplained"][:, 1, 0], [1, 2, 4, 6, 9])
    whole = history([[True] * 40] * 2)
    assert map_rows(whole)["epochs"].tolist() == [10, 20, 40, 90, 190, 400]
    assert map_rows(history([[False] * 3] * 2)) == {}
    assert map_rows({"recorded": whole["recorded"], "epoch": whole["epoch"]}) == {}
