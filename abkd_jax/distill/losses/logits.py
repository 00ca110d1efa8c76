"""Distillation from the logits: soft labels (Hinton et al., arXiv 1503.02531), of one class or of many labels."""

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.ops.checks import constant, require_choice, require_rows, require_temperature
from abkd_jax.distill.ops.numerics import masked_rows
from abkd_jax.distill.ops.outputs import freeze
from abkd_jax.distill.ops.soft_targets import log_probabilities
from abkd_jax.graph.precision import by_column, masked_mean
from abkd_jax.types import GNNOutput, InputError, Mask, Objective, PRNGKey, Pytree, Scalar

__all__ = ["init_of_logits", "output_error", "soft_label", "soft_label_multilabel"]


def soft_label(
    temperature: Scalar = 1.0,
    reduction: Literal["node", "all"] = "node",
    scale: Literal["auto", "square", "none"] = "auto",
    student_temperature: Scalar | None = None,
) -> Objective:
    """Builds the Kullback-Leibler divergence from the teacher's softened class probabilities to the student's.

        loss = scale(T) * mean_v sum_c p_t(v, c) (log p_t(v, c) - log p_s(v, c)),    p = softmax(z / T)

    The classical factor `T^2` (Hinton et al., section 2) keeps the gradient's size as `T` grows. Below `T = 1` it would
    let the other terms outweigh this one, and with no factor the gradient grows as `T` falls: there the factor is `T`.

    Equal probabilities on both sides give 0, the least value. Metrics: `"kl"`, the mean before `scale`.

    Args:
        temperature: `T`, 1e-3 to 1e3; traced, it is not checked.
        reduction: `"node"` sums over classes and averages over the masked nodes; `"all"` averages over both, as the
            code of G-CRD does (Joshi et al., arXiv 2111.04964, github.com/chaitjo/efficient-gnns).
        scale: `"auto"` is `T^2` for `T >= 1` and `T` below; `"square"` is always `T^2`; `"none"` is 1.
        student_temperature: temperature of the student's softmax, 1e-3 to 1e3; None is `T`. MustaD (Kim, Jung and Kang,
            PLoS ONE 16(8), 2021, e0256187) softens the teacher alone: `temperature=2.0`, `scale="none"` and 1.0 here.

    Returns:
        An objective without parameters, which needs neither a key nor hidden layers.

    Raises:
        InputError: a bad argument here; at `init`, teacher and student of different numbers of classes or nodes.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax import GNNOutput, graph
        >>> g, mask = graph.from_edges(np.array([0]), np.array([1]), 2), jnp.ones(2, bool)
        >>> teacher, student = (GNNOutput(jnp.array(z), ()) for z in ([[2.0, 0.0]] * 2, [[0.0, 0.0]] * 2))
        >>> objective = soft_label(temperature=2.0)
        >>> targets = objective.targets(teacher, graph=g, mask=mask)
        >>> loss, _ = objective.apply({}, targets, student, graph=g, mask=mask, key=None)
        >>> print(f"{loss:.3f}")
        0.444
    """
    student_temperature = temperature if student_temperature is None else student_temperature
    require_temperature("soft_label", temperature=temperature, student_temperature=student_temperature)
    require_choice("soft_label", "reduction", reduction, ("node", "all"))
    require_choice("soft_label", "scale", scale, ("auto", "square", "none"))
    temperature, of_student = constant(temperature), constant(student_temperature)
    larger = max if isinstance(temperature, float) else jnp.maximum
    factor = {"auto": larger(temperature, 1.0) * temperature, "square": temperature**2, "none": 1.0}[scale]

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> Pytree:
        log_p = log_probabilities(freeze(teacher).logits, mask, temperature)
        p = jnp.exp(log_p)
        return {"probabilities": p, "negative_entropy": jnp.sum(p * log_p, axis=-1)}

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        log_q = log_probabilities(student.logits, mask, of_student)
        require_rows("soft_label: targets of the teacher", targets["negative_entropy"].shape[0], mask)
        per_node = targets["negative_entropy"] - jnp.sum(targets["probabilities"] * log_q, axis=-1)
        kl = masked_mean(per_node, mask)
        if reduction == "all":
            kl = kl / log_q.shape[-1]
        return factor * kl, {"kl": kl}

    return Objective(functools.partial(init_of_logits, "soft_label"), targets, apply)


def soft_label_multilabel() -> Objective:
    """Builds the binary cross-entropy with the teacher's probability of every label, for multi-label tasks.

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


def output_error(scale: Sequence[float] | Float[ArrayLike, " c"] | None = None) -> Objective:
    """Builds the mean squared difference of the outputs, for regression.

        loss = mean_{v, c} ((z^s_vc - z^t_vc) / scale_c)^2    [n, outputs]

    Source: Ba and Caruana, arXiv 1312.6184, equation 1, on logits there.

    Args:
        scale: `[outputs]`, above 0, as the deviations of the targets: in any units the loss is the same; None is 1.

    Returns:
        An objective without parameters, which needs neither a key nor hidden layers.

    Raises:
        InputError: at `init`, teacher and student of different numbers of outputs or nodes; at `apply`, a scale for
            another number of outputs.
    """

    def per_node(logits: Float[Array, "n c"], outputs: Float[Array, "n c"]) -> Float[Array, " n"]:
        apart = logits - outputs
        return jnp.mean((apart if scale is None else by_column(apart, scale)) ** 2, axis=-1)

    return _of_outputs("output_error", lambda outputs: outputs, per_node)


def _of_outputs(
    factory: str,
    of_teacher: Callable[[Float[Array, "n c"]], Float[Array, "n c"]],
    per_node: Callable[[Float[Array, "n c"], Float[Array, "n c"]], Float[Array, " n"]],
) -> Objective:
    """Builds the mean over the masked rows of `per_node(student's logits, of_teacher(teacher's logits))`."""

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> Float[Array, "n c"]:
        return of_teacher(masked_rows(freeze(teacher).logits, mask, "logits"))

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        require_rows(f"{factory}: targets of the teacher", targets.shape[0], mask)
        return masked_mean(per_node(masked_rows(student.logits, mask, "logits"), targets), mask), {}

    return Objective(functools.partial(init_of_logits, factory), targets, apply)


def init_of_logits(factory: str, key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
    """Makes the parameters of a loss of logits alone, which has none: requires logits of the same nodes and classes.

    Args:
        factory: name of the factory, for the message.
        key: not read.
        teacher: what the teacher returned; its shapes suffice.
        student: likewise.

    Raises:
        InputError: they differ.
    """
    (t_rows, t_classes), (s_rows, s_classes) = teacher.logits.shape, student.logits.shape
    if s_classes != t_classes:
        raise InputError(f"{factory}: the student has {s_classes} classes, expected the teacher's {t_classes}")
    if s_rows != t_rows:
        raise InputError(f"{factory}: the student has logits of {s_rows} nodes, expected the teacher's {t_rows}")
    return {}
