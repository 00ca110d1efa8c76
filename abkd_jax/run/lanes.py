"""Students side by side in one program: each with a seed, settings and a split of its own."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from abkd_jax.configs.options import MethodConfig
from abkd_jax.distill.build import build_objective, terms_of
from abkd_jax.models.reduced_input import ReducedInput
from abkd_jax.run.data import PreparedData, build_model
from abkd_jax.run.program import Program, Start, stack_trees, steps_per_epoch
from abkd_jax.run.resolve import Job
from abkd_jax.run.untrained import make_prepare
from abkd_jax.training.seeds import vmap_seeds
from abkd_jax.training.step import Step, TrainState, make_distill_step, make_optimizer, make_validate
from abkd_jax.training.term_shares import make_gradient_shares
from abkd_jax.types import Batch, Objective, Pytree

__all__ = [
    "Lane",
    "Numbers",
    "build_method",
    "build_student",
    "lanes_program",
    "make_prepare_lane",
    "traced",
    "with_numbers",
]

Numbers = Mapping[str, Any]  # by path, as `with_numbers` has them; they may be traced


class Lane(NamedTuple):
    """One student of a program that trains many.

    Attributes:
        seed: of its initialisation.
        teacher: variables of its teacher.
        numbers: settings that replace those of the method, by their paths; the same paths in all lanes.
        start: its initialisation; None is that of the method.
        split: which split of the data it has.
    """

    seed: int
    teacher: Pytree
    numbers: Mapping[str, float] = {}
    start: Any = None
    split: int = 0


class _Own(NamedTuple):
    """What differs between the students of a program: the targets of the batch."""

    targets: Pytree
    numbers: dict[str, Array]
    val: Array | None


def with_numbers(method: MethodConfig, numbers: Numbers) -> MethodConfig:
    """Returns a method with other numbers, which may be traced.

    Args:
        method: the method.
        numbers: by path: `temperature`, `optim.learning_rate`.

    Examples:
        >>> with_numbers(MethodConfig(), {"temperature": 2.0, "optim.learning_rate": 0.1}).optim.learning_rate
        0.1
    """
    own = {path: value for path, value in numbers.items() if "." not in path}
    of_optim = {path.removeprefix("optim."): value for path, value in numbers.items() if "." in path}
    return _replaced(method, **own, optim=_replaced(method.optim, **of_optim))


def _replaced(config: Any, **values: Any) -> Any:
    """Returns a copy of a config with other values, of any type where `dataclasses.replace` has them checked."""
    changed = copy.copy(config)
    for name, value in values.items():
        object.__setattr__(changed, name, value)
    return changed


def build_student(data: PreparedData, job: Job) -> nn.Module:
    """Builds the module that is trained for a job."""
    student = build_model(data, job.model)
    return ReducedInput(student) if job.method.input == "teacher" else student


def traced(lane: Lane) -> dict[str, Array]:
    """Returns the numbers of a lane as arguments of a compiled function."""
    return {path: jnp.float32(value) for path, value in sorted(lane.numbers.items())}


def build_method(
    data: PreparedData, job: Job, numbers: Numbers
) -> tuple[MethodConfig, Objective | None, optax.GradientTransformation]:
    """Builds the method of a lane, with its loss and its optimizer.

    Raises:
        InputError: the config makes no loss.
    """
    method = with_numbers(job.method, numbers)
    optimizer = make_optimizer(method.optim, steps_per_epoch(data, job.method.optim))
    return method, build_objective(method, data.loss_context), optimizer


def make_prepare_lane(
    data: PreparedData, job: Job, student: nn.Module, teacher: Any
) -> Callable[[Lane, Batch], tuple[TrainState, Pytree]]:
    """Makes `(lane, batch) -> (state, targets of its loss)`, compiled once for each start; see `make_prepare`."""

    @functools.partial(jax.jit, static_argnames="start")
    def compiled(key: Any, variables: Pytree, batch: Batch, numbers: Numbers, *, start: Any) -> Any:
        of = job._replace(method=dataclasses.replace(job.method, start=start))
        method, objective, optimizer = build_method(data, of, numbers)
        whole = data.sampler is None
        prepare = make_prepare(teacher, student, objective, method, optimizer, whole=whole, units=data.units)
        return prepare(key, variables, batch)

    def prepare(lane: Lane, batch: Batch) -> tuple[TrainState, Pytree]:
        start = lane.start or job.method.start
        return compiled(jax.random.key(lane.seed), lane.teacher, batch, traced(lane), start=start)

    return prepare


def lanes_program(
    splits: Sequence[PreparedData],
    job: Job,
    teacher: Any,
    lanes: Sequence[Lane],
    directory: Path,
    identity: dict[str, Any],
) -> Program:
    """Makes the program that trains all lanes on the whole graph, compiled once for them.

    Args:
        splits: the data with each split that lanes have, all of one graph.
        job: method and student; the numbers of the lanes replace those of the method.
        teacher: module of all teachers.
        lanes: the students; the targets of their losses are computed once.
        directory: of its checkpoints.
        identity: see `Program`.

    Raises:
        InputError: a config makes no model or no loss.
    """
    data, student = splits[0], build_student(splits[0], job)
    prepare = make_prepare_lane(data, job, student, teacher)
    step, validate = _make_step(data, job, student), _make_validate(data, job, student)

    def start() -> Start:
        return Start(step, *_stacked(splits, lanes, prepare))

    def untrained(start: Start) -> dict[str, np.ndarray]:
        def evaluate_once(state: TrainState, batch: Batch) -> dict[str, Array]:
            return step(state, batch)[1] | validate(state, batch)

        evaluate = jax.jit(vmap_seeds(evaluate_once, start.batch_axes, start.states.params["student"]))
        return jax.device_get(evaluate(start.states, start.batch))

    label, seeds = f"{job.name} x {len(lanes)} seed{'s' * (len(lanes) > 1)}", [lane.seed for lane in lanes]
    shapes = jax.eval_shape(lambda: start().states)
    return Program(label, directory, identity, seeds, job.method.optim, validate, shapes, start, untrained)


def _stacked(
    splits: Sequence[PreparedData],
    lanes: Sequence[Lane],
    prepare: Callable[[Lane, Batch], tuple[TrainState, Pytree]],
) -> tuple[TrainState, Batch, Batch]:
    """Returns the states of the lanes, the batch that has what they learn from, and its axes of lanes.

    Nodes are those of each lane where there are several splits, and shared where there is one.
    """
    several, shared = len(splits) > 1, splits[0].batch

    def prepared(lane: Lane) -> tuple[TrainState, _Own, Any]:
        data = splits[lane.split]
        state, targets = prepare(lane, shared._replace(masks=data.batch.masks))
        own = _Own(targets, traced(lane), data.val_mask if several else None)
        return state, own, data.batch.masks if several else None

    states, own, masks = stack_trees(*map(prepared, lanes))
    axes: Any = Batch(None, None, 0 if several else None, 0)  # type: ignore[arg-type]  # as jax.vmap takes them
    return states, shared._replace(targets=own, masks=masks if several else shared.masks), axes


def _make_step(data: PreparedData, job: Job, student: nn.Module) -> Step:
    """Makes the training step of one lane."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        own: _Own = batch.targets
        method, objective, optimizer = build_method(data, job, own.numbers)
        learn = make_distill_step(student, objective, optimizer, data.task, method.task_weight)
        return learn(state, batch._replace(targets=own.targets))

    return step


def _make_validate(data: PreparedData, job: Job, student: nn.Module) -> Callable[[TrainState, Batch], dict[str, Array]]:
    """Makes the evaluation of one lane: validation, and the share of each term in the gradient."""

    def validate(state: TrainState, batch: Batch) -> dict[str, Array]:
        own: _Own = batch.targets
        method, batch = with_numbers(job.method, own.numbers), batch._replace(targets=own.targets)
        score = make_validate(student, data.task, data.val_mask if own.val is None else own.val)
        shares = make_gradient_shares(student, terms_of(method, data.loss_context), data.task, method.task_weight)
        return score(state, batch) | shares(state, batch)

    return validate
