"""Sums and maxima over the rows of a sparse matrix in slots: one gather of rows, and one sum, per group of rows."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from abkd_jax.aggregate.entries import RowEntries
from abkd_jax.aggregate.heads import rows_at
from abkd_jax.graph.slots import SUBLANES, Slots
from abkd_jax.types import InputError

__all__ = [
    "combined_levels",
    "entries_in_slots",
    "placed",
    "rows_of_groups",
    "rows_of_levels",
    "sent_in_slots",
    "slot_maxima",
    "slot_sums",
    "slots_of",
    "slotted_values",
]


def slots_of(matrix: RowEntries) -> Slots:
    """Returns the slots of a matrix.

    Raises:
        InputError: there are none.
    """
    if matrix.slots is None:
        raise InputError(
            "backend 'bucketed': the graph has no slots, expected one from graph.prepare(backend='bucketed')"
        )
    return matrix.slots


def slot_sums(
    slots: Slots, x: Float[Array, "m f"], weights: Sequence[Float[Array, "_ *f"]] | None = None
) -> Float[Array, "n f"]:
    """Computes the sum of `weight * x[col]` over the slots of each row.

    Args:
        slots: of an `[n, m]` matrix.
        x: `[m, f]`.
        weights: per group of the first level `[slots]` or `[slots, f]`, zero in empty slots; None where all are 1.
    """
    groups = sent_in_slots(slots, x)
    if weights is not None:
        groups = [_weighted(rows, own) for rows, own in zip(groups, weights, strict=True)]
    return combined_levels(slots, groups, jnp.add, 0.0)


def sent_in_slots(slots: Slots, x: Float[Array, "m f"], empty: float = 0.0) -> list[list[Float[Array, "_ f"]]]:
    """Gathers `x[col]` into the slots, `empty` in empty ones: `[rows, f]` for each slot of each group."""
    return _first_level(slots, _with_rows(x, empty), slots.cols)


def entries_in_slots(slots: Slots, values: Float[Array, "e h"], empty: float = 0.0) -> list[list[Float[Array, "_ h"]]]:
    """Gathers values of the entries into the slots, as `sent_in_slots`."""
    return _first_level(slots, _with_rows(values, empty), slots.entries)


def rows_of_groups(slots: Slots, x: Float[Array, "n f"]) -> list[Float[Array, "_ f"]]:
    """Gathers for each group of the first level the rows of the matrix whose slots it holds, zero for empty ones."""
    padded = _with_rows(x, 0.0)
    return [_rows_of(padded, ids) for ids in slots.owners]


def slot_maxima(slots: Slots, values: Float[Array, "nnz h"]) -> Float[Array, "n h"]:
    """Computes the maximum of the values of the entries of each row; minus infinity for a row without entries."""
    if not slots.entries:
        return jnp.full((slots.place.shape[0], *values.shape[1:]), -jnp.inf, values.dtype)
    return combined_levels(slots, entries_in_slots(slots, values, -jnp.inf), jnp.maximum, -jnp.inf)


def slotted_values(slots: Slots, values: Shaped[Array, "e *h"]) -> list[Shaped[Array, "_ *h"]]:
    """Gathers values of the entries into the slots of each group, zero in empty ones."""
    padded = _with_rows(values, 0.0)
    return [_rows_of(padded, ids) for ids in slots.entries]


def _first_level(slots: Slots, x: Array, ids: Sequence[Array]) -> list[list[Array]]:
    return [_at(x, own, size) for own, size in zip(ids, slots.sizes.levels[0], strict=True)]


def _weighted(rows: list[Array], weights: Float[Array, "_ *f"]) -> list[Array]:
    by_slot = weights.reshape(len(rows), rows[0].shape[0], -1)
    return [own * by_slot[i] for i, own in enumerate(rows)]


def combined_levels(
    slots: Slots, groups: Sequence[list[Array]], combine: Callable[[Array, Array], Array], identity: float
) -> Float[Array, "n f"]:
    """Combines the slots of each group of the first level, `[rows, f]` each, and the parts of long rows thereafter."""
    outputs = [_with_rows(_combined(groups, combine), identity)]
    for parts, sizes in zip(slots.parts, slots.sizes.levels[1:], strict=True):
        level = [_at(outputs[-1], ids, size) for ids, size in zip(parts, sizes, strict=True)]
        outputs.append(_with_rows(_combined(level, combine), identity))
    return placed(slots, outputs)


def placed(slots: Slots, outputs: Sequence[Float[Array, "_ f"]]) -> Float[Array, "n f"]:
    """Gathers the rows of the matrix from the outputs of all levels, which may have further rows at their ends.

    Not from all of them joined: copying the outputs would take a TPU longer than a gather from each.
    """
    if slots.sizes.in_order:
        return outputs[0][: slots.place.shape[0]]
    rows = _rows_of(outputs[0], jnp.minimum(slots.place, outputs[0].shape[0] - 1))
    begin = 0
    for before, output in zip(rows_of_levels(slots), outputs[1:], strict=False):
        begin += before + SUBLANES
        late = _rows_of(output, jnp.clip(slots.place - begin, 0, output.shape[0] - 1))
        rows = jnp.where((slots.place < begin)[:, None], rows, late)
    return rows


def rows_of_levels(slots: Slots) -> list[int]:
    """Returns the number of rows of each level, those that fill up tiles included."""
    groups = zip((slots.cols, *slots.parts), slots.sizes.levels, strict=False)
    return [sum(own.shape[0] // size for own, size in zip(*level, strict=True)) for level in groups]


def _combined(groups: Sequence[list[Array]], combine: Callable[[Array, Array], Array]) -> Float[Array, "rows f"]:
    # One fused expression per group: as a reduction over the first axis it takes a TPU almost three times the cycles,
    # and fused with the concatenation still more.
    return jnp.concatenate([jax.lax.optimization_barrier(functools.reduce(combine, rows)) for rows in groups])


def _at(x: Array, ids: Array, size: int) -> list[Float[Array, "rows f"]]:
    slots, rows = _rows_of(x, ids), ids.shape[0] // size  # whole tiles
    return [slots[slot * rows : (slot + 1) * rows] for slot in range(size)]


def _rows_of(x: Array, ids: Array) -> Array:
    """Gathers rows that are there; single numbers by `heads.rows_at`."""
    if x.ndim == 2 and x.shape[1] == 1:
        return rows_at(x, ids)
    return x.at[ids].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _with_rows(x: Array, value: float) -> Array:
    """Appends a tile of rows, which empty slots read."""
    return jnp.concatenate([x, jnp.full((SUBLANES, *x.shape[1:]), value, x.dtype)])
