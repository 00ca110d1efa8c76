"""Checks of graph-level data sets. Each raises a ValueError of one line."""

import numpy as np

from abkd_jax.datasets.checks.common import (
    check_array,
    check_columns,
    check_disjoint,
    check_finite,
    check_ids,
    check_names,
    check_outputs,
    check_range,
    check_targets,
    check_vector,
    warn_of_unlabelled,
)
from abkd_jax.types import GraphDataset

__all__ = ["check_graphs"]


def check_graphs(dataset: GraphDataset) -> None:
    """Checks that a graph-level data set is as `types.GraphDataset` says; see `node_level.validate`."""
    _check_sizes(dataset)
    _check_features("features", dataset.features, int(dataset.n_node.sum()), dataset.vocabulary, "node")
    if dataset.edge_features is None:
        if dataset.edge_vocabulary:
            raise ValueError(f"edge_vocabulary is {dataset.edge_vocabulary} without edge_features; expected ()")
    elif not dataset.edge_vocabulary and dataset.edge_features.dtype.kind in "iu":
        raise ValueError("edge_vocabulary is (); expected the number of categories of each column of edge_features")
    else:
        _check_features(
            "edge_features", dataset.edge_features, int(dataset.n_edge.sum()), dataset.edge_vocabulary, "edge"
        )
    _check_edges(dataset)
    _check_labels(dataset)
    check_names("classes", dataset.classes, dataset.num_outputs)
    check_columns(dataset)
    check_ids("graphs", dataset.graphs, dataset.n_node.size, "graph")


def _check_sizes(dataset: GraphDataset) -> None:
    check_vector("n_node", dataset.n_node)
    graphs = dataset.n_node.size
    for name in ("n_node", "n_edge"):
        check_array(name, getattr(dataset, name), np.int32, (graphs,))
    if graphs == 0:
        raise ValueError("n_node is empty; expected at least 1 graph")
    for name, low in (("n_node", 1), ("n_edge", 0)):
        counts = getattr(dataset, name)
        if counts.min() < low:
            graph = int(counts.argmin())
            raise ValueError(f"graph {graph} has {name} {counts[graph]}; expected at least {low}")
    for name in ("senders", "receivers"):
        check_array(name, getattr(dataset, name), np.int32, (int(dataset.n_edge.sum()),))
    for name in ("train_mask", "val_mask", "test_mask"):
        check_array(name, getattr(dataset, name), np.bool_, (graphs,))


def _check_features(name: str, features: np.ndarray, rows: int, vocabulary: tuple[int, ...], what: str) -> None:
    """Checks features: real numbers where there is no vocabulary, else categories."""
    if features.ndim != 2 or features.shape[1] == 0:
        raise ValueError(f"{name} has shape {features.shape}; expected ({rows}, at least 1)")
    check_array(name, features, np.int32 if vocabulary else np.float32, (rows, features.shape[1]))
    if not vocabulary:
        check_finite(what, features)
    elif len(vocabulary) != features.shape[1]:
        raise ValueError(f"{name} has {features.shape[1]} columns; expected {len(vocabulary)}, as in the vocabulary")
    for column, categories in enumerate(vocabulary):
        expected = f"a category in [0, {categories}) in column {column} of {name}"
        check_range("value", features[:, column], 0, categories, expected, item=what)


def _check_edges(dataset: GraphDataset) -> None:
    """Checks that both ends of an edge are in its graph, and that its reverse is as frequent as the edge."""
    nodes = np.repeat(dataset.n_node, dataset.n_edge)
    ends = dataset.senders, dataset.receivers
    outside = np.nonzero(np.logical_or(*((end < 0) | (end >= nodes) for end in ends)))[0]
    if outside.size:
        sender, receiver = (end[outside[0]] for end in ends)
        raise ValueError(
            f"{outside.size} of {nodes.size} edges point outside their graph (first: edge {outside[0]}, "
            f"{sender} -> {receiver}); expected node numbers in [0, {nodes[outside[0]]})"
        )
    total = int(dataset.n_node.sum())
    start = np.repeat(np.cumsum(dataset.n_node, dtype=np.int64) - dataset.n_node, dataset.n_edge)
    sender, receiver = (start + end for end in ends)
    forward, backward = np.sort(sender * total + receiver), np.sort(receiver * total + sender)
    alone = np.nonzero(forward != backward)[0]
    if alone.size:
        raise ValueError(
            f"{alone.size} of {nodes.size} edges have no reverse of their own; expected both directions of every edge, "
            "each as often as the other"
        )


def _check_labels(dataset: GraphDataset) -> None:
    labels, graphs, width = dataset.labels, dataset.n_node.size, dataset.num_outputs
    masks = {"train": dataset.train_mask, "val": dataset.val_mask, "test": dataset.test_mask}
    if dataset.task == "classification":
        check_outputs("num_outputs", width, graphs, "graphs")
        check_array("labels", labels, np.int32, (graphs,))
        check_range("label", labels, -1, width, f"-1 or a class in [0, {width})", item="graph")
        check_disjoint(masks, labels < 0, "graph")
        warn_of_unlabelled(dataset.name, "class", width, labels[dataset.train_mask])
        return
    check_array("labels", labels, np.float32, (graphs, width))
    check_targets(dataset.name, labels, masks, "graph", binary=dataset.task == "multilabel")
