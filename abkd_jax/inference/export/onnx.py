"""ONNX: a trained model as a graph of operators for any runtime, with preprocessing and weights inside.

The model goes through jax2onnx layer by layer (scans are written out), its preprocessing is `onnx_edges`; what comes
out has been run by onnxruntime on two random graphs before it is returned.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array

from abkd_jax.graph.build import normalise
from abkd_jax.graph.layout import graphs_tuple
from abkd_jax.inference.bundle import Bundle, Inputs, model_of
from abkd_jax.inference.export.arguments import arguments_of, random_arrays, symbolic_arguments
from abkd_jax.inference.export.artefact import Artefact, open_artefact
from abkd_jax.inference.export.onnx_edges import EDGES, OF_EDGES, PREFIX, edges_model
from abkd_jax.inference.export.quantise import Precision, restored, stored
from abkd_jax.inference.export.raw_graph import in_range, node_entries, raw_graph
from abkd_jax.inference.export.stablehlo import outputs_of, own_errors, program
from abkd_jax.models.own import Own
from abkd_jax.types import InputError, Pytree

__all__ = ["export", "load", "session_of"]

OUTPUTS = ("logits", "probabilities")
TOLERANCE = 1e-5  # relative to the largest logit
LARGE = 4096  # bytes of an array of one value from which on it is not stored


def export(bundle: Bundle, precision: Precision = "float32") -> bytes:
    """Exports a trained model as ONNX: any number of nodes and edges, arguments and outputs as `stablehlo.export`.

    Args:
        bundle: the model.
        precision: of the stored weights, `"float32"` or `"int8"`. All is computed in float32, whatever the model's
            `dtype`: its parameters are float32, and onnxruntime multiplies no bfloat16 on CPUs.

    Returns:
        A serialised `onnx.ModelProto`.

    Raises:
        InputError: jax2onnx or onnxruntime is not installed, the precision is bfloat16, or onnxruntime predicts
            otherwise than the model.
    """
    jax2onnx = _required("jax2onnx")
    if precision == "bfloat16":
        raise InputError("ONNX in bfloat16: onnxruntime multiplies none on CPUs, expected float32 or int8")
    bundle = replace(bundle, config=replace(bundle.config, dtype="float32"))
    names = [argument.name for argument in arguments_of(bundle.inputs)]
    # Traced here and not by jax2onnx, which replaces functions of jax.numpy by others while it traces.
    shapes = symbolic_arguments(bundle.inputs, "e" if bundle.inputs.graph_level else EDGES)
    moved = [] if bundle.inputs.graph_level else [name for name in names if name in OF_EDGES]
    with _quietly(), own_errors(bundle.config.name, "ONNX"), jax.enable_x64(False):
        closed = jax.make_jaxpr(_of_merged_edges(bundle, precision))(*shapes)
        model = jax2onnx.to_onnx(
            jaxpr_as_fun(closed),
            shapes,
            model_name="abkd_jax",
            input_names=[PREFIX + name if name in moved else name for name in names],
            output_names=list(OUTPUTS),
        )
    _fill_when_run(model.graph)
    if moved:
        model = _with_edges(bundle, model, names, moved)
    content = model.SerializeToString()
    _check(bundle, precision, content)
    return content


def load(path: str | Path) -> Artefact:
    """Reads an exported model that `artefact.write_artefacts` has written.

    Raises:
        InputError: the file is damaged, or onnxruntime is not installed.
    """
    return open_artefact(path, session_of)


def session_of(content: bytes) -> Callable[..., dict[str, np.ndarray]]:
    """Returns a function that runs an ONNX model in onnxruntime on the CPU.

    Raises:
        InputError: onnxruntime is not installed, or the content is no ONNX model.
    """
    onnxruntime = _required("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a kind for each of its statuses
        raise InputError(f"expected an ONNX model: {type(error).__name__}") from error
    names = [given.name for given in session.get_inputs()]

    def run(*arrays: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(OUTPUTS, session.run(list(OUTPUTS), dict(zip(names, arrays, strict=True))), strict=True))

    return run


def _of_merged_edges(bundle: Bundle, precision: Precision) -> Callable[..., tuple[Array, ...]]:
    """Returns the model as a function of a raw graph whose edges are those that it reads, layer by layer."""
    inputs, weights = bundle.inputs, stored(bundle.variables, precision)
    model: Any = model_of(bundle)
    names = [argument.name for argument in arguments_of(inputs)]

    def run(*values: Array) -> tuple[Array, ...]:
        arrays = dict(zip(names, values, strict=True))
        graph = raw_graph(inputs, arrays) if inputs.graph_level else _of_nodes(inputs, arrays)
        graph = normalise(graph) if bundle.config.name in ("gcn", "gcnii", "sign") else graph  # once for all layers
        logits = _logits(model, restored(weights), graph)
        logits = logits[:-1] if inputs.graph_level else logits  # the last is of padding
        size = arrays["features"].shape[0] if inputs.graph_level else logits.shape[0]
        limits = {"senders": size, "receivers": size}
        if inputs.schema is not None:
            limits |= {"relations": inputs.schema.num_relations, "node_types": len(inputs.schema.node_types)}
        outputs = outputs_of(jnp.where(in_range(arrays, limits), logits, jnp.nan), bundle.task)
        logits, probabilities = (outputs[name] for name in OUTPUTS)
        # Of real targets they are one value, which jax2onnx cannot give two names.
        return logits, probabilities + 0.0 if probabilities is logits else probabilities

    return run


def _of_nodes(inputs: Inputs, arrays: Mapping[str, Array]) -> jraph.GraphsTuple:
    """Returns the graph of a node-level model, whose edges are those that it reads; without padding."""
    entries = {"relation": "relations", "weight": "edge_weights", "features": "edge_features"}
    nodes = node_entries(inputs, arrays, padding=0)
    return graphs_tuple(
        nodes=nodes,
        edges={entry: arrays[name] for entry, name in entries.items() if name in arrays} or None,
        senders=arrays["senders"],
        receivers=arrays["receivers"],
        n_node=jnp.asarray(jax.tree.leaves(nodes)[0].shape[0], jnp.int32)[None],
        n_edge=jnp.asarray(arrays["senders"].shape[0], jnp.int32)[None],
    )


def _logits(model: Any, variables: Pytree, graph: jraph.GraphsTuple) -> Array:
    """Computes logits stage by stage, or at once of a model whose layers are not known."""
    if isinstance(model, Own):
        output: Any = model.apply(variables, graph)
        return output.logits
    hiddens: list[Array] = []
    for stage in model.stages():
        hiddens.append(stage.module.apply(stage.variables(variables), graph, [hiddens[i] for i in stage.reads]))
    return hiddens[-1]


def _with_edges(bundle: Bundle, model: Any, names: list[str], moved: list[str]) -> Any:
    """Returns the model with the preprocessing of the edges before it, and its inputs in order."""
    compose = _required("onnx.compose")
    edges = edges_model(bundle.inputs, model.opset_import, model.ir_version)
    whole = compose.merge_models(edges, model, [(PREFIX + name, PREFIX + name) for name in moved])
    given = {value.name: value for value in whole.graph.input}
    del whole.graph.input[:]
    whole.graph.input.extend(given[name] for name in names)
    return whole


def _fill_when_run(graph: Any) -> None:
    """Replaces stored arrays of one value by operators: of sizes that are known jax2onnx stores zeros to add to.

    These are nodes x relations x width of a model with learned embeddings, however few weights it has.
    """
    library = _required("onnx")
    for tensor in [tensor for tensor in graph.initializer if tensor.ByteSize() >= LARGE]:
        values = library.numpy_helper.to_array(tensor)
        first = np.ravel(values)[:1]
        if values.tobytes() != first.tobytes() * values.size:
            continue
        shape = library.numpy_helper.from_array(np.array(values.shape, np.int64), f"{tensor.name}_shape")
        filled = library.numpy_helper.from_array(first)
        graph.initializer.remove(tensor)
        graph.initializer.append(shape)
        node = library.helper.make_node("ConstantOfShape", [shape.name], [tensor.name], value=filled)
        graph.node.insert(0, node)


def _check(bundle: Bundle, precision: Precision, content: bytes) -> None:
    """Compares onnxruntime with the model on two random graphs."""
    found_of, wanted_of = session_of(content), jax.jit(program(bundle, precision))
    for seed in (0, 1):
        arrays = random_arrays(bundle.inputs, np.random.default_rng(seed))
        found, wanted = found_of(*arrays)["logits"], np.asarray(wanted_of(*arrays)["logits"])
        error = np.max(np.abs(found - wanted)) / max(float(np.max(np.abs(wanted))), 1.0)
        if not error <= TOLERANCE:
            raise InputError(f"onnxruntime predicts otherwise than the model, by {error:.1g}, expected {TOLERANCE}")


def _required(name: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"ONNX needs {name}, which is not installed: pip install 'abkd_jax[onnx]'") from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps what jax2onnx tells its authors from the user."""
    log = logging.getLogger("onnx_ir")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
