"""Every aggregation beside a model of it: loops over edges in NumPy float64, with complex steps as gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from graphs import EdgeList, random_edges, raw_graph

from abkd_jax import aggregate
from abkd_jax.graph import normalise, prepare, raw_edges

RELATIONS = 3
LAYOUTS = ("plain", *aggregate.BACKENDS)
MANY = random_edges(3, 9, 20)  # with duplicates, self loops, and an isolated node
LEAVES = 512  # more ones than bfloat16 can count


class Op(NamedTuple):
    function: Callable  # (graph, *arguments), edges in the order of the graph
    model: Callable  # (EdgeList, *arguments), edges as listed; real or complex
    shapes: tuple  # of the arguments; "n" and "e" stand for the numbers of nodes and edges
    pullback: Callable | None = None  # (EdgeList, *arguments, cotangent); None: by complex steps
    of_edges: bool = False  # whether the result has one row an edge


def types_of(edges: EdgeList) -> np.ndarray:
    """`[e]` edge types; the last one is rare."""
    return (np.arange(edges.senders.shape[0]) % 5 // 2 % RELATIONS).astype(np.int32)


def star(leaves: int, out: bool = False) -> EdgeList:
    """Edges of weight 1 from every leaf to node 0, or the other way round."""
    ends = np.arange(1, leaves + 1, dtype=np.int32), np.zeros(leaves, np.int32)
    return EdgeList(*(ends[::-1] if out else ends), np.ones(leaves, np.float32), leaves + 1)


def relabelled(edges: EdgeList, order: np.ndarray) -> EdgeList:
    """Node `i` is called `order[i]`."""
    return edges._replace(senders=order[edges.senders], receivers=order[edges.receivers])


def typed_graph(edges: EdgeList, dtype: Any = np.float32, width: int = 1) -> Any:
    """A graph whose edges have weights, types, and their positions in the list."""
    ids = np.arange(edges.senders.shape[0], dtype=np.int32)
    labels = {"weight": edges.weights.astype(dtype), "relation": types_of(edges), "id": ids}
    return raw_graph(edges, np.zeros((edges.size, width), dtype))._replace(edges=labels)


def arranged(graph: Any, layout: str, **options: Any) -> Any:
    """The graph by its layout: plain, normalised, or prepared for a backend."""
    if layout == "plain":
        return graph
    return (
        normalise(graph) if layout == "normalised" else prepare(graph, backend=layout, relations=RELATIONS, **options)
    )


def arguments_of(op: Op, edges: EdgeList, dtype: Any = np.float32, seed: int = 0) -> list[np.ndarray]:
    """Random arguments, edges as listed; in quarters, so that neighbours tie."""
    rng = np.random.default_rng(seed)
    sizes = {"n": edges.size, "e": edges.senders.shape[0]}
    return [rng.integers(-5, 6, [sizes.get(n, n) for n in shape]).astype(dtype) / 4 for shape in op.shapes]


def results(op: Op, graph: Any, arguments: list, cotangent: Any) -> tuple[Any, tuple[Any, ...]]:
    """The value and the gradients of all arguments; edges in and out as listed, whatever the order of the graph."""
    ids = jnp.asarray(raw_edges(graph)["id"])
    back = jnp.argsort(ids)

    def listed(*arguments: Any) -> Any:
        moved = [a[ids] if shape[0] == "e" else a for a, shape in zip(arguments, op.shapes, strict=True)]
        out = op.function(graph, *moved)
        return out[back] if op.of_edges else out

    out, pullback = jax.vjp(listed, *map(jnp.asarray, arguments))
    return out, pullback(jnp.asarray(cotangent))


compiled = jax.jit(results, static_argnums=0)


def model_results(op: Op, edges: EdgeList, arguments: list, cotangent: np.ndarray) -> tuple[Any, tuple[Any, ...]]:
    """The same in NumPy."""
    wide = [np.asarray(a, np.float64) for a in arguments]
    out = op.model(edges, *wide)
    if op.pullback is not None:
        return out, op.pullback(edges, *wide, cotangent)
    grads = []
    for place, argument in enumerate(wide):
        grad = np.zeros(argument.shape)
        for index in np.ndindex(argument.shape):
            stepped = [a.astype(complex) for a in wide]
            stepped[place][index] += 1e-30j
            grad[index] = np.sum(cotangent * op.model(edges, *stepped)).imag / 1e-30
        grads.append(grad)
    return out, tuple(grads)


def cotangent_of(op: Op, edges: EdgeList, arguments: list, seed: int = 9) -> np.ndarray:
    """Random, of the type and shape of the result."""
    shape = op.model(edges, *[np.asarray(a, np.float64) for a in arguments]).shape
    return np.random.default_rng(seed).normal(size=shape).astype(arguments[0].dtype)


def check_exactly(name: str, layout: str, edges: EdgeList = MANY) -> None:
    """Value and gradients in float64 are those of the model to the last digits."""
    op = OPS[name]
    with jax.enable_x64(True):
        arguments = arguments_of(op, edges, np.float64)
        cotangent = cotangent_of(op, edges, arguments)
        graph = arranged(typed_graph(edges, np.float64), layout)
        got = compiled(op, graph, arguments, cotangent)
        assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {np.dtype(np.float64)}
        same(got, model_results(op, edges, arguments, cotangent), 1e-12)


def same(got: Any, expected: Any, rtol: float = 1e-5) -> None:
    """Leaf by leaf, up to rounding."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), got, expected)


def _scattered(receivers: np.ndarray, messages: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros((size, *messages.shape[1:]), messages.dtype)
    for receiver, message in zip(receivers, messages, strict=True):
        out[receiver] += message
    return out


def _weighted_sum(edges: EdgeList, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _scattered(edges.receivers, weights[:, None] * x[edges.senders], edges.size)


def _counts(ids: np.ndarray, size: int) -> np.ndarray:
    return np.maximum(np.bincount(ids, minlength=size), 1)


def _mean(edges: EdgeList, x: np.ndarray) -> np.ndarray:
    return _scattered(edges.receivers, x[edges.senders], edges.size) / _counts(edges.receivers, edges.size)[:, None]


def _propagate(edges: EdgeList, x: np.ndarray) -> np.ndarray:
    loops = np.setdiff1d(np.arange(edges.size), edges.receivers[edges.senders == edges.receivers])
    senders, receivers = np.append(edges.senders, loops), np.append(edges.receivers, loops)
    weights = np.append(edges.weights.astype(np.float64), np.ones(loops.shape[0]))
    scale = 1.0 / np.sqrt(_scattered(receivers, weights, edges.size))
    return _scattered(receivers, (weights * scale[senders] * scale[receivers])[:, None] * x[senders], edges.size)


def _softmax(receivers: np.ndarray, logits: np.ndarray, size: int) -> np.ndarray:
    largest = np.full((size, logits.shape[1]), -np.inf)
    np.maximum.at(largest, receivers, logits.real)
    exps = np.exp(logits - np.where(np.isneginf(largest), 0.0, largest)[receivers])
    totals = _scattered(receivers, exps, size)
    return exps / np.where(totals == 0, 1.0, totals)[receivers]


def _attention(edges: EdgeList, logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    weights = _softmax(edges.receivers, logits, edges.size)
    return _scattered(edges.receivers, weights[:, :, None] * x[edges.senders], edges.size)


def _full_attention(
    edges: EdgeList, logits: np.ndarray, x: np.ndarray, own: np.ndarray, keep: np.ndarray, own_keep: np.ndarray
) -> np.ndarray:
    counted, nodes = np.flatnonzero(counts(np.arange(edges.senders.shape[0]))), np.arange(edges.size)
    senders, receivers = np.append(edges.senders[counted], nodes), np.append(edges.receivers[counted], nodes)
    weights = _softmax(receivers, np.concatenate([logits[counted], own]), edges.size)
    weights = weights * np.concatenate([keep[counted], own_keep])
    return _scattered(receivers, weights[:, :, None] * x[senders], edges.size)


def counts(ids: Any) -> Any:
    """Which edges the mask lets through: all but every fourth."""
    return ids % 4 != 1


def _attention_with_everything(graph: Any, logits: Any, x: Any, own: Any, keep: Any, own_keep: Any) -> Any:
    mask = counts(jnp.asarray(raw_edges(graph)["id"]))
    return aggregate.attention_sum(graph, logits, x, self_logits=own, keep=keep, self_keep=own_keep, mask=mask)


def _maximum(edges: EdgeList, x: np.ndarray) -> np.ndarray:
    largest = np.full(x.shape, -np.inf)
    np.maximum.at(largest, edges.receivers, x[edges.senders])
    return np.where(np.isneginf(largest), 0.0, largest)


def _maximum_pullback(edges: EdgeList, x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray]:
    """Each edge that attains the maximum gets an equal share."""
    attains = (x[edges.senders] == _maximum(edges, x)[edges.receivers]).astype(float)
    share = attains / np.maximum(_scattered(edges.receivers, attains, edges.size), 1.0)[edges.receivers]
    return (_scattered(edges.senders, share * cotangent[edges.receivers], edges.size),)


def _relation_means(edges: EdgeList, x: np.ndarray) -> np.ndarray:
    pairs = edges.receivers * RELATIONS + types_of(edges)
    sums = _scattered(pairs, x[edges.senders], edges.size * RELATIONS)
    return (sums / _counts(pairs, edges.size * RELATIONS)[:, None]).reshape(edges.size, RELATIONS, x.shape[1])


def _relation_sum(edges: EdgeList, x: np.ndarray) -> np.ndarray:
    return sum(_relation_means(edges, x[:, r])[:, r] for r in range(RELATIONS))


OPS = {
    "weighted_sum": Op(aggregate.weighted_sum, _weighted_sum, (("n", 3), ("e",))),
    "mean": Op(aggregate.mean, _mean, (("n", 3),)),
    "propagate": Op(aggregate.propagate, _propagate, (("n", 3),)),
    "maximum": Op(aggregate.maximum, _maximum, (("n", 3),), _maximum_pullback),
    "attention_sum": Op(aggregate.attention_sum, _attention, (("e", 2), ("n", 2, 3))),
    "attention_with_everything": Op(
        _attention_with_everything, _full_attention, (("e", 2), ("n", 2, 3), ("n", 2), ("e", 2), ("n", 2))
    ),
    "edge_softmax": Op(
        aggregate.edge_softmax, lambda e, v: _softmax(e.receivers, v, e.size), (("e", 2),), of_edges=True
    ),
    "sender_values": Op(aggregate.sender_values, lambda e, x: x[e.senders], (("n", 2),), of_edges=True),
    "receiver_values": Op(aggregate.receiver_values, lambda e, x: x[e.receivers], (("n", 2),), of_edges=True),
    "receiver_sums": Op(aggregate.receiver_sums, lambda e, v: _scattered(e.receivers, v, e.size), (("e", 2),)),
    "relation_means": Op(lambda g, x: aggregate.relation_means(g, x, RELATIONS), _relation_means, (("n", 3),)),
    "relation_sum": Op(aggregate.relation_sum, _relation_sum, (("n", RELATIONS, 3),)),
}


def all_inputs(edges: EdgeList, seed: int = 0, names: tuple = tuple(OPS)) -> tuple[dict, dict]:
    """Arguments and cotangents of the aggregations, by name."""
    arguments = {name: arguments_of(OPS[name], edges, seed=seed) for name in names}
    return arguments, {name: cotangent_of(OPS[name], edges, arguments[name], seed) for name in names}


def all_results(graph: Any, arguments: dict, cotangents: dict) -> dict:
    """Value and gradients of the aggregations, by name."""
    return {name: results(OPS[name], graph, arguments[name], cotangents[name]) for name in arguments}


def all_models(edges: EdgeList, arguments: dict, cotangents: dict) -> dict:
    """The same in NumPy."""
    return {name: model_results(OPS[name], edges, arguments[name], cotangents[name]) for name in arguments}
