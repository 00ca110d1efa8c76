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
from abkd_jax.config import DistillConfig, MethodConfig, ModelConfig, OptimConfig, RunConfig
from abkd_jax.methods import build_objective
from abkd_jax.models import build
from abkd_jax.students import Students, train_students
from abkd_jax.teachers import Problem, Teacher, load_problem, train_or_load
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
    problem = load_problem(config.dataset, config.data_root)
    runfolder.claim(folder, config, problem.fingerprint)
    known = runfolder.finished_records(folder)
    config = dataclasses.replace(config, methods=_ordered(known, config))
    runs: dict[str, Students] = {}
    found: dict[str, list[dict[str, Any]]] = {}
    for name, run in _train(config, problem, folder):
        runs[name] = run
        found[name] = known.get(name) or records(problem, name, model_of(config, name), run)
        for record in found[name]:
            record["compression"] = found["teacher"][0]["parameters"] / record["parameters"]
        if not known.keys() <= runs.keys():
            continue  # all that is on disk is read back first: a kill now loses no record
        complete = len(runs) == 1 + len(config.methods)
        runfolder.write(folder, config, found, {k: run.history for k, run in runs.items()}, complete=complete)
    return folder


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
    kept = config.teachers if config.teachers is not None else Path("~/.cache/abkd_jax/teachers").expanduser()
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
    model = build(config, problem.dataset.num_classes)
    graph, labels = problem.batch.graph, problem.batch.labels
    apply: Any = model.apply
    predict = jax.jit(lambda variables, graph: apply(variables, graph).logits)
    seeds = len(run.epochs)
    last, best = (
        [jax.tree.map(lambda x, s=s: x[s], t) for s in range(seeds)] for t in (run.variables, run.best_variables)
    )
    latency = evaluation.latency(predict, last[0], graph)
    seconds = np.broadcast_to(run.history["seconds"], seeds)

    def accuracy(variables: Any, mask: jax.Array) -> float:
        return float(evaluation.accuracy(predict(variables, graph), labels, mask))

    return [
        {
            "dataset": problem.dataset.name,
            "method": name,
            "seed": seed,
            "test_accuracy": accuracy(last[seed], problem.test_mask),
            "val_accuracy": accuracy(last[seed], problem.val_mask),
            "test_accuracy_best_val": accuracy(best[seed], problem.test_mask),
            "parameters": evaluation.parameter_count(last[seed]["params"]),
            "compression": 1.0,
            "epochs": int(run.epochs[seed]),
            "seconds": float(seconds[seed]),
            "latency_ms": latency["median_ms"],
        }
        for seed in range(seeds)
    ]


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
    _check_model(config.teacher.model)
    make_optimizer(config.teacher.optim)
    if isinstance(config, DistillConfig):
        _check_students(config)


def _check_model(model: ModelConfig) -> None:
    build(model, 2)
    if model.readout is not None:
        raise InputError(f"{model.name}: readout is {model.readout}, expected none: these data sets label nodes")


def _check_students(config: DistillConfig) -> None:
    if len(set(config.methods)) != len(config.methods) or not config.methods:
        raise InputError(f"methods are {', '.join(config.methods) or 'none'}: expected at least one, each named once")
    unknown = set(config.methods) - set(_methods_of(config))
    if unknown:
        raise InputError(f"method {min(unknown)} is unknown, expected some of {', '.join(_methods_of(config))}")
    _check_model(config.student)
    for name in config.methods:
        method: MethodConfig = getattr(config, name)
        model, teacher = model_of(config, name), config.teacher.model
        build(model, 2)
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
