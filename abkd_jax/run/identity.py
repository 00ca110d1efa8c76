"""What tells one run, one teacher or one program of students from another on disk."""

import hashlib
import json
from typing import Any, NamedTuple

from abkd_jax.configs.options import DistillConfig, MethodConfig, ModelConfig, TeacherConfig, described

__all__ = [
    "TRAINING_VERSION",
    "DataIdentity",
    "digest",
    "run_digest",
    "settings",
    "student_identity",
    "teacher_identity",
]

# Raised by every change of the training code that moves the numbers of a trained model: what was trained before is then
# no longer found, and trained anew. Version 1 is not written down, so that what it made is still found.
TRAINING_VERSION = 1

# Settings that change no record of a method; the split is part of the data's fingerprint.
NOT_THE_NUMBERS = ("data_root", "out", "overwrite", "teachers", "max_epochs", "methods", "split", "seeds")


class DataIdentity(NamedTuple):
    """The data that a program was trained on.

    Attributes:
        name: of the data set.
        fingerprint: of its arrays.
        batches: the sampling options, `{}` where a step reads the whole graph.
    """

    name: str
    fingerprint: str
    batches: dict[str, Any]


def teacher_identity(data: DataIdentity, config: TeacherConfig, seed: int) -> dict[str, Any]:
    """Returns what identifies the checkpoint of a teacher, JSON-like."""
    return _json(
        {
            "dataset": data.name,
            "data": data.fingerprint,
            "seed": seed,
            **_version(),
            **({"batches": data.batches} if data.batches else {}),
            **described(config),
        }
    )


def student_identity(
    data: DataIdentity, seeds: list[int], teacher: ModelConfig, name: str, method: MethodConfig, student: ModelConfig
) -> dict[str, Any]:
    """Returns what identifies the checkpoint of the students of one method and of these seeds, JSON-like."""
    return _json(
        {
            "method": name,
            "data": data.fingerprint,
            "seeds": seeds,
            **_version(),
            **({"batches": data.batches} if data.batches else {}),
            "teacher": described(teacher),
            **described(method),
            "student": described(student),
        }
    )


def settings(config: DistillConfig) -> dict[str, Any]:
    """Returns the config as JSON, less the settings that change no record."""
    return _json({k: v for k, v in described(config).items() if k not in NOT_THE_NUMBERS})


def run_digest(config: DistillConfig) -> str:
    """Returns 8 hexadecimal digits that name the run of a config among all runs on its data set.

    More seeds or methods leave them as they are; any other setting, `max_epochs` through the epochs of every training,
    gives others.
    """
    return digest({**settings(config), "split": config.split})[:8]


def digest(identity: dict[str, Any]) -> str:
    """Returns the SHA-256 of a JSON-like identity, in hexadecimal."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _version() -> dict[str, int]:
    return {} if TRAINING_VERSION == 1 else {"training": TRAINING_VERSION}


def _json(value: dict[str, Any]) -> dict[str, Any]:
    """The value as it comes back from a file: tuples as lists."""
    return json.loads(json.dumps(value))
