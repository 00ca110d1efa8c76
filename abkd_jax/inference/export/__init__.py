"""Exports of a trained model: programs and weights in a folder, each measured beside its float32 form."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np
import safetensors.numpy

from abkd_jax.inference.bundle import Bundle
from abkd_jax.inference.export import onnx, quantise, stablehlo
from abkd_jax.inference.export.artefact import Artefact, write_artefacts
from abkd_jax.inference.export.measure import Measured, measured
from abkd_jax.inference.export.pyg_stack import graph_for, stack_of
from abkd_jax.inference.export.quantise import Precision
from abkd_jax.models.pyg import to_state_dict
from abkd_jax.types import InputError

__all__ = ["FORMATS", "Exported", "Format", "Sample", "export", "open_model"]

Format = Literal["stablehlo", "onnx", "pyg"]
FORMATS: tuple[Format, ...] = get_args(Format)
PROGRAMS: dict[str, Any] = {"stablehlo": stablehlo, "onnx": onnx}


class Sample(NamedTuple):
    """A graph to measure on.

    Attributes:
        arrays: of the raw graph, as `arguments.checked_arrays` returns them.
        score: of the logits.
    """

    arrays: Sequence[np.ndarray]
    score: Callable[[Any], Any]


class Exported(NamedTuple):
    """Result of an export.

    Attributes:
        paths: the files that were written.
        table: the programs among them and their float32 forms, measured.
    """

    paths: list[Path]
    table: list[Measured]


def export(
    bundle: Bundle,
    folder: str | Path,
    formats: Sequence[Format] = FORMATS,
    precision: Precision = "float32",
    sample: Sample | None = None,
) -> Exported:
    """Writes a trained model in several formats, all of them or none.

    `model.stablehlo` and `model.onnx` are programs that take a raw graph (`model.int8.onnx` in int8),
    `model.safetensors` the weights for PyTorch Geometric, which has no layers of several node types; `card.json` says
    what each takes and how it was measured.

    Args:
        bundle: the model.
        folder: is made.
        formats: of `FORMATS`.
        precision: of the stored weights; other than float32 for programs alone.
        sample: a graph to measure on; without one sizes alone are known.

    Raises:
        InputError: a format is unknown or cannot hold the model or the precision, or the folder cannot be written.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InputError(f"export: format is {unknown[0]!r}, expected one of {', '.join(FORMATS)}")
    if "pyg" in formats and precision != "float32":
        raise InputError(f"weights for PyTorch Geometric in {precision}, expected float32")
    weights_alone = _pyg(bundle) if "pyg" in formats else None  # refused before programs are made
    contents: dict[str, tuple[bytes, dict[str, Any]]] = {}
    table: list[Measured] = []
    for name in formats:
        if name == "pyg" and weights_alone is not None:
            contents["model.safetensors"] = weights_alone
            continue
        content = b""
        for of in dict.fromkeys(("float32", precision)):  # the one that is asked for is the last
            content = PROGRAMS[name].export(bundle, precision=of)
            weights = sum(leaf.nbytes for leaf in jax.tree.leaves(quantise.stored(bundle.variables, of)))
            table.append(Measured(name, of, weights, len(content), *_measured(name, content, sample)))
        rows = [row._asdict() for row in table if row.format == name]
        facts = {"format": name, "precision": precision, "measured": rows}
        infix = "" if precision == "float32" else f".{precision}"
        contents[f"model{infix}.{name}"] = content, facts
    return Exported(write_artefacts(folder, bundle, contents), table)


def open_model(path: str | Path) -> Artefact:
    """Reads an exported program, `.stablehlo` or `.onnx`.

    Raises:
        InputError: another kind of file, or a damaged one.
    """
    kind = Path(path).suffix.removeprefix(".")
    if kind not in PROGRAMS:
        raise InputError(f"{path}: expected a file .stablehlo or .onnx")
    return PROGRAMS[kind].load(path)


def _measured(name: str, content: bytes, sample: Sample | None) -> tuple[float | None, float | None]:
    if sample is None:
        return None, None
    run = stablehlo.deserialised(content) if name == "stablehlo" else onnx.session_of(content)
    return measured(run, sample.arrays, sample.score)


def _pyg(bundle: Bundle) -> tuple[bytes, dict[str, Any]]:
    """Returns the weights as PyTorch Geometric has them, and what they load into."""
    content = safetensors.numpy.save(to_state_dict(bundle.config, bundle.variables))
    facts = {
        "format": "pyg",
        "precision": "float32",
        "model": stack_of(bundle.config, bundle.inputs, bundle.outputs),
        "graph": graph_for(bundle.inputs),
        "load": "model.load_state_dict(safetensors.torch.load_file('model.safetensors'))",
    }
    return content, facts
