"""Graphs of PyTorch Geometric, homogeneous and many: `Data` and lists of it to data sets."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from abkd_jax.datasets.convert.arrays import Masks, Rng, build, feature_arrays, mask_arrays, sparse_of
from abkd_jax.datasets.convert.pyg_hetero import hetero_arrays
from abkd_jax.datasets.convert.pyg_parts import (
    classes_or_targets,
    edges_of,
    features_of,
    needed,
    optional,
    stored_masks,
)
from abkd_jax.datasets.neutral.labels import unlabelled
from abkd_jax.types import Dataset, GraphDataset, InputError, TaskName

__all__ = ["from_pyg", "is_of_pyg"]


def is_of_pyg(data: Any) -> bool:
    """Tells whether something is an object of PyTorch Geometric, or a list that begins with one; imports nothing."""
    first = data[0] if isinstance(data, list | tuple) and data else data
    return any(kind.__module__.partition(".")[0] == "torch_geometric" for kind in type(first).__mro__)


def from_pyg(
    data: Any,
    masks: Masks | None = None,
    *,
    split: int = 0,
    rng: Rng = None,
    task: TaskName | None = None,
    directed: bool = False,
    row_normalise: bool = False,
    labelled: bool = True,
    name: str = "graph",
) -> Dataset | GraphDataset:
    """Makes a data set of what PyTorch Geometric holds.

    `Data` is a graph with labels of nodes. `HeteroData` has one node type with labels `y`; features of types that have
    the same number of columns share them, of others each type has columns of its own; an edge type `rev_...` that holds
    exactly the reverse edges of another, with the same weights and features, is left out, since these are added anyway;
    one that holds both directions of its own edges gets no other. A list of `Data`, a `Batch` unless it has labels of
    nodes, or any sequence such as a data set of graphs, has a label per graph.

    Read are `x` (of `Data` also sparse), `edge_index` or `adj_t`, `edge_weight`, `edge_attr`, `y` and the masks. In a
    list integers in `x` and `edge_attr` are categories, masks are not read, and weights other than 1 are refused.

    Args:
        data: `Data`, `HeteroData`, a sequence of `Data`, or a `Batch`.
        masks: train, validation and test, booleans of each node, of the type with labels in `HeteroData`, or of each
            graph; None takes those of the data, and else draws them.
        split: which column of the masks of the data, where they have several.
        rng: of the draw, or its seed.
        task: see `from_scipy`.
        directed: keeps the edges as they are; else each counts in both directions. Not for lists.
        row_normalise: see `from_scipy`. Not for lists.
        labelled: False reads neither `y` nor masks, which need not be there: a graph to predict on needs none. Of one
            graph, weights that are all 1 are then weights, too.
        name: of the data set.

    Returns:
        A `Dataset`, or of a list a `GraphDataset`, checked by `validate`.

    Raises:
        InputError: one line that names what is wrong.
    """
    if hasattr(data, "to_data_list") and not _labels_nodes(data):
        data = _of_batch(name, data)
    if hasattr(data, "metadata") and hasattr(data, "node_types"):
        arrays = hetero_arrays(name, data, split, masks, task=task, directed=directed, labelled=labelled)
        masks = None
    elif hasattr(data, "edge_index"):
        arrays = _node_arrays(name, data, split, labelled)
    elif isinstance(data, Sequence) or hasattr(data, "__getitem__"):
        arrays = _graph_arrays(name, list(data), labelled)
    else:
        raise InputError(f"{name}: a {type(data).__name__}; expected Data, HeteroData or a list of Data")
    if not labelled:
        arrays = unlabelled({key: array for key, array in arrays.items() if array is not None})
    given = {"task": arrays.get("task", task), "directed": directed or None, "row_normalise": row_normalise or None}
    return build(name, "PyTorch Geometric", {**arrays, **given, **mask_arrays(masks)}, rng)


def _labels_nodes(batch: Any) -> bool:
    """Tells whether a `Batch` has labels of nodes: it is then one graph, whose parts no edge joins."""
    labels = optional(batch, "y")
    return labels is not None and labels.shape[:1] == (batch.num_nodes,) and batch.num_nodes != batch.num_graphs


def _of_batch(name: str, batch: Any) -> list[Any]:
    try:
        return batch.to_data_list()
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{name}: a {type(batch).__name__} that does not know its graphs; expected a list") from error


def _node_arrays(name: str, data: Any, split: int, labelled: bool) -> dict[str, Any]:
    senders, receivers, weights = edges_of(name, data)
    sparse = sparse_of(getattr(data, "x", None))
    features: Any = features_of(name, data) if sparse is None else sparse
    return {
        "senders": senders,
        "receivers": receivers,
        "node_ids": np.arange(features.shape[0]),
        **feature_arrays(features),
        "labels": classes_or_targets(needed(name, data, "y")) if labelled else None,
        "edge_weights": None if weights is None or (labelled and (weights == 1).all()) else weights,
        "edge_features": optional(data, "edge_attr"),
        **(stored_masks(name, data, split) if labelled else {}),
    }


def _graph_arrays(name: str, graphs: list[Any], labelled: bool) -> dict[str, Any]:
    if not graphs or not all(hasattr(graph, "edge_index") for graph in graphs):
        odd = next((type(graph).__name__ for graph in graphs if not hasattr(graph, "edge_index")), "nothing")
        raise InputError(f"{name}: a list that holds {odd}; expected Data in it, one for each graph")
    parts = [_one_graph(f"{name}: graph {number}", graph, labelled) for number, graph in enumerate(graphs)]
    sizes = [len(part["features"]) for part in parts]
    starts = np.cumsum([0, *sizes])[:-1]
    joined: dict[str, Any] = {}
    for key in ("features", "labels", "edge_features"):
        found = [part[key] for part in parts]
        without = [number for number, array in enumerate(found) if array is None]
        if len(without) < len(found):
            widths = {array.shape[1:] for array in found if array is not None}
            if without or len(widths) > 1:
                raise InputError(f"{name}: {key} of the graphs differ in width, or some lack them; expected one width")
            joined[key] = np.concatenate(found)
    labels = joined.get("labels")
    if labels is not None and len(labels) != len(graphs):
        raise InputError(f"{name}: {len(labels)} labels on {len(graphs)} graphs; expected y of one row on each")
    return {
        **joined,
        "senders": np.concatenate([part["senders"] + start for part, start in zip(parts, starts, strict=True)]),
        "receivers": np.concatenate([part["receivers"] + start for part, start in zip(parts, starts, strict=True)]),
        "labels": None if labels is None else classes_or_targets(labels),
        "graph_ids": np.repeat(np.arange(len(graphs)), sizes),
    }


def _one_graph(name: str, graph: Any, labelled: bool) -> dict[str, Any]:
    features, label = features_of(name, graph), needed(name, graph, "y") if labelled else None
    senders, receivers, weights = edges_of(name, graph)
    if len(features) == 0:
        raise InputError(f"{name} has no nodes; expected at least one")
    if weights is not None and (weights != 1).any():
        raise InputError(f"{name} has weights of edges; expected none in a list, or a column of edge_attr")
    if senders.size and max(senders.max(), receivers.max()) >= len(features):
        raise InputError(
            f"{name}: edge_index reaches {max(senders.max(), receivers.max())}; expected nodes in [0, {len(features)})"
        )
    attributes = optional(graph, "edge_attr")
    return {
        "features": features,
        "labels": label.reshape(1) if label is not None and label.ndim == 0 else label,
        "edge_features": attributes if attributes is None or attributes.ndim > 1 else attributes[:, None],
        "senders": senders,
        "receivers": receivers,
    }
