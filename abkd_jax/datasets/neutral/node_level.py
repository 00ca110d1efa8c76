"""Arrays of the neutral form to a node-level data set, homogeneous or heterogeneous."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from abkd_jax.datasets.neutral.labels import read_labels, read_split
from abkd_jax.datasets.neutral.parts import Ends, count_nodes, normalised, read_ends, read_features, read_ids
from abkd_jax.datasets.neutral.values import Arrays, categories, flag, names, one_per, real_numbers, whole_numbers
from abkd_jax.types import Dataset, Schema, shape_of

__all__ = ["node_dataset"]

GRAPH_LEVEL = ("edge_vocabulary", "vocabulary", "graphs")


class _Types(NamedTuple):
    """Schema of a heterogeneous graph; its nodes in the order of `types.Dataset`.

    Attributes:
        schema: the types.
        order: `[n]` place in the file of each node.
        nodes: `[n]` int32 type of each, ascending.
        edges: `[e]` int32 type of each edge.
        featured: number of nodes with features: the first ones.
    """

    schema: Schema
    order: np.ndarray
    nodes: np.ndarray
    edges: np.ndarray
    featured: int


def node_dataset(arrays: Arrays, name: str, source: str, seed: int | np.random.Generator) -> Dataset:
    """Builds the data set.

    Args:
        arrays: by name, see `values.KEYS`.
        name: of the data set.
        source: where it comes from.
        seed: of the split, where there is none, or its generator.

    Raises:
        ValueError: one line that names the array that is wrong.
    """
    of_graphs = [key for key in GRAPH_LEVEL if key in arrays]
    if of_graphs:
        raise ValueError(f"{', '.join(of_graphs)} without graph_ids; expected graph_ids [n], the graph of each node")
    count = count_nodes(arrays)
    ids = read_ids(arrays, count)
    labels = read_labels(arrays, count, "node")
    (train, val, test), drawn = read_split(arrays, labels, "node", seed)
    features, divided = normalised(arrays, _of_nodes(arrays, count))
    ends = read_ends(arrays, count, ids)  # last: a wrong count of nodes is then none of the edges' faults
    values, typed = labels.values, None
    if {"node_types", "relations"} & arrays.keys():
        typed = _read_types(arrays, ends, features, count)
        order = typed.order
        if not np.array_equal(order, np.arange(count)):
            ids = order if ids is None else ids[order]
            places = np.empty(count, np.int64)
            places[order] = np.arange(count)
            ends = ends._replace(senders=places[ends.senders], receivers=places[ends.receivers])
            values, train, val, test = values[order], train[order], val[order], test[order]
        features = features[order[: typed.featured]]
    return Dataset(
        name=name,
        features=features,
        senders=ends.senders.astype(np.int32),
        receivers=ends.receivers.astype(np.int32),
        labels=values,
        num_classes=labels.width,
        train_mask=train,
        val_mask=val,
        test_mask=test,
        source=", ".join(filter(None, (source, drawn))),
        schema=typed and typed.schema,
        node_types=typed and typed.nodes,
        relations=typed and typed.edges,
        task=labels.task,
        directed=flag(arrays, "directed"),
        edge_weights=ends.weights,
        edge_features=_edge_features(arrays, len(ends.senders)),
        row_normalised=divided,
        classes=labels.classes,
        node_ids=ids,
        columns=names(arrays, "columns"),
        edge_columns=names(arrays, "edge_columns"),
    )


def _of_nodes(arrays: Arrays, count: int) -> np.ndarray | sp.csr_matrix:
    """Returns the features, `[m, f]` float32; `m` is below `n` in heterogeneous graphs alone."""
    features = read_features(arrays)
    typed = "node_types" in arrays or "relations" in arrays
    if features is None:
        if not typed:
            raise ValueError("no features; expected features [n, f], or node_types: types without features are learned")
        return np.zeros((0, 0), np.float32)
    rows = shape_of(features)[0]
    if rows > count or (rows < count and not typed):
        raise ValueError(f"features has {rows} rows; expected {count}, one for each node")
    return features if isinstance(features, sp.csr_matrix) else real_numbers("features", features)


def _edge_features(arrays: Arrays, count: int) -> np.ndarray | None:
    if "edge_features" not in arrays:
        return None
    features = one_per("edge_features", arrays["edge_features"], count, "edge", axes=(1, 2))
    return real_numbers("edge_features", features if features.ndim == 2 else features[:, None])


def _read_types(arrays: Arrays, ends: Ends, features: np.ndarray | sp.csr_matrix, count: int) -> _Types:
    """Reads the types, and orders the nodes type by type, those with features first."""
    kinds, kind_names = np.zeros(count, np.int32), ("node",)
    if "node_types" in arrays:
        given = one_per("node_types", arrays["node_types"], count, "node")
        kinds, kind_names = categories("node_types", given, names(arrays, "node_type_names"))
    has = np.zeros(count, bool)
    rows = shape_of(features)[0]
    has[:rows] = True
    if isinstance(features, np.ndarray) and features.shape[1]:
        has[:rows] = ~np.isnan(features).all(axis=1)
    totals, featured = (np.bincount(kinds, weights, len(kind_names)) for weights in (None, has))
    partial = np.flatnonzero((featured > 0) & (featured < totals))
    if partial.size:
        kind = partial[0]
        raise ValueError(
            f"features: {featured[kind]:.0f} of {totals[kind]:.0f} nodes of type {kind_names[kind]!r} have a row; "
            "expected all nodes of a type or none"
        )
    # Those with features first, else as they are; a type without a node stays behind the one before it.
    nearest = np.maximum.accumulate(np.where(totals > 0, np.arange(totals.size), 0))
    types = np.argsort((featured < totals)[nearest], kind="stable")
    rank = np.argsort(types)
    kinds = rank[kinds].astype(np.int32)
    order = np.argsort(kinds, kind="stable")
    kind_names = tuple(kind_names[kind] for kind in types)
    relations, relation_names = _relations(arrays, ends, kinds, kind_names)
    schema = Schema(kind_names, relation_names, _reverses(arrays, len(relation_names)))
    return _Types(schema, order, kinds[order], relations, int(has.sum()))


def _relations(
    arrays: Arrays, ends: Ends, kinds: np.ndarray, kind_names: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Reads the types of the edges; without any they are the pairs of the types of their ends."""
    if "relations" in arrays:
        given = one_per("relations", arrays["relations"], len(ends.senders), "edge")
        return categories("relations", given, names(arrays, "relation_names"))
    pairs, numbers = np.unique(
        kinds[ends.senders].astype(np.int64) * len(kind_names) + kinds[ends.receivers], return_inverse=True
    )
    named = (divmod(pair, len(kind_names)) for pair in pairs.tolist())
    return numbers.astype(np.int32), tuple(f"{kind_names[sender]}-{kind_names[receiver]}" for sender, receiver in named)


def _reverses(arrays: Arrays, count: int) -> tuple[int, ...]:
    """Returns the types of reverse edges: new ones, or in a directed graph, which has none, the types themselves."""
    if "reverses" in arrays:
        return tuple(whole_numbers("reverses", one_per("reverses", arrays["reverses"], count, "relation")).tolist())
    return tuple(range(count)) if flag(arrays, "directed") else tuple(range(count, 2 * count))
