"""Teachers: trained once per (data set, config, seed), kept on disk, verified before they are used again."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from abkd_jax.configs.options import TeacherConfig
from abkd_jax.run.data import Problem, build_model
from abkd_jax.run.identity import DataIdentity, digest, teacher_identity
from abkd_jax.run.program import on_minibatches, steps_an_epoch
from abkd_jax.training.loops import fit, start
from abkd_jax.training.resume import Origin, resumable_fit
from abkd_jax.training.step import (
    init_state,
    make_distill_step,
    make_optimizer,
    make_validate,
)
from abkd_jax.types import Pytree

__all__ = ["Teacher", "teacher_folder", "train_or_load"]


class Teacher(NamedTuple):
    """A trained teacher.

    Attributes:
        seed: of its initialisation and dropout.
        variables: parameters at the best validation epoch, and the model's other collections then (`batch_stats`).
        best_epoch: that epoch.
        history: arrays `[evaluations, ...]`, see `training.fit`.
        origin: whether it was trained just now, and by which code and hardware.
    """

    seed: int
    variables: Pytree
    best_epoch: int
    history: dict[str, np.ndarray]
    origin: Origin = Origin(trained=False, made_by=())


def teacher_folder(root: Path, data: DataIdentity, config: TeacherConfig, seed: int) -> Path:
    """Returns where the teacher of this data, config and seed lives."""
    return root / data.name / digest(teacher_identity(data, config, seed))[:12] / f"seed_{seed}"


def train_or_load(
    problem: Problem, config: TeacherConfig, seeds: list[int], root: Path, *, may_train: bool = True
) -> list[Teacher]:
    """The teachers of `seeds`, trained one after the other where `root` does not hold them yet.

    Each runs as its own program: a deep teacher keeps all cores busy by itself, and one that stops early should not
    wait for the others.

    Args:
        problem: the data.
        config: the teacher.
        seeds: of initialisation and dropout.
        root: folder where teachers are kept.
        may_train: False refuses a teacher that is not kept instead of training it.

    Raises:
        InputError: the config makes no model, or a kept teacher is damaged, missing or of another config.
    """
    return [_train_or_load_one(problem, config, seed, root, may_train=may_train) for seed in seeds]


def _train_or_load_one(problem: Problem, config: TeacherConfig, seed: int, root: Path, *, may_train: bool) -> Teacher:
    model, task = build_model(problem, config.model), problem.task
    optimizer = make_optimizer(config.optim, steps_an_epoch(problem, config.optim))
    step = make_distill_step(model, None, optimizer, task)
    if problem.epoch is None:
        states = jax.vmap(lambda key: init_state(key, model, optimizer, problem.batch))(jax.random.key(seed)[None])
        validate = make_validate(model, task, problem.val_mask)
        fresh = jax.eval_shape(jax.vmap(start), states)
        training = functools.partial(fit, step, validate, states, problem.batch, None, config.optim)
    else:
        states = init_state(jax.random.key(seed), model, optimizer, problem.batch)
        fresh = jax.eval_shape(start, states)
        training = on_minibatches(problem, model, step, states, config.optim, seed)
    state, history, origin = resumable_fit(
        teacher_folder(root, problem.identity, config, seed),
        teacher_identity(problem.identity, config, seed),
        training,
        fresh,
        config.optim,
        f"teacher {problem.dataset.name} seed {seed}",
        may_train=may_train,
    )
    best = {"params": state.best_params, **state.best_model_state}
    if problem.epoch is None:
        return Teacher(seed, jax.tree.map(lambda leaf: leaf[0], best), int(state.best_epoch[0]), history, origin)
    return Teacher(seed, best, int(state.best_epoch), history, origin)
