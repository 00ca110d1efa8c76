"""Checks that every data set passes before anything is computed from it."""

from typing import TypeVar, get_args

import numpy as np
import scipy.sparse as sp

from abkd_jax.datasets.checks.common import (
    LARGEST,
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
from abkd_jax.datasets.checks.graph_level import check_graphs
from abkd_jax.datasets.files.csr import check_csr
from abkd_jax.types import Dataset, GraphDataset, InputError, TaskName

__all__ = ["validate"]

AnyDataset = TypeVar("AnyDataset", bound=Dataset | GraphDataset)


def validate(dataset: AnyDataset) -> AnyDataset:
    """Checks that a data set is as `types.Dataset` or `types.GraphDataset` says.

    Shapes, lengths and number types agree; edges stay inside the nodes, or inside their graph; features are finite with
    squares that float32 can hold, or categories of the vocabulary; edge weights are above 0, features of edges finite;
    labels are -1 or a class, or as the task needs them; there are at most 10,000 classes, or as many as nodes or
    graphs; classes, columns of features and nodes have as many names as there are, all distinct; the masks are not
    empty, do not overlap and select labelled nodes or graphs only. In a heterogeneous graph the node types are
    ascending, those with features come first and complete, relations and reverse relations are in range; in a
    graph-level data set every graph has a node and every edge its reverse. Linear in time, with little memory of its
    own: arrays may be memory-mapped.

    Classes and tasks that have no training label are named in a logged warning.

    Args:
        dataset: from any loader, or made by hand.

    Returns:
        The same data set, untouched.

    Raises:
        InputError: one line with the name of the data set, what is wrong and what was expected.

    Examples:
        >>> from abkd_jax.datasets import generate
        >>> data = generate(200, 2, 4, np.random.default_rng(0))
        >>> validate(data) is data
        True
        >>> validate(data._replace(num_classes=1))
        Traceback (most recent call last):
        abkd_jax.types.InputError: synthetic: num_classes is 1; expected at least 2 classes, and at most 10000 ...
    """
    try:
        if isinstance(dataset, GraphDataset):
            check_graphs(dataset)
        else:
            _check_shapes(dataset)
            _check_features(dataset)
            _check_edges(dataset)
            _check_edge_values(dataset)
            _check_labels(dataset)
            _check_types(dataset)
            check_ids("node_ids", dataset.node_ids, dataset.num_nodes, "node")
            check_names("classes", dataset.classes, dataset.num_classes)
            check_columns(dataset)
    except ValueError as error:
        raise InputError(f"{dataset.name}: {error}") from None
    return dataset


def _masks(dataset: Dataset) -> dict[str, np.ndarray]:
    return {"train": dataset.train_mask, "val": dataset.val_mask, "test": dataset.test_mask}


def _check_shapes(dataset: Dataset) -> None:
    if dataset.task not in get_args(TaskName):
        raise ValueError(f"task is {dataset.task!r}; expected one of {', '.join(get_args(TaskName))}")
    if dataset.task == "classification" or not isinstance(dataset.labels, np.ndarray) or dataset.labels.ndim != 2:
        check_vector("labels", dataset.labels)
    check_vector("senders", dataset.senders)
    n, e = dataset.labels.shape[0], dataset.senders.size
    if dataset.task == "classification":
        check_array("labels", dataset.labels, np.int32, (n,))
    else:
        check_array("labels", dataset.labels, np.float32, (n, dataset.num_classes))
    check_array("senders", dataset.senders, np.int32, (e,))
    check_array("receivers", dataset.receivers, np.int32, (e,))
    for split, mask in _masks(dataset).items():
        check_array(f"{split}_mask", mask, np.bool_, (n,))
    typed = {"node_types": (dataset.node_types, n), "relations": (dataset.relations, e)}
    for name, (array, length) in typed.items():
        if (array is None) != (dataset.schema is None):
            raise ValueError(
                f"{name} is {'missing' if array is None else 'given'} and schema is "
                f"{'missing' if dataset.schema is None else 'given'}; expected both or neither"
            )
        if array is not None:
            check_array(name, array, np.int32, (length,))


def _check_edge_values(dataset: Dataset) -> None:
    """Checks weights and features of edges."""
    weights, features, e = dataset.edge_weights, dataset.edge_features, dataset.senders.size
    if weights is not None:
        check_array("edge_weights", weights, np.float32, (e,))
        bad = np.flatnonzero(~((weights > 0) & (weights <= LARGEST)))
        if bad.size:
            raise ValueError(
                f"{bad.size} edge weights out of range (first: edge {bad[0]}, weight {weights[bad[0]]}); expected "
                f"numbers above 0, and at most {LARGEST:g}"
            )
    if features is not None:
        if not isinstance(features, np.ndarray) or features.ndim != 2 or features.shape[1] == 0:
            raise ValueError(f"edge_features has shape {np.shape(features)}; expected ({e}, at least 1)")
        check_array("edge_features", features, np.float32, (e, features.shape[1]))
        check_finite("edge", features)


def _check_features(dataset: Dataset) -> None:
    features, n = dataset.features, dataset.num_nodes
    if not isinstance(features, np.ndarray | sp.csr_matrix):
        raise ValueError(
            f"features is a {type(features).__name__}; expected a numpy.ndarray or scipy.sparse.csr_matrix"
        )
    shape = np.shape(features) if isinstance(features, np.ndarray) else features.get_shape()
    typed = dataset.schema is not None
    rows_fit = len(shape) == 2 and (shape[0] <= n if typed else shape[0] == n)
    if not rows_fit or (shape[1] == 0 and (shape[0] > 0 or not typed)):
        rows = f"at most {n}" if typed else str(n)
        owner = "each of the first nodes" if typed else "each label"
        raise ValueError(f"features has shape {shape}; expected ({rows}, at least 1): one row for {owner}")
    if features.dtype != np.float32:
        raise ValueError(f"features has dtype {features.dtype}; expected float32")
    if isinstance(features, sp.csr_matrix):
        check_csr(features.data, features.indices, features.indptr, shape)
    check_finite("node", features)


def _check_edges(dataset: Dataset) -> None:
    n, ends = dataset.num_nodes, (dataset.senders, dataset.receivers)
    if all(end.size == 0 or (end.min() >= 0 and end.max() < n) for end in ends):
        return
    outside = np.nonzero(np.logical_or(*((end < 0) | (end >= n) for end in ends)))[0]
    sender, receiver = (end[outside[0]] for end in ends)
    raise ValueError(
        f"{outside.size} of {dataset.senders.size} edges point outside the {n} nodes "
        f"(first: edge {outside[0]}, {sender} -> {receiver}); expected node numbers in [0, {n})"
    )


def _check_labels(dataset: Dataset) -> None:
    classes = dataset.num_classes
    if dataset.task != "classification":
        check_targets(dataset.name, dataset.labels, _masks(dataset), "node", binary=dataset.task == "multilabel")
        return
    check_outputs("num_classes", classes, dataset.num_nodes, "nodes")
    check_range("label", dataset.labels, -1, classes, f"-1 or a class in [0, {classes})")
    check_disjoint(_masks(dataset), dataset.labels < 0, "node")
    warn_of_unlabelled(dataset.name, "class", classes, dataset.labels[dataset.train_mask])


def _check_types(dataset: Dataset) -> None:
    schema, types, relations = dataset.schema, dataset.node_types, dataset.relations
    if schema is None or types is None or relations is None:
        return
    num_types, raw = len(schema.node_types), len(schema.relations)
    check_range("node type", types, 0, num_types, f"a type in [0, {num_types})")
    fall = np.nonzero(types[1:] < types[:-1])[0]
    if fall.size:
        raise ValueError(
            f"node types are not ascending (first: node {fall[0] + 1}, type {types[fall[0] + 1]} after "
            f"{types[fall[0]]}); expected the nodes type by type"
        )
    m = dataset.num_nodes - dataset.num_embeddings
    if 0 < m < dataset.num_nodes and types[m - 1] == types[m]:
        raise ValueError(
            f"features has {m} rows, which end within node type {types[m]}, {schema.node_types[types[m]]!r}; "
            "expected features for all nodes of a type or for none"
        )
    check_range("relation", relations, 0, raw, f"a relation in [0, {raw})", item="edge")
    backward = {reverse for number, reverse in enumerate(schema.reverses) if reverse != number}
    if raw == 0 or len(schema.reverses) != raw or backward != set(range(raw, raw + len(backward))):
        raise ValueError(
            f"schema has {raw} relations with reverses {schema.reverses}; expected at least 1 relation, and for each "
            f"its own number or one of the next free numbers from {raw} on"
        )
