"""Teachers: trained once per (data set, config, seed), kept on disk, verified before they are used again."""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from abkd_jax.config import TeacherConfig, described
from abkd_jax.minibatch import on_minibatches, steps_an_epoch
from abkd_jax.problems import Problem, build_model
from abkd_jax.runs import resumable_fit
from abkd_jax.training import fit, init_state, make_distill_step, make_optimizer, make_validate, start
from abkd_jax.types import Pytree

__all__ = ["Teacher", "teacher_folder", "train_or_load"]


class Teacher(NamedTuple):
    """A trained teacher.

    Attributes:
        seed: of its initialisation and dropout.
        variables: parameters at the best validation epoch, and the model's other collections then (`batch_stats`).
        best_epoch: that epoch.
        history: arrays `[evaluations, ...]`, see `training.fit`.
    """

    seed: int
    variables: Pytree
    best_epoch: int
    history: dict[str, np.ndarray]


def teacher_folder(root: Path, problem: Problem, config: TeacherConfig, seed: int) -> Path:
    """Where the teacher of this problem, config and seed lives."""
    digest = hashlib.sha256(json.dumps(_identity(problem, config, seed), sort_keys=True).encode()).hexdigest()
    return root / problem.dataset.name / digest[:12] / f"seed_{seed}"


def train_or_load(problem: Problem, config: TeacherConfig, seeds: list[int], root: Path) -> list[Teacher]:
    """The teachers of `seeds`, trained one after the other where `root` does not hold them yet.

    Each runs as its own program: a deep teacher keeps all cores busy by itself, and one that stops early should not
    wait for the others.

    Raises:
        InputError: the config makes no model, or a kept teacher is damaged or of another config.
    """
    return [_train_or_load_one(problem, config, seed, root) for seed in seeds]


def _train_or_load_one(problem: Problem, config: TeacherConfig, seed: int, root: Path) -> Teacher:
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
    state, history = resumable_fit(
        teacher_folder(root, problem, config, seed),
        _identity(problem, config, seed),
        training,
        fresh,
        config.optim,
        f"teacher {problem.dataset.name} seed {seed}",
    )
    best = {"params": state.best_params, **state.best_model_state}
    if problem.epoch is None:
        return Teacher(seed, jax.tree.map(lambda leaf: leaf[0], best), int(state.best_epoch[0]), history)
    return Teacher(seed, best, int(state.best_epoch), history)


def _identity(problem: Problem, config: TeacherConfig, seed: int) -> dict[str, Any]:
    identity = {
        "dataset": problem.dataset.name,
        "data": problem.fingerprint,
        "seed": seed,
        **({"batches": problem.batches} if problem.batches else {}),
        **described(config),
    }
    return json.loads(json.dumps(identity))
