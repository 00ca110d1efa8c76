"""Layout of minibatches whose nodes are sorted by type, so that layers skip relations that a type does not have.

`layout.RelationLayout` has a row for every pair of a node and a relation: on ogbn-mag 7 for each node, of which edges
of 1 to 3 relations enter. Here every node type has the pairs of its own relations alone. Real nodes of a type are
contiguous; where they begin differs between batches, how many there may be does not.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from abkd_jax.graph.constants import LaidOut
from abkd_jax.graph.host import HostGraph
from abkd_jax.graph.layout import CSR, build_pattern
from abkd_jax.graph.slot_shapes import EdgeRoom, Room
from abkd_jax.graph.slots import in_slots
from abkd_jax.types import HostOrDevice

__all__ = ["ConstantMatrix", "TypeBlocks", "TypedLayout", "TypedRelations", "type_layout", "typed_relations"]

EDGES_AT_ONCE = 2**22  # edges whose types are looked up together
WORTH = 0.6  # share of all pairs of nodes and relations: where types have more of them, nodes are not sorted


class TypedRelations(NamedTuple):
    """Relations of each node type, in the whole graph.

    Attributes:
        entering: for each type those of the edges that enter its nodes, ascending.
        leaving: those of the edges that leave them.
    """

    entering: tuple[tuple[int, ...], ...]
    leaving: tuple[tuple[int, ...], ...]


@jax.tree_util.register_static
@dataclass(frozen=True)
class TypeBlocks:
    """Static sizes of a batch: part of the pytree's structure.

    Attributes:
        capacities: rows of each node type.
        relations: of each node type.
    """

    capacities: tuple[int, ...]
    relations: TypedRelations


class ConstantMatrix(NamedTuple):
    """A sparse matrix that no gradient goes into.

    Attributes:
        pattern: of its entries.
        weights: its values.
    """

    pattern: CSR
    weights: LaidOut


class TypedLayout(NamedTuple):
    """Typed edges of a batch as matrices between nodes and the pairs of a node and a relation of its type.

    The pairs of a type follow those of the types before it, and are numbered `row * relations + position`, with the row
    of a node its distance from `starts`. One more pair, the last, is that of padding edges. Values are one over the
    number of edges of the same relation at the same receiver.

    Attributes:
        rows: pairs of receiver and entering relation as rows, senders as columns.
        columns: receivers as rows, pairs of sender and leaving relation as columns.
        starts: `[types]` int32, the node of the first row of each type.
        bounds: `[types, 2]` int32: its real nodes are those from the first to before the second.
        blocks: static sizes.
    """

    rows: ConstantMatrix
    columns: ConstantMatrix
    starts: Int[HostOrDevice, " t"]
    bounds: Int[HostOrDevice, "t 2"]
    blocks: TypeBlocks


def typed_relations(graph: HostGraph) -> TypedRelations | None:
    """Returns the relations of each node type; None where sorting the nodes by type would save little.

    Examples:
        >>> from abkd_jax import datasets
        >>> from abkd_jax.graph.host import host_graph
        >>> typed_relations(host_graph(datasets.load("synthetic"))) is None
        True
    """
    if graph.node_types is None or graph.relations is None:
        return None
    counts = np.bincount(graph.node_types)
    enters = np.zeros((counts.shape[0], graph.num_relations), bool)
    leaves = enters.copy()
    receivers = np.repeat(graph.node_types, np.diff(graph.indptr))
    for begin in range(0, graph.num_edges, EDGES_AT_ONCE):
        some = slice(begin, begin + EDGES_AT_ONCE)
        relations = graph.relations[some]
        enters[receivers[some], relations] = True
        leaves[graph.node_types[graph.senders[some]], relations] = True
    pairs = counts @ np.maximum(enters.sum(axis=1), leaves.sum(axis=1))
    if pairs > WORTH * graph.num_nodes * graph.num_relations:
        return None
    entering, leaving = (tuple(tuple(np.flatnonzero(row).tolist()) for row in table) for table in (enters, leaves))
    return TypedRelations(entering, leaving)


def type_layout(
    receivers: Int[np.ndarray, " e"],
    senders: Int[np.ndarray, " e"],
    relations: Int[np.ndarray, " e"],
    node_types: Int[np.ndarray, " k"],
    size: int,
    blocks: TypeBlocks,
    room: EdgeRoom | None = None,
) -> TypedLayout:
    """Builds the layout of a batch, in NumPy.

    Args:
        receivers: `[e]`, sorted by receiver, then by relation; those of padding edges come last.
        senders: `[e]`.
        relations: `[e]`.
        node_types: `[k]`, ascending: types of the real nodes, which are the first; padding edges touch no such node.
        size: nodes, padding included.
        blocks: no type has more nodes than its capacity, and no capacity is above `size`.
        room: of the slots of both matrices; None lays out none.
    """
    capacities = np.array(blocks.capacities)
    bounds = np.searchsorted(node_types, np.arange(capacities.shape[0] + 1))
    starts = np.minimum(bounds[:-1], size - capacities)  # a slice from there stays inside
    real = slice(0, int(np.searchsorted(receivers, node_types.shape[0])))
    pairs = [
        _pairs(nodes[real], relations[real], node_types, starts, capacities, of_types)
        for nodes, of_types in ((receivers, blocks.relations.entering), (senders, blocks.relations.leaving))
    ]
    (entering, num_entering), (leaving, num_leaving) = pairs
    rows = np.full(receivers.shape, num_entering, np.int32)
    columns = np.full(receivers.shape, num_leaving, np.int32)
    rows[real], columns[real] = entering, leaving
    weights = (1.0 / np.bincount(rows, minlength=num_entering + 1)[rows]).astype(np.float32)
    by_row, by_column = (None, None) if room is None else room.typed
    return TypedLayout(
        rows=_constant_matrix(rows, senders, weights, (num_entering + 1, size), by_row),
        columns=_constant_matrix(receivers, columns, weights, (size, num_leaving + 1), by_column),
        starts=starts.astype(np.int32),
        bounds=np.stack([bounds[:-1], bounds[1:]], axis=1).astype(np.int32),
        blocks=blocks,
    )


def _constant_matrix(
    rows: Int[np.ndarray, " e"],
    cols: Int[np.ndarray, " e"],
    values: Float[np.ndarray, " e"],
    shape: tuple[int, int],
    room: Room | None,
) -> ConstantMatrix:
    """Builds the matrix; `rows` are ascending."""
    pattern = build_pattern(rows, cols, shape, room=room)
    slots = pattern.slots and (in_slots(pattern.slots[0], values), in_slots(pattern.slots[1], values))
    return ConstantMatrix(pattern, LaidOut((values, values[pattern.order_t]), slots))


def _pairs(
    nodes: Int[np.ndarray, " e"],
    relations: Int[np.ndarray, " e"],
    node_types: Int[np.ndarray, " k"],
    starts: Int[np.ndarray, " t"],
    capacities: Int[np.ndarray, " t"],
    of_types: tuple[tuple[int, ...], ...],
) -> tuple[Int[np.ndarray, " e"], int]:
    """Returns the pair of the node and the relation of each edge, and the number of pairs without the last one."""
    widths = np.array([len(some) for some in of_types])
    begins = np.cumsum(capacities * widths) - capacities * widths
    highest = max(max(some, default=0) for some in of_types) + 1
    positions = np.zeros((len(of_types), highest), np.int32)
    for node_type, some in enumerate(of_types):
        positions[node_type, list(some)] = np.arange(len(some))
    first = begins[node_types] + (np.arange(node_types.shape[0]) - starts[node_types]) * widths[node_types]
    numbers = first[nodes] + positions.ravel()[(highest * node_types)[nodes] + relations]
    return numbers, int(capacities @ widths)
