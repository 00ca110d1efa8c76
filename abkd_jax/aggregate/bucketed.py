"""Reductions over the rows of a sparse matrix by buckets of equal degree: gathers alone, no scatter."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from abkd_jax.aggregate.entries import RowEntries
from abkd_jax.graph.buckets import Buckets
from abkd_jax.types import InputError, Pytree

__all__ = ["bucketed_reduce", "buckets_of"]

UNROLLED, LOOP_STEP = 8, 4  # entries of a bucket in one fused expression; above, so many per iteration


def bucketed_reduce(
    matrix: RowEntries,
    message: Callable[[Array, Array], Pytree],
    combine: Callable[[Pytree, Pytree], Pytree],
    identity: Pytree,
    width: int,
) -> Pytree:
    """Reduces the messages of the entries of each row, without a scatter.

    Args:
        matrix: positions of the entries, with buckets.
        message: `(ids [b], rows [b]) -> [b, width]` for the entries at the positions `ids`, which are in the rows
            `rows`; an array, or a pytree of arrays.
        combine: two such to one.
        identity: of `combine`, a scalar per array; the result for rows without entries.
        width: of the messages.

    Returns:
        `[n, width]`, or a pytree of such.

    Raises:
        InputError: the matrix has no buckets.
    """
    buckets = buckets_of(matrix)
    n = buckets.place.shape[0]
    if not buckets.levels:
        return jax.tree.map(lambda scalar: jnp.full((n, width), scalar), identity)
    size = matrix.rows.shape[0]
    outputs = [_joined([_fold(ids, matrix.rows, size, message, combine, identity) for ids in buckets.levels[0]])]
    for level in buckets.levels[1:]:
        outputs.append(_joined([_fold_parts(ids, outputs[-1], combine, identity) for ids in level]))
    joined = _joined(outputs)
    there = buckets.place < jax.tree.leaves(joined)[0].shape[0]
    place = jnp.where(there, buckets.place, 0)
    return jax.tree.map(lambda leaf, scalar: jnp.where(there[:, None], _rows_of(leaf, place), scalar), joined, identity)


def buckets_of(matrix: RowEntries) -> Buckets:
    """Returns the buckets of a matrix.

    Raises:
        InputError: there are none.
    """
    if matrix.buckets is None:
        raise InputError("backend 'bucketed': the graph has no buckets, expected one from graph.prepare(buckets=True)")
    return matrix.buckets


def _fold_parts(ids: Int[Array, "k b"], parts: Pytree, combine: Callable[..., Pytree], identity: Pytree) -> Pytree:
    """Combines the sums of parts of long rows, at the positions of each column of `ids` in the level before."""

    def message(ids: Array, _: Array) -> Pytree:
        return jax.tree.map(lambda leaf: _rows_of(leaf, ids), parts)

    return _fold(ids, ids[0], jax.tree.leaves(parts)[0].shape[0], message, combine, identity)


def _fold(
    ids: Int[Array, "k b"],
    rows: Int[Array, " _"],
    size: int,
    message: Callable[..., Pytree],
    combine: Callable[..., Pytree],
    identity: Pytree,
) -> Pytree:
    """Combines the messages of each column of `ids`; positions from `size` on are padding.

    Long columns run in a loop, so that programs stay small.
    """
    there = ids < size
    ids = jnp.where(there, ids, 0)
    rows = rows[ids[0]]

    def some(pair: tuple[Int[Array, "s b"], Bool[Array, "s b"]]) -> Pytree:
        def one(ids: Array, there: Array) -> Pytree:
            messages = message(ids, rows)
            return jax.tree.map(lambda leaf, scalar: jnp.where(there[:, None], leaf, scalar), messages, identity)

        return functools.reduce(combine, [one(*row) for row in zip(*pair, strict=True)])

    if ids.shape[0] <= UNROLLED:
        return some((ids, there))
    steps = ids.reshape(-1, LOOP_STEP, ids.shape[1]), there.reshape(-1, LOOP_STEP, ids.shape[1])
    first = some((steps[0][0], steps[1][0]))
    return jax.lax.fori_loop(1, len(steps[0]), lambda i, out: combine(out, some((steps[0][i], steps[1][i]))), first)


def _joined(parts: list[Pytree]) -> Pytree:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def _rows_of(x: Float[Array, "n f"], ids: Int[Array, " b"]) -> Float[Array, "b f"]:
    return x.at[ids].get(mode="promise_in_bounds")
