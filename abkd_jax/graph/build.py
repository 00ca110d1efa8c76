"""Edge list -> `jraph.GraphsTuple`: undirected, coalesced, sorted, padded, and prepared for fast message passing.

Everything here that builds a graph runs on the host in NumPy and checks its input. A prepared graph is still a
`GraphsTuple`; its `edges` field then holds `PreparedEdges`: the original features, the sorted layout with its
transpose, and the coefficients of the symmetric normalisation.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from abkd_jax.graph.access import edge_weights, fits, layout_of, num_edges, num_nodes, raw_edges
from abkd_jax.graph.forms import choose_forms, constants_of, without_sparse_features
from abkd_jax.graph.host import host_graph, whole_graph
from abkd_jax.graph.input_checks import (
    check_graph,
    check_rows,
    checked_edges,
    checked_ends,
    checked_size,
    checked_weights,
)
from abkd_jax.graph.layout import (
    BACKENDS,
    Backend,
    LayoutInfo,
    NormalisedEdges,
    PreparedEdges,
    SparseFeatures,
    build_pattern,
    edge_order,
    graphs_tuple,
    relation_layout,
    symmetric_coefficients,
)
from abkd_jax.graph.partitioned import partition_of
from abkd_jax.graph.precision import widened
from abkd_jax.graph.slot_shapes import EdgeRoom
from abkd_jax.graph.type_blocks import TypedLayout
from abkd_jax.types import Dataset, InputError, Pytree

__all__ = ["from_dataset", "from_edges", "normalise", "normalised_edges", "pad_to_bucket", "prepare"]


def from_edges(
    senders: np.ndarray,
    receivers: np.ndarray,
    num_nodes: int,
    *,
    nodes: Pytree = None,
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
        self_loops: adds the missing self loops, with weight 1. Layers with the symmetric normalisation add their own,
            so this is only for layers that do not.

    Raises:
        InputError: an edge points outside, the lists differ in length or are not integers, a weight is not finite, or
            there is another number of weights than of edges, or of rows than of nodes.

    Examples:
        >>> import numpy as np
        >>> path = from_edges(np.array([0, 1]), np.array([1, 2]), num_nodes=3, undirected=True)
        >>> path.senders.tolist(), path.receivers.tolist()
        ([1, 0, 2, 1], [0, 1, 1, 2])
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
    return graphs_tuple(
        nodes=nodes,
        edges=merged if has_weights else None,
        senders=(keys % max(num_nodes, 1)).astype(np.int32),
        receivers=(keys // max(num_nodes, 1)).astype(np.int32),
        n_node=np.array([num_nodes], np.int32),
        n_edge=np.array([keys.shape[0]], np.int32),
    )


def from_dataset(dataset: Dataset) -> jraph.GraphsTuple:
    """Builds the prepared, undirected graph of a data set, without self loops; sparse features stay sparse.

    The graph is that of `graph.host.whole_graph`: in a heterogeneous data set `nodes` and `edges` are dicts.

    Raises:
        InputError: an edge points outside, or there is another number of feature rows than of nodes.

    Examples:
        >>> from abkd_jax import datasets
        >>> graph = from_dataset(datasets.load("synthetic"))
        >>> num_nodes(graph), graph.nodes.shape, layout_of(graph) is not None
        (300, (300, 32), True)
    """
    graph = host_graph(dataset)
    return prepare(whole_graph(graph), relations=graph.num_relations)


def prepare(
    graph: jraph.GraphsTuple,
    *,
    backend: Backend = "auto",
    buckets: bool = True,
    relations: int | None = None,
    typed: Callable[[np.ndarray, np.ndarray, np.ndarray], TypedLayout] | None = None,
    room: EdgeRoom | None = None,
    platform: str | None = None,
) -> jraph.GraphsTuple:
    """Adds the sorted layout, its transpose and the symmetric normalisation; on the host, once per graph.

    The returned edges are sorted by receiver, then by type, then by sender, and with them every array in `graph.edges`.
    Pad or batch first: a prepared graph that jraph has padded gives the right numbers, but runs as a plain one.

    Args:
        graph: any graph; one that is prepared is returned as it is, whatever the other arguments.
        backend: how sums run, one of `aggregate.BACKENDS`; `"auto"` chooses by the platform of the program.
        buckets: whether rows are grouped by degree too, for the bucketed form and for maxima: about 12 bytes per edge.
            The shapes of buckets depend on the degrees: graphs that share a program (minibatches) go without, and then
            the pytree and its shapes follow from the numbers of nodes, edges and types alone.
        relations: number of edge types, where the graph has them (`edge_relations`); None counts up to the largest.
        typed: `(receivers, senders, relations) -> layout` of a batch whose nodes are sorted by type, see
            `type_blocks.type_layout`.
        room: lays out slots of these shapes, for a minibatch without buckets whose programs are for a TPU; padding
            edges come last. In a batch with `typed` only that has them.
        platform: `"tpu"` adds what the forms of a TPU read, slots and up to some size (`constants.dense_wins`) the
            dense matrix, and makes sparse features of up to 64 MiB dense, for programs that are compiled for one
            elsewhere; None takes that of JAX's default device. Graphs without buckets have what `room` says.

    Raises:
        InputError: an edge points outside, its type is not in `0 .. relations - 1` or its weight no finite number;
            features of nodes or edges have another number of rows, or `n_node` and `n_edge` another sum; the backend
            is unknown or needs buckets.

    Examples:
        >>> import numpy as np
        >>> cycle = from_edges(np.arange(4), (np.arange(4) + 1) % 4, num_nodes=4, nodes=np.eye(4, dtype=np.float32))
        >>> prepared = prepare(cycle)
        >>> prepared.edges.coefficients.tolist()  # 1 / sqrt(2 * 2): every node has one edge and a self loop
        [0.5, 0.5, 0.5, 0.5]
        >>> prepare(prepared) is prepared
        True
    """
    _check_backend(backend, buckets or room is not None)
    if layout_of(graph) is not None:
        return graph
    size, raw = num_nodes(graph), raw_edges(graph)
    (senders, receivers), types, weights, weighted = checked_edges(graph, raw, size, relations)
    order = edge_order(senders, receivers, size, types)
    edges = jax.tree.map(lambda leaf: np.asarray(leaf)[order], raw)
    senders, receivers, weights = senders[order], receivers[order], weights[order]
    forms = choose_forms(backend, platform if buckets else "any", size, senders.shape[0])
    of_nodes = None if room is None or typed is not None else room.nodes
    pattern = build_pattern(receivers, senders, (size, size), buckets=buckets, slots=forms.slots, room=of_nodes)
    coefficients, self_coefficients, scale = symmetric_coefficients(senders, receivers, weights, size)
    by_relation = None
    if types is not None:
        sizes = {"size": size, "relations": types[1], "slots": forms.slots, "room": room}
        make = typed or functools.partial(relation_layout, **sizes)
        by_relation = make(receivers, senders, types[0][order])
    layout = PreparedEdges(
        features=edges,
        pattern=pattern,
        coefficients=coefficients,
        self_coefficients=self_coefficients,
        relations=by_relation,
        info=LayoutInfo(size, senders.shape[0], backend),
        constants=constants_of(pattern, scale, weights if weighted else None, matrix=forms.matrix),
    )
    nodes = without_sparse_features(graph.nodes) if forms.dense_features else graph.nodes
    return graph._replace(nodes=nodes, edges=layout, senders=pattern.cols, receivers=pattern.rows)


def normalise(graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    """Attaches the coefficients of D^-1/2 (A + I) D^-1/2 (Kipf & Welling, arXiv 1609.02907, section 2.1).

    Missing self loops are added as coefficients beside the edge list: the edges stay as they are. Works under `jit`,
    and returns a prepared or already normalised graph unchanged. Degrees and coefficients are float32 or wider.

    Raises:
        InputError: the graph is malformed, see `input_checks.check_graph`.
    """
    if partition_of(graph) is not None:
        return graph
    edges = normalised_edges(graph)
    return graph if edges is graph.edges else graph._replace(edges=edges)


def normalised_edges(graph: jraph.GraphsTuple) -> NormalisedEdges | PreparedEdges:
    """Returns the `edges` of the normalised graph; see `normalise`."""
    edges = graph.edges
    if isinstance(edges, NormalisedEdges | PreparedEdges) and fits(edges.info, graph):
        return edges
    size = num_nodes(graph)
    check_graph(graph, size)
    weights = widened(edge_weights(graph))
    loops = jnp.where(graph.senders == graph.receivers, 1.0, 0.0).astype(weights.dtype)
    self_weights = jnp.ones(size, weights.dtype).at[graph.receivers].min(1.0 - loops)
    degrees = jax.ops.segment_sum(weights, jnp.asarray(graph.receivers), num_segments=size) + self_weights
    scale = jnp.where(degrees > 0, jax.lax.rsqrt(jnp.where(degrees > 0, degrees, 1.0)), 0.0)
    return NormalisedEdges(
        features=raw_edges(graph),
        coefficients=weights * scale[graph.senders] * scale[graph.receivers],
        self_coefficients=self_weights * scale**2,
        info=LayoutInfo(size, num_edges(graph)),
    )


def pad_to_bucket(graph: jraph.GraphsTuple, growth: float = 1.25) -> jraph.GraphsTuple:
    """Pads nodes and edges to the next size of a geometric series, so that few shapes are compiled.

    Args:
        graph: a plain graph (`prepare` comes after padding).
        growth: ratio of consecutive bucket sizes, above 1; the series starts at 16.

    Raises:
        InputError: the graph is already prepared or holds sparse features, or `growth` is not above 1.

    Examples:
        >>> import numpy as np
        >>> graph = from_edges(np.array([0]), np.array([1]), num_nodes=2, nodes=np.ones((2, 1), np.float32))
        >>> padded = pad_to_bucket(graph)
        >>> padded.nodes.shape, padded.senders.shape, padded.n_node.tolist()
        ((16, 1), (16,), [2, 14])
    """
    if isinstance(graph.edges, NormalisedEdges | PreparedEdges) or isinstance(graph.nodes, SparseFeatures):
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


def _check_backend(backend: Backend, slots: bool) -> None:
    if backend not in BACKENDS:
        raise InputError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    if backend == "bucketed" and not slots:
        raise InputError("backend 'bucketed' needs buckets, expected buckets=True")


def _bucket(size: int, growth: float) -> int:
    bucket = 16
    while bucket < size:
        bucket = int(np.ceil(bucket * growth / 8)) * 8
    return bucket
