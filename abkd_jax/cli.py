"""The command line: `python -m abkd_jax teacher | distill | evaluate | datasets`."""

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from abkd_jax.config import DistillConfig, RunConfig
from abkd_jax.presets import distill_config

__all__ = ["dataset_in", "main"]


@dataclass(frozen=True)
class Teacher(RunConfig):
    """Train the teachers that are not kept yet, and print their accuracy."""


@dataclass(frozen=True)
class Distill(DistillConfig):
    """Train or load the teachers, distil students side by side; print the table and write the run folder."""


@dataclass(frozen=True)
class Evaluate(DistillConfig):
    """Look closely at a finished run: accuracy by split, agreement with the teacher, layer similarity, cost."""


@dataclass(frozen=True)
class Datasets(RunConfig):
    """List the data sets and where their files are looked for; with --dataset, load that one and describe it."""

    dataset: str = ""
    """Data set to load and describe; empty lists all."""


def main(arguments: list[str] | None = None) -> None:
    """Runs one command. Bad input gives one line on stderr and exit status 1, bad options tyro's message and 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    config = tyro.cli(
        _commands(dataset_in(arguments)),
        prog="python -m abkd_jax",
        description=__doc__,
        args=arguments,
        config=(tyro.conf.AvoidSubcommands,),  # a method without a student of its own has no options for it
    )
    name = type(config).__name__.lower()
    from abkd_jax.types import InputError  # jax comes with it: not needed to print help

    try:
        _run(config)
    except InputError as error:
        sys.exit(f"abkd_jax {name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"abkd_jax {name}: interrupted; the same command goes on from here")


def dataset_in(arguments: list[str], default: str = "digits") -> str:
    """The data set that the arguments name: it decides the defaults of all other options."""
    for position, argument in enumerate(arguments):
        if argument.startswith("--dataset="):
            return argument.partition("=")[2]
        if argument == "--dataset" and position + 1 < len(arguments):
            return arguments[position + 1]
    return default


def _commands(dataset: str) -> Any:
    """The union of the four commands, with the defaults for `dataset`."""
    defaults = {name: getattr(distill_config(dataset), name) for name in DistillConfig.__dataclass_fields__}
    run = {name: defaults[name] for name in RunConfig.__dataclass_fields__}
    return (
        Annotated[Teacher, tyro.conf.subcommand("teacher", default=Teacher(**run))]
        | Annotated[Distill, tyro.conf.subcommand("distill", default=Distill(**defaults))]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate", default=Evaluate(**defaults))]
        | Annotated[Datasets, tyro.conf.subcommand("datasets", default=Datasets())]
    )


def _run(config: RunConfig) -> None:
    from abkd_jax import commands  # jax and all models: not needed to print help

    if isinstance(config, Evaluate):
        commands.evaluate(config)
    elif isinstance(config, Distill):
        commands.distill(config)
    elif isinstance(config, Datasets):
        commands.datasets(config)
    else:
        commands.teacher(config)
