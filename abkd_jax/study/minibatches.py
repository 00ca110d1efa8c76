"""Training of the students of a cell on minibatches: one after the other, with one compiled step for all of them."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array

from abkd_jax.distill.build import build_objective
from abkd_jax.run.data import PreparedData
from abkd_jax.run.identity import student_identity
from abkd_jax.run.lanes import Lane, Numbers, build_method, build_student, make_prepare_lane, traced
from abkd_jax.run.program import Program, Start, Trained, stack, train
from abkd_jax.run.resolve import Job
from abkd_jax.run.students import make_basis
from abkd_jax.run.trimming import trimmed
from abkd_jax.training.step import (
    TrainState,
    make_distill_step,
    make_validate,
    with_teacher_targets,
)
from abkd_jax.types import Batch, InputError, Pytree

__all__ = ["train_one_by_one"]


def train_one_by_one(
    data: PreparedData, job: Job, teacher: Any, source: dict[str, Any], lanes: Sequence[Lane], folder: Path
) -> Trained:
    """Trains the lanes of a job on minibatches, or reads them back; a lane that was begun goes on.

    A lane draws the minibatches of its seed, as in `students.train_students`, and evaluates its teacher on each. The
    numbers of the lanes are arguments of the step.

    Args:
        data: the data, with a sampler.
        job: method and student.
        teacher: module of the teachers.
        source: what identities say of them.
        lanes: the students.
        folder: of the checkpoints, one below it for each lane.

    Raises:
        InputError: the data has no minibatches; a config makes no model or no loss; see `program.train`.
    """
    student = build_student(data, job)
    data = trimmed(data, [student, teacher], job.method)
    if data.sampler is None:
        raise InputError(f"{data.dataset.name}: a step reads the whole graph, expected minibatches")
    example = data.example
    basis_of = make_basis(data, build_objective(job.method, data.loss_context), teacher.apply)
    prepare, learn = make_prepare_lane(data, job, student, teacher), _make_learn(data, job, student, teacher)
    validate = make_validate(student, data.task, data.val_mask)

    def train_lane(number: int, lane: Lane) -> Trained:
        def start() -> Start:
            read = (lane.teacher, basis_of(lane.seed, lane.teacher), traced(lane))
            read = jax.device_put(read)  # once, not in every step

            def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
                return learn(state, batch, *read)

            return Start(step, prepare(lane, example)[0], example)

        identity = student_identity(data.identity, [lane.seed], source, job.name, job.method, job.model)
        identity["lanes"] = [{**lane.numbers, "start": lane.start}]
        label = f"{job.name} student {number + 1} of {len(lanes)}"
        optim, shapes = job.method.optim, jax.eval_shape(lambda: prepare(lane, example)[0])
        program = Program(label, folder / str(number), identity, [lane.seed], optim, validate, shapes, start)
        return train(data, student, program)

    return stack([train_lane(number, lane) for number, lane in enumerate(lanes)])


def _make_learn(data: PreparedData, job: Job, student: Any, teacher: Any) -> Any:
    """Makes `(state, batch, teacher's variables, basis, numbers) -> (state, metrics)`, compiled once."""

    @functools.partial(jax.jit, donate_argnums=0)
    def learn(
        state: TrainState, batch: Batch, variables: Pytree, basis: Pytree, numbers: Numbers
    ) -> tuple[TrainState, dict[str, Array]]:
        method, objective, optimizer = build_method(data, job, numbers)
        step = make_distill_step(student, objective, optimizer, data.task, method.task_weight)
        return with_teacher_targets(step, objective, teacher.apply)(state, batch, variables, basis)

    return learn
