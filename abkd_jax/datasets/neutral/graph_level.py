"""Arrays of the neutral form to a graph-level data set."""

from typing import Literal

import numpy as np
import scipy.sparse as sp

from abkd_jax.datasets.neutral.labels import read_labels, read_split
from abkd_jax.datasets.neutral.parts import Ends, count_nodes, read_ends, read_features, read_ids
from abkd_jax.datasets.neutral.values import (
    Arrays,
    categories,
    flag,
    names,
    one_per,
    real_numbers,
    strings,
    whole_numbers,
)
from abkd_jax.types import GraphDataset, TaskName, shape_of

__all__ = ["graph_dataset"]

NODE_LEVEL = ("edge_weights", "node_types", "relations", "node_type_names", "relation_names", "reverses")
NODE_FLAGS = ("directed", "row_normalise", "row_normalised")
METRICS: dict[TaskName, Literal["accuracy", "rocauc", "rmse"]] = {
    "classification": "accuracy",
    "multilabel": "rocauc",
    "regression": "rmse",
}
MAX_CATEGORIES = 10_000  # of a column: each is a row of a table of embeddings


def graph_dataset(arrays: Arrays, name: str, source: str, seed: int | np.random.Generator) -> GraphDataset:
    """Builds the data set; nodes and edges may come in any order, and edges get the reverses that they lack.

    Repeated edges and self loops stay. An edge that is listed more often than its reverse gets as many of it.

    Args:
        arrays: by name, see `values.KEYS`.
        name: of the data set.
        source: where it comes from.
        seed: of the split, where there is none, or its generator.

    Raises:
        ValueError: one line that names the array that is wrong.
    """
    foreign = [key for key in NODE_LEVEL if key in arrays] + [key for key in NODE_FLAGS if flag(arrays, key)]
    if foreign:
        raise ValueError(f"{foreign[0]} beside graph_ids; expected a graph-level data set, which has none")
    count = count_nodes(arrays)
    graph_of_node, graphs, graph_names = _graphs(arrays, count)
    ends = read_ends(arrays, count, read_ids(arrays, count))
    labels = read_labels(arrays, graphs, "graph")
    (train, val, test), drawn = read_split(arrays, labels, "graph", seed)
    features, vocabulary = _features(arrays, count)
    edge_features, edge_vocabulary = None, ()
    if "edge_features" in arrays:
        given = one_per("edge_features", arrays["edge_features"], len(ends.senders), "edge", axes=(1, 2))
        edge_features, edge_vocabulary = _columns(arrays, "edge_features", given if given.ndim == 2 else given[:, None])
    order = np.argsort(graph_of_node, kind="stable")
    senders, receivers, edges = _edges(ends, graph_of_node)
    n_node = np.bincount(graph_of_node, minlength=graphs)
    places = np.empty(count, np.int64)
    places[order] = np.arange(count) - np.repeat(np.cumsum(n_node) - n_node, n_node)
    return GraphDataset(
        name=name,
        features=features[order],
        edge_features=None if edge_features is None else edge_features[edges],
        senders=places[senders].astype(np.int32),
        receivers=places[receivers].astype(np.int32),
        n_node=n_node.astype(np.int32),
        n_edge=np.bincount(graph_of_node[senders], minlength=graphs).astype(np.int32),
        labels=labels.values,
        num_outputs=labels.width,
        task=labels.task,
        metric=METRICS[labels.task],
        train_mask=train,
        val_mask=val,
        test_mask=test,
        source=", ".join(filter(None, (source, drawn))),
        vocabulary=vocabulary,
        edge_vocabulary=edge_vocabulary,
        classes=labels.classes,
        graphs=graph_names,
        columns=names(arrays, "columns"),
        edge_columns=names(arrays, "edge_columns"),
    )


def _graphs(arrays: Arrays, count: int) -> tuple[np.ndarray, int, np.ndarray | None]:
    """Returns the graph of each node, by the place of its label, how many there are, and their identifiers."""
    known, ids = None, one_per("graph_ids", arrays["graph_ids"], count, "node")
    if "graphs" in arrays:
        known = arrays["graphs"].reshape(-1)
        known = strings("graphs", known) if known.dtype.kind in "US" else whole_numbers("graphs", known)
        own = tuple(map(str, known.tolist()))
        if len(set(own)) < len(own):
            raise ValueError(f"graphs holds {len(own)} names, {len(set(own))} of them distinct; expected all")
        given = strings("graph_ids", ids) if ids.dtype.kind in "US" else whole_numbers("graph_ids", ids).astype(str)
        numbers, _ = categories("graph_ids", given, own)
    else:
        if ids.dtype.kind in "US":
            raise ValueError("graph_ids holds text without graphs; expected graphs [g], in the order of the labels")
        numbers = whole_numbers("graph_ids", ids)
        own, lowest, highest = arrays.get("labels", numbers), numbers.min(), numbers.max()
        if lowest < 0 or highest >= len(own):
            raise ValueError(
                f"graph_ids reach from {lowest} to {highest}; expected 0 to {len(own) - 1}, one for each label"
            )
    numbered = known is None or (known.dtype.kind == "i" and np.array_equal(known, np.arange(len(own))))
    return numbers, len(own), None if numbered else known


def _features(arrays: Arrays, count: int) -> tuple[np.ndarray, tuple[int, ...]]:
    features = read_features(arrays)
    rows = 0 if features is None else shape_of(features)[0]
    if features is None or rows != count:
        raise ValueError(f"features has {rows} rows; expected {count}, one for each node")
    if isinstance(features, sp.csr_matrix):
        raise ValueError("features are sparse; expected a dense array in a graph-level data set")
    return _columns(arrays, "features", features)


def _columns(arrays: Arrays, name: str, values: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Returns integers as int32 categories with their vocabulary, other numbers as float32."""
    key = "edge_vocabulary" if name == "edge_features" else "vocabulary"
    if values.dtype.kind not in "iu":
        if key in arrays:
            raise ValueError(f"{name} holds {values.dtype} beside {key}; expected whole numbers")
        return real_numbers(name, values), ()
    values = whole_numbers(name, values)
    sizes = values.max(axis=0, initial=0) + 1
    if key in arrays:
        sizes = whole_numbers(key, one_per(key, arrays[key], values.shape[1], f"column of {name}"))
    if (values < 0).any() or sizes.max(initial=0) > MAX_CATEGORIES:
        raise ValueError(
            f"{name} holds {values.min()} to {values.max()}; expected categories from 0 to below {MAX_CATEGORIES}, or "
            "floats, which are read as real numbers"
        )
    return values.astype(np.int32), tuple(sizes.tolist())


def _edges(ends: Ends, graph_of_node: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns senders, receivers and place in the file of all edges, by graph; missing reverse edges are added.

    The k-th listing of an edge belongs to the k-th of its reverse; where there is none, its reverse has its place.
    """
    senders, receivers = ends.senders, ends.receivers
    astray = np.flatnonzero(graph_of_node[senders] != graph_of_node[receivers])
    if astray.size:
        raise ValueError(
            f"{astray.size} edges join two graphs (first: edge {astray[0]}); expected both ends in one graph"
        )
    count = graph_of_node.size
    pairs, pair, times = np.unique(senders * count + receivers, return_inverse=True, return_counts=True)
    nth = np.empty(senders.size, np.int64)
    nth[np.argsort(pair, kind="stable")] = np.arange(senders.size) - np.repeat(np.cumsum(times) - times, times)
    backward = receivers * count + senders
    found = np.searchsorted(pairs, backward)
    reverses = np.where(np.isin(backward, pairs), times[np.minimum(found, times.size - 1)], 0)
    alone = np.flatnonzero(nth >= reverses)
    places = np.append(np.arange(senders.size), alone)
    both = np.append(senders, receivers[alone]), np.append(receivers, senders[alone])
    order = np.argsort(graph_of_node[both[0]], kind="stable")
    return both[0][order], both[1][order], places[order]
