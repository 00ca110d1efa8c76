"""Students of one method: all seeds in one program, or one program per seed on minibatches."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array

from abkd_jax import distill
from abkd_jax.configs.options import MethodConfig
from abkd_jax.distill.build import build_objective
from abkd_jax.models.external import Stored
from abkd_jax.run.data import PreparedData
from abkd_jax.run.identity import student_identity, weights_digest
from abkd_jax.run.lanes import Lane, build_student, lanes_program
from abkd_jax.run.program import Program, Start, Teacher, Trained, select_seed, stack, steps_per_epoch, train
from abkd_jax.run.resolve import Job
from abkd_jax.run.slices import in_slices
from abkd_jax.run.trimming import trimmed
from abkd_jax.run.untrained import make_prepare
from abkd_jax.training.accumulate import make_parts_step
from abkd_jax.training.step import (
    TrainState,
    make_distill_step,
    make_gradients,
    make_optimizer,
    make_validate,
    with_teacher_targets,
)
from abkd_jax.training.tables import on_shards, put_tables
from abkd_jax.training.teacher_sample import make_sample_outputs
from abkd_jax.types import GNNOutput, Objective, Pytree

__all__ = ["make_basis", "train_students"]

log = logging.getLogger(__name__)


def train_students(
    data: PreparedData,
    job: Job,
    teacher: Teacher,
    folders: Sequence[tuple[Path, list[int]]],
    *,
    may_train: bool = True,
) -> Trained:
    """Trains one student per teacher, or reads the finished ones back from their folders.

    The student of seed `k` learns from the teacher of seed `k`. Where a step reads the whole graph, the teacher is
    evaluated once and the step is given its targets; on minibatches it is evaluated on every batch, and of stored
    outputs the rows of the batch are taken. The axis `seeds` of a mesh shares the seeds: of one program where a step
    reads the whole graph, else program by program (`slices.in_slices`).

    Args:
        data: the data.
        job: the method and its student.
        teacher: what they learn from.
        folders: the checkpoint folder of every program, and the seeds it trains; one seed each on minibatches.
        may_train: False refuses a program that is not finished instead of training it.

    Raises:
        InputError: a config makes no model or no loss, a folder holds students of another config, or `may_train` is
            False and they are not finished; or students in progress began with teachers of other weights.
    """
    log.info("%s: preparing", job.name)
    method, variables, module = job.method, teacher.models.variables, teacher.models.module
    student = build_student(data, job)
    data = trimmed(data, [student, module], method)
    if data.sampler is not None and isinstance(module, Stored):  # the batches carry them, the same for all seeds
        data = data._replace(sampler=data.sampler.with_outputs(select_seed(variables, 0)["outputs"]))
        variables, module = {}, None

    def trainer(data: PreparedData) -> Callable[[tuple[Path, list[int]]], Trained]:
        make = _side_by_side(data, job, module) if data.sampler is None else _make_one(data, job, student, module)

        def train_program(folder: tuple[Path, list[int]]) -> Trained:
            directory, seeds = folder
            identity = student_identity(data.identity, seeds, teacher.source, job.name, method, job.model)
            program = make(directory, identity, [Lane(k, select_seed(variables, k)) for k in seeds])
            if job.reads_teacher and not isinstance(teacher.models.module, Stored):  # their digest is in the identity
                program = program._replace(teachers=lambda: _digests(teacher, seeds))
            return train(data, student, program, may_train=may_train)

        return train_program

    return stack(list(map(trainer(data), folders)) if data.sampler is None else in_slices(data, folders, trainer))


def _digests(teacher: Teacher, seeds: list[int]) -> dict[str, str]:
    """Returns the digests of the weights of the teachers of some seeds."""
    return {str(seed): weights_digest(select_seed(teacher.models.variables, seed)) for seed in seeds}


Make = Callable[[Path, dict[str, Any], list[Lane]], Program]


def _side_by_side(data: PreparedData, job: Job, teacher: Any) -> Make:
    return lambda directory, identity, lanes: lanes_program((data,), job, teacher, lanes, directory, identity)


def _make_learn(
    data: PreparedData,
    method: MethodConfig,
    student: nn.Module,
    teacher: Any,
    objective: Objective | None,
    optimizer: Any,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """Makes the step on minibatches, which evaluates the teacher on them; without one they hold its outputs."""
    if data.per_step == 1:
        step = make_distill_step(student, objective, optimizer, data.task, method.task_weight)
        return with_teacher_targets(step, objective, None if teacher is None else teacher.apply)
    gradients = make_gradients(on_shards(student, data.mesh), objective, data.task, method.task_weight)
    evaluated = None if teacher is None else on_shards(teacher, data.mesh).apply
    return make_parts_step(with_teacher_targets(gradients, objective, evaluated), optimizer, data.mesh)


def _make_one(data: PreparedData, job: Job, student: nn.Module, teacher: Any) -> Make:
    """Returns the maker of programs that train one seed on minibatches; the teacher is evaluated on each of them."""
    method, objective = job.method, build_objective(job.method, data.loss_context)
    optimizer = make_optimizer(method.optim, steps_per_epoch(data, method.optim))
    prepare = jax.jit(make_prepare(teacher, student, objective, method, optimizer, whole=False, units=data.units))
    learn = _make_learn(data, method, student, teacher, objective, optimizer)
    basis_of = make_basis(data, objective, None if teacher is None else teacher.apply)
    example = data.example
    validate = make_validate(student, data.task, data.val_mask)

    def make(directory: Path, identity: dict[str, Any], lanes: list[Lane]) -> Program:
        ((seed, variables, *_),) = lanes
        state_of = lambda: prepare(jax.random.key(seed), variables, example)[0]  # noqa: E731

        def start() -> Start:
            read = (variables, basis_of(seed, variables))
            read = jax.device_put(read) if data.mesh is None else put_tables(read, data.mesh)  # once, not in every step

            def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Array]]:  # `Batch`, or `Parts`
                return learn(state, batch, *read)

            return Start(step, state_of(), example)

        label, shapes = f"{job.name} seed {seed}", jax.eval_shape(state_of)
        return Program(label, directory, identity, [seed], method.optim, validate, shapes, start)

    return make


def make_basis(
    data: PreparedData, objective: Objective | None, teacher: Callable[[Pytree, Any], GNNOutput] | None
) -> Callable[[int, Pytree], Pytree]:
    """Makes `(seed, teacher's variables) -> basis`, from minibatches of an epoch 0 that is not trained on."""
    sampler, sample = data.sampler, make_sample_outputs(teacher)
    if objective is None or sampler is None or not distill.needs_basis(objective):
        return lambda seed, variables: None

    def basis(seed: int, variables: Pytree) -> Pytree:
        outputs, masks = sample(variables, sampler(np.random.default_rng([seed, 0])))
        return jax.device_put(distill.teacher_basis(objective, outputs, masks))

    return basis
