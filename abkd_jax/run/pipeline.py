"""The whole job: data set in, teachers trained or loaded, students distilled, run folder with an honest table out."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from abkd_jax import datasets
from abkd_jax.configs.options import DistillConfig, MethodConfig, RunConfig, described
from abkd_jax.datasets.files.locations import cache_root, writable
from abkd_jax.datasets.files.locks import locked
from abkd_jax.run import folder as runfolder
from abkd_jax.run import records
from abkd_jax.run.data import Problem, load_problem, with_powers
from abkd_jax.run.folder import Plan, run_folder
from abkd_jax.run.identity import DataIdentity, student_identity, teacher_identity
from abkd_jax.run.resolve import capped, check, model_of
from abkd_jax.run.students import Students, joined, train_students
from abkd_jax.run.teachers import Teacher, teacher_folder, train_or_load
from abkd_jax.training import checkpoint
from abkd_jax.training.provenance import code

__all__ = ["as_students", "capped", "check", "distill", "model_of", "run_folder", "teachers_of", "trained"]

log = logging.getLogger(__name__)


def distill(config: DistillConfig) -> Path:
    """Runs the comparison, or what is left of it, and returns the run folder.

    Methods and seeds that the folder already holds stay in it, before the new ones, whether the config names them or
    not. A finished run whose checkpoints and data files are as it left them is not touched.

    Raises:
        InputError: bad settings or data, an unwritable folder, or a folder that holds another run.
    """
    config = capped(config)
    check(config)
    folder = run_folder(config)
    if not config.overwrite and _is_finished(folder, runfolder.plan(folder, config)):
        _name_other_origins(folder)
        return folder
    problem = load_problem(config.dataset, config.data_root, config.batches, config.split)  # bad data makes no folder
    with locked(folder, "runs a comparison there", wait=False):
        if config.overwrite:
            runfolder.clear(folder)
        _run(folder, config, problem)
    _name_other_origins(folder)
    return folder


def _run(folder: Path, config: DistillConfig, problem: Problem) -> None:
    plan = runfolder.plan(folder, config)
    runfolder.claim(folder, plan, problem.fingerprint)
    known = runfolder.finished_records(folder)
    runs: dict[str, Students] = {}
    found: dict[str, list[dict[str, Any]]] = {}
    for name, run in _train(plan, problem, folder):
        runs[name] = run
        found[name] = records.kept_or_new(known.get(name, []), problem, name, model_of(plan.config, name), run)
        if name != "teacher" and _reads_teacher(getattr(plan.config, name)):
            found[name] = records.of_teachers(found[name], runs["teacher"], found["teacher"])
        records.compare_sizes(found["teacher"][0], found[name])
        if not known.keys() <= runs.keys():
            continue  # all that is on disk is read back first: a kill now loses no record
        complete = len(runs) == 1 + len(plan.config.methods)
        histories = {k: run.history for k, run in runs.items()}
        runfolder.write(folder, plan, problem.facts, found, histories, complete=complete)
    runfolder.finish(folder, _made_from(folder, plan, problem.identity))


def _name_other_origins(folder: Path) -> None:
    """Says how many models other sources than those of now trained, and which students had other teachers."""
    found = runfolder.read_results(folder)["records"]
    sources = [record.get("provenance", {}) for record in found]
    others = [source for source in sources if source.get("code") != code()]
    if others:
        log.warning(
            "%s: %d of %d models were trained by other code (commit %s); "
            "--overwrite with an empty --teachers trains them anew",
            folder,
            len(others),
            len(sources),
            ", ".join(sorted({source.get("commit", "unknown") for source in others})),
        )
    weights = {record["seed"]: record.get("weights") for record in found if record["method"] == "teacher"}
    orphans = [r for r in found if r.get("teacher_weights") not in (None, weights.get(r["seed"]))]
    if orphans:
        named = ", ".join(f"{record['method']} {record['seed']}" for record in orphans)
        log.warning("%s: %s learned from teachers that are gone; --overwrite trains them anew", folder, named)


def _reads_teacher(method: MethodConfig) -> bool:
    weights = (method.soft_label_weight, method.alignment_weight, method.auxiliary_weight)
    return any(weights) or method.start in ("teacher_directions", "attention_map")


def _made_from(folder: Path, plan: Plan, data: DataIdentity) -> dict[str, Any]:
    """What the records of a finished run stand on: the last whole step of every checkpoint, and the data files.

    While size and time of change of a file stay as they are, so does the fingerprint of the data.
    """
    config, kept = plan.config, teachers_root(plan.config)
    steps = {}
    for seed in range(config.seeds):
        identity = teacher_identity(data, config.teacher, seed)
        steps[f"teacher {seed}"] = checkpoint.verify(teacher_folder(kept, data, config.teacher, seed), identity)
    for name in config.methods:
        parts = (config.teacher.model, name, getattr(config, name), model_of(config, name))
        for path, seeds in plan.folders(folder, name):
            identity = student_identity(data, seeds, *parts)
            steps[f"{name} {', '.join(map(str, seeds))}"] = checkpoint.verify(path, identity)
    paths = [path for path in datasets.files(config.dataset, config.data_root) if path.exists()]
    files = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}
    return {"fingerprint": data.fingerprint, "checkpoints": steps, "files": files}


def _is_finished(folder: Path, plan: Plan) -> bool:
    """Whether all that the plan names stands in the folder, made from the checkpoints and data files of now."""
    config, finished = plan.config, runfolder.finished(folder)
    if finished is None or runfolder.conflicts(folder, plan, None):
        return False
    found = {name: [r["seed"] for r in of] for name, of in runfolder.finished_records(folder).items()}
    if any(found.get(name) != list(range(config.seeds)) for name in ("teacher", *config.methods)):
        return False
    batches = {} if config.batches.kind == "full" else described(config.batches)
    made_from = _made_from(folder, plan, DataIdentity(config.dataset, finished["fingerprint"], batches))
    return None not in made_from["checkpoints"].values() and made_from == finished


def trained(config: DistillConfig, problem: Problem, folder: Path) -> dict[str, Students]:
    """Reads the models of a finished run by method, the teacher first.

    Raises:
        InputError: one of them has no finished checkpoint.
    """
    return dict(_train(runfolder.plan(folder, config), problem, folder, may_train=False))


def _train(plan: Plan, problem: Problem, folder: Path, *, may_train: bool = True) -> Iterator[tuple[str, Students]]:
    config = plan.config
    problem = with_powers(problem, *(model_of(config, name) for name in ("teacher", *config.methods)))
    teachers = teachers_of(config, problem, may_train=may_train)
    yield "teacher", as_students(teachers)
    sittings = plan.sittings if problem.epoch is None else ((0, config.seeds),)
    for name in config.methods:
        method: MethodConfig = getattr(config, name)
        model = model_of(config, name)
        own = folder / "checkpoints" / name
        paths = [path for path, _ in plan.folders(folder, name)] if problem.epoch is None else [own]
        parts = [
            train_students(
                problem, config.teacher.model, teachers[first:last], model, name, method, path, may_train=may_train
            )
            for (first, last), path in zip(sittings, paths, strict=True)
        ]
        yield name, joined(parts) if len(parts) > 1 else parts[0]


def teachers_root(config: RunConfig) -> Path:
    """Where the teachers of all runs are kept."""
    return config.teachers if config.teachers is not None else writable(cache_root() / "teachers")


def teachers_of(config: RunConfig, problem: Problem, *, may_train: bool = True) -> list[Teacher]:
    """The teachers of a run, trained where they are not kept yet."""
    return train_or_load(problem, config.teacher, list(range(config.seeds)), teachers_root(config), may_train=may_train)


def as_students(teachers: list[Teacher]) -> Students:
    """The teachers as one more method; their result is the best validation epoch, as in the GCNII recipe."""
    parts = []
    for teacher in teachers:
        variables = jax.tree.map(lambda leaf: leaf[None], teacher.variables)
        parts.append(Students(variables, variables, np.array([teacher.best_epoch]), teacher.history, (teacher.origin,)))
    return joined(parts)
