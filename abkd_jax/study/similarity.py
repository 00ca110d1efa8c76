"""CKA of teachers and students of a cell, before training and after."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from abkd_jax.inference.evaluation import hidden_cka
from abkd_jax.run.data import PreparedData
from abkd_jax.run.lanes import Lane, build_student
from abkd_jax.run.program import Trained, select_seed
from abkd_jax.run.resolve import Job
from abkd_jax.run.untrained import make_prepare
from abkd_jax.training.step import make_optimizer
from abkd_jax.types import Batch, Pytree

__all__ = ["cka_of_last_layers"]


def cka_of_last_layers(
    splits: Sequence[PreparedData], job: Job, teacher: Any, lanes: Sequence[Lane], trained: Trained
) -> dict[str, list[float | None]]:
    """Computes the linear CKA of the last hidden layers of teacher and student, seed by seed.

    Args:
        splits: what the students were trained on. The nodes compared are those that distillation may use.
        job: method and student.
        teacher: module of the teachers.
        lanes: the students, as they started.
        trained: the same students after their training.

    Returns:
        `"before"` and `"after"`, a number in [0, 1] for each seed; None where it is not finite.
    """
    student, optimizer = build_student(splits[0], job), make_optimizer(job.method.optim)

    @functools.partial(jax.jit, static_argnums=0)
    def compare(module: Any, of_teacher: Pytree, of_student: Pytree, batch: Batch) -> Any:
        taught = teacher.apply(of_teacher, batch.graph).hiddens[-1:]
        learnt = module.apply(of_student, batch.graph).hiddens[-1:]
        return hidden_cka(taught, learnt, batch.masks.all)[0, 0]

    @functools.cache
    def make_start(start: Any, split: int) -> Any:
        method, units = dataclasses.replace(job.method, start=start), splits[split].units
        return jax.jit(make_prepare(teacher, student, None, method, optimizer, whole=True, units=units))

    found: dict[str, list[float | None]] = {"before": [], "after": []}
    for seed, lane in enumerate(lanes):
        batch = splits[lane.split].batch
        start = make_start(lane.start or job.method.start, lane.split if splits[0].units else 0)
        state, _ = start(jax.random.key(lane.seed), lane.teacher, batch)
        untrained = {"params": state.params["student"], **state.model_state}
        after = trained.module, select_seed(trained.variables, seed)  # no longer reads through the teacher
        for when, (module, variables) in {"before": (student, untrained), "after": after}.items():
            value = float(compare(module, lane.teacher, variables, batch))
            found[when].append(round(value, 4) if np.isfinite(value) else None)
    return found
