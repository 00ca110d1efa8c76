"""Teachers of studies: trained once, and kept beside the tables, so that their students are trained in minutes.

The same settings give other weights on another machine, and students of other teachers are other cells. A file holds
the teacher of one seed whole: weights, history and provenance, under the identity of its data and settings.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from abkd_jax.configs.options import TeacherConfig
from abkd_jax.datasets.files.atomic import as_json, write_atomic
from abkd_jax.run.data import PreparedData, build_model
from abkd_jax.run.identity import DataIdentity, config_dict, digest, teacher_identity
from abkd_jax.run.program import Teacher, Trained, stack
from abkd_jax.run.teachers import train_teacher
from abkd_jax.training.resume import Origin
from abkd_jax.types import InputError

__all__ = ["LARGEST", "stored_path", "teachers_of"]

LARGEST = 4 << 20  # bytes of a file that belongs in a repository; what is larger stays where it was trained


def teachers_of(
    splits: tuple[PreparedData, ...], config: TeacherConfig, seeds: int, checkpoints: Path, stored: Path
) -> Teacher:
    """Reads the teachers of all seeds, or trains and stores those that are not there.

    Args:
        splits: what they are trained on; seed `k` has split `k` modulo their number.
        config: their settings.
        seeds: number of seeds.
        checkpoints: folder of the checkpoints of those that are trained.
        stored: folder of the files; teachers of more than `LARGEST` bytes are kept as checkpoints alone.

    Raises:
        InputError: a file is damaged, of other settings, or cannot be written; see `run.teachers.train_teacher`.
    """
    found = [_of_seed(splits[seed % len(splits)], config, seed, checkpoints, stored) for seed in range(seeds)]
    return Teacher(stack(found), config.model, config_dict(config.model))


def stored_path(stored: Path, data: DataIdentity, config: TeacherConfig, seed: int) -> Path:
    """Returns the file of the teacher of this data, config and seed."""
    return stored / data.name / f"{digest(teacher_identity(data, config, seed))[:12]}_seed_{seed}.safetensors"


def _of_seed(data: PreparedData, config: TeacherConfig, seed: int, checkpoints: Path, stored: Path) -> Trained:
    path, identity = stored_path(stored, data.identity, config, seed), teacher_identity(data.identity, config, seed)
    if path.exists():
        return _read(path, identity, build_model(data, config.model))
    trained = train_teacher(data, config, seed, checkpoints)
    _write(path, identity, trained)
    return trained


def _write(path: Path, identity: dict[str, Any], trained: Trained) -> None:
    """Writes a teacher, whole or not at all, where it is small."""
    trees = {
        "variables": trained.variables,
        "history": trained.history,
        "epochs": {"last": trained.epochs, "best": trained.best_epochs},
    }
    arrays = {name: np.asarray(leaf) for name, leaf in flatten_dict(trees, sep="/").items()}
    metadata = {"identity": as_json(identity), "made_by": as_json(list(trained.origins[0].made_by))}
    content = safetensors.numpy.save(arrays, metadata)
    if len(content) > LARGEST:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        raise InputError(f"{path}: cannot store this teacher: {error.strerror}") from error


def _read(path: Path, identity: dict[str, Any], module: object) -> Trained:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        found, made_by = (json.loads(metadata[name]) for name in ("identity", "made_by"))
        trees = unflatten_dict(arrays, sep="/")
        variables = jax.tree.map(jax.numpy.asarray, trees["variables"])
        epochs, best = trees["epochs"]["last"], trees["epochs"]["best"]
        history = trees["history"]
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: expected the teacher of a study, but it is damaged: {error}") from error
    wrong = [
        f"{name} {found.get(name)}, expected {value}" for name, value in identity.items() if found.get(name) != value
    ]
    if wrong:
        raise InputError(f"{path}: a teacher of other settings: {'; '.join(wrong)}")
    return Trained(variables, variables, epochs, best, history, (Origin(False, tuple(made_by)),), module)
