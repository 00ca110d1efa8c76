"""Distillation from the logits: soft labels (Hinton et al., arXiv 1503.02531)."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from abkd_jax.distill.checks import require_choice, require_positive
from abkd_jax.distill.combinators import freeze
from abkd_jax.distill.moments import moment_dtype, node_count
from abkd_jax.types import GNNOutput, InputError, Objective, PRNGKey, Pytree

__all__ = ["soft_label"]


def soft_label(
    temperature: float = 1.0,
    reduction: Literal["node", "all"] = "node",
    scale: Literal["auto", "square", "none"] = "auto",
) -> Objective:
    """Kullback-Leibler divergence from the teacher's softened class probabilities to the student's.

        loss = scale(T) * mean_v sum_c p_t(v, c) (log p_t(v, c) - log p_s(v, c)),    p = softmax(z / T)

    The classical factor `T^2` (Hinton et al., section 2) keeps the gradient's size as `T` grows. Below `T = 1` it would
    let the other terms swamp this one, and with no factor the gradient grows as `T` falls: there the factor is `T`.

    The student equal to the teacher gives 0, the least value. Metrics: `"kl"`, the mean before `scale`.

    Args:
        temperature: `T`, above 0.
        reduction: `"node"` sums over classes and averages over the masked nodes; `"all"` averages over both, as the
            code of G-CRD does (Joshi et al., arXiv 2111.04964, github.com/chaitjo/efficient-gnns).
        scale: `"auto"` is `T^2` for `T >= 1` and `T` below; `"square"` is always `T^2`; `"none"` is 1.

    Returns:
        An objective without parameters, which needs neither a key nor hidden layers.

    Raises:
        InputError: a bad argument here; at `init`, teacher and student with different numbers of classes.
    """
    require_positive("soft_label", temperature=temperature)
    require_choice("soft_label", "reduction", reduction, ("node", "all"))
    require_choice("soft_label", "scale", scale, ("auto", "square", "none"))
    temperature = float(temperature)
    factor = {"auto": max(temperature, 1.0) * temperature, "square": temperature**2, "none": 1.0}[scale]

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        ours, theirs = student.logits.shape[-1], teacher.logits.shape[-1]
        if ours != theirs:
            raise InputError(f"soft_label: the student has {ours} classes, expected the teacher's {theirs}")
        return {}

    def targets(teacher: GNNOutput, *, graph: Any, mask: Bool[Array, " n"]) -> Pytree:
        log_p = _log_probabilities(freeze(teacher).logits, mask, temperature)
        p = jnp.exp(log_p)
        return {"probabilities": p, "negative_entropy": jnp.sum(p * log_p, axis=-1)}

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: Any, mask: Bool[Array, " n"], key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        log_q = _log_probabilities(student.logits, mask, temperature)
        per_node = targets["negative_entropy"] - jnp.sum(targets["probabilities"] * log_q, axis=-1)
        kl = jnp.sum(jnp.where(mask, per_node, 0.0)) / node_count(mask, log_q.dtype)
        if reduction == "all":
            kl = kl / log_q.shape[-1]
        return factor * kl, {"kl": kl}

    return Objective(init, targets, apply)


def _log_probabilities(logits: Float[Array, "n c"], mask: Bool[Array, " n"], temperature: float) -> Float[Array, "n c"]:
    # Masked before the softmax: a padded row may hold anything, and 0 * NaN in the backward pass would be NaN.
    kept = jnp.where(mask[:, None], logits.astype(moment_dtype(logits.dtype)), 0.0)
    return jax.nn.log_softmax(kept / temperature, axis=-1)
