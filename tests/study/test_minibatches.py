"""Studies of labelled graphs: a student of a cell is the one that trains alone, and other regimes are refused."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from problem_samples import graph_dataset

from abkd_jax.configs.options import BatchConfig, MethodConfig, ModelConfig, OptimConfig, TeacherConfig
from abkd_jax.run.data import prepare_data
from abkd_jax.run.lanes import Lane, with_numbers
from abkd_jax.run.program import select_seed
from abkd_jax.run.resolve import Job
from abkd_jax.run.students import train_students
from abkd_jax.run.teachers import as_teacher
from abkd_jax.study.options import Table
from abkd_jax.study.places import open_place
from abkd_jax.study.train import train_lanes
from abkd_jax.types import InputError

OPTIM = OptimConfig(epochs=2, eval_every=1, monitor="val_accuracy", learning_rate=0.04, schedule="cosine")
METHOD = MethodConfig(task_weight=0.5, soft_label_weight=1.0, alignment_weight=0.1, optim=OPTIM)
NUMBERS = (
    {"temperature": 2.0, "alignment_weight": 3.0, "optim.learning_rate": 0.02},
    {"temperature": 0.5, "alignment_weight": 0.3, "optim.learning_rate": 0.01},
)
MODEL = ModelConfig(name="gin", layers=2, hidden=4, dropout=0.0, input_dropout=0.0, norm="batch", readout="mean")


def test_a_student_of_a_cell_is_the_one_that_trains_alone(tmp_path):
    data = prepare_data(graph_dataset(), batches=BatchConfig(kind="graphs", size=8))
    teacher = as_teacher(data, TeacherConfig(dataclasses.replace(MODEL, hidden=6), OPTIM), 1, tmp_path)
    lanes = [Lane(0, select_seed(teacher.models.variables, 0), numbers, "positive") for numbers in NUMBERS]
    job = Job("abkd", MODEL, METHOD)

    def train():
        return train_lanes((data,), job, teacher.models.module, teacher.source, lanes, tmp_path / "lanes")

    trained = train()
    method = dataclasses.replace(with_numbers(METHOD, NUMBERS[1]), start="positive")
    alone = train_students(data, job._replace(method=method), teacher, [(tmp_path / "alone", [0])])
    # Not `val_loss`: a bias before batch norm has no gradient, and of rounding Adam makes steps that validation sees.
    for name in ("loss", "task_loss", "soft_label/loss", "abkd/loss"):
        assert_allclose(trained.history[name][:, 1], alone.history[name][:, 0], rtol=1e-4)
        assert not np.allclose(trained.history[name][:, 0], alone.history[name][:, 0], rtol=1e-3)
    again = train()
    assert not any(origin.trained for origin in again.origins)
    np.testing.assert_array_equal(again.history["loss"], trained.history["loss"])


def test_graphs_are_transductive_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("abkd_jax.datasets.load", lambda name, root, split: graph_dataset())
    with pytest.raises(InputError, match="labels graphs: regime is 'inductive', expected transductive"):
        open_place(Table(), "mutag", "inductive", tmp_path, tmp_path)
