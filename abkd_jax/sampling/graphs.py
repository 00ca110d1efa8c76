"""Batches of whole graphs, for graph-level tasks."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import jraph
import numpy as np
from jaxtyping import Int

from abkd_jax.graph.build import prepare
from abkd_jax.sampling.batches import Epochs, Minibatch
from abkd_jax.sampling.subgraph import as_numbers, edges_into
from abkd_jax.types import Batch, GraphDataset, InputError, NodeMasks

__all__ = ["graph_batches", "whole"]

SLACK = 1.1  # room of a batch over that for graphs of mean size


def graph_batches(dataset: GraphDataset, batch_size: int, *, graphs: Int[np.ndarray, " r"] | None = None) -> Epochs:
    """Epochs over the graphs in random order, as many of them in a batch as fit: one shape for all batches.

    A batch has room for `batch_size` graphs and for the nodes and edges of so many of mean size, a tenth more
    (`jraph.dynamically_batch`), and at least for the largest graph. `graph.nodes` is `[n, f]` as in the data set,
    `graph.edges` `[e, k]` categories or None; padding is the last graph, and empty ones before it.

    Args:
        dataset: graph-level data set.
        batch_size: most graphs a batch.
        graphs: `[r]` graphs that an epoch visits; None for those of the training set.

    Raises:
        InputError: no graphs, other numbers than those of graphs, or a batch size below 1.
    """
    count = dataset.n_node.shape[0]
    chosen = np.flatnonzero(dataset.train_mask) if graphs is None else as_numbers("graphs", graphs, count)
    if not isinstance(batch_size, Integral) or batch_size < 1 or chosen.size == 0:
        raise InputError(f"{chosen.size} graphs in batches of {batch_size}, expected at least one in each")
    sizes = dataset.n_node[chosen], dataset.n_edge[chosen]
    room = [max(int(np.ceil(SLACK * batch_size * size.mean() / 8)) * 8, int(size.max())) for size in sizes]
    starts = tuple(np.cumsum(size) - size for size in (dataset.n_node, dataset.n_edge))

    def draw(rng: np.random.Generator) -> Iterator[Minibatch]:
        single = (_graph(dataset, starts, graph) for graph in rng.permutation(chosen).tolist())
        for padded in jraph.dynamically_batch(single, room[0] + 1, room[1], batch_size + 1):
            numbers: Any = padded.globals
            members = numbers[numbers > 0] - 1
            nodes = edges_into(starts[0][members], dataset.n_node[members]).astype(np.int32)
            graph = padded._replace(
                globals=None,
                n_node=_padding_last(padded.n_node, members.size),
                n_edge=_padding_last(padded.n_edge, members.size),
            )
            yield Minibatch(_batch(dataset, graph, members, buckets=False), nodes, members)

    return Epochs(draw, None)


def whole(dataset: GraphDataset) -> Batch:
    """All graphs in one batch, for evaluation; the last graph, of one node, is padding.

    The masks hold one entry more than those of the data set: `np.append(dataset.val_mask, False)`.
    """
    offsets = np.repeat(np.cumsum(dataset.n_node) - dataset.n_node, dataset.n_edge).astype(np.int32)
    features = dataset.features
    fields: dict[str, Any] = {
        "nodes": np.concatenate([features, np.zeros((1, features.shape[1]), features.dtype)]),
        "edges": dataset.edge_features,
        "senders": dataset.senders + offsets,
        "receivers": dataset.receivers + offsets,
        "globals": None,
        "n_node": np.append(dataset.n_node, 1).astype(np.int32),
        "n_edge": np.append(dataset.n_edge, 0).astype(np.int32),
    }
    graph = jraph.GraphsTuple(**fields)
    return _batch(dataset, graph, np.arange(dataset.n_node.shape[0], dtype=np.int32), buckets=True)


def _graph(dataset: GraphDataset, starts: tuple[np.ndarray, ...], graph: int) -> jraph.GraphsTuple:
    """One graph; its number, from 1 on, is its global feature: 0 is left for padding."""
    nodes, edges = (
        slice(begin[graph], begin[graph] + size[graph])
        for begin, size in zip(starts, (dataset.n_node, dataset.n_edge), strict=True)
    )
    fields: dict[str, Any] = {
        "nodes": dataset.features[nodes],
        "edges": None if dataset.edge_features is None else dataset.edge_features[edges],
        "senders": dataset.senders[edges],
        "receivers": dataset.receivers[edges],
        "globals": np.array([graph + 1], np.int32),
        "n_node": dataset.n_node[graph : graph + 1],
        "n_edge": dataset.n_edge[graph : graph + 1],
    }
    return jraph.GraphsTuple(**fields)


def _padding_last(sizes: Any, graphs: int) -> Int[np.ndarray, " g"]:
    """Jraph pads with one graph and then empty ones; here the empty ones come first, see `graph.node_mask`."""
    moved = np.zeros_like(sizes)
    moved[:graphs], moved[-1] = sizes[:graphs], sizes[graphs]
    return moved


def _batch(dataset: GraphDataset, graph: jraph.GraphsTuple, members: Int[np.ndarray, " g"], *, buckets: bool) -> Batch:
    sizes: Any = graph.n_node
    labels: Any = np.zeros((sizes.shape[0], *dataset.labels.shape[1:]), dataset.labels.dtype)
    labels[: members.shape[0]] = dataset.labels[members]
    real: Any = np.arange(sizes.shape[0]) < members.shape[0]
    train: Any = np.zeros_like(real)
    train[: members.shape[0]] = dataset.train_mask[members]
    of_nodes: dict[str, Any] = {"all": np.repeat(real, sizes), "train": np.repeat(train, sizes)}
    return Batch(prepare(graph, buckets=buckets), labels, NodeMasks(**of_nodes, graphs=real, train_graphs=train))
