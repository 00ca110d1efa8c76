"""CKA before training is that of the students with which the program of their lanes begins."""

import dataclasses

import jax.numpy as jnp
import pytest
from pipeline_samples import STUDENT, TEACHER

from abkd_jax.configs.options import MethodConfig
from abkd_jax.inference.evaluation import hidden_cka
from abkd_jax.run.data import prepare_data
from abkd_jax.run.lanes import Lane, build_student, lanes_program
from abkd_jax.run.program import select_seed
from abkd_jax.run.resolve import Job
from abkd_jax.run.teachers import as_teacher
from abkd_jax.study.similarity import cka_of_last_layers


def test_before_and_after_are_those_of_the_students(tmp_path):
    data = prepare_data("synthetic")
    short = dataclasses.replace(TEACHER, optim=dataclasses.replace(TEACHER.optim, epochs=8))
    models = as_teacher(data, short, 2, tmp_path).models
    method = MethodConfig(task_weight=0.5, soft_label_weight=1.0, alignment_weight=0.1)
    job, starts = Job("abkd", STUDENT, method), ("positive", "default")
    lanes = [Lane(seed, select_seed(models.variables, seed), start=start) for seed, start in enumerate(starts)]
    states = lanes_program((data,), job, models.module, lanes, tmp_path / "lanes", {}).start().states
    student = {"params": states.params["student"], **states.model_state}
    untrained = models._replace(variables=student, module=build_student(data, job))
    found = cka_of_last_layers((data,), job, models.module, lanes, untrained)
    assert found["before"] == pytest.approx(found["after"], abs=2e-4)  # rounded to four digits
    assert found["before"][0] != found["before"][1]
    graph, nodes = data.batch.graph, jnp.asarray(data.batch.masks.all)
    of_teacher = models.module.apply(lanes[0].teacher, graph).hiddens
    of_student = untrained.module.apply(select_seed(student, 0), graph).hiddens
    assert found["after"][0] == pytest.approx(float(hidden_cka(of_teacher, of_student, nodes)[-1, -1]), abs=1e-4)
