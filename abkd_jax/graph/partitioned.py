"""Edges of a graph that is cut into blocks of receivers, one per device, and their placement on a mesh."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jraph
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from abkd_jax.graph.layout import CSR, LayoutInfo, PreparedEdges, SparseFeatures
from abkd_jax.types import InputError, Pytree

__all__ = ["NODES_AXIS", "PartitionInfo", "PartitionedEdges", "partition_of", "place", "placement", "row_shardings"]

NODES_AXIS = "nodes"  # axis of the mesh that blocks are spread over


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class PartitionInfo(LayoutInfo):
    """Static sizes of a partitioned graph, those of all blocks together.

    Attributes:
        parts: number of blocks.
        mesh: the devices that hold the blocks; None before `place`.
    """

    parts: int = 1
    mesh: Mesh | None = None


class PartitionedEdges(NamedTuple):
    """Edges of a graph that `partition` was called on, block after block, each with the same number of them.

    Nodes of a block are numbered from 0: its own, `nodes / parts` of them; one that all padding edges are at; then the
    senders of other blocks, in the order in which they arrive (`halo`), or with `halo` None all nodes of the graph.

    Attributes:
        features: the original `graph.edges`, zeros for padding edges.
        blocks: the layout of every block, stacked: arrays `[parts, ...]`; `features` is None there.
        halo: stacked patterns of what every block sends: rows are slots, `width` for each block in turn; columns are
            its own nodes, and one of zeros for slots that are not needed. None where every block is sent everything.
        info: static sizes.
    """

    features: Any
    blocks: PreparedEdges
    halo: CSR | None
    info: PartitionInfo


def partition_of(graph: jraph.GraphsTuple) -> PartitionedEdges | None:
    """Returns the blocks of a graph that is on the devices of a mesh; None for any other graph.

    Before `place` a partitioned graph runs as a plain one, with the same numbers.
    """
    edges = graph.edges
    return edges if isinstance(edges, PartitionedEdges) and edges.info.mesh is not None else None


def place(graph: jraph.GraphsTuple, mesh: Mesh) -> jraph.GraphsTuple:
    """Moves a partitioned graph to the devices along the axis `nodes` of a mesh, one block each.

    Sparse node features are copied to all of them.

    Args:
        graph: from `partition`.
        mesh: with an axis `nodes` of as many devices as the graph has blocks; XLA chooses shardings along all axes.

    Raises:
        InputError: the graph is not partitioned, or has another number of blocks, or an axis of the mesh is not `Auto`.
    """
    return jax.device_put(*placement(graph, mesh))


def placement(graph: jraph.GraphsTuple, mesh: Mesh) -> tuple[jraph.GraphsTuple, jraph.GraphsTuple]:
    """Returns a partitioned graph that knows its mesh, and the shardings of its arrays; see `place`."""
    edges, found = graph.edges, dict(mesh.shape).get(NODES_AXIS, 1)
    if not isinstance(edges, PartitionedEdges) or edges.info.parts != found:
        given = edges.info.parts if isinstance(edges, PartitionedEdges) else "no"
        raise InputError(f"a graph of {given} blocks on {found} devices of the axis {NODES_AXIS}, expected one each")
    if not mesh.are_all_axes_auto:
        kinds = ", ".join(f"{name} {kind.name}" for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True))
        raise InputError(f"mesh has axes {kinds}, expected Auto: jax.make_mesh(..., axis_types=(AxisType.Auto,))")
    known = graph._replace(edges=edges._replace(info=dataclasses.replace(edges.info, mesh=mesh)))
    everywhere = NamedSharding(mesh, PartitionSpec())
    return known, row_shardings(known, mesh)._replace(n_node=everywhere, n_edge=everywhere)


def row_shardings(rows: Pytree, mesh: Mesh) -> Pytree:
    """Returns the shardings of arrays `[nodes, ...]` over the axis `nodes` of a mesh; sparse features are whole."""
    by_block, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((NODES_AXIS,), ()))

    def of(part: Any) -> Any:
        sparse = isinstance(part, SparseFeatures)
        return jax.tree.map(lambda _: everywhere if sparse else by_block, part)

    return jax.tree.map(of, rows, is_leaf=lambda part: isinstance(part, SparseFeatures))
