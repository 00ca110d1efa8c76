"""Teachers: trained once per (data set, config, seed), kept on disk, verified before they are used again."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from abkd_jax import datasets
from abkd_jax.config import TeacherConfig, described
from abkd_jax.graph import from_dataset, node_mask
from abkd_jax.models import build
from abkd_jax.runs import resumable_fit
from abkd_jax.tasks import classification
from abkd_jax.training import init_state, make_distill_step, make_optimizer, make_validate
from abkd_jax.types import Batch, Dataset, InputError, NodeMasks, Pytree

__all__ = ["Problem", "Teacher", "load_problem", "teacher_folder", "train_or_load"]


class Problem(NamedTuple):
    """A data set on the device.

    Attributes:
        dataset: as loaded.
        batch: the whole graph, without teacher targets.
        val_mask: `[n]`.
        test_mask: `[n]`.
        fingerprint: hash of everything a teacher saw; part of its identity.
    """

    dataset: Dataset
    batch: Batch
    val_mask: jax.Array
    test_mask: jax.Array
    fingerprint: str


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


def load_problem(name: str, data_root: str | Path | None) -> Problem:
    """Loads a data set of one graph by name and puts its prepared graph on the device."""
    dataset = datasets.load(name, data_root)
    if not isinstance(dataset, Dataset):
        raise InputError(f"{name}: has a label for each graph; expected a data set with a label for each node")
    graph = jax.device_put(from_dataset(dataset))
    masks = NodeMasks(all=node_mask(graph), train=jnp.asarray(dataset.train_mask))
    batch = Batch(graph, jnp.asarray(dataset.labels), masks)
    return Problem(dataset, batch, jnp.asarray(dataset.val_mask), jnp.asarray(dataset.test_mask), _fingerprint(dataset))


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
    model = build(config.model, problem.dataset.num_classes)
    task, optimizer = classification(), make_optimizer(config.optim)
    states = jax.vmap(lambda key: init_state(key, model, optimizer, problem.batch))(jax.random.key(seed)[None])
    state, history = resumable_fit(
        teacher_folder(root, problem, config, seed),
        _identity(problem, config, seed),
        make_distill_step(model, None, optimizer, task),
        make_validate(model, task, problem.val_mask),
        states,
        problem.batch,
        None,
        config.optim,
        f"teacher {problem.dataset.name} seed {seed}",
    )
    variables = jax.tree.map(lambda leaf: leaf[0], {"params": state.best_params, **state.best_model_state})
    return Teacher(seed, variables, int(state.best_epoch[0]), history)


def _identity(problem: Problem, config: TeacherConfig, seed: int) -> dict[str, Any]:
    return {
        "dataset": problem.dataset.name,
        "data": problem.fingerprint,
        "seed": seed,
        **json.loads(json.dumps(described(config))),
    }


def _fingerprint(dataset: Dataset) -> str:
    digest = hashlib.sha256()
    features = dataset.features
    parts = [features] if isinstance(features, np.ndarray) else [features.indptr, features.indices, features.data]
    parts += [dataset.senders, dataset.receivers, dataset.labels]
    parts += [dataset.train_mask, dataset.val_mask, dataset.test_mask]
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]
