"""Students side by side in one program: each with a seed, settings and labelled nodes of its own."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from abkd_jax.configs.options import MethodConfig
from abkd_jax.distill.build import build_objective, terms_of
from abkd_jax.models.reduced_input import ReducedInput
from abkd_jax.run.data import PreparedData, build_model
from abkd_jax.run.program import Program
from abkd_jax.run.resolve import Job
from abkd_jax.run.untrained import make_prepare
from abkd_jax.training.seeds import vmap_seeds
from abkd_jax.training.step import TrainState, make_distill_step, make_optimizer, make_validate
from abkd_jax.training.term_shares import make_gradient_shares
from abkd_jax.types import Batch, NodeMasks, Pytree

__all__ = ["Lane", "Split", "build_student", "lanes_program", "with_numbers", "with_untrained"]


class Split(NamedTuple):
    """Nodes of one student, where students differ in them.

    Attributes:
        all: `[n]` nodes that distillation may use.
        train: `[n]` nodes with a label to learn from.
        val: `[n]` validation nodes.
    """

    all: Bool[np.ndarray, " n"]
    train: Bool[np.ndarray, " n"]
    val: Bool[np.ndarray, " n"]


class Lane(NamedTuple):
    """One student of a program that trains many.

    Attributes:
        seed: of its initialisation.
        teacher: variables of its teacher.
        numbers: settings that replace those of the method, by their paths; the same paths in all lanes.
        start: its initialisation; None is that of the method.
        split: nodes of its own; None are those of the data, in all lanes.
    """

    seed: int
    teacher: Pytree
    numbers: Mapping[str, float] = {}
    start: Any = None
    split: Split | None = None


class _Own(NamedTuple):
    """What differs between the students of a program: the targets of the batch."""

    targets: Pytree
    numbers: dict[str, Array]
    val: Array | None


def with_numbers(method: MethodConfig, numbers: Mapping[str, Any]) -> MethodConfig:
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


def lanes_program(
    data: PreparedData, job: Job, teacher: Any, lanes: Sequence[Lane], directory: Path, identity: dict[str, Any]
) -> tuple[Program, dict[str, np.ndarray]]:
    """Makes the program that trains all lanes on the whole graph, compiled once for them.

    Args:
        data: the data; `batch` and `val_mask` are read where a lane has no split of its own.
        job: method and student; the numbers of the lanes replace those of the method.
        teacher: module of all teachers.
        lanes: the students; the targets of their losses are computed once.
        directory: of its checkpoints.
        identity: see `Program`.

    Returns:
        The program, and what an evaluation of the untrained students gives, `[lanes, ...]`: the epoch 0.

    Raises:
        InputError: a config makes no model or no loss.
    """
    student, context = build_student(data, job), data.loss_context

    def prepare(lane: Lane) -> tuple[TrainState, _Own, NodeMasks]:
        method = dataclasses.replace(job.method, start=lane.start or job.method.start)
        numbers = {path: jnp.float32(value) for path, value in sorted(lane.numbers.items())}
        masks = data.batch.masks
        if lane.split is not None:
            masks = NodeMasks(all=jnp.asarray(lane.split.all), train=jnp.asarray(lane.split.train))
        batch = data.batch._replace(masks=masks)
        state, targets = prepare_for[method.start](jax.random.key(lane.seed), lane.teacher, batch, numbers)
        return state, _Own(targets, numbers, None if lane.split is None else jnp.asarray(lane.split.val)), masks

    def make_for(start: Any) -> Any:
        def prepared(key: Any, variables: Pytree, batch: Batch, numbers: dict[str, Array]) -> Any:
            method = with_numbers(dataclasses.replace(job.method, start=start), numbers)
            objective, optimizer = build_objective(method, context), make_optimizer(method.optim)
            return make_prepare(teacher, student, objective, method, optimizer, whole=True)(key, variables, batch)

        return jax.jit(prepared)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        own: _Own = batch.targets
        method = with_numbers(job.method, own.numbers)
        objective, optimizer = build_objective(method, context), make_optimizer(method.optim)
        learn = make_distill_step(student, objective, optimizer, data.task, method.task_weight)
        return learn(state, batch._replace(targets=own.targets))

    def validate(state: TrainState, batch: Batch) -> dict[str, Array]:
        own: _Own = batch.targets
        method, batch = with_numbers(job.method, own.numbers), batch._replace(targets=own.targets)
        score = make_validate(student, data.task, data.val_mask if own.val is None else own.val)
        shares = make_gradient_shares(student, terms_of(method, context), data.task, method.task_weight)
        return score(state, batch) | shares(state, batch)

    def evaluate_once(state: TrainState, batch: Batch) -> dict[str, Array]:
        return step(state, batch)[1] | validate(state, batch)

    prepare_for = {start: make_for(start) for start in {lane.start or job.method.start for lane in lanes}}
    states, own, masks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(prepare, lanes))
    split = lanes[0].split is not None
    batch = data.batch._replace(targets=own, masks=masks if split else data.batch.masks)
    axes: Any = Batch(None, None, 0 if split else None, 0)  # type: ignore[arg-type]  # as jax.vmap takes them
    evaluate = jax.jit(vmap_seeds(evaluate_once, axes, states.params["student"]))
    untrained = jax.device_get(evaluate(states, batch))
    label, seeds = f"{job.name} x {len(lanes)} seeds", [lane.seed for lane in lanes]
    return Program(label, directory, identity, seeds, job.method.optim, step, states, validate, batch, axes), untrained


def with_untrained(history: dict[str, np.ndarray], untrained: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
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
