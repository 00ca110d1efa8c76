"""Shapes of slots: how many rows of which length there is room for. Minibatches of one shape share one program."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int

__all__ = [
    "LONGEST",
    "SUBLANES",
    "EdgeRoom",
    "Room",
    "SlotShape",
    "common_shape",
    "exact_shape",
    "fits",
    "grown",
    "holds_in_order",
    "part_counts",
    "rounded_shape",
    "whole_tiles",
]

LONGEST = 32  # entries of a row in one group; a longer row is cut, and its parts are added up in the next level
LEVELS = 6  # of rows of up to 2^30 entries
MAX_GROUPS = 8  # of a level
GROUP_COST = 2048  # slots that a TPU gathers in the time that the three kernels of one more group take to start
SUBLANES = 8  # rows of a tile of a TPU: groups of so many rows need no copy between gather and sum
MOST_ROWS = 256  # that are copied at a time: XLA copies the rows of a large group in equal parts
SLACK = 1.1  # room over the most rows that were seen, beside three standard deviations of a count

Counts = Int[np.ndarray, "levels longest"]  # see `part_counts`


@jax.tree_util.register_static
@dataclass(frozen=True)
class SlotShape:
    """Groups of rows, level by level.

    Attributes:
        levels: `(slots per row, rows)` of each group, by ascending slots; rows are whole tiles. The first level adds up
            entries, later ones the parts of rows that were cut.
    """

    levels: tuple[tuple[tuple[int, int], ...], ...]


class Room(NamedTuple):
    """Shapes for a sparse matrix.

    Attributes:
        rows: of its rows.
        columns: of the rows of its transpose.
        entries: how many of its entries, in row order and in column order, have slots; the others are padding.
    """

    rows: SlotShape
    columns: SlotShape
    entries: int


class EdgeRoom(NamedTuple):
    """Shapes for the edges of a minibatch.

    Attributes:
        edges: the real ones; those after them are padding and get no slots.
        shapes: of the edges that enter and that leave each node; where edges have types then those of each pair of a
            node and a type that edges enter by and that they leave by; where layers are trimmed then those of each hop
            that has fewer edges than the batch (`hops.with_hops`).
    """

    edges: int
    shapes: tuple[SlotShape, ...]

    @property
    def nodes(self) -> Room:
        """Returns the room of the matrix between nodes."""
        return Room(self.shapes[0], self.shapes[1], self.edges)

    @property
    def typed(self) -> tuple[Room, Room]:
        """Returns that of the matrix with pairs as rows, and of the one with pairs as columns."""
        entering, leaving, into, out_of = self.shapes
        return Room(into, leaving, self.edges), Room(entering, out_of, self.edges)

    @property
    def hops(self) -> tuple[tuple[SlotShape, SlotShape], ...]:
        """Returns the shapes of each hop of edges without types, of its rows and of its columns."""
        return tuple(zip(self.shapes[2::2], self.shapes[3::2], strict=True))


def part_counts(lengths: Int[np.ndarray, " n"]) -> Counts:
    """Counts what a shape must hold: at `[level, i]` the parts of more than `i` items.

    Args:
        lengths: entries of each row. Rows are cut into parts of at most `LONGEST` entries; the parts of one row are the
            items of the next level.

    Examples:
        >>> import numpy as np
        >>> part_counts(np.array([0, 2, 33]))[:2, :3].tolist()
        [[3, 2, 1], [1, 1, 0]]
    """
    counts = np.zeros((LEVELS, LONGEST), np.int64)
    for level in range(LEVELS):
        whole, rest = np.divmod(lengths, LONGEST)
        of_length = np.bincount(rest, minlength=LONGEST + 1)[1:]
        of_length[-1] += whole.sum()
        counts[level] = of_length[::-1].cumsum()[::-1]
        parts = whole + (rest > 0)
        lengths = parts[parts > 1]
    return counts


def exact_shape(counts: Counts) -> SlotShape:
    """Returns the shape with the least room for such rows; none for none."""
    return SlotShape(tuple(_groups(above) for above in counts if above[0]))


def common_shape(counts: Counts) -> SlotShape:
    """Returns the shape for rows like these of a few minibatches, with room for more.

    A level whose rows are long has room for a few of any length.
    """
    room = np.ceil(SLACK * counts + 3.0 * np.sqrt(counts)).astype(np.int64)
    room[0, 0] = max(room[0, 0], 1)  # a shape has a group even where no row has an entry
    for level in range(LEVELS - 1):
        if counts[level, LONGEST // 2]:
            room[level : level + 2] = np.maximum(room[level : level + 2], 1)
    return exact_shape(room)


def rounded_shape(counts: Counts) -> SlotShape:
    """Returns a shape for rows that fit in no common one: their numbers are powers of two, so that such are few."""
    return common_shape(np.where(counts > 0, 2 ** np.ceil(np.log2(np.maximum(counts, 1))), 0).astype(np.int64))


def grown(shape: SlotShape, factor: float) -> SlotShape:
    """Returns a shape with so many times the rows."""
    levels = (tuple((size, whole_tiles(math.ceil(rows * factor))) for size, rows in level) for level in shape.levels)
    return SlotShape(tuple(levels))


def fits(shape: SlotShape, counts: Counts) -> bool:
    """Tells whether a shape holds such rows: those too long for a group have room in the longer ones.

    Examples:
        >>> import numpy as np
        >>> shape = SlotShape((((2, 8), (4, 8)),))
        >>> fits(shape, part_counts(np.array([1] * 9 + [4]))), fits(shape, part_counts(np.array([3] * 9)))
        (True, False)
    """
    for level, above in enumerate(counts):
        groups = shape.levels[level] if level < len(shape.levels) else ()
        room = 0
        for shorter, (_, rows) in reversed(list(zip([0, *(size for size, _ in groups)], groups, strict=False))):
            room += rows
            if above[shorter] > room:
                return False
        longest = groups[-1][0] if groups else 0
        if longest < LONGEST and above[longest]:
            return False
    return True


def holds_in_order(shape: SlotShape, rows: int) -> bool:
    """Tells whether the only group of a shape has room for all rows of a matrix, so that none changes its place."""
    return len(shape.levels) == 1 and len(shape.levels[0]) == 1 and shape.levels[0][0][1] >= rows


def _groups(above: Int[np.ndarray, " longest"]) -> tuple[tuple[int, int], ...]:
    groups, room = [], 0
    sizes = _fitted_sizes(above)
    for shorter, size in reversed(list(zip((0, *sizes[:-1]), sizes, strict=True))):
        rows = whole_tiles(max(int(above[shorter]) - room, 0))  # those that the longer groups have no room for
        room += rows
        groups.append((size, rows))
    return tuple((size, rows) for size, rows in groups[::-1] if rows)


def _fitted_sizes(above: Int[np.ndarray, " longest"]) -> tuple[int, ...]:
    """Chooses at most `MAX_GROUPS` sizes with the fewest slots; each group costs `GROUP_COST` slots more."""
    longest = int(np.count_nonzero(above))
    up_to = above[0] - np.append(above, 0)[: longest + 1]  # rows of such a length or a smaller one
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
