"""Runs a table: places, their teachers, and cell after cell; what is finished is skipped, what was begun goes on."""

import dataclasses
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.configs.options import MODELS, ModelConfig
from abkd_jax.distill.named import LOSS, outside
from abkd_jax.distill.ops.checks import require_choice
from abkd_jax.models.own import MODEL
from abkd_jax.outside import is_outside, require_known, require_unchanged
from abkd_jax.run.identity import config_dict, digest, training_version, weights_digest
from abkd_jax.run.lanes import Lane, with_numbers
from abkd_jax.run.program import Trained, select_seed
from abkd_jax.run.records import make_split_scores
from abkd_jax.run.report.statistics import stored_score
from abkd_jax.run.resolve import Job, with_epochs
from abkd_jax.study.cells import Cell, cell_path, data_name, path_part, read_cell, write_cell
from abkd_jax.study.contents import student_cell, teacher_cell
from abkd_jax.study.methods import METHODS, Recipe
from abkd_jax.study.options import Table, Tuning, student_model
from abkd_jax.study.places import Place, job_of, open_place
from abkd_jax.study.regimes import REGIMES
from abkd_jax.study.similarity import cka_of_last_layers
from abkd_jax.study.train import train_lanes
from abkd_jax.study.tuning import Trial, ranking, trials
from abkd_jax.training.provenance import of_other_code
from abkd_jax.types import InputError

__all__ = ["run_table"]

log = logging.getLogger(__name__)


def run_table(table: Table, results: Path, work: Path) -> Iterator[tuple[Path, Cell, bool]]:
    """Trains the cells of a table that are not finished.

    Args:
        table: the table.
        results: folder of tables: the cells go into a folder of it of the table's name, the teachers of all tables into
            `teachers`, see `teachers.teachers_of`.
        work: folder of the checkpoints of what is being trained.

    Yields:
        Path and content of each cell, and whether it was trained now.

    Raises:
        InputError: a bad setting, or data that cannot be loaded.
    """
    _check(table)
    checkpoints, stored = work / "teachers", results / "teachers"
    results, work = results / table.name, work / table.name
    for dataset in table.datasets:
        for regime in table.regimes:
            place = open_place(table, dataset, regime, checkpoints, stored)
            heading = {"table": table.name, "dataset": data_name(dataset), "regime": regime}
            path = cell_path(results, heading["dataset"], regime, "teacher", "teacher")
            identity = digest(
                {
                    "data": place.data.identity.fingerprint,
                    **place.split_identity,
                    **_versions(place),
                    **place.teacher.source,
                }
            )
            kept = read_cell(path, identity)
            if kept is not None and kept["weights"] != _weights(place.teacher.models):
                log.warning("%s: not of the teachers that are stored here: all students are trained again", path)
                kept = None
            if kept is None:
                content = teacher_cell(place.splits, place.teacher.models, place.tests, place.validation)
                names = {**heading, "student": "teacher", "method": "teacher"}
                model = config_dict(place.teacher.config)
                kept = {**names, "identity": identity, **content, "model": model, "data": _data(place)}
                write_cell(path, kept)
            for student in table.students:
                for method in place.methods:
                    names = {**heading, "student": student, "method": method}
                    file = cell_path(results, heading["dataset"], regime, student, method)
                    folder = work / file.relative_to(results).with_suffix("")
                    yield file, *_cell(table, place, names, file, folder, kept)


def _check(table: Table) -> None:
    """Checks what is wrong whatever the data are, before hours of teachers."""
    for noun in ("datasets", "regimes", "students", "methods", "lengths"):
        if not getattr(table, noun):
            raise InputError(f"{table.name}: no {noun}, expected at least one")
    budget = table.tuning
    counts = {"seeds": [table.seeds], "lengths": table.lengths}
    counts |= {f"tuning.{name}": [value] for name, value in dataclasses.asdict(budget).items() if name != "draw"}
    for name, values in counts.items():
        if min(values) < 1:
            raise InputError(f"{table.name}: {name} is {min(values)}, expected at least 1")
    if budget.draw < 0:
        raise InputError(f"{table.name}: tuning.draw is {budget.draw}, expected at least 0")
    for regime in table.regimes:
        require_choice(table.name, "regime", regime, REGIMES)
    for student in table.students:
        name = student_model(student, ModelConfig()).name
        require_known("student", name, MODELS)
        if is_outside(name):
            require_unchanged(name, MODEL)
    for method in table.methods:
        require_known("method", method, METHODS)
        if is_outside(method):
            outside(method)
            require_unchanged(method, LOSS)
    for part in (table.datasets, table.regimes, table.students, table.methods):
        files: dict[str, str] = {}
        for name in part:
            other = files.setdefault(path_part(data_name(name) if part is table.datasets else name), name)
            if other != name:
                raise InputError(f"{table.name}: {other} and {name} would be one file, expected one of them")


def _cell(
    table: Table, place: Place, names: dict[str, str], file: Path, folder: Path, of_teacher: Cell
) -> tuple[Cell, bool]:
    """Returns a finished cell, trained where there is none, and whether it was."""
    of_cell = (names["student"], names["method"])
    job, tried = job_of(place.data, place.preset, place.teacher.config, *of_cell, with_labels=place.with_labels)
    identity = _identity(table, place, job, tried, names["regime"], of_teacher)
    known = read_cell(file, identity)
    if known is not None:
        return known, False
    folder = folder / identity[:16]  # other settings have checkpoints of their own
    began = time.perf_counter()
    candidates = trials(tried, table.tuning.trials, table.tuning.draw)
    validation, number = _tune(table, place, job, candidates, folder / "tuning")
    chosen = candidates[number]
    tuned = time.perf_counter()
    lanes = [place.lane(k, k, chosen) for k in range(table.seeds)]
    by_length = {length: _final(place, job, lanes, length, folder) for length in table.lengths}
    method = dataclasses.replace(with_numbers(job.method, chosen.numbers), start=chosen.start)  # type: ignore[arg-type]
    content = student_cell(place.splits, by_length, place.tests, of_teacher["parameters"], place.validation)
    optim = with_epochs(method.optim, content["epochs"])
    trained = by_length[content["epochs"]]
    cell: Cell = {
        **names,
        "identity": identity,
        **content,
        **_similarity(place, job, lanes, trained),
        "settings": config_dict(dataclasses.replace(method, optim=optim)),
        "model": config_dict(job.model),
        "tuning": _tuning_entry(table, tried, candidates, validation, number, content["metric"]),
        "data": _data(place),
    }
    cell["times"] = {**content["times"], "tuning_seconds": tuned - began, "seconds": time.perf_counter() - began}
    write_cell(file, cell)
    shutil.rmtree(folder / "tuning", ignore_errors=True)
    return cell, True


def _weights(trained: Trained) -> list[str]:
    """Returns what identifies the models of all seeds: other machines train others from the same settings."""
    return [weights_digest(select_seed(trained.variables, seed)) for seed in range(len(trained.origins))]


def _similarity(place: Place, job: Job, lanes: list[Lane], trained: Trained) -> dict[str, Any]:
    """Returns the CKA of the last layers where a step reads the whole graph."""
    if place.data.sampler is not None:
        return {}
    return {"cka": cka_of_last_layers(place.splits, job, place.teacher.models.module, lanes, trained)}


def _identity(table: Table, place: Place, job: Job, tried: Recipe, regime: str, of_teacher: Cell) -> str:
    """Returns the digest of all that decides the scores of a cell."""
    return digest(
        {
            "data": place.data.identity.fingerprint,
            **place.split_identity,
            "regime": regime,
            "teacher": of_teacher["weights"],
            "model": config_dict(job.model),
            "method": config_dict(tried.method),
            **_ranges(tried),
            "tuning": _budget(table.tuning),
            "seeds": table.seeds,
            "lengths": list(table.lengths),
            **_versions(place),
        }
    )


def _budget(tuning: Tuning) -> dict[str, int]:
    """Returns the budget as identities have it: the first draw is that of cells which are older than the others."""
    return {name: value for name, value in dataclasses.asdict(tuning).items() if name != "draw" or value}


def _tuning_entry(
    table: Table, tried: Recipe, candidates: list[Trial], validation: list[np.ndarray], chosen: int, metric: str
) -> dict[str, Any]:
    """Returns what a cell says of its tuning: every trial with its scores, those of the finalists with more."""
    return {
        **_ranges(tried),
        "draw": table.tuning.draw,
        "seeds": [*table.tuning.student_seeds()],
        "epochs": table.tuning.epochs,
        "chosen": chosen,
        "trials": [
            {
                "numbers": {**trial.numbers, "start": trial.start},
                "validation": [stored_score(float(score), metric) for score in scores],
            }
            for trial, scores in zip(candidates, validation, strict=True)
        ],
    }


def _data(place: Place) -> dict[str, Any]:
    """Returns what a cell says of its data: a summary, and the fingerprints of splits where there are several."""
    return place.data.summary | place.split_identity


def _ranges(tried: Recipe) -> dict[str, Any]:
    return {
        "ranges": {path: list(ends) for path, ends in tried.ranges.items()},
        "starts": list(tried.starts),
    }


def _tune(table: Table, place: Place, job: Job, candidates: list[Trial], folder: Path) -> tuple[list[np.ndarray], int]:
    """Returns the validation scores of every trial, NaN of students that diverged, and the trial chosen by them.

    The best trials get further students, and the best mean over all of theirs is chosen.
    """
    tuning = table.tuning
    first = _tried(table, place, job, candidates, range(tuning.seeds), folder / "all")
    best = ranking(first)[: tuning.finalists]
    seeds = range(tuning.seeds, tuning.seeds + tuning.final_seeds)
    more = _tried(table, place, job, [candidates[trial] for trial in best], seeds, folder / "finalists")
    decisive = np.concatenate([first[best], more], axis=1)
    scores = list(first)
    for trial, of_trial in zip(best, decisive, strict=True):
        scores[trial] = of_trial
    return scores, best[ranking(decisive)[0]]


def _tried(table: Table, place: Place, job: Job, candidates: list[Trial], seeds: range, folder: Path) -> np.ndarray:
    """Returns validation scores after the last epoch, `[trials, seeds]`."""
    epochs = table.tuning.epochs
    optim = dataclasses.replace(job.method.optim, epochs=epochs, eval_every=epochs)
    own = table.tuning.student_seeds()
    lanes = [place.lane(k, own[k], trial) for trial in candidates for k in seeds]
    job = job._replace(method=dataclasses.replace(job.method, optim=optim))
    trained = _train(place, job, lanes, folder, curves=False)
    scores = _validation(place, lanes, trained)
    scores[trained.history["diverged"].any(axis=0)] = np.nan
    return scores.reshape(len(candidates), len(seeds))


def _validation(place: Place, lanes: list[Lane], trained: Trained) -> np.ndarray:
    """Returns the validation score of each student after its last epoch."""
    if place.validation is None:
        return trained.history["val_accuracy"][-1].astype(float)
    scores = make_split_scores(place.validation, trained.module)
    of_lanes = [scores(select_seed(trained.variables, at), lane.split) for at, lane in enumerate(lanes)]
    return np.array([float(of["val_accuracy"]) for of in of_lanes])


def _final(place: Place, job: Job, lanes: list[Lane], length: int, folder: Path) -> Trained:
    """Returns the reported students of one length."""
    method = dataclasses.replace(job.method, optim=with_epochs(job.method.optim, length))
    return _train(place, job._replace(method=method), lanes, folder / f"epochs_{length}")


def _train(place: Place, job: Job, lanes: list[Lane], folder: Path, *, curves: bool = True) -> Trained:
    models, source = place.teacher.models, place.teacher.source
    trained = train_lanes(place.splits, job, models.module, source, lanes, folder, curves=curves)
    makers = of_other_code(maker for origin in trained.origins for maker in origin.made_by)
    others = sorted({str(maker.get("commit")) for maker in makers})
    if others:
        said = "%s: other code (commit %s) trained these students, or a part of it; without the folder they train anew"
        log.warning(said, folder, ", ".join(others))
    return trained


def _versions(place: Place) -> dict[str, int]:
    return {"training": training_version(place.data.identity)}
