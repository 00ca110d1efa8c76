"""Slots: the entries of a sparse matrix laid out so that a sum over its rows is one gather of rows per group.

A TPU gathers a row of 128 numbers in less time than a fifth of that of a single number, so that columns and weights are
brought into the order of the slots once, on the host, and not in every step.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int, Shaped

from abkd_jax.graph.buckets import bucketise
from abkd_jax.types import HostOrDevice

__all__ = ["SlotSizes", "Slots", "in_slots", "lay_out_slots", "whole_tiles"]

LONGEST = 32  # entries of a row in one group; a longer row is cut, and its parts are added up in the next level
MAX_GROUPS = 8  # of a level
GROUP_COST = 2048  # slots that a TPU gathers in the time that the three kernels of one more group take to start
SUBLANES = 8  # rows of a tile of a TPU: groups of so many rows need no copy between gather and sum
MOST_ROWS = 256  # that are copied at a time: XLA copies the rows of a large group in equal parts


@jax.tree_util.register_static
@dataclass(frozen=True)
class SlotSizes:
    """Slots per row of each group, level by level: part of the pytree's structure."""

    levels: tuple[tuple[int, ...], ...]


class Slots(NamedTuple):
    """Rows of an `[n, m]` matrix in groups of about equal length; group `g` has `sizes[g]` slots for each of its rows.

    The slots of a group are numbered `slot * rows + row`: a sum over them adds whole tiles.

    Attributes:
        cols: per group of the first level `[slots]` int32, the column of each slot; `m` in an empty one.
        entries: per group of the first level `[slots]` int32, the position of each slot's entry; `nnz` in an empty one.
        parts: per later level and group `[slots]` int32, positions in the output of the level before, whose last row
            is zero: the empty slots read it.
        place: `[n]` int32, position of each row's sum in the joined outputs of all levels.
        sizes: slots per row.
    """

    cols: tuple[Int[HostOrDevice, " slots"], ...]
    entries: tuple[Int[HostOrDevice, " slots"], ...]
    parts: tuple[tuple[Int[HostOrDevice, " slots"], ...], ...]
    place: Int[HostOrDevice, " n"]
    sizes: SlotSizes


def lay_out_slots(row_ptr: np.ndarray, cols: np.ndarray, columns: int, order: np.ndarray | None = None) -> Slots:
    """Lays out the entries of a sparse matrix.

    Args:
        row_ptr: `[n + 1]`.
        cols: `[nnz]`, in row order.
        columns: their number `m`.
        order: `[nnz]`, position of each entry among the values of the matrix; None where these are in row order.

    Examples:
        >>> import numpy as np
        >>> slots = lay_out_slots(np.array([0, 2, 2, 3]), np.array([1, 0, 1], np.int32), columns=2)
        >>> slots.sizes.levels, slots.cols[0].reshape(2, -1)[:, :2].tolist(), slots.place.tolist()
        (((2,),), [[1, 1], [0, 2]], [0, 8, 1])
    """
    buckets, nnz = bucketise(row_ptr, LONGEST, _fitted_sizes), cols.shape[0]
    flat, places, offset, zero_row = [], [], 0, 0
    moved, empty = np.arange(nnz), nnz  # where the items of a level are, and what its empty slots read
    for level in buckets.levels:
        flat.append(tuple(_flat(ids, moved, empty) for ids in level))
        moved, empty = _positions([ids.shape[1] for ids in level])
        places.append(offset + moved)
        zero_row = zero_row or empty
        offset += empty + SUBLANES
    everywhere = np.concatenate([*places, [zero_row]])
    entries, *parts = flat or [()]
    return Slots(
        cols=tuple(np.append(cols, columns)[ids].astype(np.int32) for ids in entries),
        entries=tuple(ids if order is None else np.append(order, nnz)[ids].astype(np.int32) for ids in entries),
        parts=tuple(parts),
        place=everywhere[np.minimum(buckets.place, everywhere.shape[0] - 1)].astype(np.int32),
        sizes=SlotSizes(tuple(tuple(ids.shape[0] for ids in level) for level in buckets.levels)),
    )


def in_slots(slots: Slots, values: Shaped[np.ndarray, " nnz"]) -> tuple[Shaped[np.ndarray, " slots"], ...]:
    """Lays out values of the entries, zero in empty slots."""
    padded = np.append(values, np.zeros(1, values.dtype))
    return tuple(padded[np.asarray(ids)] for ids in slots.entries)


def whole_tiles(rows: int) -> int:
    """Rounds the rows of a group up to whole tiles; many rows, by at most a thirty-second, to a power of two of them.

    The number of tiles must have small divisors: XLA copies them in equal parts, and one by one where it is a prime.

    Examples:
        >>> whole_tiles(3), whole_tiles(1025), whole_tiles(35_333)
        (8, 1056, 35584)
    """
    unit = SUBLANES
    while unit < MOST_ROWS and 64 * unit <= rows:
        unit *= 2
    return rows + -rows % unit


def _flat(ids: np.ndarray, moved: np.ndarray, empty: int) -> np.ndarray:
    """Moves the items of a bucket `[size, rows]`, fills its rows up to whole tiles, and numbers its slots."""
    more = whole_tiles(ids.shape[1]) - ids.shape[1]
    padded = np.pad(ids, ((0, 0), (0, more)), constant_values=np.iinfo(np.int32).max)
    return np.append(moved, empty)[np.minimum(padded, moved.shape[0])].astype(np.int32).reshape(-1)


def _positions(rows: list[int]) -> tuple[np.ndarray, int]:
    """Returns the position of each row in the output of a level, whose groups are whole tiles, and its length."""
    sizes = [whole_tiles(count) for count in rows]
    begins = np.cumsum([0, *sizes])
    return np.concatenate([begin + np.arange(count) for begin, count in zip(begins, rows, strict=False)]), int(
        begins[-1]
    )


def _fitted_sizes(lengths: np.ndarray) -> tuple[int, ...]:
    """Chooses at most `MAX_GROUPS` sizes with the fewest slots; each group costs `GROUP_COST` slots more."""
    longest = int(lengths.max())
    up_to = np.concatenate([[0], np.cumsum(np.bincount(lengths, minlength=longest + 1)[1:])])  # rows of such a length
    sizes = np.arange(longest + 1)
    # slots[i, j]: of one group of size `j` with the rows of lengths `i + 1` to `j`
    slots = np.where(sizes[:, None] < sizes[None], (up_to[None] - up_to[:, None]) * sizes[None] + GROUP_COST, np.inf)
    least, before = slots[0], []
    fewest = [float(least[-1])]
    for _ in range(MAX_GROUPS - 1):
        total = least[:, None] + slots
        before.append(np.argmin(total, axis=0))
        least = np.min(total, axis=0)
        fewest.append(float(least[-1]))
    chosen = [longest]
    for choice in before[: int(np.argmin(fewest))][::-1]:
        chosen.append(int(choice[chosen[-1]]))
    return tuple(chosen[::-1])
