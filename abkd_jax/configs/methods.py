"""Methods beyond the fields of `DistillConfig`: soft labels with a further loss. No jax.

A loss of one's own, `module:function`, is a method by the name of its function.
"""

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field, fields, make_dataclass, replace
from difflib import get_close_matches
from keyword import iskeyword
from typing import Any, TypeVar

from abkd_jax.configs.options import DistillConfig, MethodConfig, RunConfig

__all__ = [
    "AUXILIARY_WEIGHTS",
    "FURTHER",
    "FURTHER_WEIGHTS",
    "METHODS",
    "can_be_named",
    "further_method",
    "loss_weight",
    "method_name",
    "methods_of",
    "option_hint",
    "with_methods",
    "with_named",
]

Distill = TypeVar("Distill", bound=DistillConfig)

# Weights of the auxiliary losses beside soft labels: those that Joshi et al. chose for ogbn-arxiv (arXiv 2111.04964,
# scripts of github.com/chaitjo/efficient-gnns; G-CRD: ogbn-mag, at the same temperature as here). Two are carried over
# to other sizes: FitNets' value is a mean over the width of its projections, 256 there and 16 here; attention
# transfer's is of order 1 / nodes, 90,941 there and 2,708 on Cora.
AUXILIARY_WEIGHTS = {
    "fitnet": 100.0 * 16 / 256,
    "attention_transfer": 1e4 * 2708 / 90941,
    "lsp": 100.0,
    "gsp": 10.0,
    "gcrd": 0.1,
}
FURTHER_WEIGHTS = {
    "mustad": 1.0,
    "geometric": 1e-6,  # of a sum over all pairs of GEOMETRIC_NODES nodes
    "krd": 1.0,
    "ff_g2m": 1.0,
    "propagate": 1.0,
}
GEOMETRIC_NODES = 1024  # drawn per step: 7 times fewer pairs than all of Cora
OWN_WEIGHT = 1.0  # of a loss from outside the package

FURTHER = {
    "mustad": "Soft labels and MustaD: last hidden layers as distributions; its student has --student.repeated True.",
    "geometric": "Soft labels and GeometricKD: similarities of all pairs of nodes, those along the edges above all.",
    "krd": "Soft labels and KRD: neighbours learn from each other's soft labels, most from reliable nodes.",
    "ff_g2m": "Soft labels and FF-G2M: low and high frequencies of the teacher's soft labels along the edges.",
    "propagate": "Soft labels and P&D: the teacher's soft labels after they have been propagated along the edges.",
}
"""Methods that a run has a field for once they are named, with what they are."""

METHODS = (*(option.name for option in fields(DistillConfig) if option.type is MethodConfig), *FURTHER)
"""All methods of the package, by name."""

_OF_COMMANDS = ("process", "quiet", "verbose")  # options that a command has beside those of its run
_OF_FOLDERS = ("data", "extended_at")  # entries of `config.json` beside the settings of its run


def loss_weight(loss: str) -> float:
    """Returns the default weight of a loss beside soft labels, by its name or `module:function`."""
    return {**AUXILIARY_WEIGHTS, **FURTHER_WEIGHTS}.get(loss, OWN_WEIGHT)


def method_name(entry: str) -> str:
    """Returns the name of a method in tables, options and folders.

    Examples:
        >>> method_name("my_losses:logit_mse"), method_name("krd")
        ('logit_mse', 'krd')
    """
    return entry.rpartition(":")[2]


def can_be_named(name: str) -> bool:
    """Tells whether a further method can have a name: an identifier that no option and no entry of a run folder has."""
    taken = {option.name for option in fields(DistillConfig)}.union(_OF_COMMANDS, _OF_FOLDERS)
    return name.isidentifier() and not iskeyword(name) and name not in taken and not hasattr(DistillConfig, name)


def option_hint(option: str, named: Collection[str]) -> str | None:
    """Returns one line on an option of a method that is not named; None for all other options.

    Args:
        option: as the command line has it.
        named: methods, by name.

    Examples:
        >>> option_hint("--krd.auxiliary-weight", ["abkd"])
        '--krd.auxiliary-weight: krd has options where --methods names it'
    """
    name = option.removeprefix("--").partition(".")[0].replace("-", "_")
    known = [known.name for known in fields(DistillConfig)]
    if "." not in option or name in named or get_close_matches(name, known, n=1, cutoff=0.8):
        return None
    entry = "" if name in FURTHER else f", as in module:{name}"
    return f"{option}: {name} has options where --methods names it{entry}"


def further_method(config: DistillConfig, loss: str) -> MethodConfig:
    """Returns the soft labels of a run together with a further loss at its default weight.

    Examples:
        >>> further_method(DistillConfig(), "my_losses:logit_mse").auxiliary_weight
        1.0
    """
    nodes = {"auxiliary_max_nodes": GEOMETRIC_NODES} if loss == "geometric" else {}
    return replace(config.soft_label, auxiliary=loss, auxiliary_weight=loss_weight(loss), **nodes)


def methods_of(config: RunConfig) -> tuple[str, ...]:
    """Returns the fields of a config that describe a method; a study adds its own to those of `DistillConfig`."""
    return tuple(option.name for option in fields(config) if isinstance(getattr(config, option.name), MethodConfig))


def with_named(config: Distill, names: Iterable[str]) -> Distill:
    """Returns a run with a field for every further method that is named; other names are left alone.

    Args:
        config: the run.
        names: of methods, `module:function` for losses from outside the package.

    Examples:
        >>> run = with_named(DistillConfig(), ["abkd", "krd", "my_losses:logit_mse"])
        >>> run.krd.auxiliary, run.logit_mse.auxiliary
        ('krd', 'my_losses:logit_mse')
    """
    further = {}
    for entry in names:
        name = method_name(entry)
        if (entry in FURTHER or entry != name) and not hasattr(config, name) and can_be_named(name):
            further.setdefault(name, further_method(config, entry))
    return with_methods(config, further) if further else config


def with_methods(config: Distill, settings: Mapping[str, MethodConfig]) -> Distill:
    """Returns a run with these settings of methods, for which it gets fields where it has none.

    Args:
        config: the run.
        settings: by names that `can_be_named`, or that are fields.

    Examples:
        >>> with_methods(DistillConfig(seeds=5), {"mine": MethodConfig(task_weight=0.5)}).mine.task_weight
        0.5
    """
    values = {**_values(config), **settings}
    kind = _plain(type(config))
    further = tuple(name for name in values if name not in kind.__dataclass_fields__)
    return (_extended(kind, further) if further else kind)(**values)


def _values(config: Any) -> dict[str, Any]:
    return {option.name: getattr(config, option.name) for option in fields(config)}


def _plain(kind: type[Distill]) -> type[Distill]:
    """Returns a class of runs without the fields that `with_methods` gave it."""
    return next(plain for plain in kind.__mro__ if plain.__reduce__ is not _reduce)


@functools.lru_cache(maxsize=256)
def _extended(kind: type[Distill], names: tuple[str, ...]) -> type[Distill]:
    """Returns the subclass with a field for each name: the same one for the same names."""
    further: Any = [(name, MethodConfig, field(default_factory=MethodConfig)) for name in names]
    own = {"__doc__": kind.__doc__, "__module__": kind.__module__, "__reduce__": _reduce}
    return make_dataclass(kind.__name__, further, bases=(kind,), frozen=True, namespace=own)


def _reduce(config: Any) -> tuple[Any, ...]:
    """Takes a run apart for `pickle`, since no module holds its class."""
    kind, values = _plain(type(config)), _values(config)
    further = {name: values.pop(name) for name in list(values) if name not in kind.__dataclass_fields__}
    return with_methods, (kind(**values), further)
