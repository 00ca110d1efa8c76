"""Distillation from the last hidden layers, node by node: FitNets, attention transfer, MustaD.

Each looks at the last hidden layer of either side alone. The teacher's features are frozen and constant under
differentiation; where a head stands on the teacher's side, it is trained together with the student.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from abkd_jax.distill.combinators import freeze
from abkd_jax.distill.ops.checks import require_choice, require_count, require_rows
from abkd_jax.distill.ops.moments import masked_mean
from abkd_jax.distill.ops.projections import (
    Head,
    init_projection,
    init_sides,
    last_hidden,
    last_layers,
    project,
    safe_norm,
    unit_rows,
)
from abkd_jax.graph.precision import accumulation_dtype
from abkd_jax.types import GNNOutput, InputError, Objective, PRNGKey, Pytree

__all__ = ["attention_transfer", "fitnet", "mustad"]


def fitnet(head: Head = "bnrelu", dim: int | None = None) -> Objective:
    """Mean squared difference of the projected features, rows normalised (FitNets, arXiv 1412.6550).

        loss = mean_{v, k} (s_vk / |s_v| - t_vk / |t_v|)^2,    s = head_s(x^s), t = head_t(x^t)    [n, dim]

    FitNets regresses the teacher's features from the student's, Eq. 3. The rows of unit length, and heads that are
    trained on both sides, are those of G-CRD (Joshi et al., arXiv 2111.04964, github.com/chaitjo/efficient-gnns). The
    mean over `dim` keeps the value at `4 / dim` or less: weights of 100 to 10,000 are usual.

    The teacher's head is free, so that the loss can also fall by showing less of the teacher.

    Args:
        head: `"bnrelu"`, `"linear"` or `"none"` on both sides, as in `projections.project`.
        dim: width of both heads; None is the student's last width. Without effect for the head `"none"`.

    Returns:
        An objective with parameters `{"teacher": ..., "student": ...}`, one head each.

    Raises:
        InputError: a bad argument here; at `init`, a model without hidden layers, or last layers of different widths
            with the head `"none"`.
    """
    require_choice("fitnet", "head", head, ("none", "linear", "bnrelu"))
    require_count("fitnet", dim=1 if dim is None else dim)

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        heads = init_sides("fitnet", key, teacher, student, head, dim)
        theirs, ours = (layer.shape[1] for layer in last_layers("fitnet", teacher, student))
        if head == "none" and ours != theirs:
            raise InputError(
                f"fitnet: the student's last hidden layer has width {ours}, expected the teacher's {theirs}; "
                "choose a head"
            )
        return heads

    def targets(teacher: GNNOutput, *, graph: Any, mask: Bool[Array, " n"]) -> Float[Array, "n d"]:
        return _kept("fitnet", "teacher", freeze(teacher), mask)

    def apply(
        params: Pytree,
        targets: Float[Array, "n d"],
        student: GNNOutput,
        *,
        graph: Any,
        mask: Bool[Array, " n"],
        key: PRNGKey | None,
    ) -> tuple[Array, dict[str, Array]]:
        theirs = unit_rows(project(params["teacher"], targets, mask, head))
        ours = unit_rows(project(params["student"], last_hidden("fitnet", "student", student), mask, head))
        return masked_mean(jnp.mean((ours - theirs) ** 2, axis=1), mask), {}

    return Objective(init, targets, apply)


def attention_transfer() -> Objective:
    """Mean squared difference of the nodes' shares in the activation (AT, arXiv 1612.03928, Eq. 2).

        loss = mean_v (b^s_v - b^t_v)^2,    b = a / |a|,    a_v = sum_k x_vk^2    [n]

    The norm of `a` is taken over the masked nodes: AT's spatial map with nodes for pixels, as the code of G-CRD has it
    (Joshi et al., arXiv 2111.04964, github.com/chaitjo/efficient-gnns). The widths may differ. The value is of order
    `1 / n`, so that its weight has to grow with the number of nodes.

    Returns:
        An objective without parameters.

    Raises:
        InputError: at `init` and `targets`, a model without hidden layers.
    """

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        last_layers("attention_transfer", teacher, student)
        return {}

    def targets(teacher: GNNOutput, *, graph: Any, mask: Bool[Array, " n"]) -> Float[Array, " n"]:
        return _node_attention(_kept("attention_transfer", "teacher", freeze(teacher), mask))

    def apply(
        params: Pytree,
        targets: Float[Array, " n"],
        student: GNNOutput,
        *,
        graph: Any,
        mask: Bool[Array, " n"],
        key: PRNGKey | None,
    ) -> tuple[Array, dict[str, Array]]:
        attention = _node_attention(_kept("attention_transfer", "student", student, mask))
        require_rows("attention_transfer: targets of the teacher", targets.shape[0], mask)
        return masked_mean((attention - targets) ** 2, mask), {}

    return Objective(init, targets, apply)


def mustad(kernel: Literal["kl", "lin", "poly", "dist", "rbf"] = "kl") -> Objective:
    """The loss of MustaD on the hidden features (Kim, Jung and Kang, PLoS ONE 16(8), 2021, e0256187).

        kl:    mean_v KL(softmax(t_v) || softmax(s_v))        dist:  mean_v |t_v - s_v|
        lin:   mean_v t_v . s_v                               poly:  mean_v (t_v . s_v)^2
        rbf:   mean_v exp(-|t_v - s_v| / 2)                   t = x^t, s = x^s    [n, d]

    The published code (github.com/snudatalab/MustaD) minimises every one of them as it stands, and by default `"kl"`.
    But `"lin"`, `"poly"` and `"rbf"` are similarities: their minimum is far from the teacher.

    A student of another width goes through a linear map to the teacher's width, which is trained here. The published
    code creates such a layer too, but never gives it to its optimiser. The other half of the method, on the
    predictions, is `soft_label(2.0, scale="none", student_temperature=1.0)`.

    Args:
        kernel: `"kl"`, `"lin"`, `"poly"`, `"dist"` or `"rbf"`.

    Returns:
        An objective with parameters `{}` for equal widths, else `{"kernel": [d_s, d_t], "bias": [d_t]}`.

    Raises:
        InputError: an unknown `kernel`; at `init` and `targets`, a model without hidden layers.
    """
    require_choice("mustad", "kernel", kernel, tuple(_KERNELS))

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        theirs, ours = last_layers("mustad", teacher, student)
        head = "none" if ours.shape[1] == theirs.shape[1] else "linear"
        return init_projection(key, ours.shape[1], theirs.shape[1], head, accumulation_dtype(ours.dtype))

    def targets(teacher: GNNOutput, *, graph: Any, mask: Bool[Array, " n"]) -> Float[Array, "n d"]:
        return _kept("mustad", "teacher", freeze(teacher), mask)

    def apply(
        params: Pytree,
        targets: Float[Array, "n d"],
        student: GNNOutput,
        *,
        graph: Any,
        mask: Bool[Array, " n"],
        key: PRNGKey | None,
    ) -> tuple[Array, dict[str, Array]]:
        head = "linear" if params else "none"
        ours = project(params, last_hidden("mustad", "student", student), mask, head)
        require_rows("mustad: targets of the teacher", targets.shape[0], mask)
        return masked_mean(_KERNELS[kernel](targets, ours), mask), {}

    return Objective(init, targets, apply)


def _kl(t: Float[Array, "n d"], s: Float[Array, "n d"]) -> Float[Array, " n"]:
    log_p = jax.nn.log_softmax(t)
    return jnp.sum(jnp.exp(log_p) * (log_p - jax.nn.log_softmax(s)), axis=1)


_KERNELS = {
    "kl": _kl,
    "lin": lambda t, s: jnp.sum(t * s, axis=1),
    "poly": lambda t, s: jnp.sum(t * s, axis=1) ** 2,
    "dist": lambda t, s: safe_norm(t - s),
    "rbf": lambda t, s: jnp.exp(-0.5 * safe_norm(t - s)),
}


def _kept(factory: str, side: str, output: GNNOutput, mask: Bool[Array, " n"]) -> Float[Array, "n d"]:
    """The last hidden layer, float32 at least, with zero rows outside the mask."""
    return project({}, last_hidden(factory, side, output), mask, "none")


def _node_attention(x: Float[Array, "n d"]) -> Float[Array, " n"]:
    return unit_rows(jnp.sum(x**2, axis=1))
