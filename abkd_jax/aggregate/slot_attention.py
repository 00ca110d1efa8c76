"""Softmax and weighted sums over the rows of a sparse matrix in slots, for programs on a TPU.

The logits are gathered into the slots once; maxima, exponentials and totals are then sums over slots.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from abkd_jax.aggregate.heads import join_heads
from abkd_jax.aggregate.slots import combined_levels, entries_in_slots, rows_of_groups, sent_in_slots
from abkd_jax.graph.slots import Slots

__all__ = ["attends_in_slots", "features_of_heads", "kept_in_slots", "slot_softmax", "slot_weighted_sums"]

LARGEST = 2**18  # slots: each has a row of 512 bytes for its few heads, 128 MiB in all
MOST_HEADS = 4  # that are written out one after the other


def attends_in_slots(slots: Slots | None, heads: int) -> bool:
    """Tells whether the slots are few enough for rows of as many lanes as a tile has."""
    return slots is not None and heads <= MOST_HEADS and 0 < sum(ids.shape[0] for ids in slots.entries) <= LARGEST


def slot_softmax(
    slots: Slots, logits: Float[Array, "e h"], loops: Float[Array, "n h"] | None
) -> tuple[list[list[Float[Array, "_ h"]]], Float[Array, "n h"], Float[Array, "n h"]]:
    """Computes the exponentials of the logits in the slots, each row's largest logit subtracted.

    Args:
        slots: of the matrix.
        logits: of its entries; minus infinity takes an entry out.
        loops: one logit more for each row, or None.

    Returns:
        For each slot of each group of the first level `[rows, h]`, the exponentials; `[n, h]` the sums of those of each
        row without the loops; `[n, h]` the largest logit, 0 where all are minus infinity.
    """
    given = entries_in_slots(slots, logits, -jnp.inf)
    largest = combined_levels(slots, given, jnp.maximum, -jnp.inf)
    largest = largest if loops is None else jnp.maximum(largest, loops)
    largest = jnp.where(jnp.isneginf(largest), 0.0, largest)
    of_rows = zip(given, rows_of_groups(slots, largest), strict=True)
    weights = [[jnp.exp(slot - row) for slot in own] for own, row in of_rows]
    return weights, combined_levels(slots, weights, jnp.add, 0.0), largest


def kept_in_slots(
    slots: Slots, weights: list[list[Float[Array, "_ h"]]], keep: Float[Array, "e h"]
) -> list[list[Float[Array, "_ h"]]]:
    """Multiplies weights in slots by factors of the entries."""
    return [list(map(jnp.multiply, *pair)) for pair in zip(weights, entries_in_slots(slots, keep), strict=True)]


def slot_weighted_sums(
    slots: Slots, features: list[Float[Array, "m f"]], weights: list[list[Float[Array, "_ h"]]]
) -> list[Float[Array, "n f"]]:
    """Computes the weighted sums of the features of each head (`features_of_heads`); weights as of `slot_softmax`."""

    def one_head(head: int, x: Array) -> Array:
        groups = sent_in_slots(slots, x)
        of_head = [[slot[:, head, None] for slot in own] for own in weights]
        products = [list(map(jnp.multiply, *pair)) for pair in zip(groups, of_head, strict=True)]
        return combined_levels(slots, products, jnp.add, 0.0)

    return [one_head(head, own) for head, own in enumerate(features)]


def features_of_heads(x: Float[Array, "n h f"]) -> list[Float[Array, "n f"]]:
    """Returns the features of each head, cut from rows that hold all heads side by side."""
    flat, width = join_heads(x), x.shape[2]
    return [flat[:, head * width : (head + 1) * width] for head in range(x.shape[1])]
