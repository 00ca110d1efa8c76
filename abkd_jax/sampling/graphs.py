"""Minibatches of whole graphs, for graph-level tasks."""

import functools
import itertools
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import jraph
import numpy as np
from jaxtyping import Int

from abkd_jax.graph import graphs_tuple, prepare
from abkd_jax.graph.forms import for_tpu
from abkd_jax.graph.slot_shapes import EdgeRoom, SlotShape, common_shape, part_counts
from abkd_jax.sampling.batches import TRIALS, Draw, EpochSampler, Minibatch, in_groups
from abkd_jax.sampling.buckets import PartCounts, fitting_shapes
from abkd_jax.sampling.subgraph import as_indices, edges_into
from abkd_jax.types import Batch, GraphDataset, HostOrDevice, InputError, NodeMasks

__all__ = ["all_graphs", "graph_batches"]

SLACK = 1.1  # capacity of a batch over that for graphs of mean size


def graph_batches(
    dataset: GraphDataset,
    batch_size: int,
    *,
    graphs: Int[np.ndarray, " r"] | None = None,
    platform: str | None = None,
) -> EpochSampler:
    """Makes a sampler that visits the graphs in random order, as many per minibatch as fit: all have one shape.

    The capacity is `batch_size` graphs, and the nodes and edges of as many graphs of mean size plus a tenth
    (`jraph.dynamically_batch`), and at least those of the largest graph. `graph.nodes` is `[n, f]` as in the data set,
    `graph.edges` `[e, k]` categories, `{"features": [e, k]}` real numbers or None; padding is the last graph, and empty
    ones before it.

    Args:
        dataset: graph-level data set.
        batch_size: most graphs per minibatch.
        graphs: `[r]` graphs that an epoch visits; None for those of the training set.
        platform: see `node_sampler`.

    Raises:
        InputError: no graphs, indices that are none of the graphs, or a batch size below 1.
    """
    count = dataset.n_node.shape[0]
    chosen = np.flatnonzero(dataset.train_mask) if graphs is None else as_indices("graphs", graphs, count)
    if not isinstance(batch_size, Integral) or batch_size < 1 or chosen.size == 0:
        raise InputError(f"{chosen.size} graphs in batches of {batch_size}, expected at least one in each")
    sizes = dataset.n_node[chosen], dataset.n_edge[chosen]
    capacity = [max(int(np.ceil(SLACK * batch_size * size.mean() / 8)) * 8, int(size.max())) for size in sizes]
    starts = tuple(np.cumsum(size) - size for size in (dataset.n_node, dataset.n_edge))

    degrees = _degrees(dataset, starts[0]) if for_tpu(platform) else None

    def most_parts(degrees: tuple[np.ndarray, np.ndarray], group: list[list[int]]) -> PartCounts:
        """Counts the parts of rows of two matrices, see `EdgeRoom`."""
        nodes = [edges_into(starts[0][graphs], dataset.n_node[graphs]) for graphs in map(np.asarray, group)]
        return np.max([[part_counts(own[some]) for own in degrees] for some in nodes], axis=0)

    shapes: tuple[SlotShape, ...] = ()
    if degrees is not None:
        packs = _packed(dataset, np.random.default_rng(0).permutation(chosen), capacity, batch_size)
        counts = most_parts(degrees, list(itertools.islice(packs, TRIALS)))
        longest = most_parts(degrees, [chosen.tolist()])
        shapes = tuple(map(common_shape, np.maximum(counts, longest > 0)))

    def build(chosen: list[int], shapes: tuple[SlotShape, ...]) -> Minibatch:
        single = (_graph(dataset, starts, graph) for graph in chosen)
        (padded,) = jraph.dynamically_batch(single, capacity[0] + 1, capacity[1], batch_size + 1)
        numbers: Int[HostOrDevice, " g"] = padded.globals
        members = numbers[numbers > 0] - 1
        nodes = edges_into(starts[0][members], dataset.n_node[members]).astype(np.int32)
        graph = padded._replace(
            globals=None,
            n_node=_padding_last(padded.n_node, members.size),
            n_edge=_padding_last(padded.n_edge, members.size),
        )
        room = EdgeRoom(int(dataset.n_edge[members].sum()), shapes) if shapes else None
        return Minibatch(_batch(dataset, graph, members, buckets=False, room=room), nodes, members)

    def groups(rng: np.random.Generator, size: int) -> Iterator[Draw]:
        for group in in_groups(_packed(dataset, rng.permutation(chosen), capacity, batch_size), size):
            fitting = fitting_shapes(shapes, None if degrees is None else most_parts(degrees, group))
            yield functools.partial(list, [functools.partial(build, graphs, fitting) for graphs in group])

    return EpochSampler(groups, None)


def _degrees(dataset: GraphDataset, starts: Int[np.ndarray, " g"]) -> tuple[np.ndarray, np.ndarray]:
    """Counts the edges that enter and that leave each node of the data set."""
    offsets = np.repeat(starts, dataset.n_edge)
    count = dataset.features.shape[0]
    into, out_of = (np.bincount(ends + offsets, minlength=count) for ends in (dataset.receivers, dataset.senders))
    return into, out_of


def _packed(dataset: GraphDataset, order: Int[np.ndarray, " r"], capacity: list[int], most: int) -> Iterator[list[int]]:
    """Yields the graphs of each minibatch: in order, as many as fit, as `jraph.dynamically_batch` takes them."""
    pack, room = [], (*capacity, most)
    for graph, *sizes in zip(
        order.tolist(), dataset.n_node[order].tolist(), dataset.n_edge[order].tolist(), strict=True
    ):
        needed = (*sizes, 1)
        if any(size > left for size, left in zip(needed, room, strict=True)):
            yield pack
            pack, room = [], (*capacity, most)
        pack.append(graph)
        room = tuple(left - size for size, left in zip(needed, room, strict=True))
    yield pack


def all_graphs(dataset: GraphDataset) -> Batch:
    """Returns one batch of all graphs, for evaluation; the last graph, of one node, is padding.

    The masks hold one entry more than those of the data set: `np.append(dataset.val_mask, False)`.
    """
    offsets = np.repeat(np.cumsum(dataset.n_node) - dataset.n_node, dataset.n_edge).astype(np.int32)
    features = dataset.features
    graph = graphs_tuple(
        nodes=np.concatenate([features, np.zeros((1, features.shape[1]), features.dtype)]),
        edges=_edges(dataset, slice(None)),
        senders=dataset.senders + offsets,
        receivers=dataset.receivers + offsets,
        n_node=np.append(dataset.n_node, 1).astype(np.int32),
        n_edge=np.append(dataset.n_edge, 0).astype(np.int32),
    )
    return _batch(dataset, graph, np.arange(dataset.n_node.shape[0], dtype=np.int32), buckets=True)


def _graph(dataset: GraphDataset, starts: tuple[np.ndarray, ...], graph: int) -> jraph.GraphsTuple:
    """Returns one graph, with its index plus 1 as global feature: 0 marks padding."""
    nodes, edges = (
        slice(begin[graph], begin[graph] + size[graph])
        for begin, size in zip(starts, (dataset.n_node, dataset.n_edge), strict=True)
    )
    return graphs_tuple(
        nodes=dataset.features[nodes],
        edges=_edges(dataset, edges),
        senders=dataset.senders[edges],
        receivers=dataset.receivers[edges],
        n_node=dataset.n_node[graph : graph + 1],
        n_edge=dataset.n_edge[graph : graph + 1],
        globals=np.array([graph + 1], np.int32),
    )


def _edges(dataset: GraphDataset, edges: slice) -> Any:
    """Returns categories as they are, and real-valued features in a dict: a column of floats would be edge weights."""
    if dataset.edge_features is None:
        return None
    features = dataset.edge_features[edges]
    return features if dataset.edge_vocabulary else {"features": features}


def _padding_last(sizes: Any, graphs: int) -> Int[np.ndarray, " g"]:
    """Moves the padding nodes to the last graph: jraph puts them first and empty graphs last; see `graph.node_mask`."""
    moved = np.zeros_like(sizes)
    moved[:graphs], moved[-1] = sizes[:graphs], sizes[graphs]
    return moved


def _batch(
    dataset: GraphDataset,
    graph: jraph.GraphsTuple,
    members: Int[np.ndarray, " g"],
    *,
    buckets: bool,
    room: EdgeRoom | None = None,
) -> Batch:
    sizes = np.asarray(graph.n_node)
    labels = np.zeros((sizes.shape[0], *dataset.labels.shape[1:]), dataset.labels.dtype)
    labels[: members.shape[0]] = dataset.labels[members]
    real = np.arange(sizes.shape[0]) < members.shape[0]
    train = np.zeros_like(real)
    train[: members.shape[0]] = dataset.train_mask[members]
    masks = NodeMasks(all=np.repeat(real, sizes), train=np.repeat(train, sizes), graphs=real, train_graphs=train)
    return Batch(prepare(graph, buckets=buckets, room=room), labels, masks)
