"""Students of one method: all seeds in one program, or one program per seed on minibatches."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from abkd_jax import distill
from abkd_jax.configs.options import MethodConfig
from abkd_jax.distill.build import build_objective, terms_of
from abkd_jax.models.external import Stored
from abkd_jax.models.reduced_input import ReducedInput, input_kernel, reduced, with_identity
from abkd_jax.run.data import PreparedData, build_model
from abkd_jax.run.identity import student_identity
from abkd_jax.run.program import Program, Teacher, Trained, select_seed, stack, steps_per_epoch, train
from abkd_jax.run.resolve import STARTS_OF_WEIGHTS, Job
from abkd_jax.run.slices import in_slices
from abkd_jax.training.accumulate import make_parts_step
from abkd_jax.training.seeds import vmap_seeds
from abkd_jax.training.step import (
    TrainState,
    init_state,
    make_distill_step,
    make_gradients,
    make_optimizer,
    make_validate,
    with_teacher_targets,
)
from abkd_jax.training.tables import on_shards, put_tables
from abkd_jax.training.teacher_sample import make_sample_outputs
from abkd_jax.training.term_shares import make_gradient_shares
from abkd_jax.types import Batch, GNNOutput, Objective, Pytree

__all__ = ["train_students"]

log = logging.getLogger(__name__)

TARGETS: Any = Batch(None, None, None, 0)  # type: ignore[arg-type]  # axes of jax.vmap: a teacher per seed, one graph


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
            False and they are not finished.
    """
    log.info("%s: preparing", job.name)
    method, variables, module = job.method, teacher.models.variables, teacher.models.module
    student: nn.Module = build_model(data, job.model)
    if method.input == "teacher":
        student = ReducedInput(student)
    objective = build_objective(method, data.loss_context)
    if data.sampler is not None and isinstance(module, Stored):  # the batches carry them, the same for all seeds
        data = data._replace(sampler=data.sampler.with_outputs(select_seed(variables, 0)["outputs"]))
        variables, module = {}, None
    optimizer = make_optimizer(method.optim, steps_per_epoch(data, method.optim))
    apply = None if module is None else module.apply
    prepare = jax.jit(_make_prepare(module, student, objective, method, optimizer, whole=data.sampler is None))

    def trainer(data: PreparedData) -> Callable[[tuple[Path, list[int]]], Trained]:
        if data.sampler is None:
            make = _make_side_by_side(data, job, prepare, student, objective, optimizer)
        else:
            learn = _make_learn(data, method, student, module, objective, optimizer)
            make = _make_one(data, job, prepare, student, learn, _make_basis(data, objective, apply))

        def train_program(folder: tuple[Path, list[int]]) -> Trained:
            directory, seeds = folder
            identity = student_identity(data.identity, seeds, teacher.source, job.name, method, job.model)
            program, untrained = make(directory, identity, seeds, [select_seed(variables, seed) for seed in seeds])
            trained = train(data, student, program, may_train=may_train)
            return trained._replace(history=_with_untrained(trained.history, untrained))

        return train_program

    return stack(list(map(trainer(data), folders)) if data.sampler is None else in_slices(data, folders, trainer))


Prepare = Callable[[Any, Pytree, Batch], tuple[TrainState, Pytree]]
Make = Callable[[Path, dict[str, Any], list[int], list[Pytree]], tuple[Program, dict[str, np.ndarray]]]


def _make_side_by_side(
    data: PreparedData, job: Job, prepare: Prepare, student: nn.Module, objective: Objective | None, optimizer: Any
) -> Make:
    """Returns the maker of programs that train many seeds; the targets of the teachers are computed once."""
    weight, terms = job.method.task_weight, terms_of(job.method, data.loss_context)
    step = make_distill_step(student, objective, optimizer, data.task, weight)
    score = make_validate(student, data.task, data.val_mask)
    shares = make_gradient_shares(student, terms, data.task, weight)

    def validate(state: TrainState, batch: Batch) -> dict[str, Array]:
        return score(state, batch) | shares(state, batch)

    def evaluate_once(state: TrainState, batch: Batch) -> dict[str, Array]:
        return step(state, batch)[1] | validate(state, batch)

    def make(
        directory: Path, identity: dict[str, Any], seeds: list[int], teachers: list[Pytree]
    ) -> tuple[Program, dict[str, np.ndarray]]:
        pairs = zip(seeds, teachers, strict=True)
        prepared = [prepare(jax.random.key(seed), variables, data.batch) for seed, variables in pairs]
        states, targets = jax.tree.map(lambda *leaves: jnp.stack(leaves), *prepared)
        del prepared  # a copy of everything
        batch = data.batch._replace(targets=targets)
        evaluate = jax.jit(vmap_seeds(evaluate_once, TARGETS, states.params["student"]))
        untrained = jax.device_get(evaluate(states, batch))
        label = f"{job.name} x {len(seeds)} seeds"
        program = Program(label, directory, identity, seeds, job.method.optim, step, states, validate, batch, TARGETS)
        return program, untrained

    return make


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


def _make_one(
    data: PreparedData,
    job: Job,
    prepare: Prepare,
    student: nn.Module,
    learn: Callable[..., Any],
    basis_of: Callable[[int, Pytree], Pytree],
) -> Make:
    """Returns the maker of programs that train one seed on minibatches; the teacher is evaluated on each of them."""
    example = next(iter(data.sampler(np.random.default_rng(0)))) if data.sampler else data.batch
    validate = make_validate(student, data.task, data.val_mask)

    def make(
        directory: Path, identity: dict[str, Any], seeds: list[int], teachers: list[Pytree]
    ) -> tuple[Program, dict[str, np.ndarray]]:
        (seed,), (variables,) = seeds, teachers
        state, _ = prepare(jax.random.key(seed), variables, example)
        read = (variables, basis_of(seed, variables))
        read = jax.device_put(read) if data.mesh is None else put_tables(read, data.mesh)  # once, not in every step

        def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Array]]:  # `Batch`, or `Parts` of them
            return learn(state, batch, *read)

        label = f"{job.name} seed {seed}"
        return Program(label, directory, identity, seeds, job.method.optim, step, state, validate, example), {}

    return make


def _make_basis(
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


def _with_untrained(history: dict[str, np.ndarray], untrained: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the history with the untrained students as its epoch 0, `[1 + evaluations, seeds, ...]`.

    Attention and collapse move most in the first epochs.
    """
    if not untrained:
        return history
    epoch, recorded = history["epoch"][0], history["recorded"][0]
    rows = untrained | {"epoch": np.zeros_like(epoch), "recorded": np.ones_like(recorded)}
    if "diverged" in history:
        rows["diverged"] = np.zeros_like(recorded)
    longer = {name: np.concatenate([row[None], history[name]]) for name, row in rows.items()}
    return longer | {"seconds": history["seconds"]}


def _make_prepare(
    teacher: Any,
    student: nn.Module,
    objective: Objective | None,
    method: MethodConfig,
    optimizer: Any,
    *,
    whole: bool,
) -> Callable[[Any, Pytree, Batch], tuple[TrainState, Pytree]]:
    """Makes `(key, teacher's variables, batch) -> (student's training state, targets of the loss)` for one seed.

    Without a `teacher` the batch holds the teacher's outputs as its targets. The targets are those of the whole graph:
    None where the batch is a part of it.
    """

    def prepare(key: Any, teacher_variables: Pytree, batch: Batch) -> tuple[TrainState, Pytree]:
        state_key, objective_key, start_key = jax.random.split(key, 3)
        graph, teacher_params = batch.graph, teacher_variables.get("params", {})
        drawn = student
        # Dropped by XLA where nothing reads it.
        out = batch.targets if teacher is None else teacher.apply(teacher_variables, graph)
        if isinstance(student, ReducedInput):  # it starts from what it reads, and the teacher's first layer is that
            drawn = ReducedInput(student.module, input_kernel(teacher, teacher_params, graph))
            if method.start in STARTS_OF_WEIGHTS:
                teacher_params = with_identity(teacher, teacher_params, graph)
            graph = reduced(graph, drawn.kernel)
        variables = drawn.init(state_key, batch.graph)
        shapes = jax.eval_shape(lambda v: student.apply(v, batch.graph), variables)
        params = distill.initialise(
            method.start,
            start_key,
            variables["params"],
            teacher_params=teacher_params,
            teacher=out,
            student=shapes,
            graph=graph,
            mask=batch.masks.all,
        )
        projections, targets = None, None
        if objective is not None:
            projections = objective.init(objective_key, out, shapes)
            targets = objective.targets(out, graph=batch.graph, mask=batch.masks) if whole else None
        state = init_state(state_key, drawn, optimizer, batch, objective_params=projections, student_params=params)
        return state, targets

    return prepare
