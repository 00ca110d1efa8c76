"""What a model is trained for: the loss on labelled nodes and the score by which it is judged."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

__all__ = ["Task", "classification", "masked_mean"]


class Task(NamedTuple):
    """A task.

    Attributes:
        loss: `(logits [n, c], labels [n], mask [n]) -> scalar`, the mean over the masked nodes.
        score: likewise; higher is better.
    """

    loss: Callable[..., Float[Array, ""]]
    score: Callable[..., Float[Array, ""]]


def masked_mean(values: Float[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    """Mean of `values` where `mask` holds; 0 for an empty mask, whatever the masked-out values are."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1).astype(values.dtype)


def classification() -> Task:
    """One class a node: cross-entropy of the softmax, and accuracy."""
    return Task(_cross_entropy, _accuracy)


def _cross_entropy(logits: Float[Array, "n c"], labels: Int[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    safe = jnp.where(mask, labels, 0)  # unlabelled nodes carry -1
    return masked_mean(optax.softmax_cross_entropy_with_integer_labels(logits, safe), mask)


def _accuracy(logits: Float[Array, "n c"], labels: Int[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    hits = jnp.argmax(logits, axis=1).astype(labels.dtype) == labels
    return masked_mean(hits.astype(logits.dtype), mask)
