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

from abkd_jax.graph.host import host_graph, typed_graph
from abkd_jax.graph.input_checks import (
    check_graph,
    check_rows,
    checked_ends,
    checked_relations,
    checked_size,
    checked_weights,
    relations_of,
    weights_of,
)
from abkd_jax.graph.layout import (
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
from abkd_jax.graph.precision import accumulation_dtype, widened
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
        weights: `[e]` or `[e, 1]` edge weights, floats, integers or booleans; those of duplicates are added up. Without
            them `edges` is None (weight 1).
        undirected: adds the reverse of every edge.
        self_loops: adds the self loops that are missing, with weight 1. Layers that normalise symmetrically add
            theirs by themselves, so this is only for layers that do not.

    Raises:
        InputError: an edge points outside, the lists differ in length or are not integers, a weight is not finite, or
            there is another number of weights than of edges, or of rows than of nodes.
    """
    num_nodes = checked_size(num_nodes)
    senders, receivers = checked_ends(senders, receivers, num_nodes)
    check_rows("node", nodes, num_nodes)
    has_weights = weights is not None
    values = checked_weights(weights, senders.shape[0]) if has_weights else np.ones(senders.shape[0])
    values = values.astype(np.float32)
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
        InputError: an edge points outside, its type is not in `0 .. relations - 1` or its weight no finite number;
            features of nodes or edges have another number of rows, or `n_node` and `n_edge` another sum; the backend
            is unknown or needs buckets.
    """
    _check_backend(backend, buckets)
    if layout_of(graph) is not None:
        return graph
    size = num_nodes(graph)
    check_graph(graph, size)
    senders, receivers = checked_ends(graph.senders, graph.receivers, size)
    check_rows("edge", raw_edges(graph), senders.shape[0])
    types = edge_relations(graph)
    types = None if types is None else checked_relations(np.asarray(types), relations)
    order = edge_order(senders, receivers, size, types)
    edges = jax.tree.map(lambda leaf: np.asarray(leaf)[order], raw_edges(graph))
    senders, receivers = senders[order], receivers[order]
    pattern = build_pattern(receivers, senders, (size, size), buckets)
    weights = weights_of(edges, senders.shape[0])
    weights = checked_weights(np.ones(senders.shape[0]) if weights is None else weights, senders.shape[0])
    weights = weights.astype(accumulation_dtype(weights.dtype))
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
    under `jit`, and returns a prepared or already normalised graph unchanged. Degrees and coefficients are float32 or
    wider.

    Raises:
        InputError: the graph is none, see `graph_input.check_graph`.
    """
    if isinstance(graph.edges, PreparedEdges) and _fits(graph.edges.facts, graph):
        return graph
    size = num_nodes(graph)
    check_graph(graph, size)
    weights = widened(edge_weights(graph))
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
    """`[e]` edge types: `graph.edges` where that is one integer an edge, else `graph.edges["relation"]`, else None.

    Raises:
        InputError: that entry is not one integer an edge.
    """
    return relations_of(raw_edges(graph), num_edges(graph))


def edge_weights(graph: jraph.GraphsTuple) -> Float[Array, " e"]:
    """`[e]` edge weights, floats: `graph.edges` or its entry `"weight"`, of one number an edge; ones without either.

    Integers and booleans in `graph.edges["weight"]` are weights too, and so is `[e, 1]`. Where `graph.edges` itself is
    an array, integers are types (`edge_relations`) or categories, and wider ones features: neither are weights.

    Raises:
        InputError: there are weights, but not one number an edge.
    """
    weights = weights_of(raw_edges(graph), num_edges(graph))
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
    """`[n]`, False on padding nodes, as `jraph.get_node_padding_mask`.

    A graph of one part has no padding. Of several, the last one that has nodes is padding, whatever it holds: nothing
    else tells it from a graph. Pad a batch (`pad_to_bucket`, `jraph.pad_with_graphs`) before its mask is asked for.
    """
    size = num_nodes(graph)
    if graph.n_node.shape[0] == 1:
        return jnp.ones(size, bool)
    backwards = jnp.asarray(graph.n_node)[::-1]
    return jnp.arange(size) < size - backwards[jnp.argmax(backwards > 0)]


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
    check_graph(graph, num_nodes(graph))
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


def _fits(facts: LayoutFacts, graph: jraph.GraphsTuple) -> bool:
    return (facts.nodes, facts.edges) == (num_nodes(graph), num_edges(graph))


def _bucket(size: int, growth: float) -> int:
    bucket = 16
    while bucket < size:
        bucket = int(np.ceil(bucket * growth / 8)) * 8
    return bucket
