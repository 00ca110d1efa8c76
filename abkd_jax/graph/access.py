"""Typed access to the parts of a `GraphsTuple`, plain, normalised or prepared."""

from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Shaped

from abkd_jax.graph.input_checks import relations_of, weights_of
from abkd_jax.graph.layout import LayoutInfo, NormalisedEdges, PreparedEdges, SparseFeatures
from abkd_jax.graph.partitioned import PartitionedEdges
from abkd_jax.types import HostOrDevice, InputError, Pytree

__all__ = [
    "edge_features",
    "edge_relations",
    "edge_weights",
    "fits",
    "layout_of",
    "node_entry",
    "node_features",
    "node_mask",
    "num_edges",
    "num_nodes",
    "raw_edges",
    "with_raw_edges",
]

_LaidOut = NormalisedEdges | PreparedEdges | PartitionedEdges


def layout_of(graph: jraph.GraphsTuple) -> PreparedEdges | None:
    """Returns the layout of a prepared graph; None for a plain one, and for one that was padded or batched since."""
    edges = graph.edges
    return edges if isinstance(edges, PreparedEdges) and fits(edges.info, graph) else None


def fits(info: LayoutInfo, graph: jraph.GraphsTuple) -> bool:
    """Returns whether a layout was made for a graph of these sizes."""
    return (info.nodes, info.edges) == (num_nodes(graph), num_edges(graph))


def node_features(graph: jraph.GraphsTuple, dtype: DTypeLike | None = None) -> Shaped[Array, "n f"] | SparseFeatures:
    """Returns the node features: `graph.nodes`, or `graph.nodes["features"]` where that is a dict.

    Args:
        graph: plain or prepared.
        dtype: type of dense features; None keeps theirs. Sparse ones stay as they are.
    """
    features = _node_dict(graph)["features"]
    return features if isinstance(features, SparseFeatures) else jnp.asarray(features, dtype)


def node_entry(graph: jraph.GraphsTuple, name: str) -> Shaped[Array, "n ..."] | None:
    """Returns an entry of `graph.nodes` beside the features, such as `"type"`; None where there is none."""
    entry = _node_dict(graph).get(name)
    return None if entry is None else jnp.asarray(entry)


def _node_dict(graph: jraph.GraphsTuple) -> dict[str, Any]:
    nodes: Pytree = graph.nodes
    return nodes if isinstance(nodes, dict) else {"features": nodes}


def raw_edges(graph: jraph.GraphsTuple) -> Any:
    """Returns the `edges` that the graph had before it was normalised or prepared, in the order of `graph.senders`."""
    edges = graph.edges
    return edges.features if isinstance(edges, _LaidOut) else edges


def with_raw_edges(graph: jraph.GraphsTuple, edges: Any) -> jraph.GraphsTuple:
    """Returns the graph with other `raw_edges`, in the order of `graph.senders`; its layout stays."""
    held = graph.edges
    return graph._replace(edges=held._replace(features=edges) if isinstance(held, _LaidOut) else edges)


def edge_relations(graph: jraph.GraphsTuple) -> Int[HostOrDevice, " e"] | None:
    """Returns `[e]` edge types: `graph.edges` where it is one integer per edge, else its entry `"relation"`, else None.

    Raises:
        InputError: that entry is not one integer per edge.
    """
    return relations_of(raw_edges(graph), num_edges(graph))


def edge_features(graph: jraph.GraphsTuple, width: int) -> Float[Array, "e {width}"]:
    """Returns `[e, width]` real-valued features of edges: `graph.edges`, or its entry `"features"` where it is a dict.

    Raises:
        InputError: there are none, or others.

    Examples:
        >>> import numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> path = from_edges(np.array([0, 1]), np.array([1, 2]), num_nodes=3)
        >>> edge_features(path._replace(edges={"features": np.ones((2, 4), np.float32)}), 4).shape
        (2, 4)
    """
    edges = raw_edges(graph)
    edges = edges.get("features") if isinstance(edges, dict) else edges
    if edges is None or edges.shape[1:] != (width,) or not jnp.issubdtype(edges.dtype, jnp.floating):
        given = "missing" if edges is None else f"{edges.dtype} {edges.shape}"
        raise InputError(f"features of edges are {given}, expected {width} real numbers in a row")
    return jnp.asarray(edges)


def edge_weights(graph: jraph.GraphsTuple) -> Float[Array, " e"]:
    """Returns `[e]` edge weights, floats: `graph.edges` or its entry `"weight"`, one per edge; ones without either.

    Integers and booleans in `graph.edges["weight"]` are weights too, and so is `[e, 1]`. Where `graph.edges` itself is
    an array, integers are types (`edge_relations`) or categories, and wider arrays features: neither are weights.

    Raises:
        InputError: there are weights, but not one number per edge.

    Examples:
        >>> import numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> graph = from_edges(np.array([0, 0, 1]), np.array([1, 1, 0]), num_nodes=2, weights=np.array([1.0, 2.0, 5.0]))
        >>> edge_weights(graph).tolist()
        [5.0, 3.0]
    """
    weights = weights_of(raw_edges(graph), num_edges(graph))
    return jnp.ones(num_edges(graph)) if weights is None else jnp.asarray(weights)


def num_nodes(graph: jraph.GraphsTuple) -> int:
    """Returns the static number of nodes, padding included: the length of the node features, else the sum of `n_node`.

    A normalised or prepared graph without node features stores it, so that its `n_node` may be traced.
    """
    features = _node_dict(graph).get("features")
    if isinstance(features, SparseFeatures):
        return features.shape[0]
    leaves = jax.tree.leaves(graph.nodes)
    if leaves:
        return leaves[0].shape[0]
    edges = graph.edges
    if isinstance(edges, _LaidOut) and edges.info.edges == num_edges(graph):
        return edges.info.nodes
    return int(np.sum(graph.n_node))


def num_edges(graph: jraph.GraphsTuple) -> int:
    """Returns the static number of edges, padding included."""
    senders: Int[HostOrDevice, " e"] = graph.senders
    return senders.shape[0]


def node_mask(graph: jraph.GraphsTuple) -> Bool[Array, " n"]:
    """Returns `[n]`, False on padding nodes, as `jraph.get_node_padding_mask`.

    A single graph has no padding. In a batch the last graph that has nodes is padding, whatever it holds: nothing else
    distinguishes it. Pad a batch (`pad_to_bucket`, `jraph.pad_with_graphs`) before its mask is computed.

    Examples:
        >>> import numpy as np
        >>> from abkd_jax.graph import from_edges, pad_to_bucket
        >>> graph = from_edges(np.array([0]), np.array([1]), num_nodes=2, nodes=np.ones((2, 1), np.float32))
        >>> int(node_mask(graph).sum()), int(node_mask(pad_to_bucket(graph)).sum())
        (2, 2)
    """
    size = num_nodes(graph)
    if graph.n_node.shape[0] == 1:
        return jnp.ones(size, bool)
    backwards = jnp.asarray(graph.n_node)[::-1]
    return jnp.arange(size) < size - backwards[jnp.argmax(backwards > 0)]
