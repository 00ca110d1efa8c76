"""What `prepare` lays out besides the sorted edges, by the platform that the programs are for."""

from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse as sp

from abkd_jax.graph.constants import Constants, LaidOut, dense_wins, lay_out
from abkd_jax.graph.layout import CSR, Backend, SparseFeatures
from abkd_jax.types import Pytree

__all__ = ["Forms", "choose_forms", "constants_of", "for_tpu", "without_sparse_features"]

DENSE_FEATURES = 2**26  # bytes: a TPU reads them in the time in which it gathers 6,000 single numbers


class Forms(NamedTuple):
    """Attributes: whether to lay out slots, to build the dense matrix, and to make sparse features dense."""

    slots: bool
    matrix: bool
    dense_features: bool


def for_tpu(platform: str | None) -> bool:
    """Tells whether programs are for a TPU; `platform` as in `choose_forms`."""
    return (platform or jax.default_backend()) == "tpu"


def choose_forms(backend: Backend, platform: str | None, size: int, edges: int) -> Forms:
    """Chooses what to lay out; nothing is allocated on a CPU or GPU that only a TPU reads.

    Args:
        backend: how sums run.
        platform: that of the programs; None takes that of JAX's default device.
        size: number of nodes.
        edges: number of edges.

    Examples:
        >>> choose_forms("auto", "tpu", 2708, 10_556), choose_forms("auto", "cpu", 2708, 10_556)
        (Forms(slots=True, matrix=True, dense_features=True), Forms(slots=False, matrix=False, dense_features=False))
    """
    tpu = backend not in ("csr", "segment") and for_tpu(platform)
    matrix = backend == "dense" or (tpu and backend == "auto" and dense_wins(edges, (size, size)))
    return Forms(tpu or backend == "bucketed", matrix, tpu)


def constants_of(pattern: CSR, scale: np.ndarray, weights: np.ndarray | None, *, matrix: bool) -> Constants:
    """Lays out the constants of the sums over the edges.

    Args:
        pattern: of the edges.
        scale: `[n]`, `D^-1/2`.
        weights: `[e]`, None where all are 1.
        matrix: whether to build dense matrices.
    """

    def laid_out(values: np.ndarray | None) -> LaidOut:
        order_t, slots = np.asarray(pattern.order_t), pattern.slots
        return lay_out(
            np.asarray(pattern.rows), np.asarray(pattern.cols), pattern.shape, values, order_t, slots, matrix
        )

    return Constants(scale, laid_out(None), None if weights is None else laid_out(weights))


def without_sparse_features(nodes: Pytree) -> Pytree:
    """Makes `SparseFeatures` of up to 64 MiB dense, which a TPU multiplies in less time than it gathers numbers."""

    def dense(leaf: Any) -> Any:
        if not isinstance(leaf, SparseFeatures) or 4 * leaf.shape[0] * leaf.shape[1] > DENSE_FEATURES:
            return leaf
        pattern = leaf.pattern
        parts = np.asarray(leaf.values), np.asarray(pattern.cols), np.asarray(pattern.row_ptr)
        return sp.csr_matrix(parts, shape=leaf.shape).toarray()

    return jax.tree.map(dense, nodes, is_leaf=lambda leaf: isinstance(leaf, SparseFeatures))
