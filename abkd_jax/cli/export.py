"""Runs the commands that use a trained student."""

import logging
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tabulate

from abkd_jax import datasets
from abkd_jax.cli import backend
from abkd_jax.inference import export as exports
from abkd_jax.inference.bundle import Bundle
from abkd_jax.inference.export.arguments import arrays_of, checked_arrays
from abkd_jax.inference.export.quantise import Precision
from abkd_jax.inference.own_students import read
from abkd_jax.inference.predict import logits, probabilities
from abkd_jax.inference.predictions import Predictions, check_format, named_nodes, rows_named, to_csv, write
from abkd_jax.inference.student import find
from abkd_jax.run.folder import STUDENTS, read_full_name
from abkd_jax.run.identity import fingerprint
from abkd_jax.run.report import markdown, statistics
from abkd_jax.run.targets import TASKS
from abkd_jax.types import Dataset, GraphDataset, InputError, shape_of

__all__ = ["export", "predict"]

log = logging.getLogger(__name__)

LARGEST_SAMPLE = 2 << 30  # bytes of dense features; larger graphs are not measured


@backend.ready()
def export(
    model: Path,
    method: str | None,
    seed: int | None,
    format: Sequence[exports.Format],  # noqa: A002  # the name of the option
    precision: Precision,
    graph: str | None,
    out: Path | None,
    data_root: Path | None,
) -> int:
    """Writes a student as programs and weights for other libraries, and prints what they are worth; returns 0.

    Args:
        model: folder of the student, or of a run.
        method: of the run.
        seed: of the run; None takes the one with the best validation score.
        format: of the files, of `inference.export.FORMATS`.
        precision: of the stored weights.
        graph: name or path of the data to measure on; None takes those of the run, where they can be loaded; a file of
            the user while its content is the same.
        out: folder; None is `exported` in that of the student.
        data_root: folder of the data files.
    """
    folder = find(model, method, seed)
    chosen = ", by its validation score" if seed is None and folder != model else ""
    bundle = read(folder)
    sample = _sample(bundle, folder, graph, data_root)
    exported = exports.export(bundle, out or folder / "exported", format, precision, sample)
    metric = statistics.metric_named(TASKS[bundle.task]().metric)
    rows = [
        (
            row.format,
            row.precision,
            f"{row.weight_bytes:,}",
            f"{row.bytes:,}",
            "-" if row.score is None else markdown.format_score(row.score, metric),
            "-" if row.milliseconds is None else f"{row.milliseconds:.3f}",
        )
        for row in exported.table
    ]
    headers = ("program", "weights", "bytes of weights", "of all", f"test {metric.heading}", "whole graph ms")
    print(f"student: {folder}{chosen}\n")
    if rows:
        print(tabulate.tabulate(rows, headers, disable_numparse=True, colalign=("left", "left", *["right"] * 4)) + "\n")
    print("\n".join(str(path) for path in exported.paths))
    return 0


def _sample(bundle: Bundle, folder: Path, graph: str | None, data_root: Path | None) -> exports.Sample | None:
    """Returns the data to measure on; None, with a warning, where those of the run are not at hand or too large."""
    data, name, own = bundle.card.get("data", {}), graph, None
    try:
        if name is None:
            own = _full_name(folder)
            name = own or data.get("name")
        if name is None:
            return None
        dataset: Dataset | GraphDataset = datasets.load(name, data_root, data.get("split", 0))
        if 4 * np.prod(shape_of(dataset.features)) > LARGEST_SAMPLE:
            raise InputError(f"{name}: more than {LARGEST_SAMPLE >> 30} GiB of features")
        arrays = checked_arrays(bundle.inputs, arrays_of(dataset, bundle.inputs))
        labels = jnp.asarray(_numbered_as(bundle, dataset))
    except InputError as error:
        if graph is not None:
            raise
        log.warning("not measured: %s; --graph names the data to measure on", str(error).partition(";")[0])
        return None
    if graph is None and data.get("fingerprint") != fingerprint(dataset):
        if own is not None:
            log.warning("not measured: %s has changed since the run; --graph names the data to measure on", own)
            return None
        log.warning("measured on %s, whose content is not that of the run", name)
    mask = jnp.asarray(dataset.test_mask)
    return exports.Sample(arrays, lambda logits: TASKS[bundle.task]().score(logits, labels, mask))


def _numbered_as(bundle: Bundle, dataset: Dataset | GraphDataset) -> np.ndarray:
    """Returns the labels of a data set, of which classes and columns have the numbers that the model gives their names.

    Raises:
        InputError: they are of another task, or the model does not know one of the names.
    """
    if dataset.task != bundle.task:
        raise InputError(f"{dataset.name}: labels of {dataset.task}, expected {bundle.task}, as the model has")
    width = dataset.num_outputs if isinstance(dataset, GraphDataset) else dataset.num_classes
    known, given = (
        names or tuple(map(str, range(count)))
        for names, count in ((bundle.classes, bundle.outputs), (dataset.classes, width))
    )
    unknown = [name for name in given if name not in known]
    if unknown:
        expected = ", ".join(known)
        raise InputError(f"{dataset.name}: {unknown[0]!r} among its labels, expected those of the model: {expected}")
    numbers = np.array([known.index(name) for name in given], np.int32)
    if dataset.task == "classification":
        return np.append(numbers, np.int32(-1))[dataset.labels]  # the last is that of unlabelled ones
    labels = np.full((dataset.labels.shape[0], bundle.outputs), np.nan, np.float32)
    labels[:, numbers] = dataset.labels
    return labels


def _full_name(folder: Path) -> str | None:
    """Returns the path or `layout:name` of the data of the run that a student is kept in; None without such a run."""
    run = folder.resolve().parents
    return read_full_name(run[2]) if len(run) > 2 and run[1].name == STUDENTS else None


@backend.ready()
def predict(
    model: Path,
    method: str | None,
    seed: int | None,
    graph: str,
    nodes: tuple[str, ...],
    out: Path | None,
    data_root: Path | None,
) -> int:
    """Prints the predictions of a student as csv, or writes them into a file; returns the exit status.

    Args:
        model: folder of the student, or of a run; or an exported program, a file `.stablehlo` or `.onnx`.
        method: of the run.
        seed: of the run; None takes the one with the best validation score.
        graph: name or path of the graph.
        nodes: identifiers of nodes, or of graphs, or the path of a file of them; `()` takes all.
        out: the file; None prints.
        data_root: folder of the data files.
    """
    if out is not None:
        check_format(out)
    is_program = model.suffix.removeprefix(".") in exports.FORMATS
    if is_program and (method, seed) != (None, None):
        raise InputError(f"{model}: a program, expected no method and no seed beside it")
    folder = model if is_program else find(model, method, seed)
    log.info("model: %s%s", folder, ", by its validation score" if seed is None and folder != model else "")
    trained = exports.open_model(model) if is_program else read(folder)
    dataset = datasets.load(graph, data_root, labelled=False)
    ids = dataset.graphs if isinstance(dataset, GraphDataset) else dataset.node_ids
    count = dataset.labels.shape[0]
    rows = rows_named(named_nodes(nodes), ids, count) if nodes else None
    if isinstance(trained, Bundle):
        values = probabilities(trained.task, logits(trained, dataset, rows, progress=True))
    else:
        values = trained.predict(dataset)["probabilities"]
        values = values if rows is None else values[rows]
    known = np.arange(count) if ids is None else ids
    noun = "target" if trained.task == "regression" else "class"
    names = trained.classes or tuple(f"{noun}_{number}" for number in range(trained.outputs))
    table = Predictions(known if rows is None else known[rows], values, names, trained.task == "classification")
    if out is None:
        print(to_csv(table), end="")
    else:
        write(out, table)
        log.info("%d predictions: %s", values.shape[0], out)
    return 0
