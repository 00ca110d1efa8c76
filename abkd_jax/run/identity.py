"""Identities: the settings and data that tell one run, teacher or program of students from another on disk."""

import dataclasses
import hashlib
import json
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from abkd_jax.configs.names import full_name, short_name
from abkd_jax.configs.options import BatchConfig, DistillConfig, MethodConfig, ModelConfig, TeacherConfig
from abkd_jax.types import Dataset, GraphDataset

__all__ = [
    "TRAINING_VERSION",
    "DataIdentity",
    "config_dict",
    "digest",
    "fingerprint",
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

# Options of a model that are written down even at their default, as they were before the others existed.
_ALWAYS_DESCRIBED = ("name", "layers", "hidden", "dropout", "alpha", "lam")


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


def config_dict(config: Any) -> dict[str, Any]:
    """Returns a config as nested dicts, to be written down and compared.

    Options of a model at their default are left out, and batches that are the whole graph.

    Examples:
        >>> config_dict(BatchConfig(kind="clusters", parts=8, size=2))["kind"]
        'clusters'
    """
    entries = {}
    for option in dataclasses.fields(config):
        value = getattr(config, option.name)
        silent = isinstance(config, ModelConfig) and option.name not in _ALWAYS_DESCRIBED and value == option.default
        if not silent and value != BatchConfig():
            entries[option.name] = config_dict(value) if dataclasses.is_dataclass(value) else value
    return entries


def fingerprint(dataset: Dataset | GraphDataset) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of all arrays of a data set: everything that a model is given."""
    digest = hashlib.sha256()
    parts = dataset._asdict()
    parts.pop("node_ids", None)  # names, which no model reads
    for part in parts.values():
        if isinstance(part, np.ndarray):
            digest.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, sp.csr_matrix):
            for array in (part.indptr, part.indices, part.data):
                digest.update(np.ascontiguousarray(array).tobytes())
    if isinstance(dataset, Dataset) and (dataset.directed or dataset.task != "classification"):
        digest.update(f"{dataset.directed} {dataset.task}".encode())  # at their defaults as before there was a choice
    return digest.hexdigest()[:16]


def teacher_identity(data: DataIdentity, config: TeacherConfig, seed: int) -> dict[str, Any]:
    """Returns the identity of the checkpoint of a teacher, JSON-like."""
    return _json(
        {
            "dataset": data.name,
            "data": data.fingerprint,
            "seed": seed,
            **_version(),
            **({"batches": data.batches} if data.batches else {}),
            **config_dict(config),
        }
    )


def student_identity(
    data: DataIdentity, seeds: list[int], teacher: ModelConfig, name: str, method: MethodConfig, student: ModelConfig
) -> dict[str, Any]:
    """Returns the identity of the checkpoint of the students of one method and of these seeds, JSON-like."""
    return _json(
        {
            "method": name,
            "data": data.fingerprint,
            "seeds": seeds,
            **_version(),
            **({"batches": data.batches} if data.batches else {}),
            "teacher": config_dict(teacher),
            **config_dict(method),
            "student": config_dict(student),
        }
    )


def settings(config: DistillConfig) -> dict[str, Any]:
    """Returns the config as JSON, less the settings that change no record; the data set by its short name."""
    kept = {k: v for k, v in config_dict(config).items() if k not in NOT_THE_NUMBERS}
    return _json({**kept, "dataset": short_name(config.dataset)})


def run_digest(config: DistillConfig) -> str:
    """Returns 8 hexadecimal digits that name the run of a config among all runs on its data set.

    More seeds or methods leave them as they are; any other setting, `max_epochs` through the epochs of every training,
    gives others, and so does another data set of the same short name.
    """
    return digest({**settings(config), "split": config.split, "dataset": full_name(config.dataset)})[:8]


def digest(identity: dict[str, Any]) -> str:
    """Returns the SHA-256 of a JSON-like identity, in hexadecimal; the order of keys does not matter.

    Examples:
        >>> digest({"seed": 0, "data": "cora"}) == digest({"data": "cora", "seed": 0})
        True
    """
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _version() -> dict[str, int]:
    return {} if TRAINING_VERSION == 1 else {"training": TRAINING_VERSION}


def _json(value: dict[str, Any]) -> dict[str, Any]:
    """Returns the value as it comes back from a file: tuples as lists."""
    return json.loads(json.dumps(value))
