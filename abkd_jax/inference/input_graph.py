"""Brings a graph to what a trained model expects of it, or refuses it in one line."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jraph
import numpy as np
import scipy.sparse as sp

from abkd_jax.aggregate.edges import first_rows
from abkd_jax.graph import edge_relations, node_entry, node_features, num_edges, num_nodes, raw_edges
from abkd_jax.graph.host import HostGraph, host_graph
from abkd_jax.graph.input_checks import checked_ends, weights_of
from abkd_jax.graph.layout import SparseFeatures
from abkd_jax.inference.bundle import Inputs
from abkd_jax.inference.input_names import by_columns, by_names, in_range
from abkd_jax.types import Dataset, GraphDataset, InputError, Schema

__all__ = [
    "GraphArrays",
    "check_graphs",
    "check_inputs",
    "completed",
    "host_graph_for",
    "normalised_rows",
    "tuple_for",
]

log = logging.getLogger(__name__)

ROUNDING = 1e-4  # rows whose sum is that close to 1 have been divided by it

DatasetT = TypeVar("DatasetT", bound=Dataset | GraphDataset)


class GraphArrays(NamedTuple):
    """What is known of a graph before a model reads it; None where it is not given.

    Attributes:
        num_nodes: number of nodes.
        features: `[m, f]` of the first `m` nodes, dense or CSR; anything with a shape.
        senders: `[e]` integers, not read where `receivers` is None.
        receivers: `[e]` integers; None where the ends of the edges have been checked.
        edge_weights: `[e]`.
        edge_features: `[e, k]`.
        relations: `[e]` edge types.
        node_types: `[n]`.
        schema: names of the types.
        graphs: number of graphs whose nodes they are; None for the nodes of one graph.
    """

    num_nodes: int
    features: Any
    senders: Any = None
    receivers: Any = None
    edge_weights: Any = None
    edge_features: Any = None
    relations: Any = None
    node_types: Any = None
    schema: Schema | None = None
    graphs: int | None = None


def check_inputs(inputs: Inputs, graph: GraphArrays, place: Callable[[str, int], str] = "{} {}".format) -> None:
    """Checks that a graph is what a model expects: level, widths, sizes, types, ends of edges, categories.

    Args:
        inputs: of the model.
        graph: what is known of the graph.
        place: names a node or an edge, by this word and its row.

    Raises:
        InputError: it is not; one line that says what the graph has and what was expected.
    """
    if (graph.graphs is not None) != inputs.graph_level:
        kinds = ("the nodes of one graph", "whole graphs")
        given, expected = kinds if inputs.graph_level else kinds[::-1]
        raise InputError(f"graph: {given}, expected {expected}, which the model labels")
    shape = np.shape(graph.features) if isinstance(graph.features, np.ndarray) else tuple(graph.features.shape)
    if len(shape) != 2 or shape[1] != inputs.features:
        raise InputError(f"node features have shape {shape}, expected [nodes, {inputs.features}]")
    missing = graph.num_nodes - shape[0]
    if missing != inputs.embeddings:
        raise InputError(
            f"graph: {graph.num_nodes} nodes, {missing} of them without features, expected {inputs.embeddings}"
            + (", for which the model has learned embeddings" if inputs.embeddings else "")
        )
    if graph.receivers is not None:
        checked_ends(graph.senders, graph.receivers, graph.num_nodes)
    _check_types(inputs, graph)
    _check_edges(inputs, graph)
    _check_categories("node", graph.features, inputs.vocabulary, place)
    _check_categories("edge", graph.edge_features, inputs.edge_vocabulary, place)


def _check_types(inputs: Inputs, graph: GraphArrays) -> None:
    """Checks names, number and range of the types of nodes and edges."""
    expected = inputs.schema
    if graph.schema is not None and graph.schema != expected:
        here, there = (
            "no types" if s is None else f"node types {', '.join(s.node_types)} and relations {', '.join(s.relations)}"
            for s in (graph.schema, expected)
        )
        raise InputError(f"graph: {here}, expected {there}")
    sizes = (0, 0) if expected is None else (len(expected.node_types), expected.num_relations)
    for noun, types, size in (("node", graph.node_types, sizes[0]), ("edge", graph.relations, sizes[1])):
        if (types is not None) != (expected is not None):
            given, wanted = ("no", f"{size}") if types is None else ("", "none")
            raise InputError(f"graph: {given} {noun} types given, expected {wanted}".replace("  ", " "))
        if types is not None and not in_range(types, size):
            raise InputError(f"{noun} types {int(np.min(types))} to {int(np.max(types))}, expected 0 to {size - 1}")


def _check_edges(inputs: Inputs, graph: GraphArrays) -> None:
    """Checks that edges have the weights and features that the model was trained with, and no other weights."""
    if inputs.edge_weights != (graph.edge_weights is not None):
        given, expected = ("no", "one per edge") if inputs.edge_weights else ("there are", "none")
        raise InputError(f"graph: {given} edge weights, expected {expected}, as in training")
    width = 0 if graph.edge_features is None else graph.edge_features.shape[1]
    if inputs.edge_features and width != inputs.edge_features:
        raise InputError(f"edge features have {width} columns, expected {inputs.edge_features}")


def _check_categories(noun: str, values: Any, vocabulary: tuple[int, ...], place: Callable[[str, int], str]) -> None:
    if not vocabulary or values is None or not values.shape[0]:
        return
    if not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"{noun} features are {values.dtype}, expected integer categories")
    wrong = np.argwhere((values < 0) | (values >= np.asarray(vocabulary)))
    if wrong.size:
        row, column = wrong[0].tolist()
        found = f"{place(noun, row)}, column {column} is {values[row, column]}"
        raise InputError(f"{noun} features: {found}, expected 0 to {vocabulary[column] - 1}")


def normalised_rows(features: Any) -> Any:
    """Divides the rows of features by their sums, but for rows of zeros and those that have been divided already.

    Args:
        features: `[n, f]` float32, dense or CSR.

    Examples:
        >>> normalised_rows(np.array([[1.0, 3.0], [0.25, 0.75], [0.0, 0.0]], np.float32)).tolist()
        [[0.25, 0.75], [0.25, 0.75], [0.0, 0.0]]
    """
    sums = np.asarray(features.sum(axis=1, dtype=np.float64)).ravel()
    divisors = np.where((np.abs(sums - 1.0) > ROUNDING) & (sums != 0.0), sums, 1.0)
    if (divisors == 1.0).all():
        return features
    if not sp.issparse(features):
        return (features / divisors[:, None]).astype(np.float32)
    values = features.data / np.repeat(divisors, np.diff(features.indptr))
    return sp.csr_matrix((values.astype(np.float32), features.indices, features.indptr), shape=features.shape)


def completed(inputs: Inputs, graph: DatasetT) -> DatasetT:
    """Returns a data set as the model reads it, as far as names tell.

    Its features have the order of the columns in training where these had names and the data set's have. One without
    edges lacks none of the weights and features that the model reads of them.

    Raises:
        InputError: columns of other names.
    """
    graph = by_columns(inputs, graph)
    if graph.senders.size:
        return graph
    kind = np.int32 if inputs.edge_vocabulary else np.float32
    features = np.zeros((0, inputs.edge_features), kind) if inputs.edge_features else None
    if isinstance(graph, GraphDataset):
        return graph._replace(edge_features=features, edge_vocabulary=inputs.edge_vocabulary)
    return graph._replace(edge_features=features, edge_weights=np.zeros(0, np.float32) if inputs.edge_weights else None)


def host_graph_for(inputs: Inputs, graph: Dataset | HostGraph) -> HostGraph:
    """Returns the graph on the host that a node-level model reads.

    The edges of a data set stay directed where the model was trained on directed ones; else the reverse edges are
    added. Its relations may be listed in any order, and some may be absent. Weights that the model does not read are
    left out, with a warning.

    Raises:
        InputError: see `check_inputs`.
    """
    if isinstance(graph, HostGraph):
        graph = graph._replace(weights=_read(inputs, graph.weights))
        check_inputs(inputs, _of_host(graph))
        if inputs.schema is not None and graph.num_relations != inputs.schema.num_relations:
            raise InputError(f"graph: {graph.num_relations} relations, expected {inputs.schema.num_relations}")
        return graph._replace(features=normalised_rows(graph.features)) if inputs.row_normalised else graph
    graph = by_names(inputs.schema, completed(inputs, graph))
    graph = graph._replace(edge_weights=_read(inputs, graph.edge_weights))
    check_inputs(inputs, _of_dataset(graph))
    if inputs.row_normalised and not graph.row_normalised:
        graph = graph._replace(features=normalised_rows(graph.features))
    return host_graph(graph._replace(directed=graph.directed and inputs.directed))


def tuple_for(inputs: Inputs, graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    """Returns the `GraphsTuple` that a model reads: the same, plain or prepared, its features in float32 and divided.

    Raises:
        InputError: see `check_inputs`.
    """
    check_inputs(inputs, _of_tuple(inputs, graph, graph.n_node.shape[0] if inputs.graph_level else None))
    features, nodes = node_features(graph), graph.nodes
    read: Any = features
    if not isinstance(features, SparseFeatures):
        read = features if inputs.vocabulary else features.astype(np.float32, copy=False)  # sums of 16 bits overflow
        read = normalised_rows(np.asarray(read)) if inputs.row_normalised else read
    elif inputs.row_normalised:
        pattern, values = features.pattern, np.asarray(features.values)
        parts = values, np.asarray(pattern.cols), np.asarray(pattern.row_ptr)
        read = features._replace(values=normalised_rows(sp.csr_matrix(parts, shape=features.shape)).data)
    return graph._replace(nodes=nodes | {"features": read} if isinstance(nodes, dict) else read)


def check_graphs(inputs: Inputs, graphs: GraphDataset) -> None:
    """Checks that the graphs of a data set are what a graph-level model expects.

    Raises:
        InputError: see `check_inputs`.
    """
    starts = np.cumsum(graphs.n_node) - graphs.n_node
    first = np.repeat(starts, graphs.n_edge)

    def place(noun: str, row: int) -> str:
        sizes = graphs.n_node if noun == "node" else graphs.n_edge
        number = int(np.searchsorted(np.cumsum(sizes), row, side="right"))
        own = row - starts[number] if noun == "node" else f"{graphs.senders[row]} to {graphs.receivers[row]}"
        return f"graph {number}, {noun} {own}"

    check_inputs(
        inputs,
        GraphArrays(
            graphs.features.shape[0],
            graphs.features,
            graphs.senders + first,
            graphs.receivers + first,
            edge_features=graphs.edge_features,
            graphs=graphs.labels.shape[0],
        ),
        place,
    )


def _read(inputs: Inputs, weights: np.ndarray | None) -> np.ndarray | None:
    if weights is None or inputs.edge_weights:
        return weights
    if (weights != 1).any():
        log.warning("edge weights of the graph are not read: the model was trained without, or reads none")
    return None


def _of_host(graph: HostGraph) -> GraphArrays:
    return GraphArrays(
        graph.num_nodes,
        graph.features,
        edge_weights=graph.weights,
        edge_features=graph.edge_features,
        relations=graph.relations,
        node_types=graph.node_types,
    )


def _of_dataset(graph: Dataset) -> GraphArrays:
    return GraphArrays(
        graph.num_nodes,
        graph.features,
        graph.senders,
        graph.receivers,
        graph.edge_weights,
        graph.edge_features,
        graph.relations,
        graph.node_types,
        graph.schema,
    )


def _of_tuple(inputs: Inputs, graph: jraph.GraphsTuple, graphs: int | None) -> GraphArrays:
    """Returns the arrays of a graph, or of several `graphs`."""
    edges, size, embedded = raw_edges(graph), num_nodes(graph), node_entry(graph, "embedding")
    features = edges.get("features") if isinstance(edges, dict) else edges if np.ndim(edges) == 2 else None
    typed = inputs.schema is not None or isinstance(edges, dict)
    return GraphArrays(
        size,
        first_rows(node_features(graph), size if embedded is None else int((np.asarray(embedded) < 0).sum())),
        graph.senders,
        graph.receivers,
        None if features is edges else weights_of(edges, num_edges(graph)),
        features,
        edge_relations(graph) if typed else None,
        node_entry(graph, "type"),
        graphs=graphs,
    )
