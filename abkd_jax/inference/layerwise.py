"""Layer-wise inference on graphs that fit no device: one layer of all nodes at a time, in one block after another.

A block, as DGL's message-flow blocks, is some receivers and the senders of all edges that enter them: the outputs of a
layer for the receivers are exact, with the degrees of the whole graph. In a heterogeneous graph the receivers of a
block are of one node type, and layers multiply only by the weights of the edge types that enter this type.
"""

import functools
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jraph
import numpy as np

from abkd_jax.datasets.files.progress import bar as progress_bar
from abkd_jax.graph.host import HostGraph, edge_entries
from abkd_jax.graph.layout import LayoutInfo, graphs_tuple
from abkd_jax.inference.blocks import block_layout, edges_of, features_of, sums_of_weights
from abkd_jax.models import GAT, GCNII, GIN, RGCN, SIGN
from abkd_jax.models.stack import Stack, Stage
from abkd_jax.sampling import as_indices, bucket_size, padded, prefetch
from abkd_jax.sampling.subgraph import edges_into
from abkd_jax.types import InputError, Pytree

__all__ = ["layerwise", "rows_of_stages", "takes"]

NODES_PER_EDGE = 1 / 8  # most receivers of a block per edge: relational layers hold one row per relation of each


def layerwise(
    model: Any,
    variables: Pytree,
    graph: HostGraph,
    *,
    nodes: np.ndarray | None = None,
    chunk_edges: int = 2**18,
    memory_bytes: int = 2**34,
    progress: bool = False,
) -> np.ndarray:
    """Computes the logits of a model in evaluation mode on the whole graph, or for some nodes, in bounded memory.

    Beside the graph, the layers that later ones read are held on the host (two, or all where `jumping` reads them), and
    for one block the features of its senders and the messages: at most `chunk_edges` rows. Two more blocks are built
    ahead. For some nodes each layer is computed for the nodes that later layers read alone, and nothing else of the
    graph is read: its arrays may be memory-mapped. The result is exact: all neighbours, with the degrees of the whole
    graph.

    Args:
        model: any `Stack` without readout, `GCNII` or `SIGN`.
        variables: of the model, as `init` or training returns them.
        graph: without self loops, as `host_graph` makes it.
        nodes: `[k]` node indices, in any order, also repeated; None takes all.
        chunk_edges: most edges of a block; a node with more incoming edges is a block by itself.
        memory_bytes: layers larger than this are kept in a temporary file.
        progress: whether to show a progress bar.

    Returns:
        `[k, classes]` float32.

    Raises:
        InputError: the model is none of these, or reads what blocks do not have; a node is outside the graph; another
            number of embeddings or of relations.

    Examples:
        >>> from abkd_jax import datasets, models
        >>> from abkd_jax.graph.build import from_dataset
        >>> from abkd_jax.graph.host import host_graph
        >>> data, model = datasets.load("synthetic"), models.MLP(4, 2, 3)
        >>> variables = model.init(jax.random.key(0), from_dataset(data))
        >>> layerwise(model, variables, host_graph(data), nodes=np.array([7, 8])).shape
        (2, 3)
    """
    _check(model, graph, chunk_edges)
    wanted, place = (None, slice(None)) if nodes is None else _distinct(nodes, graph)
    variables = jax.device_put(variables)  # once, not for every block
    stages, outputs = _stages(model), {}
    rows = rows_of_stages([stage for stage, _ in stages], graph, wanted)
    entering, out = _edge_types_by_node_type(graph, rows[0]), np.zeros((0, model.classes), np.float32)
    most = graph.weights is not None and 2 * rows[0].shape[0] > graph.num_nodes
    sums = sums_of_weights(graph, np.arange(graph.num_nodes)) if most else None
    for number, (stage, run) in enumerate(stages):
        plan = _plan(graph, stage, rows[number], chunk_edges, entering, sums)
        stage_variables, read = stage.variables(variables), [(rows[i], outputs[i]) for i in stage.reads]
        out = np.zeros((0, model.classes), np.float32)
        ranges = list(plan.ranges())
        label = f"layer {number + 1} of {len(stages)}"
        bar = progress_bar(iterable=ranges, desc=label, unit="block", disable=not progress)
        for (block, inputs), (begin, end) in zip(prefetch(plan.blocks(ranges, read), 1), bar, strict=True):
            result = run(stage_variables, block, inputs)
            if begin == 0:
                out = _allocate((rows[number].shape[0], result.shape[1]), memory_bytes)
            out[begin:end] = np.asarray(result[: end - begin], np.float32)
        outputs[number] = out
        read_later = {i for later, _ in stages[number + 1 :] for i in later.reads}
        outputs = {i: output for i, output in outputs.items() if i in read_later}
    return out[place]


def _distinct(nodes: np.ndarray, graph: HostGraph) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct nodes, ascending, and the place of each node among them."""
    return np.unique(as_indices("layerwise: nodes", nodes, graph.num_nodes), return_inverse=True)


def rows_of_stages(stages: Sequence[Stage], graph: HostGraph, nodes: np.ndarray | None) -> list[np.ndarray]:
    """Returns for each stage the nodes that it computes, ascending: those of the result, and those that others read."""
    if nodes is None:
        return [np.arange(graph.num_nodes)] * len(stages)
    read = [np.zeros(graph.num_nodes, bool) for _ in stages]
    read[-1][nodes] = True
    rows = []
    for stage, mask in zip(reversed(stages), reversed(read), strict=True):
        rows.append(np.flatnonzero(mask))
        for earlier in stage.reads:
            read[earlier] |= mask
        for _, positions in edges_of(graph, rows[-1]) if stage.edges and stage.reads else ():
            senders = graph.senders[positions]
            for earlier in stage.reads:
                read[earlier][senders] = True
    return rows[::-1]


@functools.lru_cache(maxsize=8)
def _stages(model: Any) -> tuple[tuple[Stage, Callable[..., Any]], ...]:
    """Returns the stages of a model and their jitted programs, cached so that its next evaluation compiles nothing."""
    stages: tuple[Stage, ...] = model.stages()
    programs = {id(stage.module): jax.jit(stage.module.apply) for stage in stages}
    return tuple((stage, programs[id(stage.module)]) for stage in stages)


class _BlockPlan(NamedTuple):
    """Divides the graph into blocks for one stage.

    Attributes:
        graph: all of it.
        inputs: whether the stage reads the features.
        rows: nodes that the stage has an output for, sorted by node type.
        degrees: number of incoming edges of each; 0 where the stage reads no edges.
        most: receivers and edges of a block.
        entering: for each node type the edge types that enter it; None without types.
        sums: `[n]` sums of the weights of the edges into each node of the graph; None without weights, and where few
            nodes are read.
    """

    graph: HostGraph
    inputs: bool
    rows: np.ndarray
    degrees: np.ndarray
    most: tuple[int, int]
    entering: tuple[tuple[int, ...], ...] | None
    sums: np.ndarray | None

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Yields begin and end of the ranges of `rows` that are the receivers of a block; each is of one node type."""
        totals, begin = np.cumsum(self.degrees), 0
        types = _types(self.graph, self.rows)
        bounds = np.append(np.flatnonzero(np.diff(types)) + 1, types.shape[0])  # where each type ends
        while begin < self.rows.shape[0]:
            done = totals[begin - 1] if begin else 0  # edges of the blocks before
            fits = int(np.searchsorted(totals, done + self.most[1], "right"))  # as many rows as the edges allow
            same = int(bounds[np.searchsorted(bounds, begin, "right")])
            end = min(max(fits, begin + 1), begin + self.most[0], same)  # at least one row, however many edges it has
            yield begin, end
            begin = end

    def blocks(
        self, ranges: Sequence[tuple[int, int]], read: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[Any, Any]]:
        """Yields the block of each range, with the rows of its nodes in the layers that the stage reads.

        Args:
            ranges: as `ranges` yields them.
            read: of each layer the nodes that it was computed for, ascending, and its rows.
        """
        for begin, end in ranges:
            block, ids = self.block(begin, end)
            # Padding nodes, copies of node 0, may not be there: they take the first row.
            yield block, [hidden[ids if self._all(rows) else np.searchsorted(rows, ids)] for rows, hidden in read]

    def _all(self, rows: np.ndarray) -> bool:
        return rows.shape[0] == self.graph.num_nodes

    def block(self, begin: int, end: int) -> tuple[jraph.GraphsTuple, np.ndarray]:
        """Returns the block of a range of receivers, and the index in the graph of each of its nodes.

        The nodes of a block are `[receivers | padding | senders | padding]`; a node that both sends and receives is
        there twice. Padding nodes are copies of node 0, padding edges go from the last node to the last receiver, which
        is always padding.
        """
        graph, rows, degrees = self.graph, self.rows[begin:end], self.degrees[begin:end]
        edges = int(degrees.sum())
        positions = edges_into(graph.indptr[rows], degrees)  # of the block's edges in the graph, receiver by receiver
        senders, columns = np.unique(graph.senders[positions], return_inverse=True)
        # One more than needed on both sides, so that padding edges have a padding node at either end. All blocks of a
        # stage have `most` edges, but for the block of a single node that has more: few shapes are compiled.
        receivers = bucket_size(rows.shape[0] + 1)
        size = receivers + bucket_size(senders.shape[0] + 1)
        num_edges = self.most[1] if edges <= self.most[1] else bucket_size(edges)
        ids = np.zeros(size, np.int64)
        ids[: rows.shape[0]], ids[receivers : receivers + senders.shape[0]] = rows, senders
        to = padded(np.repeat(np.arange(rows.shape[0]), degrees), num_edges, receivers - 1, np.int32)
        by = padded(receivers + columns.reshape(-1), num_edges, size - 1, np.int32)
        info, entries = LayoutInfo(size, num_edges), edge_entries(graph, positions)
        entries = {name: padded(values, num_edges, 0) for name, values in (entries or {}).items()}
        if self.entering is not None and graph.node_types is not None and graph.relations is not None:
            # All receivers have one type: the block numbers the edge types that enter it from 0, without the others.
            node_type = int(graph.node_types[rows[0]])
            edge_types = self.entering[node_type]
            info = replace(info, relations=edge_types, types=(node_type,))
            known = np.searchsorted(edge_types, graph.relations[positions])
            entries["relation"] = padded(known, num_edges, 0, np.int32)
        block = graphs_tuple(
            nodes=self._nodes(ids),
            edges=block_layout(to, by, entries, self._scale(ids), receivers, info),
            senders=by,
            receivers=to,
            n_node=np.array([size], np.int32),
            n_edge=np.array([num_edges], np.int32),
        )
        return block, ids

    def _scale(self, ids: np.ndarray) -> np.ndarray:
        """Returns `D^-1/2`, with the self loops that GCNs add; degrees are those of the whole graph."""
        if self.graph.weights is None:
            degrees = self.graph.indptr[ids + 1] - self.graph.indptr[ids]
        elif self.sums is None:
            nodes, place = np.unique(ids, return_inverse=True)
            degrees = sums_of_weights(self.graph, nodes)[place]
        else:
            degrees = self.sums[ids]
        return (1.0 / np.sqrt(degrees + 1.0)).astype(np.float32)

    def _nodes(self, ids: np.ndarray) -> dict[str, Any] | None:
        """Returns the inputs at the nodes: types, and in the first stage features and embeddings."""
        graph, nodes = self.graph, {}
        if graph.node_types is not None:
            nodes["type"] = graph.node_types[ids]
        if self.inputs:
            nodes["features"] = features_of(graph.features, ids)
            nodes["embedding"] = graph.embedding_rows(ids)
        return nodes or None


def _plan(
    graph: HostGraph,
    stage: Stage,
    rows: np.ndarray,
    chunk_edges: int,
    entering: tuple[tuple[int, ...], ...] | None,
    sums: np.ndarray | None,
) -> _BlockPlan:
    degrees = graph.indptr[rows + 1] - graph.indptr[rows] if stage.edges else np.zeros(rows.shape[0], np.int64)
    total = int(degrees.sum())
    some = total if rows.shape[0] == graph.num_nodes else bucket_size(total)  # others share programs with the next call
    most = min(math.ceil(chunk_edges * NODES_PER_EDGE), max(rows.shape[0], 1)), min(chunk_edges, some)
    return _BlockPlan(graph, not stage.reads, rows, degrees, most, entering, sums)


def _types(graph: HostGraph, rows: np.ndarray) -> np.ndarray:
    return np.zeros_like(rows) if graph.node_types is None else graph.node_types[rows]


def _edge_types_by_node_type(graph: HostGraph, rows: np.ndarray) -> tuple[tuple[int, ...], ...] | None:
    """Returns the types of the edges that enter some nodes, by type of node; at least one, as padding edges have."""
    if graph.node_types is None or graph.relations is None:
        return None
    enters = np.zeros((int(graph.node_types.max(initial=0)) + 1, graph.num_relations), bool)
    for receivers, positions in edges_of(graph, rows):
        enters[graph.node_types[receivers], graph.relations[positions]] = True
    return tuple(tuple(np.flatnonzero(row).tolist()) or (0,) for row in enters)


def takes(model: Any) -> bool:
    """Tells whether a model can be computed one layer at a time.

    Examples:
        >>> takes(GCNII(4, 2, 3)), takes(GIN(4, 2, 3, readout="sum"))
        (True, False)
    """
    return _hindrance(model) is None


def _hindrance(model: Any) -> str | None:
    """Returns why a model cannot be computed so; None where it can."""
    name = type(model).__name__
    if not isinstance(model, Stack | GCNII | SIGN) or getattr(model, "readout", None) is not None:
        return f"{name} has no layers for nodes, expected a Stack, GCNII or SIGN without readout"
    if isinstance(model, GAT) and model.symmetric_norm:
        return "GAT with symmetric_norm, expected one whose senders' degrees do not matter"
    if isinstance(model, GIN) and model.edge_vocabulary:
        return "GIN with an edge_vocabulary, expected a model that reads no categories of edges"
    return None


def _check(model: Any, graph: HostGraph, chunk_edges: int) -> None:
    hindrance = _hindrance(model)
    if hindrance is not None:
        raise InputError(f"layerwise: {hindrance}")
    missing = graph.num_nodes - graph.features.shape[0]
    if isinstance(model, RGCN) and model.embeddings not in (0, missing):
        raise InputError(
            f"layerwise: RGCN of {model.embeddings} embeddings, expected {missing} as nodes without features"
        )
    if isinstance(model, RGCN) and model.relations != graph.num_relations:
        raise InputError(f"layerwise: RGCN of {model.relations} relations, expected {graph.num_relations} as the graph")
    if not isinstance(chunk_edges, Integral) or chunk_edges < 1:
        raise InputError(f"layerwise: chunk_edges is {chunk_edges}, expected at least 1")


def _allocate(shape: Sequence[int], memory_bytes: int) -> np.ndarray:
    """Allocates `[n, width]` float32 in memory, or in a temporary file that is deleted with the array."""
    if 4 * math.prod(shape) <= memory_bytes:
        return np.empty(tuple(shape), np.float32)
    with tempfile.TemporaryFile() as file:  # the map keeps what it needs of it
        return np.memmap(file, np.float32, "w+", shape=tuple(shape))
