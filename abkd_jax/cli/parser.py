"""Command line: `abkd-jax teacher | distill | evaluate | predict | export | datasets`, or `python -m abkd_jax`."""

import logging
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from abkd_jax.cli.arguments import asks_for_help, dataset_in, help_first, methods_in, value_in
from abkd_jax.cli.endings import in_one_line, named_here, output
from abkd_jax.cli.help import describing
from abkd_jax.configs import rules
from abkd_jax.configs.methods import METHODS, method_name, methods_of, with_methods, with_named
from abkd_jax.configs.names import is_listed
from abkd_jax.configs.options import DistillConfig, RunConfig
from abkd_jax.configs.presets import DATASETS, distill_config
from abkd_jax.configs.words import word

__all__ = ["main"]

Config = TypeVar("Config", bound=RunConfig)


_OF_RUNS = {"teacher", "distill", "evaluate"}  # the commands with the options of a run
DatasetName = Annotated[str, word("NAME", DATASETS)]
MethodName = Annotated[str, word("METHOD", METHODS)]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True)
class _Verbosity:
    """Options of every command."""

    quiet: Annotated[Flag, tyro.conf.arg(aliases=["-q"])] = False
    """Write only warnings and results, no progress."""
    verbose: Annotated[Flag, tyro.conf.arg(aliases=["-v"])] = False
    """Write more details, and the messages of the libraries below."""


@dataclass(frozen=True)
class _Processes:
    """Option of the commands that train."""

    process: str | None = None
    """Which of several processes this one is, where the devices of --mesh are those of several hosts or processes: auto
    on TPU slices, Slurm and Open MPI, else index/number@address:port of process 0, as in 0/2@10.0.0.1:8476."""


@dataclass(frozen=True)
class Teacher(RunConfig, _Processes, _Verbosity):
    """Train the teachers that are not stored yet, and print their scores."""

    dataset: DatasetName = "digits"
    save_outputs: Path | None = None
    """File .npz for the outputs of the teacher of seed 0, as --teacher-outputs takes them; with {seed} in its name one
    file per seed."""


@dataclass(frozen=True)
class Distill(DistillConfig, _Processes, _Verbosity):
    """Train or load the teachers, distil the students; print the table and write the run folder."""

    dataset: DatasetName = "digits"
    methods: tuple[MethodName, ...] = ()


@dataclass(frozen=True)
class Evaluate(DistillConfig, _Verbosity):
    """Evaluate a finished run: scores by split, agreement with the teacher, layer similarity, cost."""

    dataset: DatasetName = "digits"
    methods: tuple[MethodName, ...] = ()


@dataclass(frozen=True)
class Predict(_Verbosity):
    """Predict the classes of nodes, or of graphs, with a student of a run: print them as csv, or write a file."""

    model: Path = tyro.MISSING
    """Folder of a student (runs/cora/latest/students/abkd/seed_0), or of a run; or a file .stablehlo or .onnx."""
    graph: str = tyro.MISSING
    """Name or path of the graph."""
    method: str | None = None
    """Method of the run; may be left out where it has one."""
    seed: int | None = None
    """Seed of the run; default: the one with the best validation score."""
    nodes: tuple[str, ...] = ()
    """Nodes, or graphs, by their identifiers in the files, or a text file of them; default: all."""
    out: Path | None = None
    """File to write: .csv, .parquet or .npz; default: print as csv."""
    data_root: Path | None = None
    """Folder of the data files; default: $ABKD_JAX_DATA, else ~/.cache/abkd_jax."""

    @property
    def dataset(self) -> str:
        """Returns the graph, by the name that it has in the other commands."""
        return self.graph


@dataclass(frozen=True)
class Export(_Verbosity):
    """Export a student of a run: as a program that takes a raw graph, or as weights for PyTorch Geometric."""

    model: tyro.conf.Positional[Path] = tyro.MISSING
    """Folder of a student (runs/cora/latest/students/abkd/seed_0), or of a run."""
    method: str | None = None
    """Method of the run; may be left out where it has one."""
    seed: int | None = None
    """Seed of the run; default: the one with the best validation score."""
    format: tuple[Literal["stablehlo", "onnx", "pyg"], ...] = ("stablehlo",)
    """Formats: stablehlo (one program for CPUs, GPUs and TPUs), onnx, pyg (safetensors for PyTorch Geometric;
    models of one node type)."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """Precision of the stored weights; bfloat16 also of the computations (stablehlo alone)."""
    graph: str | None = None
    """Name or path of the data to measure accuracy and time on; default: those of the run, an own file while it is the
    same."""
    out: Path | None = None
    """Folder to write; default: `exported` in the folder of the student."""
    data_root: Path | None = None
    """Folder of the data files; default: $ABKD_JAX_DATA, else ~/.cache/abkd_jax."""

    @property
    def dataset(self) -> str:
        """Returns what the command reads, as the others name their data set."""
        return str(self.model)


@dataclass(frozen=True)
class Datasets(_Verbosity):
    """List the data sets and the folders of their files; with a name, load that one and describe it."""

    name: tyro.conf.Positional[DatasetName] = ""
    """Data set to load and describe; default: list all."""
    dataset: DatasetName = ""
    """The same as an option."""
    data_root: Path | None = None
    """Folder of the data files; default: $ABKD_JAX_DATA, else ~/.cache/abkd_jax."""
    split: int = 0
    """Seed of the split, or number of the fold, of data sets without an official one."""


def main(arguments: list[str] | None = None) -> None:
    """Runs one command.

    Exit status: 0; 1 with one line on stderr for bad input; 2 with tyro's message for bad options; 3 if a model
    diverged; 130 after an interrupt; 141 if standard output is a closed pipe.
    """
    with output():
        status = _main(sys.argv[1:] if arguments is None else arguments)
        if status:
            sys.exit(status)


def _main(arguments: list[str]) -> int:
    facts = _facts(arguments)
    config = with_named(distill_config(dataset_in(arguments), facts), methods_in(arguments))
    with named_here(arguments if set(arguments[:1]) <= _OF_RUNS else ()):
        command: Any = tyro.cli(
            _commands(config),
            prog="abkd-jax",
            description=__doc__,
            args=help_first(arguments),
            config=(tyro.conf.AvoidSubcommands,),  # no options of a student for methods without one
            registry=describing(_shown(arguments, config)),
        )
    from abkd_jax.datasets.files import progress

    name = type(command).__name__.lower()
    level = logging.WARNING if command.quiet else logging.DEBUG if command.verbose else logging.INFO
    with progress.logging_to_stderr(level):
        if getattr(command, "process", None) is not None:
            in_one_line(f"abkd_jax {name}", lambda: _join(command))
        log = logging.getLogger(__name__)
        log.info("%s: starting", " ".join([name, command.dataset]).strip())
        if facts is not None:
            log.info("settings by rule: %s", rules.reason(facts))
        trains = isinstance(command, Teacher | Distill)
        return in_one_line(f"abkd_jax {name}", lambda: _run(command, facts), resumes=trains)


def _shown(arguments: list[str], config: DistillConfig) -> tuple[str, ...]:
    """Returns the methods whose options a help lists: those named, else those of the run; () without a help."""
    if not asks_for_help(arguments):
        return ()
    named = (method_name(entry) for entry in methods_in(arguments))
    return tuple(name for name in named if name in methods_of(config)) or config.methods


def _join(command: Any) -> None:
    """Joins this process with the others of its run; all but the first stay quiet."""
    from abkd_jax.training import multihost

    multihost.start(command.process, verbose=command.verbose)
    if not multihost.is_first():
        logging.getLogger("abkd_jax").setLevel(logging.WARNING)


def _facts(arguments: list[str]) -> rules.Facts | None:
    """Returns the facts of a data set that is not in the list, which decide its settings; None for all others."""
    command, name = arguments[0] if arguments else "", dataset_in(arguments)
    if command not in _OF_RUNS or is_listed(name):
        return None
    from abkd_jax import datasets  # jax comes with it, so that only sets without settings of their own pay for it
    from abkd_jax.datasets.files import progress

    split = value_in(arguments, "--split") or "0"
    seed = int(split) if split.isdecimal() else 0  # what is no number is refused with the other options
    quiet = bool({"-q", "--quiet"} & set(arguments))
    with progress.logging_to_stderr(logging.WARNING if quiet else logging.INFO):
        root = value_in(arguments, "--data-root")
        trains = command != "evaluate"
        return in_one_line(f"abkd_jax {command}", lambda: datasets.facts(name, root, seed), resumes=trains)


def _commands(config: DistillConfig) -> Any:
    """Returns the union of the commands, with a run as defaults."""
    values = {option.name: getattr(config, option.name) for option in fields(config)}
    run = {name: values[name] for name in RunConfig.__dataclass_fields__}
    plain = {name: values.pop(name) for name in DistillConfig.__dataclass_fields__}
    distill, evaluate = (with_methods(command(**plain), values) for command in (Distill, Evaluate))
    kinds: Any = type(distill), type(evaluate)
    teacher: Any = Annotated[Teacher, tyro.conf.subcommand("teacher", default=Teacher(**run))]
    return (
        teacher
        | Annotated[kinds[0], tyro.conf.subcommand("distill", default=distill)]
        | Annotated[kinds[1], tyro.conf.subcommand("evaluate", default=evaluate)]
        | Annotated[Predict, tyro.conf.subcommand("predict")]
        | Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[Datasets, tyro.conf.subcommand("datasets", default=Datasets())]
    )


def _run(command: Any, facts: rules.Facts | None) -> int:
    """Runs a command and returns its exit status; `facts` are those of `_facts`."""
    if isinstance(command, Predict | Export):
        from abkd_jax.cli import export  # no teachers and no report

        options = {field.name: getattr(command, field.name) for field in fields(command)}
        run = export.predict if isinstance(command, Predict) else export.export
        return run(**{name: options[name] for name in options.keys() - {"quiet", "verbose"}})
    from abkd_jax.cli import commands  # imports jax and all models, which help does not need
    from abkd_jax.datasets.facts import check_batches

    if facts is not None:
        check_batches(command.dataset, command.batches.kind, graph_level=facts.level == "graph")
    if isinstance(command, Evaluate):
        return commands.evaluate(_comparison(command))
    if isinstance(command, Distill):
        return commands.distill(_comparison(command))
    if isinstance(command, Teacher):
        return commands.train_teacher(_settings(command, RunConfig), command.save_outputs)
    return commands.show_datasets(command.dataset or command.name, command.data_root, command.split)


def _comparison(command: Any) -> DistillConfig:
    """Returns the settings of a comparison, with all methods that the command has options for."""
    run = _settings(command, DistillConfig)
    return with_methods(run, {name: getattr(command, name) for name in methods_of(command)})


def _settings(command: Any, kind: type[Config]) -> Config:
    """Returns the settings of the run without the options of the command, such as `quiet`."""
    return kind(**{field.name: getattr(command, field.name) for field in fields(kind)})
