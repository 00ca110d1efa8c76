"""Students: one method, all seeds side by side in one program."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from abkd_jax import distill
from abkd_jax.configs.options import MethodConfig, ModelConfig
from abkd_jax.distill.build import build_objective, terms_of
from abkd_jax.run.data import Problem, build_model, setting_of
from abkd_jax.run.identity import student_identity
from abkd_jax.run.program import on_minibatches, steps_an_epoch
from abkd_jax.run.teachers import Teacher
from abkd_jax.training.loops import fit, start
from abkd_jax.training.resume import Origin, resumable_fit
from abkd_jax.training.seeds import over_seeds
from abkd_jax.training.step import (
    TrainState,
    init_state,
    make_distill_step,
    make_gradient_shares,
    make_optimizer,
    make_validate,
    taught,
)
from abkd_jax.types import Batch, Objective, Pytree

__all__ = ["Students", "joined", "train_students"]


log = logging.getLogger(__name__)


class Students(NamedTuple):
    """The students of one method, stacked over seeds.

    Attributes:
        variables: parameters and other collections (`batch_stats`) after the last epoch, `[seeds, ...]`.
        best_variables: those of the best validation epoch.
        epochs: `[seeds]` epochs trained.
        history: arrays `[1 + evaluations, seeds, ...]`, the untrained students first; see `training.fit`. `seconds` is
            `[seeds]`, or a scalar for seeds that were trained together.
        origins: for each seed whether it was trained just now, and by which code and hardware.
    """

    variables: Pytree
    best_variables: Pytree
    epochs: np.ndarray
    history: dict[str, np.ndarray]
    origins: tuple[Origin, ...]


def train_students(
    problem: Problem,
    teacher_config: ModelConfig,
    teachers: list[Teacher],
    student_config: ModelConfig,
    name: str,
    method: MethodConfig,
    folder: Path,
    *,
    may_train: bool = True,
) -> Students:
    """Trains one student for every teacher, or reads the finished ones back from `folder`.

    The student of seed `k` learns from the teacher of seed `k`, which is evaluated once: the step sees its targets.

    Raises:
        InputError: a config makes no model or no loss, `folder` holds students of another config, or `may_train` is
            False and it does not hold all of these.
    """
    log.info("%s: preparing", name)
    job = _Job(problem, teacher_config, teachers, student_config, name, method, folder, may_train)
    return _side_by_side(job) if problem.epoch is None else _one_by_one(job)


class _Job(NamedTuple):
    """The arguments of `train_students`."""

    problem: Problem
    teacher_config: ModelConfig
    teachers: list[Teacher]
    student_config: ModelConfig
    name: str
    method: MethodConfig
    folder: Path
    may_train: bool

    def identity(self, seeds: list[int]) -> dict[str, Any]:
        """What identifies the checkpoints of these seeds."""
        return student_identity(
            self.problem.identity, seeds, self.teacher_config, self.name, self.method, self.student_config
        )


def _side_by_side(job: _Job) -> Students:
    """All seeds in one program, which sees the whole graph and the targets of the teachers, computed once."""
    problem, teacher_config, teachers, student_config, name, method, folder, may_train = job
    student, objective = build_model(problem, student_config), build_objective(method, setting_of(problem))
    task, optimizer = problem.task, make_optimizer(method.optim)
    prepare = jax.jit(
        _make_prepare(problem, build_model(problem, teacher_config), student, objective, method, optimizer)
    )
    prepared = [prepare(jax.random.key(t.seed), t.variables, problem.batch) for t in teachers]
    states, targets = jax.tree.map(lambda *leaves: jnp.stack(leaves), *prepared)
    del prepared
    step = make_distill_step(student, objective, optimizer, task, method.task_weight)
    batch = problem.batch._replace(targets=targets)
    axes: Any = Batch(None, None, None, 0)  # type: ignore[arg-type]  # as jax.vmap takes them
    score = make_validate(student, task, problem.val_mask)
    shares = make_gradient_shares(student, terms_of(method, setting_of(problem)), task, method.task_weight)
    validate = lambda state, batch: score(state, batch) | shares(state, batch)  # noqa: E731
    look = lambda state, batch: step(state, batch)[1] | validate(state, batch)  # noqa: E731
    untrained = jax.device_get(jax.jit(over_seeds(look, axes, states.params["student"]))(states, batch))
    identity = job.identity([t.seed for t in teachers])
    training = functools.partial(fit, step, validate, states, batch, axes, method.optim)
    fresh = jax.eval_shape(jax.vmap(start), states)
    label = f"{name} x {len(teachers)} seeds"
    state, history, origin = resumable_fit(folder, identity, training, fresh, method.optim, label, may_train=may_train)
    last, best = _variables(state)
    history, origins = _with_start(history, untrained), (origin,) * len(teachers)
    return Students(last, best, np.asarray(state.train.step), history, origins)


def _one_by_one(job: _Job) -> Students:
    """One seed after the other on minibatches; the teacher sees each batch first."""
    problem, teacher_config, teachers, student_config, name, method, folder, may_train = job
    student, objective = build_model(problem, student_config), build_objective(method, setting_of(problem))
    teacher = build_model(problem, teacher_config)
    optimizer = make_optimizer(method.optim, steps_an_epoch(problem, method.optim))
    prepare = jax.jit(_make_prepare(problem, teacher, student, objective, method, optimizer))
    plain = make_distill_step(student, objective, optimizer, problem.task, method.task_weight)
    learn: Any = taught(plain, objective, teacher.apply)  # type: ignore[arg-type]  # flax annotates any collections
    example = next(iter(problem.epoch(np.random.default_rng(0)))) if problem.epoch else problem.batch
    runs = []
    for t in teachers:
        state, _ = prepare(jax.random.key(t.seed), t.variables, example)
        step = lambda state, batch, of=t.variables: learn(state, batch, of)  # noqa: E731
        training = on_minibatches(problem, student, step, state, method.optim, t.seed)
        identity = job.identity([t.seed])
        fresh = jax.eval_shape(start, state)
        label = f"{name} seed {t.seed}"
        state, history, origin = resumable_fit(
            folder / f"seed_{t.seed}", identity, training, fresh, method.optim, label, may_train=may_train
        )
        last, best = jax.tree.map(lambda leaf: leaf[None], _variables(state))  # without the optimizer's state
        runs.append(Students(last, best, history["epoch"].max(axis=0), history, (origin,)))
    return joined(runs)


def joined(parts: list[Students]) -> Students:
    """Joins students of one method that were trained apart, seed after seed."""
    last, best = (
        jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)
        for trees in zip(*((part.variables, part.best_variables) for part in parts), strict=True)
    )
    histories = [part.history for part in parts]
    names = [key for key, values in histories[0].items() if np.ndim(values) > 1]
    history = {key: np.concatenate([of[key] for of in histories], axis=1) for key in names}
    history["seconds"] = np.concatenate([np.broadcast_to(p.history["seconds"], len(p.origins)) for p in parts])
    return Students(
        last,
        best,
        np.concatenate([part.epochs for part in parts]),
        history,
        tuple(origin for part in parts for origin in part.origins),
    )


def _variables(state: Any) -> tuple[Pytree, Pytree]:
    """What the model reads, after the last epoch and at the best evaluation."""
    last = {"params": state.train.params["student"], **state.train.model_state}
    return last, {"params": state.best_params, **state.best_model_state}


def _with_start(history: dict[str, np.ndarray], untrained: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The history with the untrained students as its epoch 0: collapse and attention move most in the first epochs."""
    epoch, recorded = history["epoch"][0], history["recorded"][0]
    rows = untrained | {"epoch": np.zeros_like(epoch), "recorded": np.ones_like(recorded)}
    if "diverged" in history:
        rows["diverged"] = np.zeros_like(recorded)
    longer = {name: np.concatenate([row[None], history[name]]) for name, row in rows.items()}
    return longer | {"seconds": history["seconds"]}


def _make_prepare(
    problem: Problem,
    teacher: nn.Module,
    student: nn.Module,
    objective: Objective | None,
    method: MethodConfig,
    optimizer: Any,
) -> Callable[[Any, Pytree, Batch], tuple[TrainState, Pytree]]:
    """`(key, teacher's variables, batch) -> (student's training state, targets of the loss)` for one seed."""

    def prepare(key: Any, teacher_variables: Pytree, batch: Batch) -> tuple[TrainState, Pytree]:
        state_key, objective_key, start_key = jax.random.split(key, 3)
        out: Any = teacher.apply(teacher_variables, batch.graph)  # dropped by XLA where nothing reads it
        variables = student.init(state_key, batch.graph)
        params = variables["params"]
        if method.start == "positive":
            params = distill.positive(params)
        elif method.start == "teacher_directions":
            predictions = jnp.argmax(out.logits, axis=1)
            params = distill.teacher_directions(
                start_key,
                params,
                teacher_variables["params"],
                batch.graph,
                predictions,
                problem.outputs,
            )
        elif method.start == "attention_map":
            # Before training there is no learned map: layers of one relative depth stand for each other.
            by_depth = distill.depth_proportional()
            depths = by_depth.targets(out, graph=batch.graph, mask=batch.masks.all)
            untrained: Any = student.apply({"params": params}, batch.graph)
            attention, _ = by_depth.apply({}, depths, untrained, graph=batch.graph, mask=batch.masks.all, key=None)
            params = distill.attention_map(params, teacher_variables["params"], out, attention, batch.masks.all)
        heads, targets = None, None
        if objective is not None:
            shapes = jax.eval_shape(lambda v: student.apply(v, batch.graph), variables)
            heads = objective.init(objective_key, out, shapes)
            targets = objective.targets(out, graph=batch.graph, mask=batch.masks)
        state = init_state(state_key, student, optimizer, batch, objective_params=heads, student_params=params)
        return state, targets

    return prepare
