"""Checks of the input of a graph: ends of edges, their weights and types, rows of node features.

Shapes and types of arrays are static, and are checked under `jit` too; values are checked outside of it alone.
"""

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jax.core import Tracer

from abkd_jax.graph.layout import SparseFeatures
from abkd_jax.graph.precision import accumulation_dtype
from abkd_jax.types import HostOrDevice, InputError

__all__ = [
    "MOST_RELATIONS",
    "CheckedEdges",
    "check_graph",
    "check_rows",
    "checked_edges",
    "checked_ends",
    "checked_relations",
    "checked_size",
    "checked_weights",
    "host_values",
    "relations_of",
    "weights_of",
]

MOST_RELATIONS = 2**16  # more are hardly types, and (node, type) pairs would not fit int32


class CheckedEdges(NamedTuple):
    """Edges of a graph on the host, as a layout is made of them.

    Attributes:
        ends: senders and receivers, `[e]` int32 each.
        types: `[e]` int32 and their number; None without types.
        weights: `[e]` float32 or wider.
        weighted: whether the graph has weights; else all are 1.
    """

    ends: tuple[np.ndarray, np.ndarray]
    types: tuple[np.ndarray, int] | None
    weights: np.ndarray
    weighted: bool


def checked_edges(graph: jraph.GraphsTuple, edges: Any, nodes: int, relations: int | None) -> CheckedEdges:
    """Checks all that a layout reads of a graph, and returns its edges.

    Args:
        graph: see `check_graph`, as for `nodes`.
        edges: its `access.raw_edges`.
        nodes: number of nodes.
        relations: see `checked_relations`.

    Raises:
        InputError: the graph is malformed, or an end, a type, a weight or a number of rows is wrong.
    """
    check_graph(graph, nodes)
    ends = checked_ends(graph.senders, graph.receivers, nodes)
    count = ends[0].shape[0]
    check_rows("edge", edges, count)
    types, given = relations_of(edges, count), weights_of(edges, count)
    types = None if types is None else checked_relations(np.asarray(types), relations)
    weights = checked_weights(np.ones(count) if given is None else given, count)
    return CheckedEdges(ends, types, weights.astype(accumulation_dtype(weights.dtype)), given is not None)


def check_graph(graph: jraph.GraphsTuple, nodes: int) -> None:
    """Checks that a graph is well formed: node features of one length, two lists of edge ends, counts that match them.

    Args:
        graph: plain.
        nodes: number of nodes, padding included.

    Raises:
        InputError: it is malformed.
    """
    check_rows("node", graph.nodes, nodes)
    _check_total("n_node", graph.n_node, nodes)
    senders, _ = _check_ends(graph.senders, graph.receivers, nodes)
    _check_total("n_edge", graph.n_edge, senders.shape[0])


def check_rows(noun: str, features: Any, size: int) -> None:
    """Checks that features, a pytree of arrays and `SparseFeatures`, have one row per node or edge.

    Args:
        noun: `"node"` or `"edge"`.
        features: arrays `[size, ...]`.
        size: number of nodes or edges.

    Raises:
        InputError: an entry has another number of rows, or is no array.

    Examples:
        >>> import numpy as np
        >>> check_rows("node", {"features": np.ones((2, 5))}, 3)
        Traceback (most recent call last):
        abkd_jax.types.InputError: node features['features']: 2 rows, expected 3, one a node
    """
    article = "an" if noun == "edge" else "a"
    leaves = jax.tree_util.tree_leaves_with_path(features, is_leaf=lambda leaf: isinstance(leaf, SparseFeatures))
    for path, leaf in leaves:
        name, shape = f"{noun} features{jax.tree_util.keystr(path)}", getattr(leaf, "shape", None)
        if not shape:
            raise InputError(f"{name}: {type(leaf).__name__}, expected an array with one row {article} {noun}")
        if shape[0] != size:
            raise InputError(f"{name}: {shape[0]} rows, expected {size}, one {article} {noun}")


def host_values(values: Any) -> np.ndarray | None:
    """Returns an array on the host; None where its values are unknown: of a tracer, or held by other processes."""
    if isinstance(values, Tracer) or not getattr(values, "is_fully_addressable", True):
        return None
    return np.asarray(values)


def checked_size(size: Any) -> int:
    """Checks and returns a number of nodes.

    Raises:
        InputError: it is no whole number, or below 0.
    """
    try:
        count = operator.index(size)
    except TypeError:
        raise InputError(f"number of nodes is {size!r}, expected a whole number") from None
    if count < 0:
        raise InputError(f"number of nodes is {count}, expected at least 0")
    return count


def checked_ends(senders: Any, receivers: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Checks and returns the two ends of the edges, `[e]` int32 each.

    Raises:
        InputError: they are not two lists of integers of one length, or an edge points outside the `size` nodes.
    """
    ends = _check_ends(np.asarray(senders), np.asarray(receivers), size)
    return ends[0].astype(np.int32, copy=False), ends[1].astype(np.int32, copy=False)


def checked_weights(weights: Any, edges: int) -> np.ndarray:
    """Checks and returns edge weights, `[e]` floats, from `[e]` or `[e, 1]` floats, integers or booleans.

    Raises:
        InputError: another shape or type, or a weight that is not finite.
    """
    weights = np.asarray(_as_weights("edge weights", np.asarray(weights), edges))
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
        weights = weights.astype(jax.dtypes.canonicalize_dtype(weights.dtype), copy=False)
    infinite = np.flatnonzero(~np.isfinite(weights))
    if infinite.size:
        raise InputError(
            f"edge weights hold NaN or infinite values, expected finite numbers: edge {infinite[0]} has "
            f"{weights[infinite[0]]}"
        )
    return weights


def checked_relations(types: np.ndarray, relations: int | None) -> tuple[np.ndarray, int]:
    """Checks and returns `[e]` int32 edge types and their number; None counts up to the largest.

    Raises:
        InputError: a type is outside, or their number is not 1 to `MOST_RELATIONS`.
    """
    relations = int(types.max(initial=0)) + 1 if relations is None else relations
    if not 1 <= relations <= MOST_RELATIONS:
        raise InputError(f"{relations} relations, expected 1 to {MOST_RELATIONS}: integers in `edges` are edge types")
    outside = np.flatnonzero((types < 0) | (types >= relations))
    if outside.size:
        raise InputError(f"edge {outside[0]}: its type is {types[outside[0]]}, expected 0 to {relations - 1}")
    return types.astype(np.int32), relations


def weights_of(edges: Any, count: int) -> HostOrDevice | None:
    """Reads `[e]` edge weights, floats: the entry `"weight"` of a dict, or one float or boolean per edge; else None.

    Raises:
        InputError: there are weights, but not one number for each of the `count` edges.
    """
    if isinstance(edges, dict):
        weights = edges.get("weight")
        return None if weights is None else _as_weights("edges['weight']", weights, count)
    if not _is_one_per_edge(edges) or jnp.issubdtype(edges.dtype, jnp.integer):
        return None
    return _as_weights("edges", edges, count)


def relations_of(edges: Any, count: int) -> HostOrDevice | None:
    """Reads `[e]` edge types, integers: the entry `"relation"` of a dict, or one integer per edge `[e]`; else None.

    Raises:
        InputError: there are types, but not one integer for each of the `count` edges.
    """
    if isinstance(edges, dict):
        types, name = edges.get("relation"), "edges['relation']"
        if types is None:
            return None
    else:
        types, name = edges, "edges"
        if not _is_one_per_edge(edges) or edges.ndim > 1 or not jnp.issubdtype(edges.dtype, jnp.integer):
            return None
    return _one_per_edge(name, types, count, (jnp.integer,), "type")


def _as_weights(name: str, weights: Any, count: int) -> HostOrDevice:
    weights = _one_per_edge(name, weights, count, (jnp.floating, jnp.integer, jnp.bool_), "weight")
    return weights if jnp.issubdtype(weights.dtype, jnp.floating) else weights.astype(np.float32)


def _one_per_edge(name: str, values: Any, count: int, dtypes: tuple[Any, ...], noun: str) -> HostOrDevice:
    """Checks an array `[e]` or `[e, 1]` and returns it as `[e]`."""
    if not isinstance(values, np.ndarray | jax.Array):
        raise InputError(f"{name} are a {type(values).__name__}, expected an array ({count},): one {noun} an edge")
    if values.shape not in ((count,), (count, 1)):
        raise InputError(f"{name} have shape {values.shape}, expected ({count},): one {noun} an edge")
    if not any(jnp.issubdtype(values.dtype, dtype) for dtype in dtypes):
        raise InputError(f"{name} hold {values.dtype}, expected {'numbers' if noun == 'weight' else 'integers'}")
    return values.reshape(count)


def _is_one_per_edge(edges: Any) -> bool:
    return isinstance(edges, np.ndarray | jax.Array) and edges.shape[1:] in ((), (1,)) and edges.ndim > 0


def _check_ends(senders: Any, receivers: Any, size: int) -> tuple[Any, Any]:
    ends = {"senders": senders, "receivers": receivers}
    shapes = [getattr(nodes, "shape", None) for nodes in ends.values()]
    if shapes[0] is None or shapes[0] != shapes[1] or len(shapes[0]) != 1:
        raise InputError(f"senders {shapes[0]} and receivers {shapes[1]} must be two lists of one length")
    for name, nodes in ends.items():
        if nodes.size and not jnp.issubdtype(nodes.dtype, jnp.integer):
            raise InputError(f"{name} hold {nodes.dtype}, expected integers")
        known = host_values(nodes)
        if known is not None and known.size and not (known.min() >= 0 and known.max() < size):
            edge = np.flatnonzero((known < 0) | (known >= size))[0]
            raise InputError(
                f"edge {edge}: {name[:-1]} {known[edge]} is outside a graph of {size} nodes, expected 0 to {size - 1}"
            )
    return senders, receivers


def _check_total(name: str, counts: Any, total: int) -> None:
    known = host_values(counts)
    if known is not None and known.sum() != total:
        rows = "nodes" if name == "n_node" else "edges"
        raise InputError(f"{name} adds up to {known.sum()}, expected {total}, the number of {rows}")
