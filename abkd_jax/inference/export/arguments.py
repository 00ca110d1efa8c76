"""Arrays that an exported model takes: a raw graph, by names, shapes and types; read from a data set, and checked."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse as sp

from abkd_jax.graph.host import host_graph
from abkd_jax.inference.bundle import Inputs
from abkd_jax.inference.input_graph import completed
from abkd_jax.inference.input_names import by_names
from abkd_jax.types import Dataset, GraphDataset, InputError

__all__ = ["Argument", "arguments_of", "arrays_of", "checked_arrays", "random_arrays", "symbolic_arguments"]


class Argument(NamedTuple):
    """One array of a raw graph.

    Attributes:
        name: by which it is passed.
        shape: sizes; those that differ from graph to graph are letters, or sums such as `"m + 8"`.
        dtype: `"float32"` or `"int32"`.
    """

    name: str
    shape: tuple[str | int, ...]
    dtype: str


def arguments_of(inputs: Inputs) -> tuple[Argument, ...]:
    """Returns the arguments of a model, in the order in which an exported program takes them.

    `n` nodes, `e` edges as they are listed, `g` graphs. Where a model has learned embeddings, the first `m` nodes have
    features and the others embeddings.

    Examples:
        >>> [argument.name for argument in arguments_of(Inputs(16))]
        ['features', 'senders', 'receivers']
    """
    nodes = f"m + {inputs.embeddings}" if inputs.embeddings and inputs.features else inputs.embeddings or "n"
    featured = "m" if inputs.embeddings else "n"
    categories = "int32" if inputs.vocabulary else "float32"
    edge_categories = "int32" if inputs.edge_vocabulary else "float32"
    taken = (
        (inputs.features > 0, Argument("features", (featured, inputs.features), categories)),
        (True, Argument("senders", ("e",), "int32")),
        (True, Argument("receivers", ("e",), "int32")),
        (inputs.edge_weights, Argument("edge_weights", ("e",), "float32")),
        (inputs.edge_features > 0, Argument("edge_features", ("e", inputs.edge_features), edge_categories)),
        (inputs.schema is not None, Argument("relations", ("e",), "int32")),
        (inputs.schema is not None, Argument("node_types", (nodes,), "int32")),
        (inputs.graph_level, Argument("n_node", ("g",), "int32")),
    )
    return tuple(argument for present, argument in taken if present)


def symbolic_arguments(inputs: Inputs, edges: str = "e") -> list[jax.ShapeDtypeStruct]:
    """Returns the arguments of a model with symbolic sizes, to be traced for any graph; `edges` names their number."""
    scope = jax.export.SymbolicScope()
    taken = []
    for _, shape, dtype in arguments_of(inputs):
        sizes = "".join(f"{edges if size == 'e' else size}," for size in shape)
        taken.append(jax.ShapeDtypeStruct(jax.export.symbolic_shape(sizes, scope=scope), np.dtype(dtype)))
    return taken


def random_arrays(inputs: Inputs, rng: np.random.Generator, nodes: int = 8, edges: int = 20) -> tuple[np.ndarray, ...]:
    """Draws a raw graph that a model takes, to compare two forms of it; of two graphs.

    Args:
        inputs: of the model.
        rng: draws the numbers.
        nodes: with features.
        edges: that are listed, duplicates and self loops among them.
    """
    limits = {"senders": nodes + inputs.embeddings, "receivers": nodes + inputs.embeddings}
    if inputs.embeddings and not inputs.features:
        limits = dict.fromkeys(limits, inputs.embeddings)
    if inputs.schema is not None:
        limits |= {"relations": len(inputs.schema.relations), "node_types": len(inputs.schema.node_types)}
    vocabulary = {"features": inputs.vocabulary, "edge_features": inputs.edge_vocabulary}
    sizes = {"n": nodes, "m": nodes, "e": edges, "g": 2, f"m + {inputs.embeddings}": nodes + inputs.embeddings}
    drawn = []
    for name, shape, dtype in arguments_of(inputs):
        size = tuple(sizes[letter] if isinstance(letter, str) else letter for letter in shape)
        if name == "n_node":
            values = np.array([nodes - 2, 2])
        elif dtype == "int32":
            values = rng.integers(0, vocabulary.get(name) or limits.get(name, nodes), size)
        else:
            values = rng.uniform(0.1, 1.0, size)
        drawn.append(values.astype(dtype))
    return tuple(drawn)


def arrays_of(dataset: Dataset | GraphDataset, inputs: Inputs) -> dict[str, np.ndarray]:
    """Reads the arguments of a model from a data set; what the data set does not have is left out.

    The graphs of a graph-level data set become one batch: nodes and edges graph by graph, the nodes numbered through.
    Relations have the numbers that the model gives their names. Where the model was trained on directed edges and those
    of the data set are not, the reverse edges are there too.

    Raises:
        InputError: the data set is of another level, or has other types of nodes and edges, or reverse edges of types
            that the model's files did not have.
    """
    if isinstance(dataset, GraphDataset) != inputs.graph_level:
        levels = ("the nodes of one graph", "whole graphs")
        given, expected = levels if inputs.graph_level else levels[::-1]
        raise InputError(f"{dataset.name}: {given}, expected {expected}, which the model labels")
    dataset = completed(inputs, dataset)
    dataset = by_names(inputs.schema, dataset) if isinstance(dataset, Dataset) else dataset
    if isinstance(dataset, Dataset) and dataset.schema != inputs.schema:
        given, expected = (
            "no types" if schema is None else f"node types {schema.node_types} and relations {schema.relations}"
            for schema in (dataset.schema, inputs.schema)
        )
        raise InputError(f"{dataset.name}: {given}, expected {expected}, as the model")
    if isinstance(dataset, Dataset) and inputs.directed and not dataset.directed:
        dataset = _of_both_directions(dataset)
    features = dataset.features
    senders, receivers = dataset.senders, dataset.receivers
    own: dict[str, Any] = {"edge_features": dataset.edge_features}
    if isinstance(dataset, GraphDataset):
        first = np.repeat(np.cumsum(dataset.n_node) - dataset.n_node, dataset.n_edge).astype(np.int32)
        senders, receivers = senders + first, receivers + first
        own |= {"n_node": dataset.n_node}
    else:
        own |= {name: getattr(dataset, name) for name in ("edge_weights", "relations", "node_types")}
    own |= {
        "features": features.toarray() if isinstance(features, sp.csr_matrix) else features,
        "senders": senders,
        "receivers": receivers,
    }
    names = [argument.name for argument in arguments_of(inputs)]
    return {name: own[name] for name in names if own.get(name) is not None}


def _of_both_directions(dataset: Dataset) -> Dataset:
    """Returns an undirected data set with all edges listed that its graph has: a program of directed ones adds none."""
    graph = host_graph(dataset)
    relations, schema = graph.relations, dataset.schema
    if relations is not None and schema is not None and relations.max(initial=0) >= len(schema.relations):
        raise InputError(f"{dataset.name}: undirected edges, expected directed ones, as the program was trained on")
    return dataset._replace(
        senders=graph.senders,
        receivers=graph.receivers,
        relations=relations,
        edge_weights=graph.weights,
        edge_features=graph.edge_features,
        directed=True,
    )


def checked_arrays(inputs: Inputs, arrays: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
    """Checks the arrays of a raw graph, and returns them in order, in the types that the program takes.

    Raises:
        InputError: an array is missing or not taken, has another shape or type, or holds numbers outside its range.
    """
    expected = arguments_of(inputs)
    names = [argument.name for argument in expected]
    if set(arrays) != set(names):
        raise InputError(f"the model takes {', '.join(names)}, got {', '.join(arrays) or 'nothing'}")
    sizes: dict[str, int] = {}
    values = {argument.name: _checked_array(argument, arrays[argument.name], sizes) for argument in expected}
    nodes = inputs.embeddings + sizes.get("m", 0) if inputs.embeddings else sizes["n"]
    most = {"senders": nodes, "receivers": nodes}
    if inputs.schema is not None:
        most |= {"relations": len(inputs.schema.relations), "node_types": len(inputs.schema.node_types)}
    for name, limit in most.items():
        _check_range(name, values[name], limit)
    for name, vocabulary in (("features", inputs.vocabulary), ("edge_features", inputs.edge_vocabulary)):
        for column, limit in enumerate(vocabulary):
            _check_range(f"{name}, column {column}", values[name][:, column], limit)
    if inputs.graph_level and (values["n_node"].min(initial=0) < 0 or values["n_node"].sum() != nodes):
        raise InputError(f"n_node adds up to {values['n_node'].sum()}, expected {nodes}, the number of nodes")
    for name, value in values.items():
        if value.dtype == np.float32 and not np.isfinite(value).all():
            raise InputError(f"{name} hold NaN or infinite values, expected finite numbers")
    return tuple(values[name] for name in names)


def _checked_array(argument: Argument, value: Any, sizes: dict[str, int]) -> np.ndarray:
    """Checks shape and type of one array; notes the sizes that letters stand for."""
    name, shape, dtype = argument
    array = np.asarray(value)
    if array.dtype.kind not in ("iub" if dtype == "int32" else "fiub"):
        raise InputError(f"{name} hold {array.dtype}, expected {dtype}")
    if array.ndim != len(shape):
        raise InputError(f"{name} have shape {array.shape}, expected ({', '.join(map(str, shape))})")
    for axis, size in enumerate(shape):
        letter, _, more = str(size).partition(" + ")
        if isinstance(size, str) and not more:
            wanted = sizes.setdefault(letter, array.shape[axis])
        else:
            wanted = sizes.get(letter, 0) + int(more) if more else int(size)
        if array.shape[axis] != wanted:
            raise InputError(f"{name} have shape {array.shape}, expected {wanted} along axis {axis}")
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is infinite, and refused
        converted = array.astype(dtype)
    if dtype == "int32" and not np.array_equal(converted, array):
        raise InputError(f"{name} hold numbers outside of {dtype}")
    return converted


def _check_range(name: str, values: np.ndarray, limit: int) -> None:
    outside = np.flatnonzero((values < 0) | (values >= limit))
    if outside.size:
        raise InputError(f"{name}: entry {outside[0]} is {values[outside[0]]}, expected 0 to {limit - 1}")
