"""The graph of a model inside an exported program: preprocessing of raw arrays with symbolic sizes.

What `graph.host.host_graph` and `whole_graph` do in NumPy on the host, as JAX that can be exported. Shapes may not
depend on values there: edges that are dropped, duplicates and self loops, go from one more node to itself instead.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from abkd_jax.graph.layout import graphs_tuple
from abkd_jax.inference.bundle import Inputs

__all__ = ["in_range", "node_entries", "raw_graph", "row_normalised"]


class _Edges(NamedTuple):
    """Edges of both directions, sorted by receiver, relation and sender.

    Attributes:
        keys: `[k]` each: receivers, relations where edges have them, senders.
        entries: `[k]`, position of each in the list of edges.
        backward: `[k]`, 1 where it is the reverse of a listed edge, else 0; of equal keys those come last.
        first: `[k]`, whether it is the first of its keys.
    """

    keys: tuple[Int[Array, " k"], ...]
    entries: Int[Array, " k"]
    backward: Int[Array, " k"]
    first: Bool[Array, " k"]


def raw_graph(inputs: Inputs, arrays: Mapping[str, Array]) -> jraph.GraphsTuple:
    """Builds the plain graph that a model reads from the arrays of `arguments.arguments_of`.

    One more graph is the last, as padding is in training: a node without features, connected to itself alone, and not
    at all where graphs are labelled. `graph.node_mask` is False there, and its row of the logits is to be dropped.

    Args:
        inputs: of the model.
        arrays: by name; their sizes may be symbolic.
    """
    nodes = node_entries(inputs, arrays, padding=1)
    if inputs.graph_level:
        return _with_padding(inputs, nodes, arrays)
    size = jax.tree.leaves(nodes)[0].shape[0]
    sorted_edges = _sorted_edges(inputs, arrays)
    receivers, *relations, senders = sorted_edges.keys
    kept = sorted_edges.first & (senders != receivers)
    last = jnp.asarray(size - 1, jnp.int32)
    return graphs_tuple(
        nodes=nodes,
        edges=_edge_entries(arrays, sorted_edges, relations) or None,
        senders=jnp.where(kept, senders, last),
        receivers=jnp.where(kept, receivers, last),
        n_node=jnp.asarray([size - 1, 1], jnp.int32),
        n_edge=jnp.stack([jnp.sum(kept), jnp.sum(~kept)]),
    )


def _with_padding(inputs: Inputs, nodes: Any, arrays: Mapping[str, Array]) -> jraph.GraphsTuple:
    """Returns the graphs of a graph-level model, the last of one node of padding, without an edge."""
    features, senders = arrays.get("edge_features"), arrays["senders"]
    n_node = jnp.concatenate([arrays["n_node"], jnp.ones(1, jnp.int32)])
    graphs = n_node.shape[0]
    graph_of = jnp.repeat(jnp.arange(graphs), n_node, total_repeat_length=jax.tree.leaves(nodes)[0].shape[0])
    return graphs_tuple(
        nodes=nodes,
        edges=features if features is None or inputs.edge_vocabulary else {"features": features},
        senders=senders,
        receivers=arrays["receivers"],
        n_node=n_node,
        n_edge=jax.ops.segment_sum(jnp.ones_like(senders), graph_of[senders], num_segments=graphs),
    )


def node_entries(inputs: Inputs, arrays: Mapping[str, Array], *, padding: int) -> Any:
    """Returns the `nodes` of a graph as `graph.host.whole_graph` has them, and rows of padding at their end.

    Args:
        inputs: of the model.
        arrays: by name; their sizes may be symbolic.
        padding: number of nodes without features to add.
    """
    if "features" in arrays:
        features = row_normalised(arrays["features"]) if inputs.row_normalised else arrays["features"]
    else:  # every node has an embedding
        features = jnp.zeros((0, 0))
    without = inputs.embeddings + padding  # features
    if without:  # not by `jnp.pad`, which ONNX has for constant sizes alone
        features = jnp.concatenate([features, jnp.zeros((without, features.shape[1]), features.dtype)])
    if inputs.schema is None:
        return features
    types = arrays["node_types"]
    rows = np.append(np.arange(inputs.embeddings), np.full(padding, -1)).astype(np.int32)
    featured = jnp.full(types.shape[0] - inputs.embeddings, -1, jnp.int32)
    return {
        "features": features,
        "type": jnp.concatenate([types, jnp.zeros(padding, jnp.int32)]) if padding else types,
        "embedding": jnp.concatenate([featured, jnp.asarray(rows)]),
    }


def row_normalised(features: Float[Array, "n f"]) -> Float[Array, "n f"]:
    """Divides every row by its sum; rows that sum to zero stay as they are. Once more changes nothing.

    Examples:
        >>> row_normalised(jnp.array([[1.0, 3.0], [0.0, 0.0]])).tolist()
        [[0.25, 0.75], [0.0, 0.0]]
    """
    sums = jnp.sum(features, axis=1, keepdims=True)
    return features / jnp.where(sums == 0.0, 1.0, sums)


def in_range(arrays: Mapping[str, Array], limits: Mapping[str, Any]) -> Bool[Array, ""]:
    """Returns whether all edges point inside, and all types exist: a gather would read another row instead.

    Args:
        arrays: of the raw graph, by name.
        limits: for each name a number, which may be symbolic; entries are 0 to one less.
    """
    inside = [
        jnp.all((arrays[name] >= 0) & (arrays[name] < jnp.asarray(limit, jnp.int32))) for name, limit in limits.items()
    ]
    return jnp.all(jnp.stack(inside))


def _sorted_edges(inputs: Inputs, arrays: Mapping[str, Array]) -> _Edges:
    senders, receivers = arrays["senders"], arrays["receivers"]
    entries = jnp.arange(senders.shape[0], dtype=jnp.int32)
    keys, backward = [receivers, senders], jnp.zeros_like(senders)
    if inputs.schema is not None:
        keys.insert(1, arrays["relations"])
    if not inputs.directed:
        reverse = [senders, receivers]
        if inputs.schema is not None:
            reverse.insert(1, jnp.asarray(np.asarray(inputs.schema.reverses, np.int32))[arrays["relations"]])
        keys = [jnp.concatenate(pair) for pair in zip(keys, reverse, strict=True)]
        entries = jnp.concatenate([entries, entries])
        backward = jnp.concatenate([backward, jnp.ones_like(senders)])
    *keys, entries, backward = jax.lax.sort((*keys, entries, backward), num_keys=len(keys), is_stable=True)
    changes = [key[1:] != key[:-1] for key in keys]
    first = jnp.concatenate([jnp.ones(1, bool), jnp.any(jnp.stack(changes), axis=0)])
    return _Edges(tuple(keys), entries, backward, first)


def _edge_entries(arrays: Mapping[str, Array], edges: _Edges, relations: Sequence[Array]) -> dict[str, Array]:
    """Returns the `edges` of the graph: of several equal ones the first has the weight of all, and its own features."""
    entries = {"relation": relations[0]} if relations else {}
    if "edge_weights" in arrays:
        entries["weight"] = _merged_weights(arrays["edge_weights"][edges.entries], edges)
    if "edge_features" in arrays:
        entries["features"] = arrays["edge_features"][edges.entries]
    return entries


def _merged_weights(weights: Float[Array, " k"], edges: _Edges) -> Float[Array, " k"]:
    """Adds up the weights of equal edges, direction by direction, and takes the larger of the two sums."""
    turns = jnp.concatenate([jnp.ones(1, bool), edges.backward[1:] != edges.backward[:-1]])
    part, group = (jnp.cumsum(begins.astype(jnp.int32)) - 1 for begins in (edges.first | turns, edges.first))
    size = weights.shape[0]
    sums = jax.ops.segment_sum(weights, part, num_segments=size)[part]
    return jax.ops.segment_max(sums, group, num_segments=size)[group]
