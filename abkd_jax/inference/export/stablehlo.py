"""StableHLO: a trained model as one program for CPUs, GPUs and TPUs, with preprocessing and weights inside.

The program predicts without this package:

    import jax, numpy as np
    program = jax.export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
    out = program.call(features, senders, receivers)  # `[n, f]` float32, `[e]` int32 twice: the raw edge list
    classes = np.argmax(out["logits"], axis=1)

Sizes of the graph are symbolic: any number of nodes and edges from 1 on. All sums are segment sums: the native sparse
product of prepared graphs has no promise of compatibility.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from abkd_jax.inference.bundle import Bundle, model_of
from abkd_jax.inference.export.arguments import arguments_of, symbolic_arguments
from abkd_jax.inference.export.artefact import Artefact, open_artefact
from abkd_jax.inference.export.own_check import check_own
from abkd_jax.inference.export.quantise import Precision, restored, stored
from abkd_jax.inference.export.raw_graph import in_range, raw_graph
from abkd_jax.outside import first_line, is_outside
from abkd_jax.types import InputError, TaskName

__all__ = ["PLATFORMS", "deserialised", "export", "load", "outputs_of", "own_errors", "program"]

PLATFORMS = ("cpu", "cuda", "tpu")


def export(bundle: Bundle, platforms: Sequence[str] = PLATFORMS, precision: Precision = "float32") -> bytes:
    """Exports a trained model as serialised StableHLO; see the head of this file for its use.

    Args:
        bundle: the model.
        platforms: of the machines that it will run on, `"cpu"`, `"cuda"`, `"rocm"` or `"tpu"`; none is needed here.
        precision: of the stored weights; `"bfloat16"` also of the computations inside the layers.

    Returns:
        The serialised program `(*arguments.arguments_of) -> {"logits": [n, c] or [g, c], "probabilities": likewise}`,
        float32; all NaN if an edge or a type is out of range.

    Raises:
        InputError: the precision is unknown, or a model from outside the package predicts otherwise in the program.
    """
    shapes = symbolic_arguments(bundle.inputs)
    with own_errors(bundle.config.name, "StableHLO"):
        if is_outside(bundle.config.name) and precision == "float32" and not bundle.inputs.graph_level:
            check_own(bundle, jax.jit(program(bundle)))
        with _without_sources():
            exported = jax.export.export(jax.jit(program(bundle, precision)), platforms=tuple(platforms))(*shapes)
    return bytes(exported.serialize())


@contextlib.contextmanager
def _without_sources() -> Iterator[None]:
    """Leaves the source files of operations, and those of the caller, out of programs: paths of one machine."""
    changes = {"jax_include_full_tracebacks_in_locations": True, "jax_traceback_in_locations_limit": 0}
    before = {name: jax.config.values[name] for name in changes}
    try:
        for name, value in changes.items():
            jax.config.update(name, value)
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


@contextlib.contextmanager
def own_errors(name: str, form: str) -> Iterator[None]:
    """Turns errors in a model from outside the package, which may compute what a form does not have, into one line."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or not is_outside(name):
            raise
        raise InputError(f"{name}: {form} of any number of nodes cannot hold it: {first_line(error)}") from error


def load(path: str | Path) -> Artefact:
    """Reads an exported program that `artefact.write_artefacts` has written.

    Raises:
        InputError: the file is damaged, or for other platforms.
    """
    return open_artefact(path, deserialised)


def deserialised(content: bytes) -> Callable[..., dict[str, Array]]:
    """Returns the program that was exported; it is compiled once per size of the graph.

    Raises:
        InputError: the content is no such program, or one for other platforms.
    """
    try:
        exported = jax.export.deserialize(bytearray(content))
    except Exception as error:  # flatbuffers and MLIR raise a dozen kinds
        raise InputError(f"expected a serialised StableHLO program: {type(error).__name__}") from error
    backend = jax.default_backend()
    platform = "cuda" if backend == "gpu" else backend
    if platform not in exported.platforms:
        raise InputError(f"the program is for {', '.join(exported.platforms)}, expected one for {platform}")
    return jax.jit(exported.call)


def program(bundle: Bundle, precision: Precision = "float32") -> Callable[..., dict[str, Array]]:
    """Returns the function that is exported: from the arrays of a raw graph to logits and probabilities."""
    inputs, weights = bundle.inputs, stored(bundle.variables, precision)
    dtype = "bfloat16" if precision == "bfloat16" else bundle.config.dtype
    model: Any = model_of(dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, dtype=dtype)))
    names = [argument.name for argument in arguments_of(inputs)]

    def run(*values: Array) -> dict[str, Array]:
        arrays = dict(zip(names, values, strict=True))
        logits = model.apply(restored(weights), raw_graph(inputs, arrays)).logits[:-1]  # the last is of padding
        nodes = arrays["features"].shape[0] if inputs.graph_level else logits.shape[0]
        limits = {"senders": nodes, "receivers": nodes}
        if inputs.schema is not None:
            limits |= {"relations": len(inputs.schema.relations), "node_types": len(inputs.schema.node_types)}
        return outputs_of(jnp.where(in_range(arrays, limits), logits, jnp.nan), bundle.task)

    return run


def outputs_of(logits: Array, task: TaskName) -> dict[str, Array]:
    """Returns `{"logits", "probabilities"}`: the probability of each class or label; real targets are the logits.

    Examples:
        >>> outputs_of(jnp.zeros((1, 2)), "classification")["probabilities"].tolist()
        [[0.5, 0.5]]
    """
    if task == "regression":
        return {"logits": logits, "probabilities": logits}
    shares = jax.nn.sigmoid(logits) if task == "multilabel" else jax.nn.softmax(logits, axis=-1)
    return {"logits": logits, "probabilities": shares}
