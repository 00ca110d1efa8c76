"""What a model is trained for: the loss on labelled nodes and the score by which it is judged."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

__all__ = ["Task", "binary", "classification", "masked_mean", "multilabel", "regression"]


class Task(NamedTuple):
    """A task.

    Attributes:
        loss: `(logits [n, c], labels, mask [n]) -> scalar`, the mean over the masked nodes. Labels are `[n]` or
            `[n, c]`, as the task says.
        score: likewise; higher is better.
        metric: what the score is called.
    """

    loss: Callable[..., Float[Array, ""]]
    score: Callable[..., Float[Array, ""]]
    metric: str


def masked_mean(values: Float[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    """Mean of `values` where `mask` holds; 0 for an empty mask, whatever the masked-out values are."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1).astype(values.dtype)


def classification() -> Task:
    """One class a node: cross-entropy of the softmax, and accuracy."""
    return Task(_cross_entropy, _accuracy, "accuracy")


def multilabel() -> Task:
    """Any number of labels a node, `[n, c]` floats 0 or 1: binary cross-entropy, and micro-averaged F1.

    The loss is the mean over the masked nodes and the classes; what lies outside the mask may hold anything. The score
    is the F1 of all (node, class) decisions together, `2 TP / (2 TP + FP + FN)`, a label being predicted where its
    logit is above 0; it is 0 where no label is set or predicted. Source: the PPI experiments of GraphSAGE (Hamilton et
    al., arXiv 1706.02216).
    """
    return Task(_binary_cross_entropy, _micro_f1, "micro-F1")


def binary() -> Task:
    """Yes-or-no answers `[n, c]`, 0, 1 or NaN where unknown: binary cross-entropy, and the area under the ROC curve.

    The loss is the mean over all known answers of the masked rows, the score the mean over the columns that hold both
    answers there, ties counted half; 0 where none does. As OGB trains and judges molecules (arXiv 2005.00687).
    """
    return Task(_known_cross_entropy, _roc_auc, "ROC-AUC")


def regression() -> Task:
    """Real targets `[n, c]` (a single one is `[n, 1]`): mean squared error, and minus its root, column by column.

    Means over the masked rows and then over the columns, in the units of the targets, squared for the loss. What lies
    outside the mask may hold anything. As OGB judges regression (arXiv 2005.00687).
    """
    return Task(_squared_error, _negative_rmse, "-RMSE")


def _cross_entropy(logits: Float[Array, "n c"], labels: Int[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    safe = jnp.where(mask, labels, 0)  # unlabelled nodes carry -1
    return masked_mean(optax.softmax_cross_entropy_with_integer_labels(logits, safe), mask)


def _accuracy(logits: Float[Array, "n c"], labels: Int[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    hits = jnp.argmax(logits, axis=1).astype(labels.dtype) == labels
    return masked_mean(hits.astype(logits.dtype), mask)


def _binary_cross_entropy(
    logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]
) -> Float[Array, ""]:
    # Masked before any function: 0 * NaN in the backward pass would be NaN.
    kept, truth = (jnp.where(mask[:, None], x.astype(logits.dtype), 0.0) for x in (logits, labels))
    return masked_mean(jnp.mean(optax.sigmoid_binary_cross_entropy(kept, truth), axis=1), mask)


def _micro_f1(logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    predicted, true = mask[:, None] & (logits > 0.0), mask[:, None] & (labels > 0.5)
    either = jnp.sum(predicted) + jnp.sum(true)  # 2 TP + FP + FN, in whole numbers: float32 would round above 2^24
    return (2 * jnp.sum(predicted & true)).astype(logits.dtype) / jnp.maximum(either, 1).astype(logits.dtype)


def _squared_error(
    logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]
) -> Float[Array, ""]:
    return masked_mean(jnp.mean(_residual(logits, labels, mask) ** 2, axis=1), mask)


def _negative_rmse(
    logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]
) -> Float[Array, ""]:
    squares = _residual(logits, labels, mask) ** 2
    count = jnp.maximum(jnp.sum(mask), 1).astype(squares.dtype)
    return -jnp.mean(jnp.sqrt(jnp.sum(squares, axis=0) / count))


def _known_cross_entropy(
    logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]
) -> Float[Array, ""]:
    known = mask[:, None] & ~jnp.isnan(labels)
    kept, truth = (jnp.where(known, x.astype(logits.dtype), 0.0) for x in (logits, labels))
    return masked_mean(optax.sigmoid_binary_cross_entropy(kept, truth).reshape(-1), known.reshape(-1))


def _roc_auc(logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    areas, defined = jax.vmap(_area, in_axes=(1, 1, None))(logits, labels, mask)
    return masked_mean(areas, defined)


def _area(
    logits: Float[Array, " n"], labels: Float[Array, " n"], mask: Bool[Array, " n"]
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """The share of (yes, no) pairs that the logits order rightly, by the mean ranks of the yes answers."""
    known = mask & ~jnp.isnan(labels)
    yes = known & (labels > 0.5)
    ordered = jnp.sort(jnp.where(known, logits, jnp.inf))
    places = [jnp.searchsorted(ordered, logits, side=side) for side in ("left", "right")]
    ranks = 0.5 * (places[0] + places[1] + 1).astype(logits.dtype)
    positives, negatives = (jnp.sum(x).astype(logits.dtype) for x in (yes, known & ~yes))
    above = jnp.sum(jnp.where(yes, ranks, 0.0)) - 0.5 * positives * (positives + 1.0)
    return above / jnp.maximum(positives * negatives, 1.0), (positives > 0.0) & (negatives > 0.0)


def _residual(logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Float[Array, "n c"]:
    return jnp.where(mask[:, None], logits - labels.astype(logits.dtype), 0.0)
