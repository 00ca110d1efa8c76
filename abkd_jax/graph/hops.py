"""Blocks of a minibatch of sampled neighbours: what each layer must compute where outputs are read at the roots alone.

The nodes of such a batch lie hop by hop, roots first, and its edges by receiver. The edges into all nodes within `h`
hops are therefore its first ones, and with them a layer computes these nodes from those within `h + 1` hops. The last
layer needs `h = 0`, each one before it one hop more: what `trim_to_layer` of PyTorch Geometric and the blocks of DGL
do. Blocks are cut out of the batch inside the program; from the host come row pointers, transposes, whose order no cut
gives, degrees in the whole batch, and for a TPU slots.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jaxtyping import Int

from abkd_jax.graph.access import layout_of
from abkd_jax.graph.constants import Constants
from abkd_jax.graph.degrees import count_degrees
from abkd_jax.graph.forms import constants_of
from abkd_jax.graph.layout import CSR, LayoutInfo, PreparedEdges, build_pattern, graphs_tuple
from abkd_jax.graph.slot_shapes import Room, SlotShape
from abkd_jax.graph.slots import Slots
from abkd_jax.types import HostOrDevice, InputError

__all__ = ["Hop", "hop_blocks", "with_hops"]


class Hop(NamedTuple):
    """All nodes within some hops of the roots, and the edges into them.

    The last of the `r` rows and of the `m` columns are of no such node: entries of other edges are there.

    Attributes:
        reached: int32 scalar, the number of these nodes, below `r`.
        row_ptr: `[r + 1]` int32, as that of a `CSR`.
        transpose: `order_t` `[e]`, `rows_t` `[e]`, `col_ptr` `[m + 1]` and `cols_t` `[e]` of a `CSR`; None where these
            are all edges of the batch, and its own serve.
        slots: of the rows, and of the columns; other edges have none. None where `transpose` is, or the batch has none.
        constants: what sums with constant weights read in the slots; None without them.
    """

    reached: Int[HostOrDevice, ""]
    row_ptr: Int[HostOrDevice, " r_plus_1"]
    transpose: (
        tuple[Int[HostOrDevice, " e"], Int[HostOrDevice, " e"], Int[HostOrDevice, " m_plus_1"], Int[HostOrDevice, " e"]]
        | None
    )
    slots: tuple[Slots, Slots] | None = None
    constants: Constants | None = None


def with_hops(
    graph: jraph.GraphsTuple,
    drawn: Sequence[tuple[int, int]],
    sizes: Sequence[tuple[int, int]],
    shapes: Sequence[tuple[SlotShape, SlotShape]] = (),
) -> jraph.GraphsTuple:
    """Adds the hops of a minibatch to its layout, on the host; its shapes follow from those of the batch and the sizes.

    Args:
        graph: prepared without types and buckets; its nodes lie hop by hop, and padding after them.
        drawn: for 0, 1, ... hops the number of nodes within so many hops of the roots, and of the edges into them; the
            last entry has all edges.
        sizes: rows and entries that hold them, rows above the number of nodes and ascending. With an entry for each of
            `drawn` the last one is all edges of the batch, whose entries are their number whatever it says; with fewer
            its rows are the columns of the hop before it, and there is no hop for itself.
        shapes: of the slots of rows and columns of each hop but the last of `sizes`, where the batch has slots.

    Raises:
        InputError: the graph is not prepared, a size or a shape is too small, or there are no shapes for its slots.

    Examples:
        >>> from abkd_jax.graph import from_edges, num_nodes, prepare
        >>> path = from_edges(np.array([1, 2]), np.array([0, 1]), num_nodes=6)  # 2 -> 1 -> 0, which is the root
        >>> trimmed = with_hops(prepare(path, buckets=False), [(1, 1), (2, 2)], [(2, 1), (4, 2)])
        >>> [num_nodes(block) for block in hop_blocks(trimmed)]
        [4, 6]
    """
    layout = layout_of(graph)
    if layout is None or any(n >= rows or e > room for (n, e), (rows, room) in zip(drawn, sizes, strict=False)):
        raise InputError(f"hops of {list(drawn)} nodes and edges in {list(sizes)}, expected a prepared graph and room")
    whole, hops, cut = layout.pattern, [], len(sizes) - 1
    if len(shapes) != (0 if whole.slots is None else cut):
        raise InputError(f"hops of {list(sizes)} with {len(shapes)} shapes, expected {cut} with slots and none without")
    shape_of = iter(shapes)
    for (reached, entries), (rows, edges), following in zip(drawn, sizes, [*sizes[1:], None], strict=False):
        if following is not None:
            to = np.minimum(whole.rows[:edges], rows - 1)
            by = np.where(np.arange(edges) < entries, whole.cols[:edges], following[0] - 1)
            room = None if whole.slots is None else Room(*next(shape_of), entries)
            built = build_pattern(to, by, (rows, following[0]), room=room)
            transpose = (built.order_t, built.rows_t, built.col_ptr, built.cols_t)
            constants = None if room is None else _cut_constants(layout.constants, built)
            hops.append(Hop(np.int32(reached), built.row_ptr, transpose, built.slots, constants))
        elif len(sizes) == len(drawn):
            hops.append(Hop(np.int32(reached), np.append(whole.row_ptr[:rows], whole.row_ptr[-1]), None))
    degrees = count_degrees(whole.row_ptr, whole.col_ptr, whole.rows[whole.rows == whole.cols])
    return graph._replace(edges=layout._replace(hops=tuple(hops), degrees=degrees))


def hop_blocks(graph: jraph.GraphsTuple) -> tuple[jraph.GraphsTuple, ...]:
    """Returns the block of each hop of a minibatch, `()` for a graph without hops.

    A block is a prepared graph of `m` nodes, the first of those of the batch, of which the first `r` receive
    (`aggregate.num_receivers`). Its first graph, `n_node[0]`, has the nodes whose sums are those of the batch; other
    rows hold anything finite. Coefficients and degrees are those of the batch. All sums over it have their gradients.
    """
    layout = layout_of(graph)
    return () if layout is None else tuple(_block(graph, layout, hop) for hop in layout.hops)


def _block(graph: jraph.GraphsTuple, layout: PreparedEdges, hop: Hop) -> jraph.GraphsTuple:
    whole, row_ptr, reached = jax.tree.map(jnp.asarray, layout.pattern), jnp.asarray(hop.row_ptr), hop.reached
    rows, entering = row_ptr.shape[0] - 1, row_ptr[reached]
    if hop.transpose is None:  # in the last row are the padding edges of the batch, whose own row is further down
        cols, order_t, rows_t = whole.cols, whole.order_t, jnp.minimum(whole.rows_t, rows - 1)
        col_ptr, cols_t = whole.col_ptr, whole.cols_t
        slots, constants = _of_first_rows(whole.slots, layout.constants, rows)
    else:
        order_t, rows_t, col_ptr, cols_t = map(jnp.asarray, hop.transpose)
        cols = whole.cols[: order_t.shape[0]]
        cols = jnp.where(jnp.arange(cols.shape[0]) < entering, cols, col_ptr.shape[0] - 2)
        slots, constants = jax.tree.map(jnp.asarray, (hop.slots, hop.constants))
    edges, columns = order_t.shape[0], col_ptr.shape[0] - 1
    pattern = CSR(
        rows=jnp.minimum(whole.rows[:edges], rows - 1),
        cols=cols,
        row_ptr=row_ptr,
        order_t=order_t,
        transpose=(rows_t, col_ptr, cols_t),
        slots=slots,
    )
    block = PreparedEdges(
        features=jax.tree.map(lambda leaf: leaf[:edges], layout.features),
        pattern=pattern,
        coefficients=layout.coefficients[:edges],
        self_coefficients=layout.self_coefficients[:rows],
        relations=None,
        info=LayoutInfo(columns, edges, layout.info.backend),
        constants=constants,
        degrees=jax.tree.map(lambda leaf: jnp.asarray(leaf[:columns]), layout.degrees),
    )
    return graphs_tuple(
        nodes=jax.tree.map(lambda leaf: leaf[:columns], graph.nodes),
        edges=block,
        senders=pattern.cols,
        receivers=pattern.rows,
        n_node=jnp.stack([jnp.asarray(reached), columns - jnp.asarray(reached)]),
        n_edge=jnp.stack([entering, edges - entering]),
    )


def _cut_constants(constants: Constants | None, pattern: CSR) -> Constants | None:
    """Lays out on the host the constants of a batch for the pattern of one of its blocks."""
    if constants is None:
        return None
    weights = constants.weights and constants.weights.values
    values = None if weights is None else np.asarray(weights[0])[: pattern.cols.shape[0]]
    return constants_of(pattern, np.asarray(constants.scale)[: pattern.shape[1]], values, matrix=False)


def _of_first_rows(
    slots: tuple[Slots, Slots] | None, constants: Constants | None, rows: int
) -> tuple[tuple[Slots, Slots] | None, Constants | None]:
    """Returns slots and what is laid out in them without the last rows of the matrix, of which no entry has a slot."""
    if slots is None or constants is None:
        return None, None

    def bounded(groups: Sequence[HostOrDevice]) -> tuple[jax.Array, ...]:
        """Lets empty slots read the row past the end of the fewer."""
        return tuple(jnp.minimum(ids, rows) for ids in groups)

    by_row, by_column = slots
    fewer = by_row._replace(place=by_row.place[:rows], owners=bounded(by_row.owners))
    ones = constants.ones
    if ones.by_row is not None:
        of_rows, (first, *later) = ones.by_row
        ones = ones._replace(by_row=(of_rows, (bounded(first), *later)))
    return (fewer, by_column._replace(cols=bounded(by_column.cols))), constants._replace(ones=ones)
