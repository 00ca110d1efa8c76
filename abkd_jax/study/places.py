"""Places: a data set as a regime shows it, on the device, with its splits and teachers."""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from abkd_jax.configs import presets
from abkd_jax.configs.large_presets import Preset
from abkd_jax.configs.options import ModelConfig, TeacherConfig
from abkd_jax.datasets.facts import facts_of
from abkd_jax.outside import is_outside
from abkd_jax.run.data import PreparedData, prepare_data
from abkd_jax.run.job_checks import check_jobs, output_shapes
from abkd_jax.run.lanes import Lane
from abkd_jax.run.program import Teacher, select_seed
from abkd_jax.run.resolve import Job, capped, check_input
from abkd_jax.run.starts import possible
from abkd_jax.study.methods import Recipe, recipe, student_of
from abkd_jax.study.options import Table, student_model
from abkd_jax.study.regimes import View, views
from abkd_jax.study.splits import load_splits, prepare_splits
from abkd_jax.study.teachers import teachers_of
from abkd_jax.study.tuning import Trial
from abkd_jax.types import GraphDataset, InputError

__all__ = ["Place", "job_of", "open_place"]

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """What the students of a data set and a regime share.

    Attributes:
        splits: what they are trained on; seed `k` has split `k` modulo their number.
        tests: graphs with further test nodes, by the name of the score, one for each split.
        teacher: their teachers, by seed, each trained on the split of its seed.
        preset: settings of the data set.
        with_labels: see `regimes.View`.
        methods: those of the table that are for these data.
        validation: graphs on whose validation nodes students are chosen, one for each split; None stands for `splits`.
    """

    splits: tuple[PreparedData, ...]
    tests: dict[str, tuple[PreparedData, ...]]
    teacher: Teacher
    preset: Preset
    with_labels: bool
    methods: tuple[str, ...]
    validation: tuple[PreparedData, ...] | None = None

    @property
    def data(self) -> PreparedData:
        """Returns the data with the first split."""
        return self.splits[0]

    @property
    def split_identity(self) -> dict[str, Any]:
        """Returns what identities say of splits: nothing where there is one."""
        return {"splits": [data.identity.fingerprint for data in self.splits]} if len(self.splits) > 1 else {}

    def lane(self, number: int, seed: int, trial: Trial) -> Lane:
        """Returns the student of a trial with the teacher and the split of a number.

        Args:
            number: of teacher and split, modulo the number of teachers.
            seed: of the student.
            trial: its settings.
        """
        number %= len(self.teacher.models.origins)
        teacher = select_seed(self.teacher.models.variables, number)
        return Lane(seed, teacher, trial.numbers, trial.start, number % len(self.splits))


def open_place(table: Table, dataset: str, regime: str, checkpoints: Path, stored: Path) -> Place:
    """Loads a data set as a regime shows it, and trains or reads its teachers.

    Args:
        table: the table.
        dataset: name of the data set.
        regime: name of the regime.
        checkpoints: folder of the checkpoints of teachers.
        stored: folder of the files of teachers, see `teachers.teachers_of`.

    Raises:
        InputError: see `splits.load_splits`, `regimes.views` and `teachers.teachers_of`; graphs are labelled, which are
            `transductive` alone; or no method of the table is for this data: before a teacher is trained.
    """
    loaded = load_splits(dataset, table.data_root, table.seeds)
    if isinstance(loaded, GraphDataset):
        return _of_graphs(table, dataset, loaded, regime, checkpoints, stored)
    shown = views(loaded, regime, table.seeds)
    preset = presets.preset(dataset, facts_of(loaded[0]))
    splits = tuple(
        _taught(data, seen.taught)
        for data, seen in zip(prepare_splits([seen.train for seen in shown]), shown, strict=True)
    )
    methods = _methods_for(table, splits[0], preset, with_labels=shown[0].with_labels)
    tests = {name: prepare_splits([seen.tests[name] for seen in shown]) for name in shown[0].tests}
    of_teachers, validation = _other(shown, "teacher"), _other(shown, "validation")
    teacher = teachers_of(of_teachers or splits, _teacher_config(table, preset), table.seeds, checkpoints, stored)
    return Place(splits, tests, teacher, preset, shown[0].with_labels, methods, validation)


def _other(shown: Sequence[View], part: Literal["teacher", "validation"]) -> tuple[PreparedData, ...] | None:
    """Returns what a regime has apart from the graphs of its students; None where it has not."""
    found = [dataset for seen in shown if (dataset := getattr(seen, part)) is not None]
    return prepare_splits(found) if found else None


def _of_graphs(table: Table, name: str, loaded: GraphDataset, regime: str, checkpoints: Path, stored: Path) -> Place:
    """Returns the place of a data set that labels graphs; it trains on minibatches of them."""
    if regime != "transductive":
        raise InputError(f"{name} labels graphs: regime is {regime!r}, expected transductive")
    preset = presets.preset(name, facts_of(loaded))
    data = prepare_data(loaded, batches=preset.batches)
    methods = _methods_for(table, data, preset, with_labels=False)
    teacher = teachers_of((data,), _teacher_config(table, preset), table.seeds, checkpoints, stored)
    return Place((data,), {}, teacher, preset, with_labels=False, methods=methods)


def job_of(
    data: PreparedData, preset: Preset, teacher: ModelConfig | None, student: str, method: str, *, with_labels: bool
) -> tuple[Job, Recipe]:
    """Returns the job of a cell as the preset has it, and what is tuned of it.

    Args:
        data: of the place.
        preset: settings of the data set.
        teacher: architecture and sizes.
        student: a text that `options.student_model` reads.
        method: one of `methods.METHODS`, or a loss from outside.
        with_labels: see `regimes.View`.

    Raises:
        InputError: see `options.student_model` and `methods.recipe`.
    """
    model = student_of(method, student_model(student, preset.student))
    starts, minibatches = possible(model, teacher), data.sampler is not None
    tried = recipe(method, preset, starts, with_labels=with_labels, minibatches=minibatches)
    job = Job(method, model, tried.method)
    if tried.method.input == "teacher":
        check_input(job, teacher)
    return job, tried


def _methods_for(table: Table, data: PreparedData, preset: Preset, *, with_labels: bool) -> tuple[str, ...]:
    """Returns the methods of a table that have a student and a loss on the data; a warning names the others.

    Raises:
        InputError: there are none, or one that is from outside the package has none.
    """
    teacher = _teacher_config(table, preset).model
    shapes, found, reason = functools.partial(output_shapes, data, teacher), [], InputError(f"{table.name}: no methods")
    for method in table.methods:
        pairs = ((student, method) for student in table.students)
        try:
            jobs = [job_of(data, preset, teacher, *pair, with_labels=with_labels)[0] for pair in pairs]
            check_jobs(data, jobs, shapes)
            found.append(method)
        except InputError as error:
            if is_outside(method):
                raise
            reason = error
            log.warning("%s; left out", error)
    if not found:
        raise reason
    return tuple(found)


def _teacher_config(table: Table, preset: Preset) -> TeacherConfig:
    config = table.teacher or preset.teacher
    return dataclasses.replace(config, optim=capped(config.optim, table.max_teacher_epochs))


def _taught(data: PreparedData, taught: np.ndarray) -> PreparedData:
    masks = data.batch.masks
    return data._replace(batch=data.batch._replace(masks=masks._replace(all=masks.all & taught)))
