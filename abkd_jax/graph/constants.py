"""Weights of edges that do not change in training, in the orders that the products of accelerators read."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from abkd_jax.graph.slots import Slots, in_slots
from abkd_jax.types import HostOrDevice, InputError

__all__ = ["Constants", "LaidOut", "dense_wins", "lay_out"]

SMALL_MATRIX = 2**25  # bytes: up to 4,096 nodes a product costs a TPU less than the start of the kernels it replaces
BYTES_PER_ENTRY = 800  # of a matrix that a TPU v5e reads in the time of gathering and adding one entry's row
LARGEST_MATRIX = 2**30  # bytes


class LaidOut(NamedTuple):
    """Constant values of the entries of a sparsity pattern.

    Attributes:
        values: `[nnz]` in row order and `[nnz]` in column order; None where all are 1.
        slots: per group of the pattern's slots `[slots]`, by row and by column; None without slots, or where all are 1.
        matrix: `[n, m]` the dense matrix, equal entries added up, in bfloat16 where that is exact; None without it.
    """

    values: tuple[Float[HostOrDevice, " nnz"], Float[HostOrDevice, " nnz"]] | None = None
    slots: tuple[tuple[Float[HostOrDevice, " slots"], ...], tuple[Float[HostOrDevice, " slots"], ...]] | None = None
    matrix: Float[HostOrDevice, "n m"] | None = None


class Constants(NamedTuple):
    """Constants of the sums over the edges of a graph.

    Attributes:
        scale: `[n]`, `D^-1/2`: the coefficient of an edge is its weight times those of its ends.
        ones: for sums in which every edge counts once.
        weights: for sums of the edge weights; None where all are 1.
    """

    scale: Float[HostOrDevice, " n"]
    ones: LaidOut
    weights: LaidOut | None


def lay_out(
    rows: np.ndarray,
    cols: np.ndarray,
    shape: tuple[int, int],
    values: np.ndarray | None,
    order_t: np.ndarray,
    slots: tuple[Slots, Slots] | None,
    matrix: bool,
) -> LaidOut:
    """Lays out constant values of the entries of a pattern.

    Args:
        rows: `[nnz]`.
        cols: `[nnz]`.
        shape: `(n, m)`.
        values: `[nnz]`, None where all are 1.
        order_t: `[nnz]`, from row order to column order.
        slots: of the pattern.
        matrix: whether to build the dense matrix.

    Raises:
        InputError: the dense matrix is too large.
    """
    dense = _dense(rows, cols, shape, values) if matrix else None
    if values is None:
        return LaidOut(matrix=dense)
    own_slots = slots and (in_slots(slots[0], values), in_slots(slots[1], values))
    return LaidOut((values, values[order_t]), own_slots, dense)


def dense_wins(entries: int, shape: tuple[int, int]) -> bool:
    """Returns whether a product with the dense matrix costs a TPU less than gathers, by static counts for a v5e.

    The product reads two bytes per row and column at 443 bytes a cycle; an entry in slots costs 1.8 cycles.

    Examples:
        >>> dense_wins(10_556, (2708, 2708)), dense_wins(88_648, (19_717, 19_717))  # Cora, Pubmed
        (True, False)
    """
    size = 2 * shape[0] * shape[1]
    return size <= min(max(SMALL_MATRIX, BYTES_PER_ENTRY * entries), LARGEST_MATRIX)


def _dense(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int], values: np.ndarray | None) -> np.ndarray:
    if 2 * shape[0] * shape[1] > LARGEST_MATRIX:
        raise InputError(
            f"backend 'dense': a matrix of {shape[0]} x {shape[1]} in bfloat16 has more than "
            f"{LARGEST_MATRIX // 2**20} MiB, expected a smaller graph or backend 'bucketed'"
        )
    own = np.ones(rows.shape[0], np.float32) if values is None else values
    matrix = sp.coo_matrix((own, (rows, cols)), shape).toarray()
    rounded = matrix.astype(jnp.bfloat16)
    return rounded if np.array_equal(rounded.astype(matrix.dtype), matrix) else matrix
