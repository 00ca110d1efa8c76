"""Tasks: the loss on labelled nodes and the score by which a model is evaluated.

All losses and scores take `(logits [n, c], labels, mask [n])`, check shapes and types before anything is computed, run
in float32 (or wider) whatever the logits are, and read nothing outside the mask: neither value nor gradient changes if
logits or labels there are NaN. Labels that are missing inside the mask (-1, or NaN) are left out of every mean.

Values cannot be checked under `jit`. A label that is none (a class number that is too large, an answer outside [0, 1])
makes the loss, its gradient and the score NaN, and so do logits that are NaN.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from abkd_jax.graph.precision import by_column, masked_mean, widened
from abkd_jax.types import InputError

__all__ = ["Task", "accuracy", "classification", "masked_mean", "multilabel", "multitask_binary", "regression"]


class Task(NamedTuple):
    """A task.

    Attributes:
        loss: `(logits [n, c], labels, mask [n]) -> scalar`, the mean over the labels in the mask; 0 without any. Labels
            are `[n]` or `[n, c]`, as the task says.
        score: likewise, float32; higher is better. NaN where it is not defined: without any label in the mask.
        metric: what the score is called.
    """

    loss: Callable[..., Float[Array, ""]]
    score: Callable[..., Float[Array, ""]]
    metric: str


def classification() -> Task:
    """Makes the task of one class per node: cross-entropy of the softmax, and accuracy.

    Labels are `[n]` integers, negative where a node has none.

    Examples:
        >>> import jax.numpy as jnp
        >>> task = classification()
        >>> logits, mask = jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), jnp.array([True, True, True])
        >>> float(task.score(logits, jnp.array([0, 1, -1]), mask))  # the third node has no label
        1.0
    """
    return Task(_cross_entropy, accuracy, "accuracy")


def multilabel() -> Task:
    """Makes the task of any number of labels per node: binary cross-entropy, and micro-averaged F1.

    Labels are `[n, c]`, 0 or 1, NaN where unknown.

    The loss is the mean over the labels of the masked nodes. The score is the F1 of all (node, class) decisions
    together, `2 TP / (2 TP + FP + FN)`, a label being predicted where its logit is above 0; it is 0 where no label is
    set or predicted. Source: the PPI experiments of GraphSAGE (Hamilton et al., arXiv 1706.02216).
    """
    return Task(_binary_cross_entropy, _micro_f1, "micro-F1")


def multitask_binary() -> Task:
    """Makes the task of several yes-or-no answers per graph: binary cross-entropy, and the area under the ROC curve.

    Answers are `[n, c]`, 0, 1 or NaN where unknown.

    The loss is the mean over all known answers of the masked rows, the score the mean over the columns that hold both
    answers there, ties counted half; NaN where none does. As OGB trains and evaluates molecules (arXiv 2005.00687).
    """
    return Task(_known_cross_entropy, _roc_auc, "ROC-AUC")


def regression(scale: Sequence[float] | Float[ArrayLike, " c"] | None = None) -> Task:
    """Makes the task of real targets: mean squared error, and minus its root.

    Targets are `[n, c]` (a single one is `[n, 1]`), NaN where unknown.

    The loss is the mean over all known targets of the masked rows, of errors divided by `scale`. The score is the mean
    over the columns of minus the root of each one's own mean, in the units of the targets, over the columns with a
    known target. As OGB evaluates regression (arXiv 2005.00687).

    Args:
        scale: `[c]`, above 0, as the deviations of the targets, so that columns of any units count alike; None is 1.

    Raises:
        InputError: the loss meets logits of other than `c` columns.

    Examples:
        >>> import jax.numpy as jnp
        >>> task, targets = regression([100.0]), jnp.array([[150.0]])
        >>> [float(of(jnp.zeros((1, 1)), targets, jnp.array([True]))) for of in (task.loss, task.score)]
        [2.25, -150.0]
    """
    return Task(_squared_error if scale is None else _scaled_error(scale), _negative_rmse, "-RMSE")


def _checked(logits: Any, labels: Any, mask: Any, *, classes: bool) -> tuple[Array, Array, Array]:
    """Returns the three as arrays, logits in float32 at least, labels in the type that losses compare them in."""
    logits, labels, mask = (_array(*pair) for pair in (("logits", logits), ("labels", labels), ("the mask", mask)))
    if logits.ndim != 2 or not logits.shape[1] or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise InputError(f"logits are {logits.dtype} {logits.shape}, expected floats [n, c] with c at least 1")
    expected = logits.shape[:1] if classes else logits.shape
    kinds = (jnp.integer,) if classes else (jnp.floating, jnp.integer, jnp.bool_)
    if labels.shape != expected or not any(jnp.issubdtype(labels.dtype, kind) for kind in kinds):
        raise InputError(
            f"labels are {labels.dtype} {labels.shape}, expected {'integer classes' if classes else 'numbers'} "
            f"{expected} for logits {logits.shape}"
        )
    if mask.shape != logits.shape[:1] or mask.dtype != jnp.bool_:
        raise InputError(f"the mask is {mask.dtype} {mask.shape}, expected booleans {logits.shape[:1]}, one a row")
    logits = widened(logits)
    narrow = classes and labels.dtype.itemsize < 4  # int8 cannot hold class 128
    return logits, labels.astype(jnp.int32 if narrow else labels.dtype if classes else logits.dtype), mask


def _array(name: str, value: Any) -> Array:
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):  # None, text, lists of several lengths
        raise InputError(f"{name}: {type(value).__name__}, expected an array of numbers") from None


def _on_rows(*, classes: bool) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Decorates a loss or score with the checks of its arguments; labels are classes `[n]`, or numbers `[n, c]`."""

    def decorate(function: Callable[..., Array]) -> Callable[..., Array]:
        @functools.wraps(function)
        def on_rows(logits: Any, labels: Any, mask: Any) -> Array:
            return function(*_checked(logits, labels, mask, classes=classes))

        return on_rows

    return decorate


@_on_rows(classes=True)
def _cross_entropy(logits: Float[Array, "n c"], labels: Int[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    known = mask & (labels >= 0)
    safe = jnp.where(known, jnp.minimum(labels, logits.shape[1] - 1), 0)
    per_node = optax.softmax_cross_entropy_with_integer_labels(_without_gradient_outside(logits, known), safe)
    return masked_mean(per_node, known) * _one_or_nan(jnp.all(labels < logits.shape[1], where=known), logits.dtype)


@_on_rows(classes=True)
def accuracy(logits: Float[Array, "n c"], labels: Int[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    """Computes the share of the labelled nodes in the mask whose largest logit is the right one.

    Args:
        logits: `[n, classes]`.
        labels: `[n]`, negative where unlabelled; entries outside the mask may hold anything.
        mask: `[n]`.

    Returns:
        A scalar, float32; NaN without a labelled node in the mask, or if a logit there is NaN or a label no class.

    Raises:
        InputError: shapes or types are others.
    """
    known = mask & (labels >= 0)
    hits = known & (jnp.argmax(logits, axis=1).astype(labels.dtype) == labels)
    share = jnp.sum(hits).astype(jnp.float32) / jnp.maximum(jnp.sum(known), 1).astype(jnp.float32)
    wrong = known & ((labels >= logits.shape[1]) | jnp.any(jnp.isnan(logits), axis=1))
    return _score(share, jnp.any(known) & ~jnp.any(wrong))


@_on_rows(classes=False)
def _binary_cross_entropy(
    logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]
) -> Float[Array, ""]:
    known = _known(labels, mask)
    losses, valid = _answer_losses(logits, labels, known)
    return _mean_of_known(losses, known, mask) * valid


@_on_rows(classes=False)
def _known_cross_entropy(
    logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]
) -> Float[Array, ""]:
    known = _known(labels, mask)
    losses, valid = _answer_losses(logits, labels, known)
    return masked_mean(losses.reshape(-1), known.reshape(-1)) * valid


@_on_rows(classes=False)
def _micro_f1(logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    known = _known(labels, mask)
    predicted, true = known & (logits > 0.0), known & (labels > 0.5)
    either = jnp.sum(predicted) + jnp.sum(true)  # 2 TP + FP + FN, in whole numbers: float32 would round above 2^24
    score = (2 * jnp.sum(predicted & true)).astype(logits.dtype) / jnp.maximum(either, 1).astype(logits.dtype)
    return _score(score, jnp.any(known) & _answered(logits, labels, known))


@_on_rows(classes=False)
def _roc_auc(logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    known = _known(labels, mask)
    areas, defined = jax.vmap(_area, in_axes=1)(logits, labels, known)
    return _score(masked_mean(areas, defined), jnp.any(defined) & _answered(logits, labels, known))


def _scaled_error(scale: Any) -> Callable[..., Array]:
    """Makes the squared error of columns in units of `scale` `[c]`."""

    @_on_rows(classes=False)
    def scaled_error(logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Array:
        return _mean_square(by_column(logits, scale), by_column(labels, scale), mask)

    return scaled_error


def _mean_square(logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    known = _known(labels, mask)
    return _mean_of_known(jnp.where(known, logits - labels, 0.0) ** 2, known, mask)


_squared_error = _on_rows(classes=False)(_mean_square)


@_on_rows(classes=False)
def _negative_rmse(
    logits: Float[Array, "n c"], labels: Float[Array, "n c"], mask: Bool[Array, " n"]
) -> Float[Array, ""]:
    known = _known(labels, mask)
    counts = jnp.sum(known, axis=0)
    errors = jnp.where(known, logits - labels, 0.0)
    # Squares of errors in any units would be 0 or infinity: those over a power of two are neither, and as exact.
    _, exponents = jnp.frexp(jnp.max(jnp.abs(errors), axis=0))
    squares = jnp.sum(jnp.ldexp(errors, -exponents[None]) ** 2, axis=0)
    roots = jnp.ldexp(jnp.sqrt(squares / jnp.maximum(counts, 1).astype(squares.dtype)), exponents)
    columns = jnp.sum(counts > 0)
    return _score(-jnp.mean(roots) * _ratio(jnp.asarray(counts.shape[0]), columns, roots.dtype), columns > 0)


def _known(labels: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Bool[Array, "n c"]:
    return mask[:, None] & ~jnp.isnan(labels)


def _answer_losses(
    logits: Float[Array, "n c"], labels: Float[Array, "n c"], known: Bool[Array, "n c"]
) -> tuple[Float[Array, "n c"], Float[Array, ""]]:
    """Computes the cross-entropy of each answer, that of 0 and 0 where it is not known; and a factor of their mean."""
    # Masked before any function: 0 * NaN in the backward pass would be NaN.
    kept, truth = (jnp.where(known, x, 0.0) for x in (logits, labels))
    valid = jnp.all((truth >= 0.0) & (truth <= 1.0))
    return optax.sigmoid_binary_cross_entropy(kept, truth), _one_or_nan(valid, logits.dtype)


def _answered(logits: Float[Array, "n c"], labels: Float[Array, "n c"], known: Bool[Array, "n c"]) -> Bool[Array, ""]:
    """Tells whether all known answers are in [0, 1] and their logits numbers."""
    return jnp.all((labels >= 0.0) & (labels <= 1.0) & ~jnp.isnan(logits), where=known)


def _mean_of_known(values: Float[Array, "n c"], known: Bool[Array, "n c"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    """Computes the mean of the known values: that over the rows of the mask, times 1 where nothing is missing."""
    mean = masked_mean(jnp.mean(jnp.where(known, values, 0.0), axis=1), mask)
    return mean * _ratio(values.shape[1] * jnp.sum(mask), jnp.sum(known), mean.dtype)


def _ratio(count: Int[Array, ""], known: Int[Array, ""], dtype: Any) -> Float[Array, ""]:
    return count.astype(dtype) / jnp.maximum(known, 1).astype(dtype)


def _one_or_nan(valid: Bool[Array, ""], dtype: Any) -> Float[Array, ""]:
    """Returns a factor of a loss: its gradient is NaN too."""
    return jnp.where(valid, 1.0, jnp.nan).astype(dtype)


@jax.custom_jvp
def _without_gradient_outside(logits: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Float[Array, "n c"]:
    """Returns the logits as they are; in the backward pass of a softmax, 0 * NaN is NaN in rows outside the mask."""
    return logits


@_without_gradient_outside.defjvp
def _gradient_inside(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    logits, mask = primals
    return logits, jnp.where(mask[:, None], tangents[0], 0.0)


def _score(value: Float[Array, ""], defined: Bool[Array, ""]) -> Float[Array, ""]:
    return jnp.where(defined, value, jnp.nan).astype(jnp.float32)


def _area(
    logits: Float[Array, " n"], labels: Float[Array, " n"], known: Bool[Array, " n"]
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """Computes the share of (yes, no) pairs that the logits order rightly, by the ranks of the rarer answer.

    Sums of the other's ranks lose what they differ in: float32 has seven digits.
    """
    yes = known & (labels > 0.5)
    ordered = jnp.sort(jnp.where(known, logits, jnp.inf))
    first, last = (jnp.searchsorted(ordered, logits, side=side) for side in ("left", "right"))
    last = jnp.minimum(last, jnp.sum(known))  # a logit of infinity does not tie with those that are not known
    ranks = 0.5 * (first + last + 1).astype(logits.dtype)
    positives, negatives = (jnp.sum(x).astype(logits.dtype) for x in (yes, known & ~yes))
    pairs, rarer = positives * negatives, jnp.minimum(positives, negatives)
    of_rarer = jnp.where(positives <= negatives, yes, known & ~yes)
    above = jnp.sum(jnp.where(of_rarer, ranks, 0.0)) - 0.5 * rarer * (rarer + 1.0)  # pairs that it wins
    right = jnp.where(positives <= negatives, above, pairs - above)
    return right / jnp.maximum(pairs, 1.0), (positives > 0.0) & (negatives > 0.0)
