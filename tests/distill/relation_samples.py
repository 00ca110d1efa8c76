"""Features, edges and kernels in NumPy for the tests of relations between nodes."""

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from distill_samples import EDGELESS, random_params

from abkd_jax.types import GNNOutput, Objective

KERNELS = ("cosine", "poly", "l2", "rbf")
EDGES = np.random.default_rng(7).integers(0, 14, (2, 40))
EDGES = np.unique(np.concatenate([EDGES, [[7, 8, 3], [8, 7, 3]]], axis=1), axis=1)  # coincident ends, and a loop
MASK = np.arange(14) < 11


def edge_graph(edges: np.ndarray, nodes: int) -> jraph.GraphsTuple:
    """The edge list `[2, e]` as it is, senders first: neither sorted nor merged."""
    ends = edges.astype(np.int32)
    counts = np.array([nodes], np.int32), np.array([ends.shape[1]], np.int32)
    return jraph.GraphsTuple(None, None, ends[1], ends[0], None, *counts)


def features(*hiddens, dtype="float32") -> GNNOutput:
    layers = tuple(jnp.asarray(x, dtype) for x in hiddens)
    return GNNOutput(jnp.zeros((len(layers[0]), 2), dtype), layers)


def evaluate(objective: Objective, teacher, student, *, graph=EDGELESS, mask=None, params=None, key=None):
    """`(loss, (to_params, to_last_hidden))`."""
    mask = jnp.ones(len(student.logits), bool) if mask is None else jnp.asarray(mask)
    params = random_params(objective, teacher, student) if params is None else params

    @jax.jit
    def compiled(params, last, hiddens, teacher, mask, key):
        def loss(params, last):
            seen = student._replace(hiddens=(*hiddens, last))
            targets = objective.targets(teacher, graph=graph, mask=mask)
            return objective.apply(params, targets, seen, graph=graph, mask=mask, key=key)[0]

        return jax.value_and_grad(loss, argnums=(0, 1))(params, last)

    return compiled(params, student.hiddens[-1], student.hiddens[:-1], teacher, mask, key)


def pair(kernel: str, x: np.ndarray, y: np.ndarray, scale: float = 1.0) -> float:
    cosine = x @ y / (max(np.linalg.norm(x), 1e-12) * max(np.linalg.norm(y), 1e-12))
    distance = np.linalg.norm(x - y)
    return {
        "cosine": cosine,
        "poly": cosine**2,
        "l2": distance,
        "rbf": np.exp(-(distance**2) / 2.0),
        "sigmoid": np.tanh(x @ y),
        "gaussian": np.exp(-distance / scale),
    }[kernel]


def gram(kernel: str, x: np.ndarray, scale: float = 1.0) -> np.ndarray:
    return np.array([[pair(kernel, u, v, scale) for v in x] for u in x])


def shares(kernel: str, x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The softmax over the edges `[2, e]` of each receiver."""
    k = np.exp([pair(kernel, x[u], x[v]) for u, v in edges.T])
    return np.array([value / k[edges[1] == v].sum() for value, v in zip(k, edges[1], strict=True)])


def small(dtype="float64") -> tuple[GNNOutput, GNNOutput, np.ndarray, np.ndarray]:
    """Rectified features of 14 nodes, one row zero and two equal on either side, and as NumPy arrays."""
    rng = np.random.default_rng(5)
    t, s = (np.maximum(rng.normal(0.3, 1.0, (14, d)), 0.0).astype(np.float32) for d in (6, 4))
    for x in (t, s):
        x[3], x[8] = 0.0, x[7]
    return features(t, dtype=dtype), features(s, dtype=dtype), t.astype(np.float64), s.astype(np.float64)
