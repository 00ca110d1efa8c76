"""Geometric distillation with a kernel that is trained beside the student (GeometricKD, arXiv 2210.13014)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from abkd_jax.distill.combinators import freeze
from abkd_jax.distill.ops.checks import require_count, require_rows
from abkd_jax.distill.ops.moments import centre, node_mean, widen
from abkd_jax.distill.ops.projections import last_hidden, last_layers, project
from abkd_jax.graph.precision import accumulation_dtype
from abkd_jax.types import GNNOutput, InputError, Objective, PRNGKey, Pytree

__all__ = ["geometric_parametric"]

_STANDARD_EPSILON = 1e-10  # added to the variance, as in the authors' code


def geometric_parametric(dim: int | None = None) -> Objective:
    """Geometric knowledge distillation of the last hidden layers with the parametric kernel (arXiv 2210.13014).

        loss = sum_uv (K^t_uv - K^s_uv)^2 + sum_vk (bn(K^t t) - bn(t))_vk^2,    K(x) = tanh(x phi) tanh(x phi)'

    over the masked nodes, with `bn` the standardisation of every column (biased variance) and `t` the teacher's last
    hidden layer. Both sides share `phi` `[d, dim]`. It is trained by the second term alone, which asks that the
    teacher's kernel reconstruct the teacher's features; to the first it is a constant. The authors' code
    (github.com/chr26195/GKD) gives `phi` an optimiser of its own; under Adam, whose steps do not depend on the
    gradient's size, only the learning rate and the weight decay differ from that. It also batch-normalises the layers
    first; here they are taken as the models return them.

    `K` is of rank `dim`, so that no `n x n` array is built: with `F = tanh(x phi)`, `A = F^t - F^s`, `B = F^t + F^s`,

        |K^t - K^s|^2 = (<A'A, B'B> + tr(A'B A'B)) / 2

    Metrics: `"distance"` and `"reconstruction"`, the two sums.

    Args:
        dim: columns of `phi`, drawn from N(0, 1); None is twice the width of the layers.

    Returns:
        An objective with parameters `{"phi": [d, dim]}`; the targets are the teacher's last hidden layer `[n, d]`.

    Raises:
        InputError: `dim` below 1; at `init`, a model without hidden layers, or last layers of different widths.
    """
    require_count("geometric_parametric", dim=1 if dim is None else dim)

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        theirs, ours = last_layers("geometric_parametric", teacher, student)
        width = theirs.shape[1]
        if ours.shape[1] != width:
            raise InputError(
                f"geometric_parametric: the student's last hidden layer has width {ours.shape[1]}, expected the "
                f"teacher's {width}; `geometric` compares any widths"
            )
        return {
            "phi": jax.random.normal(key, (width, 2 * width if dim is None else dim), accumulation_dtype(ours.dtype))
        }

    def targets(teacher: GNNOutput, *, graph: Any, mask: Bool[Array, " n"]) -> Float[Array, "n d"]:
        return project({}, last_hidden("geometric_parametric", "teacher", freeze(teacher)), mask, "none")

    def apply(
        params: Pytree,
        targets: Float[Array, "n d"],
        student: GNNOutput,
        *,
        graph: Any,
        mask: Bool[Array, " n"],
        key: PRNGKey | None,
    ) -> tuple[Array, dict[str, Array]]:
        ours = project({}, last_hidden("geometric_parametric", "student", student), mask, "none")
        require_rows("geometric_parametric: targets of the teacher", targets.shape[0], mask)
        phi = widen(params["phi"])
        fixed = jax.lax.stop_gradient(phi)
        distance = _squared_gap(_features(targets, fixed), _features(ours, fixed))
        reconstruction = _reconstruction(targets, phi, mask)
        return distance + reconstruction, {"distance": distance, "reconstruction": reconstruction}

    return Objective(init, targets, apply)


def _features(x: Float[Array, "n d"], phi: Float[Array, "d k"]) -> Float[Array, "n k"]:
    """`tanh(x phi)`: zero rows of `x` stay zero."""
    return jnp.tanh(_product(x, phi))


def _squared_gap(theirs: Float[Array, "n k"], ours: Float[Array, "n k"]) -> Float[Array, ""]:
    """`|F^t F^t' - F^s F^s'|_F^2`; differences first, so that equal sides give exactly 0."""
    a, b = theirs - ours, theirs + ours
    mixed = _product(a.T, b)
    return 0.5 * (jnp.sum(_product(a.T, a) * _product(b.T, b)) + jnp.sum(mixed * mixed.T))


def _reconstruction(x: Float[Array, "n d"], phi: Float[Array, "d k"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    features = _features(x, phi)
    smoothed = _product(features, _product(features.T, x))
    return jnp.sum((_standardised(smoothed, mask) - _standardised(x, mask)) ** 2)


def _standardised(x: Float[Array, "n d"], mask: Bool[Array, " n"]) -> Float[Array, "n d"]:
    """Every column with mean 0 and variance 1 over the masked nodes; zero rows outside."""
    centred = centre(x[None], mask)[1]
    return (centred * jax.lax.rsqrt(node_mean(centred**2, mask) + _STANDARD_EPSILON)[:, None, :])[0]


def _product(a: Float[Array, "i j"], b: Float[Array, "j k"]) -> Float[Array, "i k"]:
    return jnp.matmul(a, b, precision="highest")
