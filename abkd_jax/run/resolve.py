"""From the settings that were given to those of a run: checked, before anything is read, written or compiled."""

import dataclasses
import difflib
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from abkd_jax.configs.options import (
    BatchConfig,
    DistillConfig,
    MethodConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
)
from abkd_jax.configs.presets import distill_config
from abkd_jax.datasets.files.locations import expanded
from abkd_jax.distill.build import build_objective
from abkd_jax.models import build
from abkd_jax.training.step import make_optimizer
from abkd_jax.types import InputError

__all__ = ["RANGES", "Range", "capped", "check", "methods_of", "model_of"]

Run = TypeVar("Run", bound=RunConfig)

SHOWN = 3  # wrong settings that one message names
LARGE = 1e38  # float32 ends a little above
WEIGHTS = ("task_weight", "soft_label_weight", "alignment_weight", "auxiliary_weight")


class Range(NamedTuple):
    """The values that an option may have.

    Attributes:
        low: the least.
        high: the largest.
        without: a value that is not part of it: one of the ends, or one between.
    """

    low: int | float
    high: int | float
    without: int | float | None = None

    def holds(self, value: int | float) -> bool:
        """Tells whether a value is in the range; NaN is in none."""
        return self.low <= value <= self.high and value != self.without

    def __str__(self) -> str:
        low = f"{'above' if self.low == self.without else 'of at least'} {self.low:,}"
        high = f"{'below' if self.high == self.without else 'at most'} {self.high:,}"
        inside = self.without is not None and self.low < self.without < self.high
        return f"{low} and {high}" + (f", other than {self.without:,}" if inside else "")


_RATE = Range(0, 1, without=1)
_WEIGHT = Range(0, LARGE)
_POSITIVE = Range(0, LARGE, without=0)
_WIDTH = Range(1, 100_000)
_COUNT = Range(1, 1_000_000_000)

# By the names of the options, which mean the same wherever they stand. The upper ends are far beyond what was ever
# trained: they stop slips that would otherwise fill the memory or never end.
RANGES: dict[str, Range] = {
    # ModelConfig
    "layers": Range(1, 10_000),
    "hidden": _WIDTH,
    "dropout": _RATE,
    "alpha": Range(0, 1),
    "lam": _POSITIVE,
    "input_dropout": _RATE,
    "heads": _WIDTH,
    "attention_dropout": _RATE,
    "edge_dropout": _RATE,
    "bases": _WIDTH,
    "embedding_width": _WIDTH,
    "hops": Range(0, 1_000),
    # OptimConfig
    "epochs": Range(1, 10_000_000),
    "eval_every": Range(1, 10_000_000),
    "patience": Range(0, 1_000_000_000),
    "learning_rate": _POSITIVE,
    "conv_decay": _WEIGHT,
    "dense_decay": _WEIGHT,
    # MethodConfig
    "task_weight": _WEIGHT,
    "soft_label_weight": _WEIGHT,
    "temperature": Range(0.001, 1_000),  # beyond, the exponentials of float32 are all alike or all zero
    "alignment_weight": _WEIGHT,
    "axes": _WIDTH,
    "dim": _WIDTH,
    "auxiliary_weight": _WEIGHT,
    "auxiliary_max_nodes": Range(1, 1_000_000),
    # BatchConfig
    "size": _COUNT,
    "fan_outs": Range(-1, 1_000_000_000, without=0),
    "length": Range(1, 10_000),
    "steps": Range(1, 10_000_000),
    "parts": _COUNT,
    # RunConfig
    "seeds": Range(1, 10_000),
    "max_epochs": _COUNT,
    "split": Range(0, 2**32 - 1),
}


def methods_of(config: RunConfig) -> tuple[str, ...]:
    """Returns the fields of a config that describe a method; a study adds its own to those of `DistillConfig`."""
    return tuple(f.name for f in dataclasses.fields(config) if isinstance(getattr(config, f.name), MethodConfig))


def model_of(config: DistillConfig, name: str) -> ModelConfig:
    """Returns the model that a method trains: the teacher, the run's student, or the method's own."""
    if name == "teacher":
        return config.teacher.model
    method: MethodConfig = getattr(config, name)
    return method.student or config.student


def capped(config: Run) -> Run:
    """Returns the settings in full: `max_epochs` in every training, `~` as the home folder, one name for each method.

    Evaluations come to divide the epochs.

    Raises:
        InputError: an option is out of its range, or there is no home folder.
    """
    config = _spelled_out(config)
    _check_options(config)

    def cap(optim: OptimConfig) -> OptimConfig:
        epochs = optim.epochs if config.max_epochs is None else min(optim.epochs, config.max_epochs)
        return dataclasses.replace(optim, epochs=epochs, eval_every=math.gcd(epochs, optim.eval_every))

    parts = {name: getattr(config, name) for name in ("teacher", *methods_of(config))}
    return dataclasses.replace(
        config, **{name: dataclasses.replace(part, optim=cap(part.optim)) for name, part in parts.items()}
    )


def check(config: RunConfig) -> None:
    """Checks everything that can be wrong with the settings.

    Raises:
        InputError: one line that names the options.
    """
    _check_options(config)
    _check_batches(config)
    _check_model("teacher.model", config.teacher.model, config.batches)
    make_optimizer(config.teacher.optim)
    if isinstance(config, DistillConfig):
        _check_students(config)


def _spelled_out(config: Run) -> Run:
    """The config without what a shell would have replaced: it expands no `~` after an equals sign."""
    changes: dict[str, Any] = {}
    for option in dataclasses.fields(config):
        value = getattr(config, option.name)
        if isinstance(value, Path):
            changes[option.name] = expanded(value)
    if isinstance(config, DistillConfig):
        changes["methods"] = tuple(name for entry in config.methods for name in entry.split(",") if name)
    return dataclasses.replace(config, **changes)


def _flag(path: str) -> str:
    """An option as the command line knows it."""
    return "--" + path.replace("_", "-")


def _check_options(config: RunConfig) -> None:
    """Every option of everything that takes part, by its type and its range."""
    if isinstance(config, DistillConfig):
        _check_methods(config)
    idle = set(methods_of(config)) - set(getattr(config, "methods", ()))
    wrong = list(_wrong_options(config, "", idle))
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise InputError("; ".join(wrong[:SHOWN]) + more)


def _check_methods(config: DistillConfig) -> None:
    known = methods_of(config)
    if len(set(config.methods)) != len(config.methods) or not config.methods:
        raise InputError(f"methods are {', '.join(config.methods) or 'none'}: expected at least one, each named once")
    for name in config.methods:
        if name not in known:
            near = "".join(f"; did you mean {n}?" for n in difflib.get_close_matches(name, known, n=1, cutoff=0.6))
            raise InputError(f"method {name} is unknown, expected some of {', '.join(known)}{near}")


def _wrong_options(config: Any, prefix: str, idle: Collection[str] = ()) -> Iterator[str]:
    """One text for every option below a config that is not of its type or not in its range."""
    kinds = get_type_hints(type(config))
    for option in dataclasses.fields(config):
        value, path = getattr(config, option.name), prefix + option.name
        if option.name in idle:
            continue
        if dataclasses.is_dataclass(value):
            yield from _wrong_options(value, f"{path}.")
            continue
        expected = _expected(kinds[option.name], value, RANGES.get(option.name))
        if expected:
            yield f"{_flag(path)} is {value!r}, expected {expected}"


def _expected(kind: Any, value: Any, bounds: Range | None) -> str | None:
    """What a value should have been; None where it is right."""
    if get_origin(kind) in (Union, UnionType):
        kinds = [k for k in get_args(kind) if k is not NoneType]
        return None if value is None and len(kinds) < len(get_args(kind)) else _expected(kinds[0], value, bounds)
    if get_origin(kind) is Literal:
        return None if value in get_args(kind) else f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        inside = [_expected(get_args(kind)[0], entry, bounds) for entry in value] if isinstance(value, tuple) else []
        return next(filter(None, inside), None) if inside else "at least one value"
    if kind not in (int, float):
        return None
    whole = kind is int
    right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if right and (bounds is None or bounds.holds(value)):
        return None
    return f"a {'whole number' if whole else 'number'} {bounds or ''}".strip()


def _check_batches(config: RunConfig) -> None:
    """What a step reads, as far as the name of the data set tells."""
    kind = config.batches.kind
    if distill_config(config.dataset).batches.kind == "graphs" and kind != "graphs":
        raise InputError(f"{config.dataset} labels graphs: --batches.kind is {kind}, expected graphs")


def _check_model(path: str, model: ModelConfig, batches: BatchConfig) -> None:
    try:
        build(model, 2)
    except InputError as error:
        raise InputError(f"{_flag(path)}: {error}") from error
    if batches.kind == "graphs" and model.readout is None:
        raise InputError(f"{_flag(path)}.readout is None, expected sum, mean or max: --batches.kind is graphs")
    if batches.kind != "graphs" and model.readout is not None:
        raise InputError(f"{_flag(path)}.readout is {model.readout}, expected None: --batches.kind is {batches.kind}")


def _check_students(config: DistillConfig) -> None:
    _check_model("student", config.student, config.batches)
    for name in config.methods:
        method: MethodConfig = getattr(config, name)
        model, teacher = model_of(config, name), config.teacher.model
        _check_model("student" if method.student is None else f"{name}.student", model, config.batches)
        if method.start == "attention_map" and (model.name, teacher.name) != ("gcnii", "gcnii"):
            raise InputError(
                f"{name}: start attention_map cuts a gcnii out of a gcnii, not {model.name} of {teacher.name}"
            )
        if method.start in ("attention_map", "teacher_directions") and model.hidden > teacher.hidden:
            raise InputError(
                f"{name}: start {method.start} needs a student no wider than its teacher, got {model.hidden} and "
                f"{teacher.hidden} units"
            )
        if not any(getattr(method, weight) for weight in WEIGHTS):
            flags = ", ".join(_flag(f"{name}.{weight}") for weight in WEIGHTS)
            raise InputError(f"{flags} are all 0: {name} has nothing to learn from")
        make_optimizer(method.optim)
        build_objective(method)
