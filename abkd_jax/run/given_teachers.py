"""Teachers from outside: stored outputs, weights, modules of PyTorch and Flax, pure functions. None is trained."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx
from flax.errors import FlaxError

from abkd_jax.configs.options import ModelConfig
from abkd_jax.models.external import Applied, Ensemble, Stored, as_output, combine, joined
from abkd_jax.models.pyg import from_state_dict
from abkd_jax.run.data import PreparedData, build_model
from abkd_jax.run.identity import config_dict, file_digest, weights_digest
from abkd_jax.run.program import Teacher, Trained
from abkd_jax.run.scores import make_predict
from abkd_jax.run.teacher_outputs import (
    check_outputs,
    compare_outputs,
    outputs_of,
    read_outputs,
    warn_if_useless,
    without_padding,
)
from abkd_jax.run.torch_teacher import call_module, is_module
from abkd_jax.sampling import gather_outputs
from abkd_jax.training.resume import Origin
from abkd_jax.types import Dataset, GNNOutput, GraphDataset, InputError, Pytree, shape_of

__all__ = ["ELSEWHERE", "ensemble_of", "given_teacher", "repeated"]

ELSEWHERE = "trained elsewhere"  # in the place of a commit in the provenance of a teacher
OUTPUTS, WEIGHTS, PICKLES = ".npz", ".safetensors", (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".tar")


def given_teacher(
    data: PreparedData, source: Any, seeds: int, model: ModelConfig | None = None, outputs: Any = None
) -> Teacher:
    """Makes a teacher of what was trained elsewhere, the same one for all seeds.

    Args:
        data: the data set that students learn on, of `run.data.prepare_data`.
        source: one of
            outputs for the whole data set: a `GNNOutput`, an array of logits, `(logits, hidden layers)`, or a mapping
            with the names of `teacher_outputs`;
            the path of a file `.npz` of such outputs, or of `.safetensors` with a `state_dict` of PyTorch Geometric;
            a `torch.nn.Module`, called on `datasets.to_pyg(data.dataset)`, or `(module, graph)`, called on a graph of
            PyTorch Geometric; see `torch_teacher.call_module`;
            `(module, variables)` of Flax linen, or an `nnx.Module`, called with the graph alone;
            `(function, params)`, a pure `function(params, graph)`, or a `function(graph)`, which return logits,
            `(logits, hidden layers)` or a `GNNOutput`;
            a list of these: an ensemble, see `models.external.combine`.
        seeds: number of seeds.
        model: architecture of weights in a file.
        outputs: of the model whose weights are in a file, where it was trained, in any of the forms above: the logits
            here are compared with them; None compares nothing.

    Raises:
        InputError: the source is of none of these kinds, damaged, or not for this data set; or weights lead to other
            logits than `outputs` holds, see `teacher_outputs.compare_outputs`.
    """
    if outputs is not None and not (isinstance(source, str | Path) and Path(source).suffix == WEIGHTS):
        raise InputError(f"teacher: outputs to compare with beside other than a file {WEIGHTS}, expected such a file")
    if isinstance(source, list) and source:
        return ensemble_of(data, [given_teacher(data, part, 1, model) for part in source], seeds)
    module, *graph = source if isinstance(source, tuple) and source else (source,)
    if is_module(module) and len(graph) < 2:
        output, parameters = call_module(module, data, *graph)
        return _stored(data, check_outputs(output, data, "teacher"), parameters, seeds, None)
    if isinstance(source, str | Path):
        return _of_file(data, Path(source), seeds, model, outputs)
    if isinstance(source, Mapping):
        return _stored(data, *outputs_of(source, data, "teacher"), seeds, None)
    if hasattr(source, "ndim") or (isinstance(source, tuple) and source and hasattr(source[0], "ndim")):
        return _stored(data, check_outputs(as_output(source), data, "teacher"), None, seeds, None)
    return _of_call(data, source, seeds)


def ensemble_of(data: PreparedData, members: list[Teacher], seeds: int) -> Teacher:
    """Joins teachers to one that returns their mean, the same for all seeds.

    Args:
        data: the data set.
        members: of each the model of its first seed counts.
        seeds: number of seeds.

    Raises:
        InputError: stored outputs beside models that are called.
    """
    if len(members) == 1:
        return members[0]._replace(models=repeated(*_first(members[0]), seeds))
    modules, variables = zip(*map(_first, members), strict=True)
    stored = [isinstance(module, Stored) for module in modules]
    source = {"ensemble": [member.source for member in members]}
    if all(stored):
        outputs = jax.tree.map(np.asarray, combine([v["outputs"] for v in variables], data.dataset.task))
        sizes = [module.parameters for module in modules]
        module = Stored(None if None in sizes else sum(sizes))
        return Teacher(repeated(module, {"outputs": outputs}, seeds), None, source)
    if any(stored):
        raise InputError("ensemble: stored outputs beside models that are called, expected members of one kind")
    return Teacher(repeated(Ensemble(modules, data.dataset.task), joined(variables), seeds), None, source)


def repeated(module: Any, variables: Pytree, seeds: int, origin: Origin | None = None) -> Trained:
    """Returns one model for all seeds, with no history; its arrays are views that take the memory of one.

    Args:
        module: with an `apply`.
        variables: of it.
        seeds: number of seeds.
        origin: by whom it was trained; None stands for elsewhere.
    """
    stacked = jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf)[None], (seeds, *np.shape(leaf))), variables)
    none, never = np.zeros(seeds, int), np.zeros((0, seeds), int)
    history = {"epoch": never, "recorded": never.astype(bool), "seconds": np.asarray(np.nan)}
    origin = origin or Origin(False, ({"commit": ELSEWHERE},))
    return Trained(stacked, stacked, none, none, history, (origin,) * seeds, module)


def _first(teacher: Teacher) -> tuple[Any, Pytree]:
    return teacher.models.module, jax.tree.map(lambda leaf: np.asarray(leaf)[0], teacher.models.variables)


# Stored --------------------------------------------------------------------------------------------------------------


def _of_file(data: PreparedData, path: Path, seeds: int, model: ModelConfig | None, outputs: Any) -> Teacher:
    if path.suffix == OUTPUTS:
        return _stored(data, *read_outputs(path, data), seeds, path)
    if path.suffix == WEIGHTS and model is not None:
        return _of_weights(data, path, seeds, model, outputs)
    raise InputError(f"{path}: {_advice(path)}")


def _advice(path: Path) -> str:
    if path.suffix in PICKLES:
        return (
            "a pickle, which may run code; expected .safetensors, "
            "written by safetensors.torch.save_file(model.state_dict(), ...)"
        )
    if path.suffix == WEIGHTS:
        return "weights without an architecture, expected a ModelConfig beside them"
    return f"expected a file {OUTPUTS} of outputs, or {WEIGHTS} of weights"


def _stored(data: PreparedData, output: GNNOutput, parameters: int | None, seeds: int, path: Path | None) -> Teacher:
    where, dataset = "teacher" if path is None else str(path), data.dataset
    source = {"outputs": weights_digest(output) if path is None else file_digest(path)}
    if data.eval_nodes is None:  # with rows for the padding of the batch that is the whole data set
        masks = data.batch.masks
        nodes = dataset.features.shape[0] if isinstance(dataset, GraphDataset) else dataset.num_nodes
        graphs = None if masks.graphs is None else (np.arange(dataset.labels.shape[0]), masks.graphs.shape[0])
        output = gather_outputs(output, np.arange(nodes), masks.all.shape[0], graphs=graphs)
    module, variables = Stored(parameters), {"outputs": output}
    warn_if_useless(make_predict(data, module)(variables), data, where)
    return Teacher(repeated(module, variables, seeds), None, source)


# Called --------------------------------------------------------------------------------------------------------------


def _of_weights(data: PreparedData, path: Path, seeds: int, model: ModelConfig, outputs: Any) -> Teacher:
    dataset = data.dataset
    if dataset.vocabulary if isinstance(dataset, GraphDataset) else dataset.num_embeddings:
        raise InputError(
            f"{path}: the learned embeddings of {dataset.name} have no counterpart in PyTorch Geometric's stacks, "
            "expected outputs (.npz) of such a teacher"
        )
    try:
        state = safetensors.numpy.load_file(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: expected a file of safetensors, but it is missing or damaged: {error}") from error
    schema = dataset.schema if isinstance(dataset, Dataset) else None
    sizes = {} if schema is None else {"relations": schema.num_relations, "node_types": len(schema.node_types)}
    try:
        variables = from_state_dict(model, state, features=shape_of(dataset.features)[1], classes=data.outputs, **sizes)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    module = build_model(data, model)
    logits = make_predict(data, module)(variables)
    if outputs is not None:
        compare_outputs(logits, outputs, data, str(path))
    warn_if_useless(logits, data, str(path))
    return Teacher(repeated(module, variables, seeds), model, {"weights": file_digest(path), **config_dict(model)})


def _of_call(data: PreparedData, source: Any, seeds: int) -> Teacher:
    """Returns the teacher of a module or a function; it is called once on the data, and its outputs are checked.

    A function of the graph alone has nothing to be trained or counted: its outputs for the whole data set are stored.
    """
    module, variables = _model(source)
    if not variables and data.eval_nodes is None:
        output = without_padding(module.apply(variables, data.batch.graph), data)
        return _stored(data, check_outputs(output, data, "teacher"), None, seeds, None)
    try:
        output = jax.jit(module.apply)(variables, data.batch.graph)
    except FlaxError as error:
        line = str(error).partition("\n")[0]
        raise InputError(f"teacher: its variables are not those of its module on this data: {line}") from error
    if data.eval_nodes is None:
        check_outputs(without_padding(output, data), data, "teacher")
        warn_if_useless(output.logits, data, "teacher")
    return Teacher(repeated(module, variables, seeds), None, {"given": weights_digest((variables, output))})


def _model(source: Any) -> tuple[Any, Pytree]:
    """Returns a model with an `apply` that returns a `GNNOutput`, and its variables."""
    if isinstance(source, nnx.Module):
        graphdef, params, rest = nnx.split(source, nnx.Param, ...)

        def evaluated(variables: Pytree, graph: Any) -> Any:
            merged = nnx.merge(graphdef, variables["params"], rest)  # a copy: the module itself stays as it is
            merged.eval()
            return merged(graph)

        return Applied(evaluated), {"params": params}
    pair = isinstance(source, tuple) and len(source) == 2
    if pair and isinstance(source[0], nn.Module):
        module, variables = source
        if variables and "params" not in variables:
            raise InputError("teacher: variables without 'params', expected those of module.init, {'params': ...}")
        own = hasattr(module, "stages")  # of this package, and so able to run layer by layer
        return module if own else Applied(lambda v, graph: module.apply(v, graph)), dict(variables)
    if pair and callable(source[0]):
        function, params = source
        _check_takes("params, graph", function)
        return Applied(lambda v, graph: function(v["params"], graph)), {"params": params}
    if callable(source) and not isinstance(source, nn.Module):
        _check_takes("graph", source)
        return Applied(lambda _, graph: source(graph)), {}
    raise InputError(
        f"teacher: {type(source).__name__}, expected outputs, a path, a torch.nn.Module, "
        "(module, variables), an nnx.Module, (function, params), or a function of the graph"
    )


def _check_takes(arguments: str, function: Any) -> None:
    """Checks that a function can be called with so many arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a function in C
        return
    try:
        signature.bind(*arguments.split(", "))
    except TypeError as error:
        raise InputError(f"teacher: a function of {signature}, expected one of ({arguments}): {error}") from error
