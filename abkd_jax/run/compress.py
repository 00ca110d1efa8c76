"""One call from a graph and a teacher to trained students, for notebooks and scripts: `distill` in memory."""

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax import datasets
from abkd_jax.configs.methods import can_be_named, methods_of, with_methods
from abkd_jax.configs.names import is_listed
from abkd_jax.configs.options import DistillConfig, MethodConfig, ModelConfig, TeacherConfig
from abkd_jax.configs.presets import distill_config
from abkd_jax.datasets.convert.pyg_data import is_of_pyg
from abkd_jax.datasets.facts import check_batches
from abkd_jax.datasets.files.locations import expanded
from abkd_jax.distill.named import LOSS
from abkd_jax.inference.student import Student
from abkd_jax.models.own import MODEL
from abkd_jax.outside import name_of
from abkd_jax.run import pipeline
from abkd_jax.run.compiled import kept_programs
from abkd_jax.run.data import PreparedData, prepare_data
from abkd_jax.run.folder import map_rows, metric_lines, open_run
from abkd_jax.run.given_teachers import OUTPUTS, WEIGHTS, given_teacher
from abkd_jax.run.plan import make_plan
from abkd_jax.run.program import Teacher
from abkd_jax.run.report import figures, pareto, statistics, tables
from abkd_jax.run.resolve import jobs, resolve, with_starts
from abkd_jax.run.teachers import check_hiddens, read_teacher
from abkd_jax.run.torch_teacher import is_module
from abkd_jax.training.sharding import make_mesh
from abkd_jax.types import Dataset, GraphDataset, InputError, Objective

__all__ = ["Compressed", "compress"]

Loss = Callable[[], Objective]


@dataclass(frozen=True)
class Compressed:
    """Students of one call, with all that is known of their training.

    Attributes:
        students: by method, those of seed 0, 1, ... that have not diverged.
        records: one per model and seed, the teacher first: scores, sizes, times; as in `results.json`.
        histories: by method, arrays `[evaluations, seeds, ...]`: losses, scores, layer maps.
        config: the settings, in full.
        data: name of the data set.
        folder: the run folder; None where nothing was to be kept.
    """

    students: Mapping[str, Sequence[Student]] = field(repr=False)
    records: Sequence[dict[str, Any]] = field(repr=False)
    histories: Mapping[str, dict[str, np.ndarray]] = field(repr=False)
    config: DistillConfig = field(repr=False)
    data: str
    folder: Path | None

    @property
    def student(self) -> Student:
        """Returns the student of the last method with the best validation score.

        Raises:
            InputError: all of its seeds have diverged.
        """
        method, found = list(self.students.items())[-1]
        if not found:
            raise InputError(f"{method}: all seeds have diverged, expected one that finished")
        scores = [student.card.get("val_accuracy") for student in found]
        return found[int(np.argmax([-np.inf if score is None else score for score in scores]))]

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """Returns the layer maps of each method that aligns layers, at a few evaluations.

        `"<method>:epochs"` `[k]`, `"<method>:attention"` and `"<method>:dissimilarity"` `[k, seeds, T_l, S_l]`; a seed
        that has stopped keeps its last ones.
        """
        found = {name: map_rows(history) for name, history in self.histories.items()}
        return {f"{name}:{key}": values for name, maps in found.items() for key, values in maps.items()}

    def table(self, fmt: str = "simple") -> str:
        """Returns scores, sizes and times by method as text; `fmt` is a table format of `tabulate`."""
        return tables.table(statistics.summarise(self.records), fmt)

    def learning_curves(self) -> Any:
        """Draws the learning curves as a `matplotlib.figure.Figure`."""
        lines = [line for name, history in self.histories.items() for line in metric_lines(name, history)]
        return figures.learning_curves(lines, metric=statistics.metric_of(self.records), data=self.data)

    def layer_maps(self, method: str = "abkd", quantity: str = "attention") -> Any:
        """Draws the attention or the dissimilarity of the layers as a `matplotlib.figure.Figure`.

        Raises:
            InputError: the method aligns no layers.
        """
        maps = self.maps
        if f"{method}:{quantity}" not in maps:
            known = sorted({key.partition(":")[0] for key in maps})
            raise InputError(f"{method} has no {quantity} of layers, expected one of {', '.join(known) or 'none'}")
        title = f"{self.data}, {method}"
        return figures.layer_maps(maps[f"{method}:epochs"], maps[f"{method}:{quantity}"], quantity, title)

    def pareto(self) -> Any:
        """Draws scores against parameters and milliseconds as a `matplotlib.figure.Figure`."""
        metric = statistics.metric_of(self.records)
        return pareto.pareto(statistics.summarise(self.records), metric, data=self.data)

    def _repr_markdown_(self) -> str:
        """Shows the table in a notebook."""
        return self.table("github")


def compress(
    data: Any,
    teacher: Any = None,
    *,
    student: ModelConfig | Callable[..., Any] | None = None,
    methods: str | Loss | Sequence[str | Loss] | Mapping[str, MethodConfig] | None = None,
    seeds: int | None = None,
    max_epochs: int | None = None,
    teacher_model: ModelConfig | None = None,
    teacher_outputs: Any = None,
    config: DistillConfig | None = None,
    data_root: str | Path | None = None,
    split: int | None = None,
    out: str | Path | None = None,
) -> Compressed:
    """Compresses a graph neural network: trains students of a teacher, and measures both.

    Settings are those of `python -m abkd_jax distill` on the same data: of a listed set its own, of any other graph
    those of the rules in `configs.rules`. Compiled programs are kept for later calls, see `compiled.kept_programs`.

    Args:
        data: a data set (`types.Dataset`, `types.GraphDataset`), its name or path, or a graph with labels of PyTorch
            Geometric (`Data`, `HeteroData`, a list of `Data`).
        teacher: None or a `TeacherConfig` is trained here and kept for later calls. Else a model that was trained
            elsewhere, the same for all seeds, in one of the forms that `run.given_teachers.given_teacher` takes:
            a `torch.nn.Module`, called on `data` as it is where that is a graph of PyTorch Geometric; outputs as arrays
            or in a file, weights of PyTorch Geometric in a file, a Flax module with its variables, a pure function, or
            a list of these, an ensemble.
        student: architecture and sizes; or a function that returns a module of your own (`models.own`), for the sizes
            of the student that the data has.
        methods: names of the methods, the one that `Compressed.student` is taken from last: those of the package, and
            soft labels with a loss of your own as `module:function`, or as a function at the top of a module or script
            that returns the `Objective`; or settings by name, also by new names.
        seeds: number of seeds of the students.
        max_epochs: upper limit on the epochs of every training.
        teacher_model: architecture of weights in a file.
        teacher_outputs: of the PyTorch model whose weights are in a file, as an array of logits or a file: those here
            are compared with them, and others are refused.
        config: settings where the arguments above are None; None takes those of the data.
        data_root: folder of named data sets, see `datasets.data_root`; None is that of `config`.
        split: seed of the split of data without an official one; None is that of `config`.
        out: run folder, which the commands read too where the teacher is of the settings; None keeps nothing but
            trained teachers, whatever `config` says.

    Raises:
        InputError: bad settings, data or teacher.

    Examples:
        >>> from abkd_jax import datasets
        >>> graph = datasets.load("synthetic")
        >>> oracle = np.eye(3, dtype=np.float32)[np.maximum(graph.labels, 0)]  # outputs of some teacher
        >>> found = compress(graph, oracle, methods="soft_label", seeds=1, max_epochs=2)
        >>> [record["method"] for record in found.records], found.student.predict(graph).shape
        (['teacher', 'soft_label'], (300, 3))
    """
    _check_kinds(student, methods, teacher_model, config)
    if teacher_model is not None and not _is_in_a_file(teacher):
        raise InputError(
            "compress: teacher_model without weights, expected a file of weights as teacher; one that is trained here "
            "is a TeacherConfig(model=...)"
        )
    teacher = _on_graph(teacher, data)
    seed = split if split is not None else 0 if config is None else config.split
    dataset = _dataset(data, data_root if data_root is not None or config is None else config.data_root, seed)
    name = str(data) if isinstance(data, str | Path) else dataset.name
    base = config or distill_config(name, None if is_listed(name) else datasets.facts_of(dataset))
    base = _with_methods(base, methods)
    if isinstance(teacher, TeacherConfig):
        base = replace(base, teacher_outputs=(), teacher_weights=None)
    own: Any = {"student": _named(student, base.student), "seeds": seeds, "max_epochs": max_epochs}
    own["teacher"] = teacher if isinstance(teacher, TeacherConfig) else None
    changes = {key: value for key, value in own.items() if value is not None}
    check_batches(name, base.batches.kind, graph_level=isinstance(dataset, GraphDataset))
    with _folder(out) as path, kept_programs():
        settings = replace(base, dataset=name, out=path, split=seed, **changes)
        settings = _resolved(_knowing(settings, teacher, teacher_model))
        prepared = prepare_data(dataset, None, settings.batches, seed, make_mesh(settings.mesh))
        prepared = prepared._replace(profile_dir=settings.profile_dir)
        given = _given(teacher, prepared, settings, teacher_model, teacher_outputs)
        if out is None:
            plan = make_plan(settings, open_run(path))
            *_, (_, scored) = pipeline.train_and_score(plan, pipeline.checked(plan, prepared, given), given)
        else:
            scored = pipeline.train_into_folder(settings, prepared, given)
    return Compressed(
        students={job.name: list(map(Student, scored.students(prepared, job).values())) for job in jobs(settings)},
        records=[record for of_method in scored.records.values() for record in of_method],
        histories={name: trained.history for name, trained in scored.models.items()},
        config=settings,
        data=dataset.name,
        folder=None if out is None else path,
    )


def _on_graph(teacher: Any, data: Any) -> Any:
    """Returns a teacher whose modules of PyTorch are called on the very graph that is given, where it is one of PyG."""
    if isinstance(teacher, list):
        return [_on_graph(member, data) for member in teacher]
    return (teacher, data) if is_module(teacher) and is_of_pyg(data) else teacher


def _check_kinds(student: Any, methods: Any, teacher_model: Any, config: Any) -> None:
    """Checks the types of settings: whatever a caller has at hand may be given."""
    of_methods = methods.items() if isinstance(methods, Mapping) else ()
    for name, value, kind in (
        ("student", None if _is_function(student) else student, ModelConfig),
        ("teacher_model", teacher_model, ModelConfig),
        ("config", config, DistillConfig),
        *((f"methods[{name!r}]", settings, MethodConfig) for name, settings in of_methods),
    ):
        if not isinstance(value, kind) and (value is not None or name.startswith("methods")):
            own = ", or a function of your own that returns a module" if name == "student" else ""
            raise InputError(f"compress: {name} is {type(value).__name__}, expected a {kind.__name__}{own}")


def _is_in_a_file(teacher: Any) -> bool:
    """Tells whether a teacher, or a member of an ensemble, is a file of weights, or of nothing that is known."""
    paths = [part for part in (teacher if isinstance(teacher, list) else [teacher]) if isinstance(part, str | Path)]
    return any(Path(path).suffix != OUTPUTS for path in paths)


def _named(student: Any, settings: ModelConfig) -> ModelConfig | None:
    """Returns the settings of a student; of a function they are these, with its name."""
    return replace(settings, name=name_of(student, MODEL)) if _is_function(student) else student


def _is_function(value: Any) -> bool:
    return callable(value) and hasattr(value, "__qualname__")


def _with_methods(config: DistillConfig, methods: Any) -> DistillConfig:
    """Returns the settings with methods, each by its name."""
    if methods is None:
        return config
    if isinstance(methods, Mapping):
        for name in methods:
            if name not in methods_of(config) and not (isinstance(name, str) and can_be_named(name)):
                raise InputError(f"compress: methods has the name {name!r}, expected an identifier that no setting has")
        config = with_methods(config, methods)
    names = []
    for method in (methods,) if isinstance(methods, str) or callable(methods) else methods:
        if not isinstance(method, str) and not callable(method):
            raise InputError(
                f"compress: a method is {type(method).__name__}, expected a name, or a function that returns an "
                "Objective"
            )
        names.append(method if isinstance(method, str) else name_of(method, LOSS))
    return replace(config, methods=tuple(names))


def _resolved(config: DistillConfig) -> DistillConfig:
    """Returns the settings in full; options are named as in Python where they are wrong."""
    try:
        return resolve(config)
    except InputError as error:
        as_attribute = lambda flag: flag[1].replace("-", "_")  # noqa: E731
        raise InputError(re.sub(r"--(\w[\w.-]*)", as_attribute, str(error))) from error


def _knowing(config: DistillConfig, teacher: Any, model: ModelConfig | None) -> DistillConfig:
    """Returns the settings with what is known of a teacher that was trained elsewhere: its architecture, or nothing."""
    if teacher is None or isinstance(teacher, TeacherConfig):
        return config
    if model is not None and isinstance(teacher, str | Path) and Path(teacher).suffix == WEIGHTS:
        return replace(config, teacher=replace(config.teacher, model=model))
    return with_starts(config, None)


def _given(
    teacher: Any, data: PreparedData, config: DistillConfig, model: ModelConfig | None, outputs: Any
) -> Teacher | None:
    """Returns a teacher that was trained elsewhere; None for one that is trained here."""
    if teacher is None or isinstance(teacher, TeacherConfig):
        if outputs is not None:
            raise InputError("compress: teacher_outputs without weights, expected a file of weights as teacher")
        return read_teacher(data, config)
    found = given_teacher(data, teacher, config.seeds, model, outputs)
    check_hiddens(data, found, jobs(config))
    return found


def _dataset(data: Any, data_root: str | Path | None, split: int) -> Dataset | GraphDataset:
    """Returns a data set from any of the forms that `compress` takes."""
    if isinstance(data, Dataset | GraphDataset):
        return datasets.validate(data)
    if isinstance(data, str | Path):
        return datasets.load(str(data), data_root, split)
    if is_of_pyg(data):
        return datasets.from_pyg(data, rng=np.random.default_rng(split))
    raise InputError(
        f"compress: data is a {type(data).__name__}, expected a data set, its name or path, or a graph of PyTorch "
        "Geometric; datasets.from_scipy, from_networkx and from_jraph convert others"
    )


@contextlib.contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    """Yields the run folder; one that is removed afterwards where nothing is to be kept."""
    if out is not None:
        yield expanded(out)
        return
    with tempfile.TemporaryDirectory(prefix="abkd_jax-") as folder:
        yield Path(folder) / "run"
