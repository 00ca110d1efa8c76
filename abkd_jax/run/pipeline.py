"""The whole comparison: data set in, teachers trained or read, students distilled, run folder with a table out."""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from abkd_jax.configs.names import short_name
from abkd_jax.configs.options import DistillConfig, ModelConfig, RunConfig
from abkd_jax.datasets.files.locks import locked
from abkd_jax.inference.bundle import Bundle
from abkd_jax.run import folder, keep, records
from abkd_jax.run.data import PreparedData, prepare_data, with_powers
from abkd_jax.run.finished import is_finished, made_from, name_other_origins
from abkd_jax.run.folder import RunFolder, open_run
from abkd_jax.run.job_checks import check_jobs, check_teacher, output_shapes, shapes_of_given
from abkd_jax.run.plan import Plan, make_plan, run_path
from abkd_jax.run.program import Teacher, Trained
from abkd_jax.run.resolve import Job, resolve
from abkd_jax.run.students import train_students
from abkd_jax.run.teachers import read_teacher, teacher_of
from abkd_jax.training.multihost import from_first, is_first
from abkd_jax.training.sharding import in_blocks, make_mesh
from abkd_jax.types import InputError

__all__ = [
    "FinishedRun",
    "Scored",
    "checked",
    "distill",
    "prepare",
    "read_finished",
    "train_all",
    "train_and_score",
    "train_into_folder",
]


def distill(config: DistillConfig) -> Path:
    """Runs the comparison, or what is left of it, and returns the run folder.

    Methods and seeds that the folder already holds stay in it, before the new ones, whether the config names them or
    not. A finished run whose checkpoints and data files are as it left them is not touched.

    Raises:
        InputError: bad settings or data, an unwritable folder, or a folder that holds another run.
    """
    config = resolve(config)
    path = run_path(config)
    if from_first(lambda: config.overwrite or not is_finished(config, open_run(path))):
        data = prepare(config)  # bad data makes no folder, nor does a teacher of other data
        train_into_folder(config, data, read_teacher(data, config))
    elif config.out is None and is_first():
        folder.point_to(path)
    if is_first():
        name_other_origins(path)
    return path


def prepare(config: RunConfig) -> PreparedData:
    """Prepares the data of a config, for its devices."""
    data = prepare_data(config.dataset, config.data_root, config.batches, config.split, make_mesh(config.mesh))
    return data._replace(profile_dir=config.profile_dir)


class Scored(NamedTuple):
    """Models of a run, as far as they have been trained and scored; by method, the teacher first.

    Attributes:
        models: stacked over seeds.
        records: by seed.
        architectures: of each; None where it is not known.
    """

    models: dict[str, Trained]
    records: dict[str, list[dict[str, Any]]]
    architectures: dict[str, ModelConfig | None]

    def students(self, data: PreparedData, job: Job) -> dict[int, Bundle]:
        """Returns the students of a method as bundles by seed, without those that have diverged."""
        of_teacher = (self.architectures["teacher"], self.records["teacher"])
        return keep.students_of(data, job, self.models[job.name], self.records[job.name], *of_teacher)


def train_into_folder(config: DistillConfig, data: PreparedData, given: Teacher | None = None) -> Scored:
    """Trains and scores the models of a config, or what its folder does not hold yet, and writes the folder.

    Of several processes the first one scores and writes; the others train along, score along where each holds blocks of
    the graph, and return nothing.

    Args:
        config: resolved.
        data: the data.
        given: the teacher, where it was trained elsewhere.

    Raises:
        InputError: an unwritable folder, or one that holds another run; see also `checked` and `train_all`.
    """
    path = run_path(config)
    with locked(path, "runs a comparison there", wait=False) if is_first() else contextlib.nullcontext():
        plan, run = from_first(lambda: _opened(config, path))
        data = checked(plan, data, given)  # before anything of an earlier run is removed, or of this one written
        description = plan.description(data.identity.fingerprint)
        from_first(lambda: _claim(plan, run, description))
        scored, jobs = Scored({}, {}, {}), {job.name: job for job in plan.jobs}
        if not is_first():
            in_common = train_and_score(plan, data, given, run.records) if in_blocks(data.mesh) else None
            for _ in in_common or train_all(plan, data, given):
                pass
            return scored
        for name, scored in train_and_score(plan, data, given, run.records):  # the last is returned
            if name in jobs:
                keep.keep(path, name, scored.students(data, jobs[name]))
            histories = {name: models.history for name, models in scored.models.items()}
            complete = len(histories) == 1 + len(plan.jobs)
            folder.write(run, description, data.summary, scored.records, histories, complete=complete)
        folder.write_made_from(path, made_from(plan, data.identity))
    return scored


def _opened(config: DistillConfig, path: Path) -> tuple[Plan, RunFolder]:
    run = RunFolder(path, {}, {}, complete=False) if config.overwrite else open_run(path)
    return make_plan(config, run), run


def _claim(plan: Plan, run: RunFolder, description: dict[str, Any]) -> None:
    if plan.config.overwrite:
        folder.clear(run.path)
    folder.claim(run, description, plan.config.methods, latest=plan.config.out is None)


def train_and_score(
    plan: Plan,
    data: PreparedData,
    given: Teacher | None = None,
    known: Mapping[str, list[dict[str, Any]]] | None = None,
) -> Iterator[tuple[str, Scored]]:
    """Trains and scores the models of a plan one method after the other.

    Args:
        plan: of the run.
        data: the data, `checked`.
        given: the teacher, where it was trained elsewhere.
        known: records of an earlier run, which are kept where its models are on disk.

    Yields:
        Name of what has just finished, and all that has.

    Raises:
        InputError: see `train_all`.
    """
    jobs, scored = {job.name: job for job in plan.jobs}, Scored({}, {}, {})
    for name, model, trained in train_all(plan, data, given):
        scored.models[name], scored.architectures[name] = trained, model
        found = records.kept_or_new((known or {}).get(name, []), data, name, trained)
        if name in jobs and jobs[name].reads_teacher:
            found = records.of_teachers(found, trained, scored.models["teacher"], scored.records["teacher"])
        scored.records[name] = found
        records.compare_sizes(scored.records["teacher"][0], found)
        yield name, scored


class FinishedRun(NamedTuple):
    """A finished run, read back.

    Attributes:
        plan: its settings, with all methods and seeds of the folder.
        data: the data.
        models: see `train_all`; each is read when it is asked for.
        records: by method.
    """

    plan: Plan
    data: PreparedData
    models: Iterable[tuple[str, ModelConfig | None, Trained]]
    records: dict[str, list[dict[str, Any]]]


def read_finished(config: DistillConfig) -> FinishedRun:
    """Reads the models of a finished run; nothing is trained.

    Args:
        config: resolved.

    Raises:
        InputError: the folder holds no finished run of this config.
    """
    run = open_run(run_path(config))
    there, here = run.description.get("dataset"), short_name(config.dataset)
    if there not in (None, here):
        raise InputError(f"run folder {run.path} holds a run on {there}, expected --dataset as there, not {here}")
    missing = [name for name in ("teacher", *config.methods) if name not in run.records]
    if missing:
        raise InputError(
            f"run folder {run.path} holds no results of {', '.join(missing)}: `distill` first, or name other --methods"
        )
    data, plan = prepare(config), make_plan(config, run)
    changed = folder.conflicts(run, plan.description(data.identity.fingerprint), plan.config.methods)
    if changed:
        raise InputError(f"run folder {run.path} holds a run of another config: {'; '.join(changed)}")
    given = read_teacher(data, plan.config)
    return FinishedRun(plan, data, train_all(plan, data, given, may_train=False), run.records)


def checked(plan: Plan, data: PreparedData, given: Teacher | None = None) -> PreparedData:
    """Checks that all models of a plan can be trained on its data; returns the data with what they read of it.

    Args:
        plan: of the run.
        data: the data.
        given: the teacher, where it was trained elsewhere.

    Raises:
        InputError: see `data.with_powers` and `job_checks`.
    """
    data, config = _with_powers(plan, data, given), plan.config
    if given is None:
        check_teacher(data, config.teacher.model, plan.jobs)
        shapes = functools.partial(output_shapes, data, config.teacher.model, config.teacher_ensemble)
    else:
        shapes = functools.partial(shapes_of_given, data, given)
    check_jobs(data, plan.jobs, shapes)
    return data


def _with_powers(plan: Plan, data: PreparedData, given: Teacher | None) -> PreparedData:
    return with_powers(data, *(job.model for job in plan.jobs), *([plan.config.teacher.model] if given is None else []))


def train_all(
    plan: Plan, data: PreparedData, given: Teacher | None = None, *, may_train: bool = True
) -> Iterator[tuple[str, ModelConfig | None, Trained]]:
    """Trains the teachers and the students of a plan, or reads those that are finished.

    Args:
        plan: of the run.
        data: the data.
        given: the teacher, where it was trained elsewhere; see `teachers.read_teacher`.
        may_train: False refuses models that are not finished instead of training them.

    Yields:
        Name, architecture (None where it is not known) and trained models: the teacher, then method after method.

    Raises:
        InputError: see `data.with_powers`, `teachers.teacher_of` and `train_students`.
    """
    data = _with_powers(plan, data, given)
    teacher = teacher_of(data, plan.config, given, may_train=may_train)
    yield "teacher", teacher.config, teacher.models
    for job in plan.jobs:
        students = train_students(data, job, teacher, plan.programs(job.name), may_train=may_train)
        yield job.name, job.model, students
