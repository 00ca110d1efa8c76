"""The whole job: data set in, teachers trained or loaded, students distilled, run folder with an honest table out."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from abkd_jax import evaluation, runfolder
from abkd_jax.config import DistillConfig, MethodConfig, ModelConfig, RunConfig
from abkd_jax.files import cache_root, writable
from abkd_jax.problems import Problem, build_model, load_problem, make_scores, with_powers
from abkd_jax.resolve import capped, check, methods_of, model_of
from abkd_jax.students import Students, train_students
from abkd_jax.teachers import Teacher, train_or_load

__all__ = ["as_students", "capped", "check", "distill", "model_of", "records", "run_folder", "teachers_of", "trained"]


def distill(config: DistillConfig) -> Path:
    """Runs the comparison, or what is left of it, and returns the run folder.

    Methods that the folder already holds stay in it, before the new ones, whether the config names them or not.

    Raises:
        InputError: bad settings or data, an unwritable folder, or a folder that holds another run.
    """
    config = capped(config)
    check(config)
    folder = run_folder(config)
    problem = load_problem(config.dataset, config.data_root, config.batches, config.split)
    runfolder.claim(folder, config, problem.fingerprint)
    known = runfolder.finished_records(folder)
    config = dataclasses.replace(config, methods=_ordered(known, config))
    runs: dict[str, Students] = {}
    found: dict[str, list[dict[str, Any]]] = {}
    for name, run in _train(config, problem, folder):
        runs[name] = run
        found[name] = known.get(name) or records(problem, name, model_of(config, name), run)
        _compare_sizes(found["teacher"][0], found[name])
        if not known.keys() <= runs.keys():
            continue  # all that is on disk is read back first: a kill now loses no record
        complete = len(runs) == 1 + len(config.methods)
        runfolder.write(folder, config, found, {k: run.history for k, run in runs.items()}, complete=complete)
    return folder


def _compare_sizes(teacher: dict[str, Any], students: list[dict[str, Any]]) -> None:
    """Writes down how many times smaller the students are, with and without the vectors of nodes without features."""
    whole = lambda record: record["parameters"] + record.get("embedding_parameters", 0)  # noqa: E731
    for record in students:
        record["compression"] = teacher["parameters"] / record["parameters"]
        if "embedding_parameters" in record:
            record["compression_with_embeddings"] = whole(teacher) / whole(record)


def _ordered(known: Iterable[str], config: DistillConfig) -> tuple[Any, ...]:
    """Known students, then the new ones."""
    return tuple(name for name in dict.fromkeys([*known, *config.methods]) if name in methods_of(config))


def trained(config: DistillConfig, problem: Problem, folder: Path) -> dict[str, Students]:
    """The models of a run by method, the teacher first; what `folder` does not hold yet is trained."""
    return dict(_train(config, problem, folder))


def _train(config: DistillConfig, problem: Problem, folder: Path) -> Iterator[tuple[str, Students]]:
    problem = with_powers(problem, *(model_of(config, name) for name in ("teacher", *config.methods)))
    teachers = teachers_of(config, problem)
    yield "teacher", as_students(teachers)
    for name in config.methods:
        method: MethodConfig = getattr(config, name)
        checkpoints = folder / "checkpoints" / name
        model = model_of(config, name)
        yield name, train_students(problem, config.teacher.model, teachers, model, name, method, checkpoints)


def run_folder(config: RunConfig) -> Path:
    """Where the run lives: `config.out`, or `runs/<dataset>`."""
    return config.out if config.out is not None else Path("runs") / config.dataset


def teachers_of(config: RunConfig, problem: Problem) -> list[Teacher]:
    """The teachers of a run, trained where they are not kept yet."""
    kept = config.teachers if config.teachers is not None else writable(cache_root() / "teachers")
    return train_or_load(problem, config.teacher, list(range(config.seeds)), kept)


def as_students(teachers: list[Teacher]) -> Students:
    """The teachers as one more method; their result is the best validation epoch, as in the GCNII recipe."""
    variables = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[t.variables for t in teachers])
    names = [name for name, values in teachers[0].history.items() if np.ndim(values) > 1]
    history = {name: np.concatenate([t.history[name] for t in teachers], axis=1) for name in names}
    history["seconds"] = np.array([t.history["seconds"] for t in teachers])
    return Students(variables, variables, np.array([t.best_epoch for t in teachers]), history)


def records(problem: Problem, name: str, config: ModelConfig, run: Students) -> list[dict[str, Any]]:
    """One record a seed: accuracies, sizes, times. A run side by side has one time for all its seeds."""
    model = build_model(problem, config)
    apply: Any = model.apply
    scores = make_scores(problem, model)
    seeds = len(run.epochs)
    last, best = (
        [jax.tree.map(lambda x, s=s: x[s], t) for s in range(seeds)] for t in (run.variables, run.best_variables)
    )
    predict = jax.jit(lambda variables, graph: apply(variables, graph).logits)
    latency = evaluation.latency(predict, last[0], problem.batch.graph)
    seconds = np.broadcast_to(run.history["seconds"], seeds)
    parameters = evaluation.parameter_count(last[0]["params"])
    embedded = evaluation.embedding_count(last[0]["params"])
    found = []
    for seed in range(seeds):
        at_end, at_best = scores(last[seed]), scores(best[seed])
        record = {
            "dataset": problem.dataset.name,
            "method": name,
            "metric": problem.task.metric,
            "seed": seed,
            "test_accuracy": float(at_end["test_accuracy"]),
            "val_accuracy": float(at_end["val_accuracy"]),
            "test_accuracy_best_val": float(at_best["test_accuracy"]),
            "parameters": parameters - embedded,
            "compression": 1.0,
            "epochs": int(run.epochs[seed]),
            "seconds": float(seconds[seed]),
            "latency_ms": latency["median_ms"],
        }
        found.append(record | ({"embedding_parameters": embedded} if embedded else {}))
    return found
