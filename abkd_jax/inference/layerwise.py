"""Inference on graphs that fit no device: one layer of all nodes at a time, a piece of the graph after the other.

A piece is some nodes, which receive, the senders of all edges that enter them, and nothing else: what a layer gives the
receivers is exact, with the degrees of the whole graph. In a typed graph they are of one type, and layers multiply by
the weights of the types of edges that enter this type alone.
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
from abkd_jax.graph.host import HostGraph
from abkd_jax.graph.layout import CSR, LayoutFacts, PreparedEdges, RelationLayout, SparseFeatures
from abkd_jax.models import GAT, GIN, RGCN
from abkd_jax.models.stack import Stack, Stage
from abkd_jax.sampling import as_numbers, prefetch
from abkd_jax.types import InputError, Pytree

__all__ = ["layerwise"]

NODES_PER_EDGE = 1 / 8  # receivers of a piece, at most, by its edges: relational layers hold all relations of each


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
    """The logits that a model gives in evaluation mode on the whole graph, in bounded memory.

    Beside the graph there are two layers of all nodes on the host (all layers where `jumping` reads them), and for a
    piece its senders' features and what the layer makes of them: at most `chunk_edges` rows. Two more
    pieces are built ahead.

    Args:
        model: any `Stack` without readout.
        variables: of the model, as `init` or training gives them.
        graph: without self loops, as `host_graph` makes it.
        nodes: `[k]` node numbers; None takes all.
        chunk_edges: edges of a piece, at most; a node that more edges enter is a piece of its own.
        memory_bytes: layers larger than this are in a temporary file.
        progress: whether to show a bar.

    Returns:
        `[k, classes]` float32.

    Raises:
        InputError: the model is no such stack, or reads what pieces do not have; a node is outside the graph; another
            number of embeddings or of relations.
    """
    _check(model, graph, chunk_edges)
    nodes = None if nodes is None else as_numbers("layerwise: nodes", nodes, graph.num_nodes)
    variables = jax.device_put(variables)  # once, not for every piece
    hiddens: list[np.ndarray] = []
    stages, present = _stages(model), _present(graph)
    for number, (stage, run) in enumerate(stages):
        last = number + 1 == len(stages)
        rows = np.arange(graph.num_nodes) if nodes is None or not last else nodes
        order = np.argsort(_types(graph, rows), kind="stable")
        cut, own = _cut(graph, stage, rows[order], chunk_edges, present), stage.variables(variables)
        read, out = hiddens[len(hiddens) - stage.reads :], np.zeros((0, model.classes), np.float32)
        spans = list(cut.spans())
        label = f"layer {number + 1} of {len(stages)}"
        bar = progress_bar(iterable=spans, desc=label, unit="piece", disable=not progress)
        for (piece, inputs), (begin, end) in zip(prefetch(cut.pieces(spans, read), 1), bar, strict=True):
            result = run(own, piece, inputs)
            if begin == 0:
                out = _room((rows.shape[0], result.shape[1]), memory_bytes)
            out[order[begin:end]] = np.asarray(result[: end - begin], np.float32)
        needed = max((after.reads - i for i, (after, _) in enumerate(stages[number + 1 :])), default=1)
        hiddens = [*hiddens, out][-needed:]
    return hiddens[-1]


@functools.lru_cache(maxsize=8)
def _stages(model: Stack) -> tuple[tuple[Stage, Callable[..., Any]], ...]:
    """The stages of a model and their programs, kept so that its next evaluation compiles nothing."""
    stages = model.stages()
    programs = {id(stage.module): jax.jit(stage.module.apply) for stage in stages}
    return tuple((stage, programs[id(stage.module)]) for stage in stages)


class _Cut(NamedTuple):
    """How one stage sees the graph.

    Attributes:
        graph: all of it.
        inputs: whether the stage reads the features.
        rows: nodes that it has an output for, those of a type side by side.
        degrees: of these the edges that enter, as far as the stage reads edges.
        most: receivers and edges of a piece.
        present: of each type of nodes the types of edges that enter them; None without types.
    """

    graph: HostGraph
    inputs: bool
    rows: np.ndarray
    degrees: np.ndarray
    most: tuple[int, int]
    present: tuple[tuple[int, ...], ...] | None

    def spans(self) -> Iterator[tuple[int, int]]:
        """Begin and end of the runs of rows that make a piece; all of one type."""
        totals, begin = np.cumsum(self.degrees), 0
        kinds = _types(self.graph, self.rows)
        bounds = np.append(np.flatnonzero(np.diff(kinds)) + 1, kinds.shape[0])
        while begin < self.rows.shape[0]:
            done = totals[begin - 1] if begin else 0
            fits = int(np.searchsorted(totals, done + self.most[1], "right"))
            same = int(bounds[np.searchsorted(bounds, begin, "right")])
            end = min(max(fits, begin + 1), begin + self.most[0], same)
            yield begin, end
            begin = end

    def pieces(self, spans: Sequence[tuple[int, int]], read: Sequence[np.ndarray]) -> Iterator[tuple[Any, Any]]:
        """The pieces of some runs of rows, each with its nodes' rows of what the stage reads."""
        for begin, end in spans:
            piece, ids = self.piece(begin, end)
            yield piece, [hidden[ids] for hidden in read]

    def piece(self, begin: int, end: int) -> tuple[jraph.GraphsTuple, np.ndarray]:
        """The piece of some receivers, and which nodes of the graph its own are: receivers first, then senders.

        Both are padded with copies of node 0, and edges with some from the last node to the last receiver.
        """
        graph, rows, degrees = self.graph, self.rows[begin:end], self.degrees[begin:end]
        edges = int(degrees.sum())
        positions = np.repeat(graph.indptr[rows] - np.cumsum(degrees) + degrees, degrees) + np.arange(edges)
        senders, columns = np.unique(graph.senders[positions], return_inverse=True)
        receivers = _bucket(rows.shape[0] + 1)
        size = receivers + _bucket(senders.shape[0] + 1)
        padded = self.most[1] if edges <= self.most[1] else _bucket(edges)
        ids = np.zeros(size, np.int64)
        ids[: rows.shape[0]], ids[receivers : receivers + senders.shape[0]] = rows, senders
        to = _padded(np.repeat(np.arange(rows.shape[0]), degrees), padded, receivers - 1)
        by = _padded(receivers + columns.reshape(-1), padded, size - 1)
        facts, types = LayoutFacts(size, padded), None
        if self.present is not None and graph.node_types is not None and graph.relations is not None:
            own = int(graph.node_types[rows[0]])
            facts = replace(facts, relations=self.present[own], types=(own,))
            types = _padded(np.searchsorted(self.present[own], graph.relations[positions]), padded, 0)
        fields: dict[str, Any] = {
            "nodes": self._nodes(ids),
            "edges": _layout(to, by, types, self._scale(ids), receivers, facts),
            "senders": by,
            "receivers": to,
            "n_node": np.array([size], np.int32),
            "n_edge": np.array([padded], np.int32),
        }
        return jraph.GraphsTuple(globals=None, **fields), ids

    def _scale(self, ids: np.ndarray) -> np.ndarray:
        """`D^-1/2`, with the self loops that GCNs add."""
        return (1.0 / np.sqrt(self.graph.indptr[ids + 1] - self.graph.indptr[ids] + 1.0)).astype(np.float32)

    def _nodes(self, ids: np.ndarray) -> dict[str, Any] | None:
        """What the stage reads of the nodes themselves: types, and in the first one features and embeddings."""
        graph, nodes = self.graph, {}
        if graph.node_types is not None:
            nodes["type"] = graph.node_types[ids]
        if self.inputs:
            nodes["features"] = _features(graph.features, ids)
            nodes["embedding"] = graph.embedding_rows(ids)
        return nodes or None


def _cut(
    graph: HostGraph,
    stage: Stage,
    rows: np.ndarray,
    chunk_edges: int,
    present: tuple[tuple[int, ...], ...] | None,
) -> _Cut:
    degrees = np.diff(graph.indptr)[rows] if stage.edges else np.zeros(rows.shape[0], np.int64)
    most = math.ceil(chunk_edges * NODES_PER_EDGE), chunk_edges
    most = min(most[0], max(rows.shape[0], 1)), min(most[1], int(degrees.sum()))
    return _Cut(graph, stage.reads == 0, rows, degrees, most, present)


def _types(graph: HostGraph, rows: np.ndarray) -> np.ndarray:
    return np.zeros_like(rows) if graph.node_types is None else graph.node_types[rows]


def _present(graph: HostGraph) -> tuple[tuple[int, ...], ...] | None:
    """The types of the edges that enter nodes of each type, never none at all, as padding has one."""
    if graph.node_types is None or graph.relations is None:
        return None
    begins = np.flatnonzero(np.diff(graph.node_types, prepend=-1))
    seen = np.zeros((int(graph.node_types.max(initial=0)) + 1, graph.num_relations), bool)
    for begin, end in zip(begins, np.append(begins[1:], graph.num_nodes), strict=True):
        found = graph.relations[graph.indptr[begin] : graph.indptr[end]]
        seen[graph.node_types[begin]] |= np.bincount(found, minlength=graph.num_relations) > 0
    return tuple(tuple(np.flatnonzero(row).tolist()) or (0,) for row in seen)


def _check(model: Any, graph: HostGraph, chunk_edges: int) -> None:
    name = type(model).__name__
    if not isinstance(model, Stack) or model.readout is not None:
        raise InputError(f"layerwise: {name} is no stack for nodes, expected a Stack without readout")
    if isinstance(model, GAT) and model.symmetric_norm:
        raise InputError("layerwise: GAT with symmetric_norm, expected one whose senders' degrees do not matter")
    if isinstance(model, GIN) and model.edge_vocabulary:
        raise InputError("layerwise: GIN with an edge_vocabulary, expected a model that reads no edge features")
    missing = graph.num_nodes - graph.features.shape[0]
    if isinstance(model, RGCN) and model.embeddings not in (0, missing):
        raise InputError(
            f"layerwise: RGCN of {model.embeddings} embeddings, expected {missing} as nodes without features"
        )
    if isinstance(model, RGCN) and model.relations != graph.num_relations:
        raise InputError(f"layerwise: RGCN of {model.relations} relations, expected {graph.num_relations} as the graph")
    if not isinstance(chunk_edges, Integral) or chunk_edges < 1:
        raise InputError(f"layerwise: chunk_edges is {chunk_edges}, expected at least 1")


def _features(features: Any, ids: np.ndarray) -> Any:
    """Rows of the features, zero for nodes that have none."""
    known = ids < features.shape[0]
    if isinstance(features, np.ndarray):
        out = np.zeros((ids.shape[0], features.shape[1]), np.float32)
        out[known] = features[ids[known]]
        return out
    chosen = features[ids[known]]
    rows = np.repeat(np.flatnonzero(known), np.diff(chosen.indptr))
    size = _bucket(rows.shape[0] + 1)
    pattern = _pattern(
        _padded(rows, size, ids.shape[0] - 1), _padded(chosen.indices, size, 0), (ids.shape[0], features.shape[1])
    )
    values = np.zeros(size, np.float32)
    values[: rows.shape[0]] = chosen.data
    return SparseFeatures(pattern, values)


def _layout(
    to: np.ndarray,
    by: np.ndarray,
    types: np.ndarray | None,
    scale: np.ndarray,
    rows: int,
    facts: LayoutFacts,
) -> PreparedEdges:
    """The layout of a piece of so many receivers; `to` and `by` are the ends of its edges."""
    nodes, by_relation = facts.nodes, None
    if types is not None:
        kinds = len(facts.relations or ())
        by_relation = RelationLayout(
            rows=_pattern(to * kinds + types, by, (rows * kinds, nodes)),
            columns=_pattern(to, by * kinds + types, (rows, nodes * kinds)),
        )
    return PreparedEdges(
        features=types,
        pattern=_pattern(to, by, (rows, nodes)),
        coefficients=scale[by] * scale[to],
        self_coefficients=scale[:rows] ** 2,
        relations=by_relation,
        facts=facts,
    )


def _pattern(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> CSR:
    """A pattern without its transpose, which only gradients read."""
    row_ptr = np.zeros(shape[0] + 1, np.int32)
    np.cumsum(np.bincount(rows, minlength=shape[0]), out=row_ptr[1:])
    nothing = np.zeros(0, np.int32)
    return CSR(rows, cols, row_ptr, nothing, (nothing, np.zeros(shape[1] + 1, np.int32)))


def _padded(values: np.ndarray, size: int, fill: int) -> np.ndarray:
    out = np.full(size, fill, np.int32)
    out[: values.shape[0]] = values
    return out


def _bucket(size: int) -> int:
    """The next of the sizes that cut each doubling in four: few programs are compiled, and little is padding."""
    step = max(16, (1 << max(size - 1, 0).bit_length()) // 8)
    return -(-size // step) * step


def _room(shape: Sequence[int], memory_bytes: int) -> np.ndarray:
    """`[n, width]` float32 in memory, or in a file that goes with it."""
    if 4 * math.prod(shape) <= memory_bytes:
        return np.empty(tuple(shape), np.float32)
    with tempfile.TemporaryFile() as file:  # the map keeps what it needs of it
        return np.memmap(file, np.float32, "w+", shape=tuple(shape))
