"""Folders of exported models: programs, and a card that says what each takes and holds its SHA-256.

model.stablehlo  model.onnx  model.int8.stablehlo  card.json
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax.datasets.files.atomic import as_json, read_json, write_atomic
from abkd_jax.datasets.files.locations import expanded
from abkd_jax.inference.bundle import Bundle, Inputs, described_inputs, parsed_inputs
from abkd_jax.inference.export.arguments import arguments_of, arrays_of, checked_arrays
from abkd_jax.types import Dataset, GraphDataset, InputError, TaskName

__all__ = ["Artefact", "open_artefact", "write_artefacts"]

CARD, FORMAT = "card.json", 1
MAX_PROGRAM = 2 << 30  # bytes, the limit of protocol buffers


@dataclass(frozen=True)
class Artefact:
    """An exported model that predicts.

    Attributes:
        path: its file.
        inputs: what it expects of a graph.
        outputs: width of the logits.
        task: decides what the probabilities are.
        classes: names of the classes, labels or targets; `()` where they have none.
        run: `(*arrays) -> {"logits", "probabilities"}`.
        card: what is known of its training and of the export.
    """

    path: Path
    inputs: Inputs
    outputs: int
    task: TaskName
    classes: tuple[str, ...]
    run: Callable[..., Mapping[str, Any]] = field(repr=False)  # which would print the whole program
    card: dict[str, Any] = field(default_factory=dict, repr=False)

    def predict(self, arrays: Any) -> dict[str, np.ndarray]:
        """Computes `{"logits": [n, c], "probabilities": [n, c]}` of a raw graph; `[g, c]` of many graphs.

        Args:
            arrays: by the names of `arguments.arguments_of`; or a data set, which `arguments.arrays_of` reads.

        Raises:
            InputError: it is neither, or does not fit the model; see `arguments.checked_arrays`.
        """
        if isinstance(arrays, Dataset | GraphDataset):
            arrays = arrays_of(arrays, self.inputs)
        if not isinstance(arrays, Mapping):
            raise InputError(f"predict: a {type(arrays).__name__}, expected a data set or arrays by name")
        values = checked_arrays(self.inputs, arrays)
        names = [argument.name for argument in arguments_of(self.inputs)]
        values = _with_an_edge(self.inputs, dict(zip(names, values, strict=True)))
        return {name: np.asarray(value) for name, value in self.run(*values.values()).items()}


def write_artefacts(
    folder: str | Path, bundle: Bundle, contents: Mapping[str, tuple[bytes, dict[str, Any]]]
) -> list[Path]:
    """Writes exported programs and their card; other programs of the folder stay if they are of the same model.

    Args:
        folder: is made.
        bundle: the model that was exported.
        contents: for each file name the program, and what the card says of it, JSON-like.

    Returns:
        The paths of the programs.

    Raises:
        InputError: the folder holds programs of another model, or cannot be written.
    """
    folder = expanded(folder)
    described = {
        "format": FORMAT,
        "inputs": described_inputs(bundle.inputs),
        "arguments": [argument._asdict() for argument in arguments_of(bundle.inputs)],
        "outputs": bundle.outputs,
        "task": bundle.task,
        "classes": bundle.classes,
        "model": bundle.card,
    }
    files: dict[str, Any] = {}
    if (folder / CARD).is_file():
        card = read_json(folder / CARD)
        files = card.pop("files", {}) if isinstance(card, dict) else {}
        if as_json(card) != as_json(described):
            raise InputError(f"{folder}: it holds another model, expected an empty folder or one of the same model")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (content, facts) in contents.items():
            write_atomic(folder / name, content)
            files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), **facts}
        write_atomic(folder / CARD, as_json(described | {"files": files}, indent=1))
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from error
    return [folder / name for name in contents]


def open_artefact(path: str | Path, program_of: Callable[[bytes], Callable[..., Mapping[str, Any]]]) -> Artefact:
    """Reads an exported model back, once its file is what the card beside it says.

    Args:
        path: of the program.
        program_of: makes the content of the file a function.

    Raises:
        InputError: the file or its card is missing, damaged, or of a later format.
    """
    path = expanded(path)
    missing = [file.name for file in (path, path.with_name(CARD)) if not file.is_file()]
    if missing:
        raise InputError(f"{path.parent}: no {', '.join(missing)}, expected a folder that export has written")
    card = read_json(path.with_name(CARD))
    entry = card.get("files", {}).get(path.name) if isinstance(card, dict) and card.get("format") == FORMAT else None
    if entry is None:
        raise InputError(f"{path.with_name(CARD)}: expected a description of {path.name}, format {FORMAT}")
    if path.stat().st_size > MAX_PROGRAM:
        raise InputError(f"{path}: {path.stat().st_size:,} bytes, expected at most {MAX_PROGRAM:,}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise InputError(f"{path}: other content than {CARD} says, expected the file that was written with it")
    try:
        inputs, classes = parsed_inputs(card["inputs"]), tuple(card["classes"])
        outputs, task, model = card["outputs"], card["task"], dict(card["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path.with_name(CARD)}: the description of a model is damaged: {error}") from error
    return Artefact(path, inputs, outputs, task, classes, program_of(content), model | {"export": entry})


def _with_an_edge(inputs: Inputs, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays with a self loop, which the model drops, where there is no edge: programs take one or more.

    Raises:
        InputError: there is no node; or no edge, and the model keeps self loops.
    """
    for name in ("features", "node_types", "n_node"):
        if name in arrays and not arrays[name].shape[0]:
            raise InputError(f"{name} have no rows, expected at least one")
    if arrays["senders"].size:
        return arrays
    if inputs.graph_level:
        raise InputError("the graphs have no edges, expected at least one: predict them together with others")
    of_edges = ("senders", "receivers", "edge_weights", "edge_features", "relations")
    return {
        name: np.zeros((1, *value.shape[1:]), value.dtype) if name in of_edges else value
        for name, value in arrays.items()
    }
