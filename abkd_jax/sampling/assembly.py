"""One subgraph to one batch of a given shape: features, labels, masks, padding, layout; rows of stored outputs."""

import functools
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from abkd_jax.graph import graphs_tuple, prepare
from abkd_jax.graph.hops import with_hops
from abkd_jax.graph.host import HostGraph, edge_entries
from abkd_jax.graph.slot_shapes import EdgeRoom
from abkd_jax.graph.type_blocks import TypeBlocks, TypedRelations, type_layout
from abkd_jax.sampling.buckets import Capacity, padded
from abkd_jax.sampling.subgraph import Subgraph, as_indices
from abkd_jax.types import Batch, GNNOutput, InputError, NodeMasks

__all__ = ["gather_outputs", "to_batch"]


def to_batch(
    graph: HostGraph,
    drawn: Subgraph,
    capacity: Capacity,
    *,
    roots_only: bool,
    relations: TypedRelations | None = None,
) -> Batch:
    """Gathers the features of a subgraph, pads and prepares it: a batch of NumPy arrays.

    Its shapes and tree structure follow from graph and capacity alone. Padding is one more graph, as in
    `jraph.pad_with_graphs`: zero rows, and edges from its first node to itself. Nodes without features have zero rows;
    sparse features become dense. `graph.nodes` is the array `[n, f]`, or in a heterogeneous graph a dict of `features`,
    `type` and `embedding` (row of the embedding table, -1 where the node has features); `graph.edges` is None, or a
    dict of what the edges have: `relation`, `weight`, `features`. Padding edges are of relation 0, with zeros.

    Args:
        graph: where the subgraph comes from.
        drawn: at most `capacity.nodes - 1` nodes and `capacity.edges` edges.
        capacity: shape of the batch; with `hops` only where `drawn` has them and the edges no types.
        roots_only: whether losses are computed on the roots alone, or on all nodes; on `target_mask` in both cases.
        relations: of the node types, where the nodes of the subgraph are sorted by type and `capacity` has their sizes.

    Raises:
        InputError: the capacity is too small.
    """
    count, edges = drawn.nodes.shape[0], drawn.senders.shape[0]
    spare = capacity.nodes - count, capacity.edges - edges
    if spare[0] < 1 or spare[1] < 0:
        raise InputError(f"a batch of {count} nodes and {edges} edges in a {capacity}, expected one node to spare")
    entries = edge_entries(graph, drawn.edges)
    plain = graphs_tuple(
        nodes=_node_inputs(graph, drawn.nodes, capacity.nodes),
        edges=entries and {name: padded(values, capacity.edges, 0) for name, values in entries.items()},
        senders=padded(drawn.senders, capacity.edges, count),
        receivers=padded(drawn.receivers, capacity.edges, count),
        n_node=np.array([count, spare[0]], np.int32),
        n_edge=np.array([edges, spare[1]], np.int32),
    )
    chosen = graph.target_mask[drawn.nodes]
    if roots_only:
        chosen &= drawn.is_root
    masks = NodeMasks(
        all=padded(chosen, capacity.nodes, False),
        train=padded(chosen & graph.train_mask[drawn.nodes], capacity.nodes, False),
    )
    typed, room = None, EdgeRoom(edges, capacity.slots) if capacity.slots else None
    if relations is not None and graph.node_types is not None:
        types, blocks = graph.node_types[drawn.nodes], TypeBlocks(capacity.types, relations)
        typed = functools.partial(type_layout, node_types=types, size=capacity.nodes, blocks=blocks, room=room)
    count_of_relations = None if graph.relations is None else graph.num_relations
    prepared = prepare(plain, buckets=False, relations=count_of_relations, typed=typed, room=room)
    if capacity.hops:
        prepared = with_hops(prepared, drawn.hops, capacity.hops, () if room is None else room.hops)
    return Batch(prepared, padded(graph.labels[drawn.nodes], capacity.nodes, -1), masks)


def gather_outputs(
    stored: GNNOutput,
    nodes: Int[np.ndarray, " k"],
    capacity: int,
    *,
    graphs: tuple[Int[np.ndarray, " g"], int] | None = None,
) -> GNNOutput:
    """Returns the rows of a batch out of a model's outputs for the whole graph, zero where the batch is padding.

    Args:
        stored: arrays on the host, memory-mapped or not, of any floating type, which is kept.
        nodes: `[k]` nodes of the batch.
        capacity: rows of the batch.
        graphs: for logits of graphs: the `[g]` graphs of the batch, and its capacity for them.

    Raises:
        InputError: nodes or graphs that are no numbers, have no stored row, or are more than the capacity.

    Examples:
        >>> stored = GNNOutput(logits=np.eye(3, dtype=np.float32), hiddens=())
        >>> gather_outputs(stored, np.array([2, 0]), capacity=3).logits.tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    rows, size = (nodes, capacity) if graphs is None else graphs
    return GNNOutput(
        logits=_stored_rows("logits", stored.logits, rows, size),
        hiddens=tuple(_stored_rows("hidden layers", hidden, nodes, capacity) for hidden in stored.hiddens),
    )


def _stored_rows(what: str, matrix: Any, rows: Any, capacity: int) -> Any:
    rows = as_indices(f"stored {what}: rows", rows, matrix.shape[0])
    if rows.shape[0] > capacity:
        raise InputError(f"stored {what}: {rows.shape[0]} rows in a batch of {capacity}, expected no more")
    return _rows(matrix, rows, capacity)


def _rows(matrix: Any, rows: np.ndarray, capacity: int) -> Any:
    """Returns `[capacity, f]` dense; zero beyond the rows, and for rows that the matrix does not have."""
    count, (height, width) = rows.shape[0], matrix.shape
    if sp.issparse(matrix) or height == 0:
        out = np.zeros((capacity, width), matrix.dtype)
        has = np.flatnonzero(rows < height)
        out[has] = matrix[rows[has]].toarray() if sp.issparse(matrix) else 0
        return out
    out = np.empty((capacity, width), matrix.dtype)  # written once: most of the time of a batch goes into this
    np.take(matrix, rows, axis=0, out=out[:count], mode="clip")
    out[:count][rows >= height] = 0
    out[count:] = 0
    return out


def _node_inputs(graph: HostGraph, nodes: np.ndarray, capacity: int) -> Any:
    features = _rows(graph.features, nodes, capacity)
    if graph.node_types is None:
        return features
    return {
        "features": features,
        "type": padded(graph.node_types[nodes], capacity, 0),
        "embedding": padded(graph.embedding_rows(nodes), capacity, -1),
    }
