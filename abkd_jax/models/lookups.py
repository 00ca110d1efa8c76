"""Rows of tables of embeddings, by number."""

import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from abkd_jax.graph.input_checks import host_values
from abkd_jax.graph.precision import widened
from abkd_jax.types import InputError

__all__ = ["check_lookup", "lookup"]


def lookup(
    name: str, table: Float[Array, "k d"], ids: Int[Array, " n"], dtype: DTypeLike | None
) -> Float[Array, "n d"]:
    """Looks up rows of a table of embeddings, in the type that layers compute in; gradients are summed in float32.

    Raises:
        InputError: a row does not exist. Under `jit` that is unknown, and the gather reads the last row instead.
    """
    check_lookup(name, table.shape[0], ids)
    return widened(table)[ids].astype(table.dtype if dtype is None else dtype)


def check_lookup(name: str, size: int, ids: Int[Array, " n"]) -> None:
    """Raises an `InputError` where `ids` are known and name a row that a table of this size does not have."""
    rows = host_values(ids)
    if rows is not None and rows.size and not (rows.min() >= 0 and rows.max() < size):
        node = np.flatnonzero((rows < 0) | (rows >= size))[0]
        raise InputError(f"{name}: entry {node} is {rows[node]}, expected 0 to {size - 1}")
