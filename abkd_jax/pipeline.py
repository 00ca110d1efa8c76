"""The whole job: data set in, teachers trained or loaded, students distilled, run folder with an honest table out."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from abkd_jax import evaluation, runfolder
from abkd_jax.config import BatchConfig, DistillConfig, MethodConfig, ModelConfig, OptimConfig, RunConfig
from abkd_jax.files import cache_root, writable
from abkd_jax.methods import build_objective
from abkd_jax.models import build
from abkd_jax.problems import Problem, build_model, load_problem, make_scores, with_powers
from abkd_jax.students import Students, train_students
from abkd_jax.teachers import Teacher, train_or_load
from abkd_jax.training import make_optimizer
from abkd_jax.types import InputError

__all__ = ["as_students", "capped", "check", "distill", "model_of", "records", "run_folder", "teachers_of", "trained"]

Run = TypeVar("Run", bound=RunConfig)


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
    return tuple(name for name in dict.fromkeys([*known, *config.methods]) if name in _methods_of(config))


def _methods_of(config: RunConfig) -> tuple[str, ...]:
    """The fields of a config that describe a method; a study adds its own to those of `DistillConfig`."""
    return tuple(f.name for f in dataclasses.fields(config) if isinstance(getattr(config, f.name), MethodConfig))


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


def model_of(config: DistillConfig, name: str) -> ModelConfig:
    """The model that a method trains: the teacher, the run's student, or the method's own."""
    if name == "teacher":
        return config.teacher.model
    method: MethodConfig = getattr(config, name)
    return method.student or config.student


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


def capped(config: Run) -> Run:
    """The config with `max_epochs` applied to every training, and evaluations that divide the epochs."""

    def cap(optim: OptimConfig) -> OptimConfig:
        epochs = optim.epochs if config.max_epochs is None else min(optim.epochs, config.max_epochs)
        return dataclasses.replace(optim, epochs=epochs, eval_every=math.gcd(epochs, optim.eval_every))

    parts = {name: getattr(config, name) for name in ("teacher", *_methods_of(config))}
    return dataclasses.replace(
        config, **{name: dataclasses.replace(part, optim=cap(part.optim)) for name, part in parts.items()}
    )


def check(config: RunConfig) -> None:
    """Everything that can be wrong with the settings, before anything is read, written or compiled.

    Raises:
        InputError: one line that names the setting.
    """
    if config.seeds < 1:
        raise InputError(f"seeds is {config.seeds}, expected at least 1")
    if config.max_epochs is not None and config.max_epochs < 1:
        raise InputError(f"max_epochs is {config.max_epochs}, expected at least 1")
    _check_batches(config.batches)
    _check_model(config.teacher.model, config.batches)
    make_optimizer(config.teacher.optim)
    if isinstance(config, DistillConfig):
        _check_students(config)


def _check_batches(batches: BatchConfig) -> None:
    for option in ("size", "length", "steps", "parts"):
        if getattr(batches, option) < 1:
            raise InputError(f"batches: {option} is {getattr(batches, option)}, expected at least 1")
    if not batches.fan_outs or any(number < 1 and number != -1 for number in batches.fan_outs):
        raise InputError(f"batches: fan_outs are {batches.fan_outs}, expected numbers of at least 1, or -1 for all")


def _check_model(model: ModelConfig, batches: BatchConfig) -> None:
    build(model, 2)
    if batches.kind == "graphs" and model.readout is None:
        raise InputError(f"{model.name}: readout is None, expected sum, mean or max: the data set labels graphs")
    if batches.kind != "graphs" and model.readout is not None:
        raise InputError(f"{model.name}: readout is {model.readout}, expected none: the data set labels nodes")


def _check_students(config: DistillConfig) -> None:
    if len(set(config.methods)) != len(config.methods) or not config.methods:
        raise InputError(f"methods are {', '.join(config.methods) or 'none'}: expected at least one, each named once")
    unknown = set(config.methods) - set(_methods_of(config))
    if unknown:
        raise InputError(f"method {min(unknown)} is unknown, expected some of {', '.join(_methods_of(config))}")
    _check_model(config.student, config.batches)
    for name in config.methods:
        method: MethodConfig = getattr(config, name)
        model, teacher = model_of(config, name), config.teacher.model
        _check_model(model, config.batches)
        if method.start == "attention_map" and (model.name, teacher.name) != ("gcnii", "gcnii"):
            raise InputError(
                f"{name}: start attention_map cuts a gcnii out of a gcnii, not {model.name} of {teacher.name}"
            )
        if method.start in ("attention_map", "teacher_directions") and model.hidden > teacher.hidden:
            raise InputError(
                f"{name}: start {method.start} needs a student no wider than its teacher, got {model.hidden} and "
                f"{teacher.hidden} units"
            )
        make_optimizer(method.optim)
        build_objective(method)
