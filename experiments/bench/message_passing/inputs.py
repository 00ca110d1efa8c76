"""Creates seeded inputs in NumPy, equal on all sides: power-law graphs, features, first parameters, cotangents."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from experiments.bench.message_passing.cases import Case

__all__ = ["Inputs", "make_inputs", "power_law"]


class Inputs(NamedTuple):
    """Inputs of a case.

    Attributes:
        senders: `[e]` int64; edges are sorted by sender, then by receiver, as PyTorch Geometric's `coalesce` has them.
        receivers: `[e]` int64.
        leaves: arrays that are differentiated.
        constants: all other arrays.
    """

    senders: np.ndarray
    receivers: np.ndarray
    leaves: dict[str, np.ndarray]
    constants: dict[str, Any]


def make_inputs(case: Case) -> Inputs:
    """Returns the inputs of a case, drawn from its seed."""
    rng = np.random.default_rng(case.seed)
    senders, receivers = power_law(rng, case.nodes, case.pairs, case.directed)
    leaves, constants = _KINDS[case.kind](rng, case)
    return Inputs(senders, receivers, leaves, constants)


def power_law(rng: np.random.Generator, nodes: int, pairs: int, directed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns distinct edges without self loops whose ends have odds `rank^(-2/3)`: degrees of exponent 2.5.

    At the size of ogbn-arxiv the largest degree is about 14,000 (13,161 there).
    """
    odds = np.cumsum(np.arange(1, nodes + 1) ** (-2 / 3))
    names = rng.permutation(nodes)
    keys = np.empty(0, np.int64)
    while keys.shape[0] < pairs:
        a, b = (names[np.searchsorted(odds, rng.random(2 * pairs) * odds[-1])] for _ in range(2))
        a, b = (a, b) if directed else (np.minimum(a, b), np.maximum(a, b))
        keys = np.unique(np.concatenate([keys, (a * nodes + b)[a != b]]))
    a, b = np.divmod(rng.permutation(keys)[:pairs], nodes)
    senders, receivers = (a, b) if directed else (np.concatenate([a, b]), np.concatenate([b, a]))
    order = np.argsort(senders * nodes + receivers)
    return senders[order], receivers[order]


def _weighted_sum(rng: np.random.Generator, case: Case) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    shape = case.nodes, case.options["width"]
    weights = rng.uniform(0.5, 1.5, case.edges).astype(np.float32)
    return {"x": _normal(rng, *shape)}, {"weights": weights, "cotangent": _normal(rng, *shape)}


def _gcnii(rng: np.random.Generator, case: Case) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    size, n = case.options, case.nodes
    layers, hidden, words, classes = size["layers"], size["hidden"], size["words"], size["classes"]
    matrix = sp.random_array((n, words), density=size["words_a_node"] / words, format="csr", rng=rng, dtype=np.float32)
    leaves = {
        "input": _fan_in(rng, words, hidden),
        "input_bias": _fan_in(rng, words, hidden)[0],
        "conv": np.stack([_fan_in(rng, hidden, hidden) for _ in range(layers)]),
        "output": _fan_in(rng, hidden, classes),
        "output_bias": _fan_in(rng, hidden, classes)[0],
    }
    return leaves, {"words": sp.csr_matrix(matrix), "labels": rng.integers(0, classes, n), "train": np.arange(n) < 140}


def _maximum(rng: np.random.Generator, case: Case) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    shape = case.nodes, case.options["width"]
    return {"x": _normal(rng, *shape)}, {"cotangent": _normal(rng, *shape)}


def _sage(rng: np.random.Generator, case: Case) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    widths, leaves = case.options["widths"], {}
    for layer, (width, out) in enumerate(itertools.pairwise(widths)):
        leaves |= {f"neighbours_{layer}": _fan_in(rng, width, out), f"own_{layer}": _fan_in(rng, width, out)}
        leaves[f"bias_{layer}"] = _fan_in(rng, width, out)[0]
    return leaves, {"x": _normal(rng, case.nodes, widths[0]), "labels": rng.integers(0, widths[-1], case.nodes)}


def _gat(rng: np.random.Generator, case: Case) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    n, f, heads, d = case.nodes, *(case.options[key] for key in ("width", "heads", "head_width"))
    leaves = {
        "x": _normal(rng, n, f),
        "kernel": _fan_in(rng, f, heads * d),
        "sender": _normal(rng, heads, d) / d**0.5,
        "receiver": _normal(rng, heads, d) / d**0.5,
        "bias": _fan_in(rng, f, heads * d)[0],
    }
    return leaves, {"cotangent": _normal(rng, n, heads * d)}


def _rgcn(rng: np.random.Generator, case: Case) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    width, out, relations = (case.options[key] for key in ("width", "out", "relations"))
    leaves = {
        "x": _normal(rng, case.nodes, width),
        "kernels": np.stack([_fan_in(rng, width, out) for _ in range(relations)]),
        "own": _fan_in(rng, width, out),
        "bias": _fan_in(rng, width, out)[0],
    }
    types = rng.integers(0, relations, case.edges)
    return leaves, {"types": types, "cotangent": _normal(rng, case.nodes, out)}


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _fan_in(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    bound = rows**-0.5
    return rng.uniform(-bound, bound, (rows, columns)).astype(np.float32)


_KINDS: dict[str, Callable[..., tuple[dict[str, np.ndarray], dict[str, Any]]]] = {
    "weighted_sum": _weighted_sum,
    "maximum": _maximum,
    "sage": _sage,
    "gat": _gat,
    "rgcn": _rgcn,
    "gcnii": _gcnii,
    "seeds": _gcnii,
}
