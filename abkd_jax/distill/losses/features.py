"""Distillation from the last hidden layers, node by node: FitNets, attention transfer, MustaD.

Each reads the last hidden layer of either side alone. The teacher's features are frozen and constant under
differentiation; a projection on the teacher's side is trained together with the student.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from abkd_jax.distill.ops.checks import require_choice, require_optional_count, require_rows
from abkd_jax.distill.ops.numerics import masked_rows, safe_norm, unit_rows
from abkd_jax.distill.ops.outputs import Inputs, Layer, masked_layer, of_last_hidden, require_equal_widths
from abkd_jax.distill.ops.projections import HEADS, Head, init_projection, init_sides, project
from abkd_jax.graph.precision import accumulation_dtype, masked_mean
from abkd_jax.types import Objective, PRNGKey, Pytree

__all__ = ["attention_transfer", "fitnet", "mustad"]


def fitnet(head: Head = "bnrelu", dim: int | None = None) -> Objective:
    """Builds the mean squared difference of the projected features, rows normalised (FitNets, arXiv 1412.6550).

        loss = mean_{v, k} (s_vk / |s_v| - t_vk / |t_v|)^2,    s = head_s(x^s), t = head_t(x^t)    [n, dim]

    FitNets regresses the teacher's features from the student's, Eq. 3. The rows of unit length, and projections trained
    on both sides, are those of G-CRD (Joshi et al., arXiv 2111.04964, github.com/chaitjo/efficient-gnns). The mean over
    `dim` keeps the value at `4 / dim` or less: weights of 100 to 10,000 are usual.

    The teacher's projection is trained too, so that the loss can also fall by discarding information about the teacher.

    Args:
        head: `"bnrelu"`, `"linear"` or `"none"` on both sides, as in `projections.project`.
        dim: width of both projections; None is the student's last width. Without effect for the head `"none"`.

    Returns:
        An objective with parameters `{"teacher": ..., "student": ...}`, one projection each.

    Raises:
        InputError: a bad argument here; at `init`, a model without hidden layers, or last layers of different widths
            with the head `"none"`.

    Examples:
        >>> from abkd_jax.distill import Term, weighted_sum
        >>> objective = weighted_sum(Term("fitnet", 1000.0, fitnet(dim=16)))
    """
    require_choice("fitnet", "head", head, HEADS)
    require_optional_count("fitnet", dim=dim)

    def init(key: PRNGKey, t: Layer, s: Layer) -> Pytree:
        if head == "none":
            require_equal_widths("fitnet", t, s, "choose a head")
        return init_sides(key, t, s, head, dim)

    def loss(
        params: Pytree, t: Float[Array, "n d_t"], s: Float[Array, "n d_s"], inputs: Inputs
    ) -> tuple[Array, dict[str, Array]]:
        t_rows = unit_rows(project(params["teacher"], t, inputs.mask, head))
        s_rows = unit_rows(project(params["student"], s, inputs.mask, head))
        return masked_mean(jnp.mean((s_rows - t_rows) ** 2, axis=1), inputs.mask), {}

    return of_last_hidden("fitnet", init, masked_layer, loss)


def attention_transfer() -> Objective:
    """Builds the mean squared difference of the nodes' normalised activations (AT, arXiv 1612.03928, Eq. 2).

        loss = mean_v (b^s_v - b^t_v)^2,    b = a / |a|,    a_v = sum_k x_vk^2    [n]

    The norm of `a` is taken over the masked nodes: AT's spatial map with nodes for pixels, as the code of G-CRD has it
    (Joshi et al., arXiv 2111.04964, github.com/chaitjo/efficient-gnns). The widths may differ. The value is of order
    `1 / n`, so that its weight has to grow with the number of nodes.

    Returns:
        An objective without parameters.

    Raises:
        InputError: at `init`, `targets` and `apply`, a model without hidden layers.
    """

    def init(key: PRNGKey, t: Layer, s: Layer) -> Pytree:
        return {}

    def targets(t: Float[Array, "n d_t"], inputs: Inputs) -> Float[Array, " n"]:
        return _node_attention(masked_rows(t, inputs.mask))

    def loss(
        params: Pytree, targets: Float[Array, " n"], s: Float[Array, "n d_s"], inputs: Inputs
    ) -> tuple[Array, dict[str, Array]]:
        attention = _node_attention(masked_rows(s, inputs.mask))
        require_rows("attention_transfer: targets of the teacher", targets.shape[0], inputs.mask)
        return masked_mean((attention - targets) ** 2, inputs.mask), {}

    return of_last_hidden("attention_transfer", init, targets, loss)


def mustad(kernel: Literal["kl", "lin", "poly", "dist", "rbf"] = "kl") -> Objective:
    """Builds the loss of MustaD on the hidden features (Kim, Jung and Kang, PLoS ONE 16(8), 2021, e0256187).

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

    def init(key: PRNGKey, t: Layer, s: Layer) -> Pytree:
        head = "none" if s.shape[1] == t.shape[1] else "linear"
        return init_projection(key, s.shape[1], t.shape[1], head, accumulation_dtype(s.dtype))

    def loss(
        params: Pytree, t: Float[Array, "n d_t"], s: Float[Array, "n d_s"], inputs: Inputs
    ) -> tuple[Array, dict[str, Array]]:
        s_rows = project(params, s, inputs.mask, "linear" if params else "none")
        require_rows("mustad: targets of the teacher", t.shape[0], inputs.mask)
        return masked_mean(_KERNELS[kernel](t, s_rows), inputs.mask), {}

    return of_last_hidden("mustad", init, masked_layer, loss)


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


def _node_attention(x: Float[Array, "n d"]) -> Float[Array, " n"]:
    return unit_rows(jnp.sum(x**2, axis=1))
