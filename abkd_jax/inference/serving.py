"""Measures how long a model takes to answer: for one node or graph, for a batch of 256, for all; cold and warm."""

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from abkd_jax.graph.host import HostGraph
from abkd_jax.inference.by_parts import apply_to
from abkd_jax.inference.evaluation import flops, latency
from abkd_jax.inference.neighbourhood import Ladder, neighbourhood
from abkd_jax.sampling import graph_batches
from abkd_jax.sampling.subgraph import Positions
from abkd_jax.types import GraphDataset, InputError, Pytree

__all__ = ["BATCH", "Answers", "Cost", "cost_of_all", "graph_queries", "node_queries", "time_queries"]

QUERIES = 200  # least number of nodes whose answers are timed
BATCH, BATCHES = 256, 20  # nodes per batch, and batches that are timed


class Answers(NamedTuple):
    """Times of queries, each from its nodes to the logits on the host, in milliseconds.

    Attributes:
        queries: how many were timed.
        p50: median.
        p99: 99th percentile.
        cold: the first query of all, compilation included.
    """

    queries: int
    p50: float
    p99: float
    cold: float


class Cost(NamedTuple):
    """Cost of one pass over a whole graph.

    Attributes:
        warm: median time, milliseconds.
        cold: time of the first pass, compilation included, milliseconds.
        flops: floating-point operations of its matrix products.
        weight_bytes: bytes of the model's variables.
        program_bytes: what XLA allocates for the program: arguments, results and temporary arrays.
    """

    warm: float
    cold: float
    flops: float
    weight_bytes: int
    program_bytes: int


def node_queries(
    graph: HostGraph, hops: int, nodes: Int[np.ndarray, " k"], rng: np.random.Generator, *, batch: int = 1
) -> list[Callable[[], Any]]:
    """Draws queries for the logits of nodes of a graph: functions that return their neighbourhoods, built on the host.

    Args:
        graph: the whole graph.
        hops: radius of the model, see `neighbourhood.radius`.
        nodes: `[k]` nodes to draw from; where they are fewer than a batch, all of them.
        rng: draws the nodes.
        batch: nodes per query.

    Returns:
        200 queries of one node, or 20 of a batch.

    Raises:
        InputError: there is no node to draw from.
    """
    if not nodes.size:
        raise InputError("latency: no node to ask for, expected at least one test node")
    ladder, positions = Ladder.of(graph), Positions(graph.num_nodes)
    size, count = min(batch, nodes.size), QUERIES if batch == 1 else BATCHES
    if batch == 1:
        drawn: Any = rng.choice(nodes, count, replace=nodes.size < count)[:, None]
    else:
        drawn = [rng.choice(nodes, size, replace=False) for _ in range(count)]
    return [functools.partial(neighbourhood, graph, chosen, hops, ladder, positions) for chosen in drawn]


def graph_queries(
    dataset: GraphDataset, graphs: Int[np.ndarray, " k"], rng: np.random.Generator, *, batch: int = 1
) -> list[Callable[[], Any]]:
    """Makes queries for the logits of whole graphs, drawn at random when they are called; all have one shape.

    Args:
        dataset: graph-level data set.
        graphs: `[k]` graphs to draw from.
        rng: draws the graphs.
        batch: most graphs per query.

    Returns:
        200 queries of one graph, or 20 of a batch.

    Raises:
        InputError: there is no graph to draw from.
    """
    sampler = graph_batches(dataset, batch, graphs=graphs)
    drawn = itertools.chain.from_iterable(sampler(rng) for _ in itertools.count())
    return [lambda: next(drawn).graph] * (QUERIES if batch == 1 else BATCHES)


def time_queries(model: Any, variables: Pytree, queries: Sequence[Callable[[], Any]]) -> Answers:
    """Times queries one after the other, each from its first step on the host until its logits are there again.

    The first query of all compiles a program. Then the programs of all other shapes are compiled, before queries are
    timed.

    Args:
        model: with an `apply`.
        variables: of the model.
        queries: functions that return a graph of NumPy arrays; graphs of one shape share a program.
    """
    predict = jax.jit(lambda variables, graph: model.apply(variables, graph).logits)
    variables = jax.device_put(variables)

    def milliseconds(query: Callable[[], Any]) -> float:
        began = time.perf_counter()
        np.asarray(predict(variables, query()))
        return 1e3 * (time.perf_counter() - began)

    cold, shapes = milliseconds(queries[0]), set()
    for query in queries:
        shape = str(jax.tree.map(np.shape, query()))
        if shape not in shapes:
            milliseconds(query)
        shapes.add(shape)
    p50, p99 = np.percentile([milliseconds(query) for query in queries], (50, 99))
    return Answers(len(queries), float(p50), float(p99), cold)


def cost_of_all(model: Any, variables: Pytree, graph: Any) -> Cost:
    """Measures one pass over a graph that is on the device as a whole.

    Args:
        model: with an `apply`.
        variables: of the model.
        graph: prepared, all of it; or all graphs in parts, see `by_parts`.
    """
    began = time.perf_counter()
    program = jax.jit(lambda variables, graph: apply_to(model, variables, graph).logits)
    compiled = program.lower(variables, graph).compile()
    jax.block_until_ready(compiled(variables, graph))
    cold = 1e3 * (time.perf_counter() - began)
    memory = compiled.memory_analysis()
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return Cost(
        warm=latency(program, variables, graph)["median_ms"],
        cold=cold,
        flops=flops(program, variables, graph),
        weight_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(variables)),
        program_bytes=sum(getattr(memory, part, 0) for part in parts),
    )
