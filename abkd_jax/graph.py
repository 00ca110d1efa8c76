"""Edge list -> `jraph.GraphsTuple`: undirected, coalesced, sorted, padded, and prepared for fast message passing.

Everything here that builds a graph runs on the host in NumPy and checks its input. A graph that `prepare` has seen is
still a `GraphsTuple`; its `edges` field then holds `PreparedEdges`: what was there before, the sorted layout with its
transpose, and the coefficients of the symmetric normalisation.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from abkd_jax.hostgraph import host_graph, typed_graph
from abkd_jax.layout import (
    BACKENDS,
    HostOrDevice,
    LayoutFacts,
    PreparedEdges,
    RelationLayout,
    SparseFeatures,
    build_pattern,
    edge_order,
    relation_layout,
    sparse_features,
    symmetric_coefficients,
)
from abkd_jax.types import Dataset, InputError

__all__ = [
    "LayoutFacts",
    "PreparedEdges",
    "RelationLayout",
    "SparseFeatures",
    "edge_relations",
    "edge_weights",
    "from_dataset",
    "from_edges",
    "layout_of",
    "node_mask",
    "normalise",
    "num_edges",
    "num_nodes",
    "pad_to_bucket",
    "prepare",
    "sparse_features",
]


MOST_RELATIONS = 2**16  # more are no types but numbers of something else, and pairs with nodes would not fit int32


def from_edges(
    senders: np.ndarray,
    receivers: np.ndarray,
    num_nodes: int,
    *,
    nodes: Any = None,
    weights: np.ndarray | None = None,
    undirected: bool = False,
    self_loops: bool = False,
) -> jraph.GraphsTuple:
    """Builds a graph from an edge list: duplicates are merged, edges sorted by receiver, then by sender.

    Args:
        senders: `[e]` integers in `[0, num_nodes)`.
        receivers: `[e]`, likewise.
        num_nodes: number of nodes `n`.
        nodes: node features, any pytree of `[n, ...]` arrays or `SparseFeatures`.
        weights: `[e]` edge weights; those of duplicates are added up. Without them `edges` is None (weight 1).
        undirected: adds the reverse of every edge.
        self_loops: adds the self loops that are missing, with weight 1. Layers that normalise symmetrically add
            theirs by themselves, so this is only for layers that do not.

    Raises:
        InputError: an edge points outside, the lists differ in length or are not integers, a weight is not finite.
    """
    senders, receivers = _checked_edges(senders, receivers, num_nodes)
    weights = _checked_weights(weights, senders.shape[0])
    has_weights = weights is not None
    values = weights if has_weights else np.ones(senders.shape[0], np.float32)
    if undirected:
        loops = senders == receivers  # a self loop is its own reverse
        rows = np.concatenate([receivers, senders[~loops]])
        cols = np.concatenate([senders, receivers[~loops]])
        values = np.concatenate([values, values[~loops]])
    else:
        rows, cols = receivers, senders
    if self_loops:
        missing = np.setdiff1d(np.arange(num_nodes), rows[rows == cols])
        rows, cols = np.concatenate([rows, missing]), np.concatenate([cols, missing])
        values = np.concatenate([values, np.ones(missing.shape[0], np.float32)])
    keys, inverse = np.unique(rows.astype(np.int64) * num_nodes + cols, return_inverse=True)
    merged = np.bincount(inverse, weights=values, minlength=keys.shape[0]).astype(np.float32)
    fields: dict[str, Any] = {
        "nodes": nodes,
        "edges": merged if has_weights else None,
        "senders": (keys % max(num_nodes, 1)).astype(np.int32),
        "receivers": (keys // max(num_nodes, 1)).astype(np.int32),
        "n_node": np.array([num_nodes], np.int32),
        "n_edge": np.array([keys.shape[0]], np.int32),
    }
    return jraph.GraphsTuple(globals=None, **fields)


def from_dataset(dataset: Dataset) -> jraph.GraphsTuple:
    """The prepared, undirected graph of a data set, without self loops; sparse features stay sparse.

    Of a typed data set the graph is that of `hostgraph.typed_graph`.
    """
    if dataset.schema is not None:
        return prepare(typed_graph(host_graph(dataset)), relations=dataset.schema.num_relations)
    features = dataset.features
    nodes = np.asarray(features, np.float32) if isinstance(features, np.ndarray) else sparse_features(features)
    keep = dataset.senders != dataset.receivers
    plain = from_edges(dataset.senders[keep], dataset.receivers[keep], dataset.num_nodes, nodes=nodes, undirected=True)
    return prepare(plain)


def prepare(
    graph: jraph.GraphsTuple, *, backend: str = "auto", buckets: bool = True, relations: int | None = None
) -> jraph.GraphsTuple:
    """Adds the sorted layout, its transpose and the symmetric normalisation; on the host, once a graph.

    The edges come back sorted by receiver, then by type, then by sender, and with them every array in `graph.edges`.
    Pad or batch first: a prepared graph that jraph has padded still gives the right numbers, but as a plain one does.

    Args:
        graph: any graph; one that is prepared comes back as it is, whatever the other arguments.
        backend: how sums run, one of `aggregate.BACKENDS`; `"auto"` chooses by the platform of the program.
        buckets: whether rows are grouped by degree too, for the bucketed form and for maxima: about 12 bytes an edge.
            Their shapes follow the degrees: graphs that share a program (minibatches) go without, and then the tree
            and its shapes follow from the numbers of nodes, edges and types alone.
        relations: number of edge types, where the graph has them (`edge_relations`); None counts up to the largest.

    Raises:
        InputError: an edge points outside, its type is not in `0 .. relations - 1`, or the backend is unknown or needs
            buckets.
    """
    _check_backend(backend, buckets)
    if layout_of(graph) is not None:
        return graph
    size = num_nodes(graph)
    senders, receivers = _checked_edges(graph.senders, graph.receivers, size)
    types = edge_relations(graph)
    types = None if types is None else _checked_relations(np.asarray(types), relations)
    order = edge_order(senders, receivers, size, types)
    edges = jax.tree.map(lambda leaf: np.asarray(leaf)[order], raw_edges(graph))
    senders, receivers = senders[order], receivers[order]
    pattern = build_pattern(receivers, senders, (size, size), buckets)
    weights = _weights_of(edges)
    weights = _in_jax_precision(np.ones(senders.shape[0]) if weights is None else weights)
    coefficients, self_coefficients = symmetric_coefficients(senders, receivers, weights, size)
    layout = PreparedEdges(
        features=edges,
        pattern=pattern,
        coefficients=coefficients,
        self_coefficients=self_coefficients,
        relations=None
        if types is None
        else relation_layout(receivers, senders, types[0][order], size, types[1], buckets),
        facts=LayoutFacts(size, senders.shape[0], backend),
    )
    return graph._replace(edges=layout, senders=pattern.cols, receivers=pattern.rows)


def layout_of(graph: jraph.GraphsTuple) -> Any:
    """The `PreparedEdges` of a prepared graph; None for a plain one, and for one that was padded or batched since."""
    edges = graph.edges
    if not isinstance(edges, PreparedEdges) or edges.pattern is None or not _fits(edges.facts, graph):
        return None
    return edges


def normalise(graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    """Attaches the coefficients of D^-1/2 (A + I) D^-1/2 (Kipf & Welling, arXiv 1609.02907, section 2.1).

    Self loops are added where the graph has none, as numbers beside the edge list: the edges stay as they are. Works
    under `jit`, and returns a prepared or already normalised graph unchanged.
    """
    if isinstance(graph.edges, PreparedEdges) and _fits(graph.edges.facts, graph):
        return graph
    size = num_nodes(graph)
    weights = edge_weights(graph)
    loops = jnp.where(graph.senders == graph.receivers, 1.0, 0.0).astype(weights.dtype)
    self_weights = 1.0 - jax.ops.segment_max(
        jnp.concatenate([loops, jnp.zeros(size, weights.dtype)]),
        jnp.concatenate([jnp.asarray(graph.receivers), jnp.arange(size, dtype=jnp.int32)]),
        num_segments=size,
    )
    degrees = jax.ops.segment_sum(weights, jnp.asarray(graph.receivers), num_segments=size) + self_weights
    scale = jnp.where(degrees > 0, jax.lax.rsqrt(jnp.where(degrees > 0, degrees, 1.0)), 0.0)
    prepared = PreparedEdges(
        features=raw_edges(graph),
        pattern=None,
        coefficients=weights * scale[graph.senders] * scale[graph.receivers],
        self_coefficients=self_weights * scale**2,
        relations=None,
        facts=LayoutFacts(size, num_edges(graph)),
    )
    return graph._replace(edges=prepared)


def raw_edges(graph: jraph.GraphsTuple) -> Any:
    """What `graph.edges` held before the graph was normalised or prepared."""
    return graph.edges.features if isinstance(graph.edges, PreparedEdges) else graph.edges


def edge_relations(graph: jraph.GraphsTuple) -> Int[HostOrDevice, " e"] | None:
    """`[e]` edge types: `graph.edges` where that is one integer an edge, else `graph.edges["relation"]`, else None."""
    edges = raw_edges(graph)
    edges = edges.get("relation") if isinstance(edges, dict) else edges
    return edges if _one_number_an_edge(edges, jnp.integer) else None


def edge_weights(graph: jraph.GraphsTuple) -> Float[Array, " e"]:
    """`[e]` edge weights: `graph.edges` where that is one float an edge, else `graph.edges["weight"]`, else ones."""
    weights = _weights_of(raw_edges(graph))
    return jnp.ones(num_edges(graph)) if weights is None else jnp.asarray(weights)


def num_nodes(graph: jraph.GraphsTuple) -> int:
    """The static number of nodes, padding included: the length of the node features, else the sum of `n_node`.

    A prepared graph without node features remembers it, so that its `n_node` may be traced.
    """
    nodes: Any = graph.nodes
    features = nodes.get("features") if isinstance(nodes, dict) else nodes
    if isinstance(features, SparseFeatures):
        return features.shape[0]
    leaves = jax.tree.leaves(graph.nodes)
    if leaves:
        return leaves[0].shape[0]
    if isinstance(graph.edges, PreparedEdges) and graph.edges.facts.edges == num_edges(graph):
        return graph.edges.facts.nodes
    return int(np.sum(graph.n_node))


def num_edges(graph: jraph.GraphsTuple) -> int:
    """The static number of edges, padding included."""
    senders: Any = graph.senders
    return senders.shape[0]


def node_mask(graph: jraph.GraphsTuple) -> Bool[Array, " n"]:
    """`[n]`, False on padding nodes. A graph of one part has none; otherwise the last part is padding, as in jraph."""
    if graph.n_node.shape[0] == 1:
        return jnp.ones(num_nodes(graph), bool)
    return jnp.arange(num_nodes(graph)) < jnp.sum(jnp.asarray(graph.n_node[:-1]))


def pad_to_bucket(graph: jraph.GraphsTuple, growth: float = 1.25) -> jraph.GraphsTuple:
    """Pads nodes and edges to the next size of a geometric series, so that few shapes are ever compiled.

    Args:
        graph: a plain graph (`prepare` comes after padding).
        growth: ratio of neighbouring bucket sizes, above 1; the series starts at 16.

    Raises:
        InputError: the graph is already prepared or holds sparse features, or `growth` is not above 1.
    """
    if isinstance(graph.edges, PreparedEdges) or isinstance(graph.nodes, SparseFeatures):
        raise InputError("pad_to_bucket takes a plain GraphsTuple with dense nodes: pad first, then prepare")
    if not 1 < growth < np.inf:
        raise InputError(f"growth of the bucket sizes is {growth}, expected a finite number above 1")
    return jraph.pad_with_graphs(
        graph,
        n_node=_bucket(num_nodes(graph) + 1, growth),  # jraph wants one spare node
        n_edge=_bucket(int(np.sum(graph.n_edge)), growth),
        n_graph=graph.n_node.shape[0] + 1,
    )


def _check_backend(backend: str, buckets: bool) -> None:
    if backend not in BACKENDS:
        raise InputError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    if backend == "bucketed" and not buckets:
        raise InputError("backend 'bucketed' needs buckets, expected buckets=True")


def _weights_of(edges: Any) -> HostOrDevice | None:
    edges = edges.get("weight") if isinstance(edges, dict) else edges
    return edges if _one_number_an_edge(edges, jnp.floating) else None


def _in_jax_precision(weights: np.ndarray) -> np.ndarray:
    return weights.astype(jax.dtypes.canonicalize_dtype(weights.dtype), copy=False)


def _one_number_an_edge(edges: Any, kind: Any) -> bool:
    return isinstance(edges, (np.ndarray, jax.Array)) and edges.ndim == 1 and jnp.issubdtype(edges.dtype, kind)


def _fits(facts: LayoutFacts, graph: jraph.GraphsTuple) -> bool:
    return (facts.nodes, facts.edges) == (num_nodes(graph), num_edges(graph))


def _checked_relations(types: np.ndarray, relations: int | None) -> tuple[np.ndarray, int]:
    relations = int(types.max(initial=0)) + 1 if relations is None else relations
    if not 1 <= relations <= MOST_RELATIONS:
        raise InputError(f"{relations} relations, expected 1 to {MOST_RELATIONS}: integers in `edges` are edge types")
    outside = np.flatnonzero((types < 0) | (types >= relations))
    if outside.size:
        raise InputError(f"edge {outside[0]}: its type is {types[outside[0]]}, expected 0 to {relations - 1}")
    return types.astype(np.int32), relations


def _bucket(size: int, growth: float) -> int:
    bucket = 16
    while bucket < size:
        bucket = int(np.ceil(bucket * growth / 8)) * 8
    return bucket


def _checked_edges(senders: Any, receivers: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    ends = np.asarray(senders), np.asarray(receivers)
    if ends[0].shape != ends[1].shape or ends[0].ndim != 1:
        raise InputError(f"senders {ends[0].shape} and receivers {ends[1].shape} must be two lists of one length")
    for name, nodes in zip(("senders", "receivers"), ends, strict=True):
        if nodes.size and not np.issubdtype(nodes.dtype, np.integer):
            raise InputError(f"{name} hold {nodes.dtype}, expected integers")
        outside = np.flatnonzero((nodes < 0) | (nodes >= size))
        if outside.size:
            raise InputError(
                f"edge {outside[0]}: {name[:-1]} {nodes[outside[0]]} is outside a graph of {size} nodes, "
                f"expected 0 to {size - 1}"
            )
    return ends[0].astype(np.int32), ends[1].astype(np.int32)


def _checked_weights(weights: np.ndarray | None, num_edges: int) -> np.ndarray | None:
    if weights is None:
        return None
    weights = np.asarray(weights, np.float32)
    if weights.shape != (num_edges,):
        raise InputError(f"edge weights have shape {weights.shape}, expected ({num_edges},): one weight an edge")
    if not np.isfinite(weights).all():
        raise InputError("edge weights hold NaN or infinite values, expected finite numbers")
    return weights
