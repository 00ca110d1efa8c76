"""Graphs of NetworkX to data sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from abkd_jax.datasets.convert.arrays import Masks, Rng, build, mask_arrays, unknown_label
from abkd_jax.types import Dataset, InputError, TaskName

__all__ = ["from_networkx"]


def from_networkx(
    graph: Any,
    masks: Masks | None = None,
    *,
    features: str | Sequence[str] = "x",
    labels: str = "y",
    split: str = "split",
    weight: str = "weight",
    edge_features: Sequence[str] = (),
    rng: Rng = None,
    task: TaskName | None = None,
    directed: bool = False,
    row_normalise: bool = False,
    name: str = "graph",
) -> Dataset:
    """Makes a data set of a NetworkX graph, whose nodes are whole numbers or text.

    Args:
        graph: `Graph`, `DiGraph`, `MultiGraph` or `MultiDiGraph`; parallel edges stay repeated edges.
        masks: train, validation and test, `[n]` booleans each, in the order of `graph.nodes`; None takes the node
            attribute `split` where nodes have it (train, val, test or none), and else draws them.
        features: the node attribute that holds a vector, or the attributes that hold a number or a vector each.
        labels: the node attribute with a class, a list of binary labels, or a real target; nodes without it are
            unlabelled.
        split: the node attribute that names the part of the split.
        weight: the edge attribute with the weight, 1 where an edge has none.
        edge_features: edge attributes with a number or a vector each.
        rng: of the draw, or its seed.
        task: see `from_scipy`.
        directed: keeps the edges of a directed graph as they are; else each counts in both directions.
        row_normalise: see `from_scipy`.
        name: of the data set.

    Returns:
        The data set, checked by `validate`; `node_ids` are the nodes of the graph.

    Raises:
        InputError: one line that names what is wrong; or networkx is not what made the graph.
    """
    if not all(hasattr(graph, part) for part in ("nodes", "edges", "is_directed")):
        raise InputError(f"{name}: a {type(graph).__name__}; expected a graph of networkx")
    if directed and not graph.is_directed():
        raise InputError(
            f"{name}: directed, and a {type(graph).__name__}, whose edges have no direction; "
            "expected a DiGraph or MultiDiGraph"
        )
    nodes = list(graph.nodes(data=True))
    edges = list(graph.edges(data=True))
    if not nodes:
        raise InputError(f"{name}: the graph has no node; expected at least one")
    ids = _ids(name, [node for node, _ in nodes])
    place = {node: position for position, (node, _) in enumerate(nodes)}
    ends = np.array([(place[sender], place[receiver]) for sender, receiver, _ in edges], np.int64).reshape(-1, 2)
    weights = [data.get(weight, 1) for *_, data in edges]
    drawn = {} if masks is not None else _split([data.get(split) for _, data in nodes])
    arrays = {
        "senders": ends[:, 0],
        "receivers": ends[:, 1],
        "node_ids": ids,
        "features": _rows(name, nodes, [features] if isinstance(features, str) else features),
        "labels": _labels(name, [data.get(labels) for _, data in nodes], labels, task),
        "edge_weights": None if all(value == 1 for value in weights) else weights,
        "edge_features": _rows(name, [((u, v), data) for u, v, data in edges], edge_features),
        "task": task,
        "directed": directed,
        "row_normalise": row_normalise,
        **mask_arrays(masks),
        **drawn,
    }
    found = build(name, "NetworkX", arrays, rng)
    assert isinstance(found, Dataset)
    return found


def _ids(name: str, nodes: list[Any]) -> np.ndarray:
    whole = [isinstance(node, int | np.integer) and not isinstance(node, bool) for node in nodes]
    if all(whole) or all(isinstance(node, str) for node in nodes):
        return np.array(nodes)
    odd = nodes[whole.index(False)]
    raise InputError(
        f"{name}: node {odd!r} is a {type(odd).__name__} among others; expected whole numbers alone, or text alone"
    )


def _numbers(name: str, where: Any, data: Mapping[str, Any], key: str) -> np.ndarray:
    if key not in data:
        item = "edge" if isinstance(where, tuple) else "node"
        raise InputError(f"{name}: {item} {where!r} has no attribute {key!r}; expected numbers on every {item}")
    values = np.asarray(data[key])
    if values.dtype.kind not in "biuf":
        raise InputError(f"{name}: {key!r} of {where!r} is {data[key]!r}; expected numbers")
    return values.astype(np.float64) if values.dtype.kind == "b" else values


def _rows(name: str, items: Sequence[tuple[Any, Mapping[str, Any]]], keys: Sequence[str]) -> np.ndarray | None:
    """Returns the numbers of each node or edge side by side, attribute by attribute."""
    if not items or not keys:
        return None
    columns = [[_numbers(name, where, data, key).ravel() for where, data in items] for key in keys]
    for key, values in zip(keys, columns, strict=True):
        sizes = sorted({value.size for value in values})
        if len(sizes) > 1:
            raise InputError(f"{name}: {key!r} has {sizes} numbers in different places; expected the same count")
    return np.concatenate([np.stack(values) for values in columns], axis=1)


def _labels(name: str, labels: list[Any], key: str, task: TaskName | None) -> np.ndarray:
    """Returns the labels of all nodes; what is missing is -1, an empty text or NaN."""
    known = [label for label in labels if label is not None]
    if not known:
        raise InputError(f"{name}: no node has the attribute {key!r}; expected labels")
    kinds = {np.asarray(label).dtype.kind == "U" for label in known}
    if len(kinds) > 1:
        raise InputError(f"{name}: {key!r} is text on some nodes and a number on others; expected one of both")
    try:
        values = np.array(known)
    except ValueError as error:
        raise InputError(f"{name}: {key!r} has labels of different lengths; expected the same on every node") from error
    if len(known) == len(labels):
        return values
    missing = np.full(values.shape[1:], unknown_label(name, values, task))
    return np.array([missing if label is None else label for label in labels])


def _split(parts: list[Any]) -> dict[str, np.ndarray]:
    found = any(part is not None for part in parts)
    return {"split": np.array(["none" if part is None else str(part) for part in parts])} if found else {}
