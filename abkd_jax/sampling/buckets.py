"""Sizes of padded batches: few of them, so that few programs are compiled, and little of a batch is padding."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from abkd_jax.graph.slot_shapes import SlotShape, common_shape, fits, grown, rounded_shape
from abkd_jax.types import InputError

__all__ = ["BucketSizes", "Capacity", "PartCounts", "bucket_size", "fit_capacities", "fitting_shapes", "padded"]

PartCounts = Int[np.ndarray, "matrices levels longest"]  # `slot_shapes.part_counts` of several matrices

SLACK = 1.1  # of the lowest capacity over the largest batch that it was fitted to
GROWTH = 1.25  # from one capacity to the next
STEPS = 7  # capacities that nodes and edges share; beyond, 5 times the lowest one, each has its own
WASTE, WORTH = 32, 128  # a capacity 32 times the size that is needed is divided by 32, as long as it is 128 or more


class Capacity(NamedTuple):
    """The shape of a batch, padding included.

    Attributes:
        nodes: number of nodes.
        edges: number of edges.
        types: the most nodes of each type, where nodes are sorted by type.
        slots: for programs on a TPU, see `slot_shapes.EdgeRoom`.
        hops: nodes and edges of each hop that layers are trimmed to, see `graph.hops.with_hops`.
    """

    nodes: int
    edges: int
    types: tuple[int, ...] = ()
    slots: tuple[SlotShape, ...] = ()
    hops: tuple[tuple[int, int], ...] = ()


class BucketSizes(NamedTuple):
    """Padding buckets in a geometric series: batches of similar sizes share the lowest one, and no batch is too large.

    Nodes and edges grow together for a few steps, which keeps the shapes few. For a batch that is far larger or smaller
    than the lowest capacity nodes and edges are chosen separately: many edges then need no more nodes.

    Attributes:
        lowest: capacity of all batches that fit in, but for those that would be nearly all padding.

    Examples:
        >>> BucketSizes(Capacity(nodes=104, edges=40)).smallest_fitting(103, 12)
        Capacity(nodes=104, edges=40, types=(), slots=(), hops=())
        >>> BucketSizes(Capacity(nodes=104, edges=40)).smallest_fitting(104, 12)
        Capacity(nodes=136, edges=56, types=(), slots=(), hops=())
    """

    lowest: Capacity

    def smallest_fitting(
        self,
        nodes: int,
        edges: int,
        types: Sequence[int] = (),
        parts: PartCounts | None = None,
        hops: Sequence[tuple[int, int]] = (),
    ) -> Capacity:
        """Returns the lowest capacity for so many nodes, one padding node, so many edges, and nodes of each type.

        The capacities of the types grow together, and so do those of slots (`fitting_shapes`) and of hops, each with a
        node to spare.
        """
        whole = self._of_all(nodes, edges)
        step = 0
        while any(count > size for count, size in zip(types, self._of_types(step), strict=True)):
            step += 1
        sizes = tuple(min(size, whole.nodes) for size in self._of_types(step))
        return whole._replace(
            types=sizes, slots=fitting_shapes(self.lowest.slots, parts), hops=self._of_hops(hops, whole)
        )

    def _of_types(self, step: int) -> tuple[int, ...]:
        return tuple(_rounded(size * GROWTH**step) for size in self.lowest.types)

    def _of_hops(self, hops: Sequence[tuple[int, int]], whole: Capacity) -> tuple[tuple[int, int], ...]:
        sizes, step = self.lowest.hops, 0
        while any(n >= nodes or e > edges for (n, e), (nodes, edges) in zip(hops, sizes, strict=True)):
            step += 1
            grown = GROWTH**step
            sizes = tuple((_rounded(nodes * grown), _rounded(edges * grown)) for nodes, edges in self.lowest.hops)
        return tuple((min(nodes, whole.nodes), min(edges, whole.edges)) for nodes, edges in sizes)

    def _of_all(self, nodes: int, edges: int) -> Capacity:
        capacity, step = self.lowest, 0
        while nodes >= capacity.nodes or edges > capacity.edges:
            step += 1
            if step > STEPS:
                capacity = Capacity(_grown(self.lowest.nodes, nodes + 1), _grown(self.lowest.edges, edges))
            else:
                grown = GROWTH**step
                capacity = Capacity(_rounded(self.lowest.nodes * grown), _rounded(self.lowest.edges * grown))
        return Capacity(_reduced(capacity.nodes, nodes + 1), _reduced(capacity.edges, edges))


def fit_capacities(
    sizes: Iterable[tuple[int, ...]], parts: PartCounts | None = None, hops: Sequence[tuple[int, int]] = ()
) -> BucketSizes:
    """Computes the padding buckets for batches like these: the lowest one is a tenth above the largest of them.

    Args:
        sizes: numbers of nodes and edges of some batches; where their nodes are sorted by type, then those of each.
        parts: the most parts of rows that the matrices of these batches have; None for batches without slots.
        hops: the most nodes and edges of each hop that layers are trimmed to.

    Raises:
        InputError: there is no batch.

    Examples:
        >>> fit_capacities([(60, 20), (100, 35)]).lowest
        Capacity(nodes=112, edges=40, types=(), slots=(), hops=())
    """
    known = np.array(list(sizes))
    if not known.size:
        raise InputError("capacities of no batch, expected the sizes of at least one")
    nodes, edges, *types = np.max(known, axis=0)
    of_types = tuple(_rounded(SLACK * max(count, 1)) for count in types)
    slots = () if parts is None else tuple(map(common_shape, parts))
    of_hops = tuple((_rounded(SLACK * n + 1), _rounded(SLACK * max(e, 1))) for n, e in hops)
    return BucketSizes(Capacity(_rounded(SLACK * nodes + 1), _rounded(SLACK * edges), of_types, slots, of_hops))


def fitting_shapes(lowest: tuple[SlotShape, ...], parts: PartCounts | None) -> tuple[SlotShape, ...]:
    """Returns the lowest shapes of slots for such rows: those of all matrices grow together, for a few steps.

    Beyond, a matrix that is unlike those that the shapes were fitted to has a shape of its own.

    Args:
        lowest: one per matrix; none where batches have no slots.
        parts: what they must hold.
    """
    if parts is None:
        return lowest
    for step in range(STEPS):
        shapes = tuple(grown(shape, GROWTH**step) for shape in lowest)
        if all(map(fits, shapes, parts)):
            return shapes
    return tuple(
        shape if fits(shape, counts) else rounded_shape(counts) for shape, counts in zip(lowest, parts, strict=True)
    )


def bucket_size(size: int) -> int:
    """Returns the next of the sizes that divide each doubling into four: at most a quarter is padding.

    For arrays whose sizes are not known in advance. Below 128 the sizes are the multiples of 16.

    Examples:
        >>> [bucket_size(size) for size in (1, 16, 17, 257, 1000)]
        [16, 16, 32, 320, 1024]
    """
    step = max(16, (1 << max(size - 1, 0).bit_length()) // 8)
    return -(-size // step) * step


def padded(values: np.ndarray, size: int, fill: int | bool, dtype: Any = None) -> Any:
    """Returns `[size, ...]`: the values, then `fill`.

    Args:
        values: `[k, ...]`, at most `size` rows.
        size: number of rows.
        fill: every number of the rows that are added.
        dtype: of the result; None keeps that of the values.

    Examples:
        >>> padded(np.array([3, 5]), 4, -1)
        array([ 3,  5, -1, -1])
    """
    out = np.full((size, *values.shape[1:]), fill, values.dtype if dtype is None else dtype)
    out[: values.shape[0]] = values
    return out


def _grown(lowest: int, size: int) -> int:
    """Returns the first of the geometric series that is at least `size`."""
    capacity = max(lowest, 8) if size else lowest
    while capacity < size:
        capacity = _rounded(capacity * GROWTH)
    return capacity


def _reduced(capacity: int, size: int) -> int:
    while capacity >= WASTE * max(size, WORTH):
        capacity = _rounded(capacity / WASTE)
    return capacity


def _rounded(size: float) -> int:
    return int(np.ceil(size / 8)) * 8
