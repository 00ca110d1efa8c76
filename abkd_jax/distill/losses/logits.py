"""Distillation from the logits: soft labels (Hinton et al., arXiv 1503.02531), of one class or of many labels."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from abkd_jax.distill.combinators import freeze
from abkd_jax.distill.ops.checks import require_choice, require_rows, require_temperature
from abkd_jax.distill.ops.moments import masked_mean, widen
from abkd_jax.types import GNNOutput, InputError, Objective, PRNGKey, Pytree

__all__ = ["output_error", "soft_label", "soft_label_multilabel"]


def soft_label(
    temperature: float = 1.0,
    reduction: Literal["node", "all"] = "node",
    scale: Literal["auto", "square", "none"] = "auto",
    student_temperature: float | None = None,
) -> Objective:
    """Kullback-Leibler divergence from the teacher's softened class probabilities to the student's.

        loss = scale(T) * mean_v sum_c p_t(v, c) (log p_t(v, c) - log p_s(v, c)),    p = softmax(z / T)

    The classical factor `T^2` (Hinton et al., section 2) keeps the gradient's size as `T` grows. Below `T = 1` it would
    let the other terms swamp this one, and with no factor the gradient grows as `T` falls: there the factor is `T`.

    Equal probabilities on both sides give 0, the least value. Metrics: `"kl"`, the mean before `scale`.

    Args:
        temperature: `T`, 1e-3 to 1e3.
        reduction: `"node"` sums over classes and averages over the masked nodes; `"all"` averages over both, as the
            code of G-CRD does (Joshi et al., arXiv 2111.04964, github.com/chaitjo/efficient-gnns).
        scale: `"auto"` is `T^2` for `T >= 1` and `T` below; `"square"` is always `T^2`; `"none"` is 1.
        student_temperature: temperature of the student's softmax, 1e-3 to 1e3; None is `T`. MustaD (Kim, Jung and Kang,
            PLoS ONE 16(8), 2021, e0256187) softens the teacher alone: `temperature=2.0`, `scale="none"` and 1.0 here.

    Returns:
        An objective without parameters, which needs neither a key nor hidden layers.

    Raises:
        InputError: a bad argument here; at `init`, teacher and student of different numbers of classes or nodes.
    """
    student_temperature = temperature if student_temperature is None else student_temperature
    require_temperature("soft_label", temperature=temperature, student_temperature=student_temperature)
    require_choice("soft_label", "reduction", reduction, ("node", "all"))
    require_choice("soft_label", "scale", scale, ("auto", "square", "none"))
    temperature, student_temperature = float(temperature), float(student_temperature)
    factor = {"auto": max(temperature, 1.0) * temperature, "square": temperature**2, "none": 1.0}[scale]

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        _require_same_shape("soft_label", teacher, student)
        return {}

    def targets(teacher: GNNOutput, *, graph: Any, mask: Bool[Array, " n"]) -> Pytree:
        log_p = _log_probabilities(freeze(teacher).logits, mask, temperature)
        p = jnp.exp(log_p)
        return {"probabilities": p, "negative_entropy": jnp.sum(p * log_p, axis=-1)}

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: Any, mask: Bool[Array, " n"], key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        log_q = _log_probabilities(student.logits, mask, student_temperature)
        require_rows("soft_label: targets of the teacher", targets["negative_entropy"].shape[0], mask)
        per_node = targets["negative_entropy"] - jnp.sum(targets["probabilities"] * log_q, axis=-1)
        kl = masked_mean(per_node, mask)
        if reduction == "all":
            kl = kl / log_q.shape[-1]
        return factor * kl, {"kl": kl}

    return Objective(init, targets, apply)


def soft_label_multilabel() -> Objective:
    """Binary cross-entropy of the student with the teacher's probability of every label, for multi-label tasks.

        loss = mean_{v, c} [log(1 + exp(z^s_vc)) - p_vc z^s_vc],    p = 1 / (1 + exp(-z^t))    [n, classes]

    There is no temperature. The least value is the entropy of `p`, not 0. Source: the PPI experiments in the code of
    G-CRD (Joshi et al., arXiv 2111.04964, github.com/chaitjo/efficient-gnns).

    Returns:
        An objective without parameters, which needs neither a key nor hidden layers.

    Raises:
        InputError: at `init`, teacher and student of different numbers of classes or nodes.
    """

    def per_node(logits: Float[Array, "n c"], probabilities: Float[Array, "n c"]) -> Float[Array, " n"]:
        return jnp.mean(jax.nn.softplus(logits) - probabilities * logits, axis=-1)

    return _of_outputs("soft_label_multilabel", jax.nn.sigmoid, per_node)


def output_error() -> Objective:
    """Mean squared difference of the outputs, for regression.

        loss = mean_{v, c} (z^s_vc - z^t_vc)^2    [n, outputs]

    Source: Ba and Caruana, arXiv 1312.6184, equation 1, on logits there.

    Returns:
        An objective without parameters, which needs neither a key nor hidden layers.

    Raises:
        InputError: at `init`, teacher and student of different numbers of outputs or nodes.
    """
    return _of_outputs(
        "output_error", lambda outputs: outputs, lambda own, other: jnp.mean((own - other) ** 2, axis=-1)
    )


def _of_outputs(
    factory: str,
    of_teacher: Callable[[Float[Array, "n c"]], Float[Array, "n c"]],
    per_node: Callable[[Float[Array, "n c"], Float[Array, "n c"]], Float[Array, " n"]],
) -> Objective:
    """The mean over the masked rows of `per_node(student's logits, of_teacher(teacher's logits))`."""

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        _require_same_shape(factory, teacher, student)
        return {}

    def targets(teacher: GNNOutput, *, graph: Any, mask: Bool[Array, " n"]) -> Float[Array, "n c"]:
        return of_teacher(_masked(freeze(teacher).logits, mask))

    def apply(
        params: Pytree,
        targets: Float[Array, "n c"],
        student: GNNOutput,
        *,
        graph: Any,
        mask: Bool[Array, " n"],
        key: PRNGKey | None,
    ) -> tuple[Array, dict[str, Array]]:
        require_rows(f"{factory}: targets of the teacher", targets.shape[0], mask)
        return masked_mean(per_node(_masked(student.logits, mask), targets), mask), {}

    return Objective(init, targets, apply)


def _require_same_shape(factory: str, teacher: GNNOutput, student: GNNOutput) -> None:
    ours, theirs = student.logits.shape, teacher.logits.shape
    if ours[-1] != theirs[-1]:
        raise InputError(f"{factory}: the student has {ours[-1]} classes, expected the teacher's {theirs[-1]}")
    if ours[0] != theirs[0]:
        raise InputError(f"{factory}: the student has logits of {ours[0]} nodes, expected the teacher's {theirs[0]}")


def _log_probabilities(logits: Float[Array, "n c"], mask: Bool[Array, " n"], temperature: float) -> Float[Array, "n c"]:
    return jax.nn.log_softmax(_masked(logits, mask) / temperature, axis=-1)


def _masked(logits: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Float[Array, "n c"]:
    require_rows("logits", logits.shape[0], mask)
    # Masked before any function: a padded row may hold anything, and 0 * NaN in the backward pass would be NaN.
    return jnp.where(mask[:, None], widen(logits), 0.0)
