"""Slots: the entries of a sparse matrix laid out so that a sum over its rows is one gather of rows per group.

A TPU gathers a row of 128 numbers in less time than a fifth of that of a single number, so that columns and weights are
brought into the order of the slots once, on the host, and not in every step.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int, Shaped

from abkd_jax.graph.slot_shapes import (
    LONGEST,
    SUBLANES,
    SlotShape,
    exact_shape,
    holds_in_order,
    part_counts,
    whole_tiles,
)
from abkd_jax.types import HostOrDevice, InputError

__all__ = ["SlotSizes", "Slots", "in_slots", "lay_out_slots"]


@jax.tree_util.register_static
@dataclass(frozen=True)
class SlotSizes:
    """Static sizes: part of the pytree's structure.

    Attributes:
        levels: slots per row of each group, level by level.
        in_order: whether the first `n` rows of the only group are the rows of the matrix.
    """

    levels: tuple[tuple[int, ...], ...]
    in_order: bool = False


class Slots(NamedTuple):
    """Rows of an `[n, m]` matrix in groups of about equal length; group `g` has `sizes[g]` slots for each of its rows.

    The slots of a group are numbered `slot * rows + row`: a sum over them adds whole tiles.

    Attributes:
        cols: per group of the first level `[slots]` int32, the column of each slot; `m` in an empty one.
        entries: per group of the first level `[slots]` int32, the position of each slot's entry; `nnz` in an empty one.
        parts: per later level and group `[slots]` int32, positions in the output of the level before, whose last row
            is zero: the empty slots read it.
        place: `[n]` int32, position of each row's sum in the joined outputs of all levels.
        owners: per group of the first level `[rows]` int32, the row of the matrix; `n` in an empty row.
        sizes: slots per row.
    """

    cols: tuple[Int[HostOrDevice, " slots"], ...]
    entries: tuple[Int[HostOrDevice, " slots"], ...]
    parts: tuple[tuple[Int[HostOrDevice, " slots"], ...], ...]
    place: Int[HostOrDevice, " n"]
    owners: tuple[Int[HostOrDevice, " rows"], ...]
    sizes: SlotSizes


def lay_out_slots(
    row_ptr: np.ndarray,
    cols: np.ndarray,
    columns: int,
    order: np.ndarray | None = None,
    shape: SlotShape | None = None,
) -> Slots:
    """Lays out the entries of a sparse matrix.

    Args:
        row_ptr: `[n + 1]`; entries past the last row get no slot.
        cols: `[nnz]`, in row order.
        columns: their number `m`.
        order: `[nnz]`, position of each entry among the values of the matrix; None where these are in row order.
        shape: that of the slots; None takes the least room.

    Raises:
        InputError: the rows do not fit into the shape.

    Examples:
        >>> import numpy as np
        >>> slots = lay_out_slots(np.array([0, 2, 2, 3]), np.array([1, 0, 1], np.int32), columns=2)
        >>> slots.sizes.levels, slots.cols[0].reshape(2, -1)[:, :3].tolist(), slots.place.tolist()
        (((2,),), [[1, 2, 1], [0, 2, 2]], [0, 1, 2])
    """
    starts, lengths, nnz = row_ptr[:-1].astype(np.int64), np.diff(row_ptr).astype(np.int64), cols.shape[0]
    shape = exact_shape(part_counts(lengths)) if shape is None else shape
    in_order = holds_in_order(shape, lengths.shape[0])
    if in_order:
        shape = SlotShape((((shape.levels[0][0][0], whole_tiles(lengths.shape[0])),),))
    place = np.full(lengths.shape[0], sum(rows for _, rows in shape.levels[0]) if shape.levels else 0, np.int32)
    rows, items, empty, offset, levels, owners = np.arange(lengths.shape[0]), np.arange(nnz), nnz, 0, [], ()
    for groups in shape.levels:
        parts = np.maximum(-(-lengths // LONGEST), in_order)
        owner = np.repeat(np.arange(rows.shape[0]), parts)  # of each part its row, a position in `rows`
        nth = np.arange(owner.shape[0]) - np.repeat(np.cumsum(parts) - parts, parts)  # its number within the row
        begins, own = starts[owner] + nth * LONGEST, np.minimum(lengths[owner] - nth * LONGEST, LONGEST)
        ranked = np.arange(own.shape[0]) if in_order else np.argsort(-own, kind="stable")
        level, position = _fill(groups, ranked, begins, own, np.append(items, empty))
        if not levels:
            owners = _per_group(groups, position, owner, rows.shape[0])
        levels.append(level)
        # A row of one part is finished. The parts of another row are consecutive items of the next level.
        single = parts[owner] == 1
        place[rows[owner[single]]] = offset + position[single]
        empty = sum(count for _, count in groups)
        offset += empty + SUBLANES
        split = parts > 1
        items, rows, lengths = position[~single], rows[split], parts[split]
        starts = np.cumsum(lengths) - lengths
    if lengths.any():
        raise InputError(f"slots: {lengths.shape[0]} rows are longer than their {shape} holds")
    entries, *later = levels or [()]
    return Slots(
        cols=tuple(np.append(cols, columns)[ids].astype(np.int32) for ids in entries),
        entries=tuple(ids if order is None else np.append(order, nnz)[ids].astype(np.int32) for ids in entries),
        parts=tuple(later),
        place=place,
        owners=owners,
        sizes=SlotSizes(tuple(tuple(size for size, _ in groups) for groups in shape.levels), in_order),
    )


def in_slots(slots: Slots, values: Shaped[np.ndarray, " nnz"]) -> tuple[Shaped[np.ndarray, " slots"], ...]:
    """Lays out values of the entries, zero in empty slots."""
    padded = np.append(values, np.zeros(1, values.dtype))
    return tuple(padded[np.asarray(ids)] for ids in slots.entries)


def _per_group(
    groups: tuple[tuple[int, int], ...], position: Int[np.ndarray, " p"], values: Int[np.ndarray, " p"], empty: int
) -> tuple[Int[np.ndarray, " rows"], ...]:
    """Returns one value for each row of each group: that of the part at its position, or `empty`."""
    counts = [rows for _, rows in groups]
    out = np.full(sum(counts), empty, np.int32)
    out[position] = values
    return tuple(np.split(out, np.cumsum(counts)[:-1]))


def _fill(
    groups: tuple[tuple[int, int], ...],
    order: Int[np.ndarray, " p"],
    begins: Int[np.ndarray, " p"],
    lengths: Int[np.ndarray, " p"],
    items: Int[np.ndarray, " i_plus_1"],
) -> tuple[tuple[Int[np.ndarray, " slots"], ...], Int[np.ndarray, " p"]]:
    """Gives each part a row of a group that holds it, the last group first.

    Args:
        groups: slots per row and rows.
        order: of the parts: the longest first, or any where there is one group.
        begins: where each part begins in `items`.
        lengths: number of its items.
        items: where each item is in the input of the level, and last what empty slots read.

    Returns:
        The slots of each group; position of each part's sum in the output of the level.
    """
    position, end, filled = np.zeros(lengths.shape[0], np.int64), sum(rows for _, rows in groups), []
    for size, rows in reversed(groups):
        members, order = order[:rows], order[rows:]
        end -= rows
        position[members] = end + np.arange(members.shape[0])
        steps = np.arange(size)[:, None]
        if lengths[members].max(initial=0) > size:
            break
        ids = np.full((size, rows), -1)
        ids[:, : members.shape[0]] = np.where(steps < lengths[members], begins[members] + steps, -1)
        filled.append(items[ids].astype(np.int32).reshape(-1))
    if order.size or len(filled) < len(groups):
        raise InputError(
            f"slots: {lengths.shape[0]} rows in groups of {groups} (slots, rows), expected fewer or shorter"
        )
    return tuple(filled[::-1]), position
