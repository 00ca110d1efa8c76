"""Data sets to PyTorch Geometric."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from abkd_jax.datasets.convert.arrays import with_reverses
from abkd_jax.types import Dataset, GraphDataset, InputError, Schema

__all__ = ["to_pyg"]

MASKS = ("train_mask", "val_mask", "test_mask")


def to_pyg(dataset: Dataset | GraphDataset) -> Any:
    """Makes `Data` of a graph, `HeteroData` of a heterogeneous one, and a list of `Data` of a graph-level set.

    Edges are those of the list, repeated ones and self loops too (`torch_geometric.utils.coalesce` merges them), and
    unless the graph is directed the reverses of those that have none: in `HeteroData` as edge types `rev_...`
    (`rev_rev_...` where there is one), those of a relation that is its own reverse in its own type. Sparse features
    become dense. `from_pyg` makes the same graph of it, unless such a relation lists both directions of an edge with
    other weights or features.

    Args:
        dataset: checked by `validate`.

    Raises:
        InputError: torch_geometric is not installed.
    """
    pyg = _pyg()
    if isinstance(dataset, GraphDataset):
        return _graphs(pyg, dataset)
    return _plain(pyg, dataset) if dataset.schema is None else _hetero(pyg, dataset, dataset.schema)


def _pyg() -> Any:
    try:
        import torch_geometric.data
    except ImportError as error:
        raise InputError(
            "to_pyg needs PyTorch Geometric, which is not installed: pip install torch torch_geometric"
        ) from error
    return torch_geometric.data


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.array(array, np.int64) if array.dtype == np.int32 else np.array(array))


def _dense(features: np.ndarray | sp.csr_matrix) -> np.ndarray:
    return features.toarray() if isinstance(features, sp.csr_matrix) else features


def _ends(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if dataset.directed:
        return dataset.senders, dataset.receivers, np.arange(dataset.senders.size)
    return with_reverses(dataset.senders, dataset.receivers, dataset.num_nodes)


def _plain(pyg: Any, dataset: Dataset) -> Any:
    senders, receivers, origin = _ends(dataset)
    data = pyg.Data(
        x=_tensor(_dense(dataset.features)),
        edge_index=_tensor(np.stack([senders, receivers])),
        y=_tensor(dataset.labels),
        **{name: _tensor(getattr(dataset, name)) for name in MASKS},
    )
    if dataset.edge_weights is not None:
        data.edge_weight = _tensor(dataset.edge_weights[origin])
    if dataset.edge_features is not None:
        data.edge_attr = _tensor(dataset.edge_features[origin])
    return data


def _hetero(pyg: Any, dataset: Dataset, schema: Schema) -> Any:
    """Makes `HeteroData`; an edge type is one relation between one pair of node types."""
    kinds = np.asarray(dataset.node_types)
    senders, receivers, relations, origin = _with_own_reverses(dataset, schema)
    data, features = pyg.HeteroData(), _dense(dataset.features)
    starts = np.searchsorted(kinds, np.arange(len(schema.node_types) + 1))
    for number, kind in enumerate(schema.node_types):
        rows = slice(starts[number], starts[number + 1])
        data[kind].num_nodes = int(rows.stop - rows.start)
        if rows.stop <= len(features) and data[kind].num_nodes:
            data[kind].x = _tensor(features[rows])
        if any(getattr(dataset, name)[rows].any() for name in MASKS):
            data[kind].y = _tensor(dataset.labels[rows])
            for name in MASKS:
                data[kind][name] = _tensor(getattr(dataset, name)[rows])
    count = len(schema.node_types)
    pairs = kinds[senders] * count + kinds[receivers]
    there = np.unique(np.stack([relations, pairs]), axis=1).T.tolist()
    found = [(relation, pair // count, pair % count) for relation, pair in there]
    keys = _edge_types(schema, found)
    for (relation, first, last), key in zip(found, keys, strict=True):
        chosen = np.flatnonzero((relations == relation) & (pairs == first * count + last))
        ends = senders[chosen] - starts[first], receivers[chosen] - starts[last]
        _put(data[key], dataset, origin[chosen], *ends)
        if not dataset.directed and schema.reverses[relation] != relation:
            word = f"rev_{key[1]}"
            while (key[2], word, key[0]) in {*keys, *data.edge_types}:
                word = f"rev_{word}"
            _put(data[key[2], word, key[0]], dataset, origin[chosen], *ends[::-1])
    return data


def _with_own_reverses(dataset: Dataset, schema: Schema) -> tuple[np.ndarray, ...]:
    """Returns ends, relation and place in the list of all edges and of the reverses that have their edges' relation."""
    relations = np.asarray(dataset.relations)
    reverse = [np.zeros(0, np.int64)]
    for relation, backward in enumerate(schema.reverses):
        if relation == backward and not dataset.directed:
            listed = np.flatnonzero(relations == relation)
            *_, own = with_reverses(dataset.senders[listed], dataset.receivers[listed], dataset.num_nodes)
            reverse.append(listed[own[listed.size :]])
    reverse = np.concatenate(reverse)
    origin = np.append(np.arange(relations.size), reverse)
    senders = np.append(dataset.senders, dataset.receivers[reverse])
    receivers = np.append(dataset.receivers, dataset.senders[reverse])
    return senders, receivers, relations[origin], origin


def _edge_types(schema: Schema, found: list[tuple[int, int, int]]) -> list[tuple[str, str, str]]:
    """Returns the edge types of relations from one node type to another.

    Where `from_pyg` named relations `first-word-last`, since a word was there twice, these are the words again.
    """
    kinds = schema.node_types
    keys = [(kinds[first], schema.relations[relation], kinds[last]) for relation, first, last in found]
    words = [name.removeprefix(f"{first}-").removesuffix(f"-{last}") for first, name, last in keys]
    short = [(first, word, last) for (first, _, last), word in zip(keys, words, strict=True)]
    joined = all("-".join(each) == name for each, (_, name, _) in zip(short, keys, strict=True))
    return short if joined and len(set(words)) < len(words) else keys


def _put(store: Any, dataset: Dataset, chosen: np.ndarray, *ends: np.ndarray) -> None:
    store.edge_index = _tensor(np.stack(ends))
    if dataset.edge_weights is not None:
        store.edge_weight = _tensor(dataset.edge_weights[chosen])
    if dataset.edge_features is not None:
        store.edge_attr = _tensor(dataset.edge_features[chosen])


def _graphs(pyg: Any, dataset: GraphDataset) -> list[Any]:
    nodes, edges = (np.cumsum([0, *counts]) for counts in (dataset.n_node, dataset.n_edge))
    graphs = []
    for number in range(dataset.n_node.size):
        mine, its = slice(nodes[number], nodes[number + 1]), slice(edges[number], edges[number + 1])
        graph = pyg.Data(
            x=_tensor(dataset.features[mine]),
            edge_index=_tensor(np.stack([dataset.senders[its], dataset.receivers[its]])),
            y=_tensor(dataset.labels[number : number + 1]),
        )
        if dataset.edge_features is not None:
            graph.edge_attr = _tensor(dataset.edge_features[its])
        graphs.append(graph)
    return graphs
