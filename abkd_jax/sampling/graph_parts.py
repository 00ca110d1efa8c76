"""All graphs of a large graph-level data set in parts of one shape, for programs that read one part at a time."""

from typing import Any, NamedTuple

import jax
import jraph
import numpy as np
from jaxtyping import Int

from abkd_jax.sampling.graphs import graph_batches
from abkd_jax.sampling.subgraph import edges_into
from abkd_jax.types import GraphDataset, HostOrDevice

__all__ = ["GraphParts", "graph_parts"]

PER_PART = 256  # graphs: 5,000 to 10,000 atoms of molecules, whose layers stay in the caches of a CPU


class GraphParts(NamedTuple):
    """Some graphs of a data set in parts of one shape; outputs of all parts, end to end, hold theirs in any order.

    Attributes:
        graphs: `[parts, ...]`, padded.
        graph_rows: `[g + 1]` int32 rows of the graphs in those outputs, and one of padding, as `all_graphs` has.
        node_rows: `[n + 1]` int32 rows of their nodes, likewise.
    """

    graphs: jraph.GraphsTuple
    graph_rows: Int[HostOrDevice, " g1"]
    node_rows: Int[HostOrDevice, " n1"]


def graph_parts(
    dataset: GraphDataset, chosen: Int[np.ndarray, " g"] | None = None, *, platform: str | None = None
) -> GraphParts:
    """Divides graphs into parts of about 256, NumPy arrays.

    Args:
        dataset: graph-level data set.
        chosen: `[g]` graphs, each named once, in the order of the rows; None takes all.
        platform: see `sampling.node_sampler`.

    Raises:
        InputError: no graphs, or indices that are none of the graphs.
    """
    count = dataset.n_node.shape[0]
    chosen = np.arange(count) if chosen is None else chosen
    sampler = graph_batches(dataset, PER_PART, graphs=chosen, platform=platform)
    # In random order, since some data sets are sorted by size; in one group, which has one shape.
    (draw,) = sampler.groups(np.random.default_rng(0), count)
    parts = [build() for build in draw()]
    places = [np.zeros(size, np.int32) for size in (count, dataset.features.shape[0])]  # in the outputs of all parts
    rows, nodes = (mask.shape[0] for mask in (parts[0].batch.labels, parts[0].batch.masks.all))
    for number, part in enumerate(parts):
        members: tuple[Any, ...] = (part.graphs, part.nodes)
        for own, chosen_here, size in zip(places, members, (rows, nodes), strict=True):
            own[chosen_here] = number * size + np.arange(chosen_here.size)
    starts = np.cumsum(dataset.n_node) - dataset.n_node
    own_nodes = edges_into(starts[chosen], dataset.n_node[chosen])
    return GraphParts(
        jax.tree.map(lambda *leaves: np.stack(leaves), *(part.batch.graph for part in parts)),
        # The last graph of a part is padding, and so is its last node.
        np.append(places[0][chosen], np.int32(rows - 1)),
        np.append(places[1][own_nodes], np.int32(nodes - 1)),
    )
