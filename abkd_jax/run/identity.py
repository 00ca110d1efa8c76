"""Identities: the settings and data that tell one run, teacher or program of students from another on disk."""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse as sp

from abkd_jax.configs.methods import FURTHER, further_method
from abkd_jax.configs.names import full_name, short_name
from abkd_jax.configs.options import (
    BatchConfig,
    DistillConfig,
    MethodConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TeacherConfig,
)
from abkd_jax.distill.named import LOSS
from abkd_jax.models.own import MODEL
from abkd_jax.outside import is_outside, source_digest
from abkd_jax.types import Dataset, GraphDataset, InputError, Pytree, shape_of

__all__ = [
    "TRAINING_VERSION",
    "DataIdentity",
    "config_dict",
    "digest",
    "file_digest",
    "fingerprint",
    "read_method",
    "run_digest",
    "settings",
    "source_of",
    "student_identity",
    "teacher_identity",
    "training_version",
    "weights_digest",
]

# Raised by every change of the training code that moves the numbers of a trained model: what was trained before is then
# no longer found, and trained anew. Version 1 is not written down, so that what it made is still found.
# 2: a generator for each minibatch, axes of a sample; 3: layers compute the rows that roots depend on; 4: GATs with
# degrees too.
TRAINING_VERSION = {"whole graph": 1, "minibatches": 2, "neighbours": 4}

# Settings that change no record of a method; the split is part of the data's fingerprint.
NOT_THE_NUMBERS = (
    "data_root",
    "out",
    "overwrite",
    "teachers",
    "max_epochs",
    "methods",
    "split",
    "seeds",
    "mesh",
    "profile_dir",
)

# Options of a run, its batches and its methods that are left out at their default, as before they existed.
_ADDED = {"teacher_outputs": (), "teacher_weights": None, "teacher_ensemble": 1, "per_step": 1, "input": "full"}

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

    Options of a model at their default are left out, batches that are the whole graph, teachers from outside where
    there are none, steps of one batch, and students that read the features as they are. Losses and models from outside
    are written down with the digests of their sources.

    Raises:
        InputError: the source of one is not found.

    Examples:
        >>> config_dict(BatchConfig(kind="clusters", parts=8, size=2))["kind"]
        'clusters'
    """
    entries = {}
    for option in dataclasses.fields(config):
        value = getattr(config, option.name)
        silent = isinstance(config, ModelConfig) and option.name not in _ALWAYS_DESCRIBED and value == option.default
        added = isinstance(config, RunConfig | BatchConfig | MethodConfig) and option.name in _ADDED
        silent |= added and value == _ADDED[option.name]
        if not silent and value != BatchConfig():
            entries[option.name] = config_dict(value) if dataclasses.is_dataclass(value) else value
    if isinstance(config, MethodConfig) and config.auxiliary_weight and is_outside(config.auxiliary):
        entries["auxiliary_source"] = source_digest(config.auxiliary, LOSS)
    if isinstance(config, ModelConfig) and is_outside(config.name):
        entries["source"] = source_digest(config.name, MODEL)
    return entries


def read_method(entries: dict[str, Any]) -> MethodConfig:
    """Returns the settings of a method that `config_dict` has written down, without what is no option now."""
    student = entries.get("student")
    parts = {
        "student": None if student is None else _read(ModelConfig, student),
        "optim": _read(OptimConfig, entries["optim"]),
    }
    return _read(MethodConfig, {**entries, **parts})


def _read(kind: Any, entries: dict[str, Any]) -> Any:
    return kind(**{option.name: entries[option.name] for option in dataclasses.fields(kind) if option.name in entries})


def fingerprint(dataset: Dataset | GraphDataset) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of all arrays of a data set: everything that a model is given.

    Rows of sparse features count in the order of their columns, whatever order the files have. Real targets are named
    as given with their units: models that were trained without are other ones. Numbers of classes and columns, features
    of edges and reverses of relations count where the arrays suggest others.
    """
    digest = hashlib.sha256()
    parts = dataset._asdict()
    parts = {name: part for name, part in parts.items() if name not in ("node_ids", "graphs")}  # no model reads names
    for part in parts.values():
        if isinstance(part, np.ndarray):
            digest.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, sp.csr_matrix):
            part = part if part.has_canonical_format else part.copy()
            part.sum_duplicates()
            for array in (part.indptr, part.indices, part.data):
                digest.update(np.ascontiguousarray(array).tobytes())
    if isinstance(dataset, Dataset) and (dataset.directed or dataset.task != "classification"):
        digest.update(f"{dataset.directed} {dataset.task}".encode())  # at their defaults as before there was a choice
    if dataset.task == "regression":
        digest.update(b"units")
    for unsaid in _unsaid(dataset):
        digest.update(unsaid.encode())
    return digest.hexdigest()[:16]


def _unsaid(dataset: Dataset | GraphDataset) -> Iterator[str]:
    """Yields what the bytes of the arrays do not tell, where it is not what they suggest.

    So only data that other data could be taken for have other fingerprints than before this was read.
    """
    outputs = dataset.num_outputs if isinstance(dataset, GraphDataset) else dataset.num_classes
    if dataset.labels.ndim == 1 and outputs != dataset.labels.max(initial=-1) + 1:
        yield f"classes {outputs}"
    if isinstance(dataset, GraphDataset):
        return
    features, columns = dataset.features, dataset.edge_features
    if isinstance(features, sp.csr_matrix) and shape_of(features)[1] != features.indices.max(initial=-1) + 1:
        yield f"columns {shape_of(features)[1]}"
    if columns is not None and columns.shape[1] == 1 and dataset.edge_weights is None:
        yield "features of edges"  # one number each, as weights are
    if dataset.schema is not None and not dataset.directed and dataset.schema.reverses != _usual_reverses(dataset):
        yield f"reverses {dataset.schema.reverses}"


def _usual_reverses(dataset: Dataset) -> tuple[int, ...]:
    """Returns the reverses where relations within one of several node types are their own, and others have new ones."""
    assert dataset.schema is not None
    assert dataset.node_types is not None
    assert dataset.relations is not None
    crosses = dataset.node_types[dataset.senders] != dataset.node_types[dataset.receivers]
    relations, several = range(len(dataset.schema.relations)), len(dataset.schema.node_types) > 1
    between = np.bincount(dataset.relations, crosses, len(relations)) > 0
    new = itertools.count(len(relations))
    return tuple(number if several and not between[number] else next(new) for number in relations)


def training_version(data: DataIdentity) -> int:
    """Returns the version of the training code for the batches of the data."""
    if not data.batches:
        return TRAINING_VERSION["whole graph"]
    return TRAINING_VERSION["neighbours" if data.batches["kind"] == "neighbours" else "minibatches"]


def teacher_identity(data: DataIdentity, config: TeacherConfig, seed: int) -> dict[str, Any]:
    """Returns the identity of the checkpoint of a teacher, JSON-like."""
    return _json(
        {
            "dataset": data.name,
            "data": data.fingerprint,
            "seed": seed,
            **_version(data),
            **({"batches": data.batches} if data.batches else {}),
            **config_dict(config),
        }
    )


def source_of(config: RunConfig) -> dict[str, Any]:
    """Returns what the identities of students say of their teacher, JSON-like; of files their content alone counts.

    Raises:
        InputError: a file of the teacher cannot be read.
    """
    if config.teacher_weights is not None:  # outputs beside them are compared with, and change no number
        return {"weights": file_digest(config.teacher_weights), **config_dict(config.teacher.model)}
    if config.teacher_outputs:
        return {"outputs": [file_digest(path) for path in config.teacher_outputs]}
    ensemble = {"ensemble": config.teacher_ensemble} if config.teacher_ensemble > 1 else {}
    return {**ensemble, **config_dict(config.teacher.model)}


def student_identity(
    data: DataIdentity, seeds: list[int], teacher: dict[str, Any], name: str, method: MethodConfig, student: ModelConfig
) -> dict[str, Any]:
    """Returns the identity of the checkpoint of the students of one method and of these seeds, JSON-like.

    Args:
        data: what they are trained on.
        seeds: of the program.
        teacher: see `source_of`.
        name: of the method.
        method: its settings.
        student: architecture and sizes.
    """
    return _json(
        {
            "method": name,
            "data": data.fingerprint,
            "seeds": seeds,
            **_version(data),
            **({"batches": data.batches} if data.batches else {}),
            "teacher": teacher,
            **config_dict(method),
            "student": config_dict(student),
        }
    )


def settings(config: DistillConfig) -> dict[str, Any]:
    """Returns the config as JSON, less the settings that change no record; the data set by its short name.

    Files of a teacher are described by their content, and the settings that they replace are left out; outputs with
    which those of weights are compared too.

    Raises:
        InputError: a file of the teacher cannot be read.
    """
    entries = {k: v for k, v in config_dict(config).items() if k not in NOT_THE_NUMBERS}
    if config.teacher_weights is not None:
        entries["teacher_weights"] = file_digest(config.teacher_weights)
        entries["teacher"] = {"model": entries["teacher"]["model"]}
        entries.pop("teacher_outputs", None)
    elif config.teacher_outputs:
        entries["teacher_outputs"] = source_of(config)["outputs"]
        del entries["teacher"]
    return _json({**entries, "dataset": short_name(config.dataset)})


def run_digest(config: DistillConfig) -> str:
    """Returns 8 hexadecimal digits that name the run of a config among all runs on its data set.

    More seeds or methods leave them as they are; any other setting, `max_epochs` through the epochs of every training,
    gives others, and so does another data set of the same short name, and a loss from outside the package as a method.
    """
    entries = {**settings(config), "split": config.split, "dataset": full_name(config.dataset)}
    for name in FURTHER:  # no fields of `DistillConfig`, and nothing of them is set
        if getattr(config, name, None) == further_method(config, name):
            entries.pop(name)
    return digest(entries)[:8]


def digest(identity: dict[str, Any]) -> str:
    """Returns the SHA-256 of a JSON-like identity, in hexadecimal; the order of keys does not matter.

    Examples:
        >>> digest({"seed": 0, "data": "cora"}) == digest({"data": "cora", "seed": 0})
        True
    """
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def weights_digest(variables: Pytree) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of the numbers of a model."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(variables):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of a file.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        status = os.stat(path)
        return _file_digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot read this file: {error.strerror}") from error


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, changed: int) -> str:
    """Reads a file once while its size and its time of change stay as they are."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _version(data: DataIdentity) -> dict[str, int]:
    version = training_version(data)
    return {} if version == 1 else {"training": version}


def _json(value: dict[str, Any]) -> dict[str, Any]:
    """Returns the value as it comes back from a file: tuples as lists."""
    return json.loads(json.dumps(value))
