"""Buckets of rows of equal degree, for sums over the rows of a sparse matrix by gathers alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from abkd_jax.types import HostOrDevice

__all__ = ["Buckets", "bucketise"]

# Numbers of entries per row of a bucket: few sizes, each little above the one before, so that padding stays near a
# tenth. A longer row is split into parts, which the next level adds up.
BUCKET_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


class Buckets(NamedTuple):
    """Rows grouped by their number of entries, so that a sum over rows needs gathers alone.

    Attributes:
        levels: per level the buckets `[size, rows of the bucket]` int32. Those of the first level hold positions of
            entries, those of later levels positions in the output of the level before (all buckets concatenated);
            positions past the end are padding.
        place: `[n]` int32, position of each row in the concatenated outputs of all levels; past the end for a row
            without entries.
    """

    levels: tuple[tuple[Int[HostOrDevice, "size rows"], ...], ...]
    place: Int[HostOrDevice, " n"]


def bucketise(row_ptr: np.ndarray) -> Buckets:
    """Groups rows by their number of entries; long rows are split into parts, over as many levels as it takes.

    Args:
        row_ptr: `[n + 1]`.
    """
    longest = BUCKET_SIZES[-1]
    place = np.full(row_ptr.shape[0] - 1, np.iinfo(np.int32).max, np.int32)
    # A level sums `lengths[i]` consecutive items from `starts[i]` on for each of `rows`. The items of the first level
    # are the entries; those of a later level are the sums of the level before that are parts of one row.
    rows, starts, lengths = np.arange(place.shape[0]), row_ptr[:-1].astype(np.int64), np.diff(row_ptr).astype(np.int64)
    items = np.arange(row_ptr[-1])  # where each item is: among the entries, or in the output of the level before
    levels, offset = [], 0
    while (lengths > 0).any():
        # Every row is split into parts of the largest bucket size, the last one shorter; rows without items have none.
        parts = -(-lengths // longest)
        owner = np.repeat(np.arange(rows.shape[0]), parts)  # of each part its row, a position in `rows`
        nth = np.arange(owner.shape[0]) - np.repeat(np.cumsum(parts) - parts, parts)  # its number within the row
        begins = starts[owner] + nth * longest
        lengths_of_parts = np.minimum(lengths[owner] - nth * longest, longest)
        level, position = _fill_buckets(begins, lengths_of_parts, items, BUCKET_SIZES)
        levels.append(level)
        # A row of one part is finished: its sum is in the output of this level. `owner` ascends, so that the parts of
        # each other row are consecutive items of the next level.
        single = parts[owner] == 1
        place[rows[owner[single]]] = offset + position[single]
        offset += owner.shape[0]
        split = parts > 1
        items = position[~single]
        rows, lengths = rows[split], parts[split]
        starts = np.cumsum(lengths) - lengths
    return Buckets(tuple(levels), place)


def _fill_buckets(
    begins: np.ndarray, lengths: np.ndarray, items: np.ndarray, sizes: Sequence[int]
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Sorts parts into the smallest buckets that hold them.

    Args:
        begins: `[p]`, where each part begins in `items`.
        lengths: `[p]`, number of its items, 1 to the largest bucket size.
        items: where each item is in the input of the level.
        sizes: those of the buckets, ascending.

    Returns:
        Of each bucket that is not empty `[size, parts]` int32, a column per part; `[p]`, the position of each part's
        sum in the output of the level.
    """
    bucket_of = np.searchsorted(sizes, lengths)
    order = np.argsort(bucket_of, kind="stable")  # the output of a level: bucket by bucket, parts as they came
    position = np.empty(order.shape[0], np.int64)
    position[order] = np.arange(order.shape[0])
    padded = np.append(items, np.iinfo(np.int32).max)  # index -1 reads the last one: padding, past the end of any input
    level = []
    for bucket in np.unique(bucket_of):
        members = order[bucket_of[order] == bucket]
        steps = np.arange(sizes[bucket])[:, None]
        inside = steps < lengths[members][None, :]
        level.append(padded[np.where(inside, begins[members][None, :] + steps, -1)].astype(np.int32))
    return tuple(level), position
