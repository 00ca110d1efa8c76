"""Stored cells are those of the settings of their tables: a study skips every one of them, and trains none anew."""

import copy
import dataclasses

import pytest

from abkd_jax.configs.presets import preset
from abkd_jax.run.identity import TRAINING_VERSION, config_dict, digest
from abkd_jax.study.methods import OPTIM
from abkd_jax.study.report.grid import TEACHER
from experiments.configs.tables import TABLES
from experiments.excerpts import cells_of
from experiments.study import RESULTS
from experiments.tuning_draws import stored

STORED = [name for name in TABLES if (RESULTS / name).is_dir()]


def identity_of(cell, weights, table):
    """The identity that `study.runner` gives a student's cell, from what the cell and its table say.

    The numbers and the start before any tuning are those of the first trial, the length is that of the recipe.
    """
    tuning, minibatches = cell["tuning"], cell["dataset"].startswith("ogbg-")
    method = copy.deepcopy(cell["settings"])
    optim = config_dict(preset(cell["dataset"]).soft_label.optim if minibatches else OPTIM)
    method["optim"] |= {name: optim[name] for name in ("epochs", "eval_every")}
    for path, value in tuning["trials"][0]["numbers"].items():
        *inside, name = path.split(".")
        (method["optim"] if inside else method)[name] = value
    budget = {**dataclasses.asdict(table.tuning), "draw": tuning.get("draw", 0)}
    return digest(
        {
            "data": cell["data"]["fingerprint"],
            **{name: value for name, value in cell["data"].items() if name == "splits"},
            "regime": cell["regime"],
            "teacher": weights,
            "model": cell["model"],
            "method": method,
            "ranges": tuning["ranges"],
            "starts": tuning["starts"],
            "tuning": {name: value for name, value in budget.items() if name != "draw" or value},
            "seeds": len(cell["seeds"]),
            "lengths": list(table.lengths),
            "training": TRAINING_VERSION["minibatches" if minibatches else "whole graph"],
        }
    )


@pytest.mark.parametrize("name", STORED)
def test_every_student_is_one_of_its_table_and_of_the_teachers_that_stand_beside_it(name):
    """Cells of other teachers would be compared with these, and with students of these, as if they were theirs."""
    teachers = {}
    for folder in stored(name, RESULTS)[0]:
        cells = cells_of(RESULTS / folder)
        for cell in cells:
            if cell["method"] == TEACHER:  # the same in all draws of the tuning
                place = (cell["dataset"], cell["regime"])
                assert cell["weights"] == teachers.setdefault(place, cell["weights"]), (folder, *place)
        for cell in cells:
            if cell["method"] != TEACHER:
                expected = identity_of(cell, teachers[cell["dataset"], cell["regime"]], TABLES[name])
                assert cell["identity"] == expected, (folder, cell["dataset"], cell["student"], cell["method"])
