"""Weights of edges that do not change in training, in the orders that the products of accelerators read."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from abkd_jax.graph.slots import SUBLANES, Slots, in_slots
from abkd_jax.types import HostOrDevice, InputError

__all__ = ["TILE", "ByRow", "Constants", "LaidOut", "dense_wins", "lay_out", "slots_by_row"]

SMALL_MATRIX = 2**25  # bytes: up to 4,096 nodes a product costs a TPU less than the start of the kernels it replaces
BYTES_PER_ENTRY = 800  # of a matrix that a TPU v5e reads in the time of gathering and adding one entry's row
LARGEST_MATRIX = 2**30  # bytes
LARGEST_TABLE = 2**27  # bytes of the vector memory of a v5e or v6e
TILE = 256  # rows whose sums a kernel writes at a time

ByRow = tuple[tuple[Int[HostOrDevice, " _"], ...], ...]  # of each level and group


class LaidOut(NamedTuple):
    """Constant values of the entries of a sparsity pattern.

    Attributes:
        values: `[nnz]` in row order and `[nnz]` in column order; None where all are 1.
        slots: per group of the pattern's slots `[slots]`, by row and by column; None without slots, or where all are 1.
        matrix: `[n, m]` the dense matrix, equal entries added up, in bfloat16 where that is exact; None without it.
        by_row: what `slots_by_row` gives of the pattern and its transpose; None without slots, where not all values are
            1, or where the rows of `x` are more than vector memory holds.
    """

    values: tuple[Float[HostOrDevice, " nnz"], Float[HostOrDevice, " nnz"]] | None = None
    slots: tuple[tuple[Float[HostOrDevice, " slots"], ...], tuple[Float[HostOrDevice, " slots"], ...]] | None = None
    matrix: Float[HostOrDevice, "n m"] | None = None
    by_row: tuple[ByRow, ByRow] | None = None


class Constants(NamedTuple):
    """Constants of the sums over the edges of a graph.

    Attributes:
        scale: `[m]` of all columns, `D^-1/2`: the coefficient of an edge is its weight times those of its ends.
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
        by_row = None
        if slots is not None and 512 * max(shape) < LARGEST_TABLE:
            by_row = slots_by_row(slots[0], shape[1]), slots_by_row(slots[1], shape[0])
        return LaidOut(matrix=dense, by_row=by_row)
    own_slots = slots and (in_slots(slots[0], values), in_slots(slots[1], values))
    return LaidOut((values, values[order_t]), own_slots, dense)


def slots_by_row(slots: Slots, columns: int) -> ByRow:
    """Lays out what the slots of each level and group hold row by row, with empty rows up to whole tiles.

    At least 8 empty rows follow those of the last group of a level.

    Args:
        slots: of a matrix.
        columns: their number, which stands in empty slots of the first level.

    Examples:
        >>> from abkd_jax.graph.slots import lay_out_slots
        >>> ((found,),) = slots_by_row(lay_out_slots(np.array([0, 2, 3]), np.array([1, 0, 1], np.int32), columns=2), 2)
        >>> found.shape, found[:6].tolist()
        ((512,), [1, 0, 1, 2, 2, 2])
    """
    levels, empty = [], columns
    for groups, sizes in zip((slots.cols, *slots.parts), slots.sizes.levels, strict=False):
        by_row = [np.asarray(own).reshape(size, -1).T for own, size in zip(groups, sizes, strict=True)]
        rows = [own.shape[0] for own in by_row]
        tiles = [-(-count // TILE) for count in (*rows[:-1], rows[-1] + SUBLANES)]
        more = [((0, count * TILE - own.shape[0]), (0, 0)) for count, own in zip(tiles, by_row, strict=True)]
        filled = [np.pad(own, room, constant_values=empty) for own, room in zip(by_row, more, strict=True)]
        levels.append(tuple(own.reshape(-1) for own in filled))
        empty = sum(rows)
    return tuple(levels)


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
