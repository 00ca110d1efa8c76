"""Stored outputs of a teacher: one npz file, which any library can write, checked against the data on reading.

| array | meaning |
|---|---|
| `logits` | `[n, c]`, one row per node in the order of the data set; `[graphs, c]` in graph-level tasks |
| `probabilities` | instead of `logits`: of the classes, or of every label |
| `hidden_0`, `hidden_1`, ... | `[n, width]`, outputs of its layers, input side first; none if only logits are known |
| `parameters` | number of its parameters, optional |
| `fingerprint` | of the data set as records have it, optional: outputs for other data are then refused |
"""

import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.datasets.convert.arrays import to_numpy
from abkd_jax.datasets.files.atomic import read_arrays, write_atomic
from abkd_jax.inference.predict import probabilities
from abkd_jax.models.external import as_output
from abkd_jax.run.data import PreparedData
from abkd_jax.run.targets import mean_labels
from abkd_jax.types import GNNOutput, GraphDataset, InputError

__all__ = [
    "check_outputs",
    "compare_outputs",
    "outputs_of",
    "read_outputs",
    "save_outputs",
    "warn_if_useless",
    "without_padding",
]

log = logging.getLogger(__name__)

KINDS = ("logits", "probabilities")  # one of them is in a file
LEAST = {
    "classification": float(np.finfo(np.float32).tiny),
    "multilabel": 1e-7,
}  # probabilities whose logarithm is taken
SUM_TOLERANCE = 1e-2  # of a row of probabilities, which may be rounded to 16 bits
SAME = 1e-3  # of two computations of the same outputs, of the largest of them


def read_outputs(path: Path, data: PreparedData) -> tuple[GNNOutput, int | None]:
    """Reads the outputs of a teacher for a data set.

    Args:
        path: the file.
        data: what they must be for.

    Returns:
        The outputs, float32, and the number of the teacher's parameters, None where the file does not say it.

    Raises:
        InputError: the file is damaged, of another graph or other classes, or has missing rows.
    """
    return outputs_of(read_arrays(path), data, str(path))


def outputs_of(arrays: Mapping[str, Any], data: PreparedData, where: str) -> tuple[GNNOutput, int | None]:
    """Returns the outputs and the number of parameters in arrays by the names of such a file.

    Args:
        arrays: by name.
        data: what they must be for.
        where: for messages.

    Raises:
        InputError: as `read_outputs`.
    """
    layers = [name for name in arrays if re.fullmatch(r"hidden_\d+", name)]
    known = {*KINDS, "parameters", "fingerprint", *layers}
    unknown = sorted(arrays.keys() - known)
    if unknown or ("logits" in arrays) == ("probabilities" in arrays):
        expected = "either logits or probabilities, and hidden_0, hidden_1, ..., parameters, fingerprint"
        raise InputError(f"{where}: arrays are {', '.join(sorted(arrays)) or 'none'}, expected {expected}")
    names = [f"hidden_{layer}" for layer in range(len(layers))]
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InputError(f"{where}: no {missing[0]}, expected the {len(layers)} hidden layers to be numbered from 0")
    if "fingerprint" in arrays and str(arrays["fingerprint"]) != data.identity.fingerprint:
        raise InputError(
            f"{where}: outputs for data of fingerprint {arrays['fingerprint']}, expected {data.identity.fingerprint} "
            f"({data.dataset.name})"
        )
    named = "logits" in arrays
    logits: Any = arrays["logits"] if named else _logits_of(to_numpy(arrays["probabilities"]), data, where)
    hiddens: Any = tuple(arrays[name] for name in names)
    return check_outputs(GNNOutput(logits, hiddens), data, where), _parameters(arrays, where)


def check_outputs(output: GNNOutput, data: PreparedData, where: str) -> GNNOutput:
    """Returns outputs as float32, after comparing them with the data set.

    Args:
        output: arrays of any floating type, without padding.
        data: what they must be for.
        where: for messages.

    Raises:
        InputError: another number of rows or classes, no floats, or a row that is not finite.
    """
    dataset = data.dataset
    graph_level = isinstance(dataset, GraphDataset)
    nodes = dataset.features.shape[0] if isinstance(dataset, GraphDataset) else dataset.num_nodes
    rows, what = (dataset.labels.shape[0], "graphs") if graph_level else (nodes, "nodes")
    logits: Any = _layer("logits", output.logits, rows, what, data, where)
    if logits.shape[1] != data.outputs:
        raise InputError(f"{where}: logits of {logits.shape[1]} classes, expected {data.outputs} as {dataset.name} has")
    hiddens: Any = tuple(
        _layer(f"hidden_{layer}", hidden, nodes, "nodes", data, where) for layer, hidden in enumerate(output.hiddens)
    )
    return GNNOutput(logits, hiddens)


def without_padding(output: GNNOutput, data: PreparedData) -> GNNOutput:
    """Returns the rows of a model's outputs for the batch that is the whole data set, without those of padding."""
    dataset, rows = data.dataset, data.dataset.labels.shape[0]
    nodes = dataset.features.shape[0] if isinstance(dataset, GraphDataset) else rows
    return GNNOutput(output.logits[:rows], tuple(hidden[:nodes] for hidden in output.hiddens))


def save_outputs(path: Path, output: GNNOutput, data: PreparedData, parameters: int | None = None) -> None:
    """Writes the outputs of a teacher with the fingerprint of the data, whole or not at all.

    Args:
        path: the file; its folder must exist.
        output: for the whole data set, without padding; or logits, or `(logits, hidden layers)`.
        data: the data set.
        parameters: number of the teacher's parameters, where that is known.

    Raises:
        InputError: the outputs are not of this data set, or the file cannot be written.

    Examples:
        >>> import tempfile
        >>> from abkd_jax.run.data import prepare_data
        >>> data = prepare_data("synthetic", None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "teacher.npz"
        ...     save_outputs(path, GNNOutput(np.eye(3, dtype=np.float32)[data.dataset.labels], ()), data, 70_346)
        ...     output, parameters = read_outputs(path, data)
        >>> output.logits.shape, parameters
        ((300, 3), 70346)
    """
    checked = check_outputs(as_output(output), data, str(path))
    arrays: dict[str, Any] = {"logits": checked.logits, "fingerprint": np.array(data.identity.fingerprint)}
    arrays |= {f"hidden_{layer}": hidden for layer, hidden in enumerate(checked.hiddens)}
    arrays |= {} if parameters is None else {"parameters": np.array(parameters)}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    try:
        write_atomic(path, content.getvalue())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def compare_outputs(logits: Any, outputs: Any, data: PreparedData, where: str) -> None:
    """Compares the logits of a model here with outputs of the model that it stands for.

    Args:
        logits: `[m, c]`, of the rows that are evaluated, and of padding after them.
        outputs: a path, a mapping with the names of such a file, an array of logits, or what `as_output` takes; where
            they are probabilities, probabilities are compared.
        data: what both are for.
        where: for the message.

    Raises:
        InputError: the largest difference is above `SAME` times the largest output; or see `outputs_of`.
    """
    other = str(outputs) if isinstance(outputs, str | Path) else "the outputs beside it"
    arrays = read_arrays(Path(outputs)) if isinstance(outputs, str | Path) else outputs
    if isinstance(arrays, Mapping):
        expected, what = outputs_of(arrays, data, other)[0].logits, next(n for n in arrays if n in KINDS)
    else:
        expected, what = check_outputs(as_output(arrays), data, other).logits, "logits"
    if data.eval_nodes is not None:
        expected = expected[data.eval_nodes]
    found: Any = np.asarray(logits)[: expected.shape[0]]
    if what == "probabilities":
        found, expected = (probabilities(data.dataset.task, each) for each in (found, expected))
    apart, size = np.abs(found - expected), float(np.abs(expected).max())
    largest = float(apart.max())
    if not largest <= SAME * size:
        raise InputError(
            f"{where}: {what} differ from those in {other} by up to {largest:.3g}, of {size:.3g} at most; expected the "
            "same: look at what weights do not say, activation, aggregation, normalisation, `improved`, self loops, "
            "residuals, and at the edges and the order of the nodes"
        )


def warn_if_useless(logits: Any, data: PreparedData, where: str) -> None:
    """Logs a warning where a teacher does no better on the labels than a constant: its rows may be in another order.

    Args:
        logits: of the rows that are evaluated.
        data: the data set.
        where: for the message.
    """
    mask = data.train_mask if bool(data.train_mask.any()) else data.val_mask
    means = mean_labels(np.asarray(data.labels)[np.asarray(mask)], data.outputs)
    if not np.isfinite(means).all():
        return
    constant = np.broadcast_to(means, np.shape(logits))
    score, baseline = (float(data.task.score(each, data.labels, mask)) for each in (logits, constant))
    if score <= baseline:
        log.warning(
            "%s: the teacher's %s on the training labels is %.4f, that of a constant %.4f; "
            "are its rows in the order of the data set?",
            where,
            data.task.metric,
            score,
            baseline,
        )


def _layer(name: str, array: Any, rows: int, what: str, data: PreparedData, where: str) -> np.ndarray:
    array = to_numpy(array)
    if array.ndim != 2 or not (array.dtype.kind == "f" or array.dtype.name == "bfloat16") or array.shape[1] == 0:
        raise InputError(f"{where}: {name} is {array.dtype} {array.shape}, expected floats [{rows}, width]")
    if array.shape[0] != rows:
        raise InputError(
            f"{where}: {name} has {array.shape[0]} rows, expected {rows}, the {what} of {data.dataset.name}"
        )
    with np.errstate(over="ignore"):  # beyond float32: infinite, and named below
        array = array.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise InputError(
            f"{where}: {name}: {bad.size} rows are not finite, the first is {bad[0]}; expected finite ones"
        )
    return array


def _logits_of(probabilities: np.ndarray, data: PreparedData, where: str) -> np.ndarray:
    """Returns logarithms of the probabilities of classes, or logits of those of several labels."""
    task = data.dataset.task
    if task not in LEAST:
        raise InputError(f"{where}: probabilities for a task of real targets, expected logits")
    if probabilities.ndim != 2 or probabilities.dtype.kind != "f":
        raise InputError(
            f"{where}: probabilities are {probabilities.dtype} {probabilities.shape}, expected floats [n, c]"
        )
    p = probabilities.astype(np.float64)
    sums = p.sum(axis=1)
    if (p < 0).any() or (p > 1 + SUM_TOLERANCE).any():
        raise InputError(f"{where}: probabilities from {p.min():g} to {p.max():g}, expected 0 to 1")
    if task == "classification" and (abs(sums - 1) > SUM_TOLERANCE).any():
        row = int(np.argmax(abs(sums - 1)))
        raise InputError(f"{where}: probabilities of row {row} sum to {sums[row]:g}, expected 1")
    if task == "classification":
        return np.log(np.maximum(p, LEAST[task]))
    p = np.clip(p, LEAST[task], 1 - LEAST[task])
    return np.log(p) - np.log1p(-p)


def _parameters(arrays: Mapping[str, Any], where: str) -> int | None:
    if "parameters" not in arrays:
        return None
    count = np.asarray(arrays["parameters"])
    if count.shape != () or count.dtype.kind not in "iu" or count <= 0:
        raise InputError(f"{where}: parameters are {count!r}, expected one whole number above 0")
    return int(count)
