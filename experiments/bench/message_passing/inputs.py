"""Seeded inputs in NumPy, the same on every side: power-law graphs, features, first parameters, cotangents."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from experiments.bench.message_passing.cases import Case

__all__ = ["Inputs", "make_inputs", "power_law"]


class Inputs(NamedTuple):
    """What a case reads.

    Attributes:
        senders: `[e]` int64; edges are sorted by sender, then by receiver, as PyTorch Geometric's `coalesce` has them.
        receivers: `[e]` int64.
        leaves: arrays that are differentiated.
        constants: the other ones.
    """

    senders: np.ndarray
    receivers: np.ndarray
    leaves: dict[str, np.ndarray]
    constants: dict[str, Any]


def make_inputs(case: Case) -> Inputs:
    """The inputs of a case, from its seed."""
    rng = np.random.default_rng(case.seed)
    senders, receivers = power_law(rng, case.nodes, case.pairs, case.directed)
    leaves, constants = _KINDS[case.kind](rng, case)
    return Inputs(senders, receivers, leaves, constants)


def power_law(rng: np.random.Generator, nodes: int, pairs: int, directed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Distinct edges without self loops between ends drawn with odds `rank^(-2/3)`: degrees of exponent 2.5.

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


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _fan_in(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    bound = rows**-0.5
    return rng.uniform(-bound, bound, (rows, columns)).astype(np.float32)


_KINDS: dict[str, Callable[..., tuple[dict[str, np.ndarray], dict[str, Any]]]] = {
    "weighted_sum": _weighted_sum,
    "gcnii": _gcnii,
}
