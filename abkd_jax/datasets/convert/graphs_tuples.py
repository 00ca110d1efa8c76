"""`jraph.GraphsTuple` to data sets, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import jraph
import numpy as np
import scipy.sparse as sp

from abkd_jax.datasets.convert.arrays import Masks, Rng, build, mask_arrays, to_numpy, with_reverses
from abkd_jax.types import Dataset, GraphDataset, InputError, TaskName

__all__ = ["from_jraph", "to_jraph"]


def from_jraph(
    graph: jraph.GraphsTuple | Sequence[jraph.GraphsTuple],
    labels: Any,
    masks: Masks | None = None,
    *,
    rng: Rng = None,
    task: TaskName | None = None,
    directed: bool = False,
    row_normalise: bool = False,
    node_ids: Any = None,
    name: str = "graph",
) -> Dataset | GraphDataset:
    """Makes a data set of a `GraphsTuple`: of one graph with labels of nodes, of several with labels of graphs.

    Args:
        graph: `nodes` are `[n, f]` features, `edges` None, `[e]` weights, `[e, k]` features, or a dict of `weight` and
            `features`; without padding, not prepared. A sequence, or several graphs in one, is graph-level.
        labels: of nodes, or of graphs; see `from_scipy`.
        masks: see `from_scipy`.
        rng: of the draw where there are none, or its seed.
        task: see `from_scipy`.
        directed: keeps the edges as they are; else each counts in both directions. Not for several graphs.
        row_normalise: see `from_scipy`. Not for several graphs.
        node_ids: see `from_scipy`. Not for several graphs.
        name: of the data set.

    Returns:
        A `Dataset` or `GraphDataset`, checked by `validate`.

    Raises:
        InputError: one line that names what is wrong.

    Examples:
        >>> from abkd_jax import datasets
        >>> data = datasets.load("synthetic")
        >>> masks = data.train_mask, data.val_mask, data.test_mask
        >>> from_jraph(to_jraph(data), data.labels, masks).num_nodes
        300
    """
    single = hasattr(graph, "n_node")
    graphs: list[Any] = [graph] if single else list(graph)
    if not graphs or not all(hasattr(part, "n_node") and hasattr(part, "senders") for part in graphs):
        raise InputError(f"{name}: a {type(graph).__name__}; expected a jraph.GraphsTuple, or a list of them")
    parts = [_arrays(name, part) for part in graphs]
    n_node = np.concatenate([to_numpy(part.n_node) for part in graphs])
    starts = np.cumsum([0, *(len(part["features"]) for part in parts)])[:-1]
    node_ids = np.arange(sum(len(part["features"]) for part in parts)) if node_ids is None else node_ids
    arrays: dict[str, Any] = {"labels": labels, "task": task, "node_ids": node_ids, **mask_arrays(masks)}
    for key in ("senders", "receivers"):
        arrays[key] = np.concatenate([part[key] + start for part, start in zip(parts, starts, strict=True)])
    for key in ("features", "edge_features", "edge_weights"):
        found = [part[key] for part in parts if part[key] is not None]
        if found and (len(found) < len(parts) or len({array.shape[1:] for array in found}) > 1):
            raise InputError(f"{name}: {key} of the graphs differ in width, or some lack them; expected one width")
        arrays[key] = np.concatenate(found) if found else None
    flags = {"directed": directed or None, "row_normalise": row_normalise or None}
    if not single or n_node.size > 1:
        arrays["graph_ids"] = np.repeat(np.arange(n_node.size), n_node)
        arrays["graphs"] = np.arange(n_node.size)
    return build(name, "jraph", {**arrays, **flags}, rng)


def _arrays(name: str, graph: jraph.GraphsTuple) -> dict[str, Any]:
    """Returns features, ends and what edges carry of one tuple."""
    if isinstance(graph.nodes, Mapping) or graph.nodes is None:
        raise InputError(f"{name}: nodes are {type(graph.nodes).__name__}; expected one array of features, (n, f)")
    features = to_numpy(graph.nodes)
    senders, receivers = to_numpy(graph.senders), to_numpy(graph.receivers)
    total, edges = int(to_numpy(graph.n_node).sum()), int(to_numpy(graph.n_edge).sum())
    if features.ndim != 2 or len(features) != total or not senders.shape == receivers.shape == (edges,):
        raise InputError(
            f"{name}: n_node and n_edge add up to {total} and {edges}, nodes have shape {features.shape}, senders "
            f"{senders.shape} and receivers {receivers.shape}; expected one row for each"
        )
    for end in (senders, receivers):
        if end.dtype.kind not in "iu" or (end.size and not 0 <= int(end.min()) <= int(end.max()) < total):
            raise InputError(f"{name}: senders and receivers point outside; expected whole numbers in [0, {total})")
    given: Any = graph.edges
    if not isinstance(given, Mapping):
        given = {"weight" if np.ndim(given) == 1 else "features": given}
    unknown = set(given) - {"weight", "features"}
    if unknown:
        raise InputError(f"{name}: edges hold {', '.join(sorted(unknown))}; expected weight and features alone")
    extra = {key: None if given.get(key) is None else to_numpy(given[key]) for key in ("weight", "features")}
    weights, attributes = extra["weight"], extra["features"]
    if weights is not None and (weights == 1).all():
        weights = None
    return {
        "features": features,
        "senders": senders,
        "receivers": receivers,
        "edge_features": attributes,
        "edge_weights": weights,
    }


def to_jraph(dataset: Dataset | GraphDataset) -> jraph.GraphsTuple:
    """Makes a `GraphsTuple` of NumPy arrays: one graph, or all graphs of a graph-level set.

    Edges are those of the list, repeated ones and self loops too, and unless the graph is directed the reverses of
    those that have none. `edges` are `{"weight": [e], "features": [e, k]}`, what there is of it, else None. The graph
    that models here read is `graph.from_dataset(dataset)`.

    Args:
        dataset: checked by `validate`; homogeneous.

    Raises:
        InputError: the graph is heterogeneous.
    """
    if isinstance(dataset, GraphDataset):
        starts = np.repeat(np.cumsum(dataset.n_node) - dataset.n_node, dataset.n_edge)
        edges = None if dataset.edge_features is None else {"features": dataset.edge_features}
        ends = dataset.senders + starts, dataset.receivers + starts
        return _tuple(dataset.features, edges, ends, dataset.n_node, dataset.n_edge)
    if dataset.schema is not None:
        raise InputError(f"{dataset.name}: heterogeneous; expected one node type: graph.from_dataset makes the others")
    senders, receivers, origin = dataset.senders, dataset.receivers, np.arange(dataset.senders.size)
    if not dataset.directed:
        senders, receivers, origin = with_reverses(senders, receivers, dataset.num_nodes)
    held = {"weight": dataset.edge_weights, "features": dataset.edge_features}
    edges = {key: values[origin] for key, values in held.items() if values is not None} or None
    features = dataset.features.toarray() if isinstance(dataset.features, sp.csr_matrix) else dataset.features
    counts = np.array([dataset.num_nodes], np.int32), np.array([senders.size], np.int32)
    return _tuple(features, edges, (senders, receivers), *counts)


def _tuple(
    nodes: np.ndarray, edges: Any, ends: tuple[np.ndarray, np.ndarray], n_node: np.ndarray, n_edge: np.ndarray
) -> jraph.GraphsTuple:
    senders, receivers = (end.astype(np.int32) for end in ends)
    counts: Any = {"n_node": n_node, "n_edge": n_edge}
    fields: Any = {"senders": senders, "receivers": receivers, "nodes": nodes, "edges": edges}
    return jraph.GraphsTuple(globals=None, **fields, **counts)
