"""From the settings that were given to the jobs of a run: in full and checked, before anything is read or compiled."""

import dataclasses
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from abkd_jax.configs.methods import methods_of
from abkd_jax.configs.names import canonical, is_listed
from abkd_jax.configs.options import (
    BatchConfig,
    DistillConfig,
    MethodConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
)
from abkd_jax.configs.presets import distill_config
from abkd_jax.configs.ranges import RANGES, Range
from abkd_jax.datasets.facts import check_batches
from abkd_jax.datasets.files.locations import expanded
from abkd_jax.distill.build import OF_LOGITS, LossContext, build_objective
from abkd_jax.distill.named import LOSS
from abkd_jax.models import build
from abkd_jax.models.own import MODEL
from abkd_jax.outside import is_outside, require_unchanged
from abkd_jax.run.method_names import check_methods, with_asked
from abkd_jax.run.starts import STARTS_OF_TEACHER, check_start, with_start
from abkd_jax.training.multihost import are_several
from abkd_jax.training.sharding import make_mesh, mesh_sizes
from abkd_jax.training.step import make_optimizer
from abkd_jax.types import InputError

__all__ = ["Job", "capped", "check_input", "jobs", "resolve", "with_epochs", "with_starts"]

Run = TypeVar("Run", bound=RunConfig)
Distill = TypeVar("Distill", bound=DistillConfig)

SHOWN = 3  # wrong settings that one message names
CHOSEN = {"auxiliary": "auxiliary_weight", "attention": "alignment_weight", "dissimilarity": "alignment_weight"}
WEIGHTS = ("task_weight", "soft_label_weight", "alignment_weight", "auxiliary_weight")


class Job(NamedTuple):
    """The students of one method.

    Attributes:
        name: of the method.
        model: architecture and sizes: the method's own, or the run's student.
        method: how they are trained.
    """

    name: str
    model: ModelConfig
    method: MethodConfig

    @property
    def reads_teacher(self) -> bool:
        """Tells whether anything of the teacher enters the training."""
        weights = (self.method.soft_label_weight, self.method.alignment_weight, self.method.auxiliary_weight)
        return any(weights) or self.method.start in STARTS_OF_TEACHER or self.method.input == "teacher"

    @property
    def reads_hiddens(self) -> bool:
        """Tells whether hidden layers of the teacher enter the training; a loss from outside is tried on the data."""
        method = self.method
        known = method.auxiliary not in OF_LOGITS and not is_outside(method.auxiliary)
        return bool(method.alignment_weight or (method.auxiliary_weight and known))


def jobs(config: DistillConfig) -> list[Job]:
    """Returns the jobs of a run, in the order of its methods.

    Examples:
        >>> [(job.name, job.model.layers) for job in jobs(distill_config("cora"))]
        [('supervised', 4), ('soft_label', 4), ('abkd', 4)]
    """
    methods = ((name, getattr(config, name)) for name in config.methods)
    return [Job(name, method.student or config.student, method) for name, method in methods]


def resolve(config: Run) -> Run:
    """Returns the settings in full, and everything that they construct constructed once, so checked.

    `max_epochs` stands in every training and evaluations divide its epochs; `~` is the home folder; every method stands
    on its own and has a start other than `auto`.

    Raises:
        InputError: one line that names the options that are wrong.
    """
    config = _spelled_out(config)
    _check_options(config)
    config = _capped(config)
    _check_batches(config)
    _check_mesh(config)
    teacher = _checked_teacher(config)
    if isinstance(config, DistillConfig):
        config = with_starts(config, teacher)
        _check_model("student", config.student, config.batches)
        for job in jobs(config):
            _check_job(job, teacher, config.batches)
    return config


def _checked_teacher(config: RunConfig) -> ModelConfig | None:
    """Checks where the teacher comes from; returns its architecture, None where no single model is known."""
    options = {name: getattr(config, name) for name in ("teacher_outputs", "teacher_weights")}
    given = [_flag(name) for name, value in options.items() if value]
    if given and config.teacher_ensemble > 1:
        raise InputError(
            f"{' and '.join([*given, '--teacher-ensemble'])}: expected one of them, since each says where the teacher "
            "comes from"
        )
    if config.teacher_weights is not None and len(config.teacher_outputs) > 1:
        raise InputError(
            f"--teacher-outputs beside --teacher-weights are {len(config.teacher_outputs)} files, expected one: the "
            "outputs of the same model, with which those here are compared"
        )
    if config.teacher_outputs and config.teacher_weights is None:
        return None
    _check_model("teacher.model", config.teacher.model, config.batches)
    make_optimizer(config.teacher.optim)
    return config.teacher.model if config.teacher_ensemble == 1 else None


def with_epochs(optim: OptimConfig, epochs: int) -> OptimConfig:
    """Returns a training of another length, whose evaluations divide its epochs.

    Examples:
        >>> with_epochs(OptimConfig(epochs=300, eval_every=10), 25).eval_every
        5
    """
    return dataclasses.replace(optim, epochs=epochs, eval_every=math.gcd(epochs, optim.eval_every))


def capped(optim: OptimConfig, most: int | None) -> OptimConfig:
    """Returns a training of at most so many epochs, whose evaluations divide them; None is no limit."""
    return with_epochs(optim, optim.epochs if most is None else min(optim.epochs, most))


def _capped(config: Run) -> Run:
    parts = {name: getattr(config, name) for name in ("teacher", *methods_of(config))}
    optims = {name: capped(part.optim, config.max_epochs) for name, part in parts.items()}
    short = {name: dataclasses.replace(part, optim=optims[name]) for name, part in parts.items()}
    return dataclasses.replace(config, **short)


def with_starts(config: Distill, teacher: ModelConfig | None) -> Distill:
    """Returns the settings with every start `auto` decided; see `starts.with_start`.

    Args:
        config: the settings.
        teacher: its architecture; None where no single model is known.
    """
    methods = {name: getattr(config, name) for name in methods_of(config)}
    decided = {name: with_start(m, m.student or config.student, teacher) for name, m in methods.items()}
    return dataclasses.replace(config, **decided)


def _spelled_out(config: Run) -> Run:
    """Returns the config without what a shell would have replaced: it expands no `~` after an equals sign.

    A `layout:name` that is in the list becomes the name there.
    """
    if isinstance(config, DistillConfig):
        config = with_asked(config)
    values = {option.name: getattr(config, option.name) for option in dataclasses.fields(config)}
    changes: dict[str, Any] = {name: expanded(value) for name, value in values.items() if isinstance(value, Path)}
    changes["teacher_outputs"] = tuple(map(expanded, config.teacher_outputs))
    if isinstance(config.dataset, str):
        changes["dataset"] = canonical(config.dataset)
    changes = {name: value for name, value in changes.items() if value != values[name]}
    return dataclasses.replace(config, **changes) if changes else config  # values of a wrong type are refused later


def _flag(path: str) -> str:
    """Returns an option as the command line spells it."""
    return "--" + path.replace("_", "-")


def _check_options(config: RunConfig) -> None:
    """Checks every option of everything that takes part, by its type and its range."""
    if isinstance(config, DistillConfig):
        check_methods(config)
    idle = set(methods_of(config)) - set(getattr(config, "methods", ()))
    wrong = list(_wrong_options(config, "", idle))
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise InputError("; ".join(wrong[:SHOWN]) + more)


def _wrong_options(config: Any, prefix: str, idle: Collection[str] = ()) -> Iterator[str]:
    """Yields one text for every option below a config that is not of its type or not in its range."""
    kinds = get_type_hints(type(config))
    for option in dataclasses.fields(config):
        value, path = getattr(config, option.name), prefix + option.name
        if option.name in idle or (value == () and option.default == ()):
            continue
        if dataclasses.is_dataclass(value):
            yield from _wrong_options(value, f"{path}.")
            continue
        expected = _expected(kinds[option.name], value, RANGES.get(option.name))
        if expected:
            yield f"{_flag(path)} is {value!r}, expected {expected}"


def _expected(kind: Any, value: Any, bounds: Range | None) -> str | None:
    """Returns what a value should have been; None where it is right."""
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
    """Checks the kind of batches where the name of the data set decides it; whoever reads others checks it before."""
    if is_listed(config.dataset):
        graph_level = distill_config(config.dataset).batches.kind == "graphs"
        check_batches(config.dataset, config.batches.kind, graph_level=graph_level)


def _check_mesh(config: RunConfig) -> None:
    """Checks that the devices are there, and that the batches can be shared among them."""
    kind, per_step = config.batches.kind, config.batches.per_step
    if kind == "full" and per_step > 1:
        raise InputError(
            f"--batches.per-step is {per_step}, expected 1: --batches.kind is full, one batch is the graph"
        )
    sizes = mesh_sizes(config.mesh)
    if sizes["data"] > 1 and (kind == "full" or per_step % sizes["data"]):
        raise InputError(
            f"--mesh data={sizes['data']} shares the minibatches of a step: --batches.kind is {kind} and "
            f"--batches.per-step {per_step}, expected minibatches and a multiple of {sizes['data']}"
        )
    if sizes["nodes"] > 1 and kind != "full":
        raise InputError(f"--mesh nodes={sizes['nodes']}: --batches.kind is {kind}, expected full")
    if are_several():
        _check_processes(sizes, kind)
    make_mesh(config.mesh)


def _check_processes(sizes: dict[str, int], kind: str) -> None:
    """Checks that several processes can share the axes of a mesh."""
    if sizes["seeds"] > 1 and kind != "full":
        raise InputError(
            f"--mesh seeds={sizes['seeds']}: --batches.kind is {kind} in several processes, expected full or one "
            "process: seeds of minibatches are programs of their own, which processes would start in different orders"
        )


def _check_model(path: str, model: ModelConfig, batches: BatchConfig) -> None:
    try:
        if is_outside(model.name):  # called once the data are known; whether it has a readout is its own business
            require_unchanged(model.name, MODEL)
            return
        build(model, 2)
    except InputError as error:
        raise InputError(f"{_flag(path)}: {error}") from error
    if batches.kind == "graphs" and model.readout is None:
        raise InputError(f"{_flag(path)}.readout is None, expected sum, mean or max: --batches.kind is graphs")
    if batches.kind != "graphs" and model.readout is not None:
        raise InputError(f"{_flag(path)}.readout is {model.readout}, expected None: --batches.kind is {batches.kind}")


def _check_job(job: Job, teacher: ModelConfig | None, batches: BatchConfig) -> None:
    name, model, method = job
    path = "student" if method.student is None else f"{name}.student"
    _check_model(path, model, batches)
    if method.start in STARTS_OF_TEACHER:
        check_start(name, method.start, model, teacher, path=_flag(path))
    if method.input == "teacher":
        check_input(job, teacher)
    if not any(getattr(method, weight) for weight in WEIGHTS):
        flags = ", ".join(_flag(f"{name}.{weight}") for weight in WEIGHTS)
        raise InputError(f"{flags} are all 0: {name} has nothing to learn from")
    _check_idle(name, method)
    make_optimizer(method.optim)
    if method.auxiliary_weight and is_outside(method.auxiliary):
        require_unchanged(method.auxiliary, LOSS)
    build_objective(method, LossContext(graph_level=batches.kind == "graphs"))


def _check_idle(name: str, method: MethodConfig) -> None:
    """Checks that no part of a term is chosen whose weight is 0: its choice would be without effect."""
    plain = MethodConfig()
    for option, weight in CHOSEN.items():
        chosen = getattr(method, option)
        if chosen != getattr(plain, option) and not getattr(method, weight):
            raise InputError(
                f"{_flag(f'{name}.{option}')} is {chosen}, but {_flag(f'{name}.{weight}')} is 0, so that it takes no "
                "part; expected a weight above 0"
            )


def check_input(job: Job, teacher: ModelConfig | None) -> None:
    """Checks that a student can read the features through the first layer of its teacher.

    Raises:
        InputError: it cannot.
    """
    if teacher is None:
        raise InputError(
            f"{job.name}: input teacher reads the parameters of one teacher, which --teacher-outputs and "
            f"--teacher-ensemble do not have; expected {_flag(f'{job.name}.input')} full"
        )
    for side, model in (("student", job.model), ("teacher", teacher)):
        if is_outside(model.name):
            raise InputError(
                f"{job.name}: input teacher knows the first layers of the models here, not that of {model.name} as "
                f"{side}; expected {_flag(f'{job.name}.input')} full"
            )
        if model.name == "sign":
            raise InputError(f"{job.name}: input teacher replaces the features, of which sign as {side} reads powers")
