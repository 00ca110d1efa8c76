"""The share of each loss in the gradient of a student."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from abkd_jax.distill.ops.numerics import safe_norm, widen
from abkd_jax.types import Pytree

__all__ = ["gradient_shares"]


def gradient_shares(losses: Mapping[str, Callable[[Pytree], Array]], at: Pytree) -> dict[str, Float[Array, ""]]:
    """Computes the norm of each loss's gradient over the sum of these norms.

        share_k = |grad loss_k| / sum_j |grad loss_j|

    A term of small weight may still dominate, and a collapsed term contributes next to nothing: the values of losses
    show neither. One backward pass per loss; made to be called at evaluations.

    Args:
        losses: the weighted losses by name, each a function of one tree to a scalar. `term_losses` gives those of a
            `weighted_sum` as functions of the student's output.
        at: the tree, cast to float32 at least: the student's `GNNOutput`, which needs no model, or its parameters, with
            the model inside the losses. Only gradients to the parameters compare losses of different layers.

    Returns:
        By name, in `[0, 1]` with sum 1; all 0 where no loss has a gradient.

    Examples:
        >>> import jax.numpy as jnp
        >>> losses = {"task": lambda x: 3.0 * jnp.sum(x), "kd": lambda x: jnp.sum(x)}
        >>> {name: float(share) for name, share in gradient_shares(losses, jnp.ones(4)).items()}
        {'task': 0.75, 'kd': 0.25}
    """
    at = widen(at)  # a gradient in 16 bits would be rounded to zero or to the largest number before its norm
    norms = {name: _norm(jax.grad(loss)(at)) for name, loss in losses.items()}
    total = jnp.sum(jnp.stack(list(norms.values())))
    return {name: norm / jnp.where(total > 0.0, total, 1.0) for name, norm in norms.items()}


def _norm(tree: Pytree) -> Float[Array, ""]:
    return safe_norm(jnp.stack([safe_norm(leaf.ravel()) for leaf in jax.tree.leaves(tree)]))
