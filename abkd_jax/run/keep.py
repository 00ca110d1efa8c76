"""The students of a run, kept where a person finds them: `students/<method>/seed_<k>/` in the run folder."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from abkd_jax.configs.options import ModelConfig
from abkd_jax.datasets.files.manifest import check_seal, write_sealed
from abkd_jax.inference.bundle import FILES, Bundle, contents, inputs_of
from abkd_jax.models.own import MODEL
from abkd_jax.outside import is_outside, source_digest
from abkd_jax.run.data import PreparedData
from abkd_jax.run.folder import STUDENTS, RunFolder, writing_to
from abkd_jax.run.identity import config_dict
from abkd_jax.run.program import Trained, select_seed
from abkd_jax.run.resolve import Job
from abkd_jax.types import InputError

__all__ = ["are_kept", "keep", "students_of"]

log = logging.getLogger(__name__)

OF_TEACHERS = (
    "seed",
    "parameters",
    "test_accuracy",
    "val_accuracy",
    "weights",
    "provenance",
)  # entries of a record in a card

Record = dict[str, Any]


def students_of(
    data: PreparedData,
    job: Job,
    trained: Trained,
    records: list[Record],
    teacher: ModelConfig | None,
    teacher_records: list[Record],
) -> dict[int, Bundle]:
    """Returns the students of one method by seed, without those that have diverged.

    Their weights are those after the last epoch, which `test_accuracy` scores. The card holds the record of the
    student, the settings of its training, and of its teacher architecture, sizes, scores and digest of the weights.

    Args:
        data: that they were trained on.
        job: the method.
        trained: its students, stacked over seeds.
        records: theirs.
        teacher: architecture of the teachers; None where it is not known.
        teacher_records: theirs, seed by seed.
    """
    dataset, found = data.dataset, {}
    for record, taught_by in zip(records, teacher_records, strict=True):
        if record.get("diverged") is not None:
            continue
        described = {
            **record,
            "settings": config_dict(job.method),
            **({"source": source_digest(job.model.name, MODEL)} if is_outside(job.model.name) else {}),
            "teacher": {
                "config": None if teacher is None else config_dict(teacher),
                **{key: taught_by.get(key) for key in OF_TEACHERS},
            },
        }
        found[record["seed"]] = Bundle(
            config=job.model,
            inputs=inputs_of(dataset, job.model.name),
            outputs=data.outputs,
            task=dataset.task,
            variables=jax.tree.map(np.asarray, select_seed(trained.variables, record["seed"])),
            classes=dataset.classes,
            card=described,
        )
    return found


def keep(path: Path, method: str, students: Mapping[int, Bundle]) -> None:
    """Writes the students of one method into a run folder, and removes what was there of other seeds.

    Args:
        path: of the run folder.
        method: name of the method.
        students: by seed.

    Raises:
        InputError: the folder cannot be written.
    """
    own = path / STUDENTS / method
    with writing_to(path):
        for folder in own.glob("seed_*"):
            if folder.name.removeprefix("seed_") not in map(str, students):
                shutil.rmtree(folder)
        for seed, student in students.items():
            folder = own / f"seed_{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            below = folder.relative_to(path).as_posix()
            write_sealed(path, {f"{below}/{name}": content for name, content in contents(student).items()})


def are_kept(run: RunFolder) -> bool:
    """Tells whether a run folder holds the students of all its records, as they were written."""
    names = [
        f"{STUDENTS}/{record['method']}/seed_{record['seed']}/{name}"
        for records in run.records.values()
        for record in records
        if record["method"] != "teacher" and record.get("diverged") is None
        for name in FILES
    ]
    try:
        check_seal(run.path, names)
    except InputError as error:
        log.warning("%s; made anew from the checkpoints", str(error).partition(";")[0])
        return False
    return all((run.path / name).is_file() for name in names)
