"""Geometric distillation with a kernel that is trained beside the student (GeometricKD, arXiv 2210.13014)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from abkd_jax.distill.ops.checks import require_optional_count, require_rows
from abkd_jax.distill.ops.moments import centre, node_mean
from abkd_jax.distill.ops.numerics import masked_rows, product, widen
from abkd_jax.distill.ops.outputs import Inputs, Layer, masked_layer, of_last_hidden, require_equal_widths
from abkd_jax.graph.precision import accumulation_dtype
from abkd_jax.types import Mask, Objective, PRNGKey, Pytree

__all__ = ["geometric_parametric"]

_STANDARD_EPSILON = 1e-10  # added to the variance, as in the authors' code


def geometric_parametric(dim: int | None = None) -> Objective:
    """Builds geometric distillation of the last hidden layers with a trained kernel (GeometricKD, arXiv 2210.13014).

        loss = sum_uv (K^t_uv - K^s_uv)^2 + sum_vk (bn(K^t t) - bn(t))_vk^2,    K(x) = tanh(x phi) tanh(x phi)'

    over the masked nodes, with `bn` the standardisation of every column (biased variance) and `t` the teacher's last
    hidden layer. Both sides share `phi` `[d, dim]`. It is trained by the second term alone, by which the teacher's
    kernel reconstructs the teacher's features; to the first it is a constant. The authors' code
    (github.com/chr26195/GKD) gives `phi` another optimiser; under Adam, whose steps do not depend on the gradient's
    size, only the learning rate and the weight decay differ from that. It also batch-normalises the layers first; here
    they are taken as the models return them.

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
    require_optional_count("geometric_parametric", dim=dim)

    def init(key: PRNGKey, t: Layer, s: Layer) -> Pytree:
        require_equal_widths("geometric_parametric", t, s, "`geometric` compares any widths")
        width = t.shape[1]
        shape = width, 2 * width if dim is None else dim
        return {"phi": jax.random.normal(key, shape, accumulation_dtype(s.dtype))}

    def loss(
        params: Pytree, t: Float[Array, "n d"], s: Float[Array, "n d"], inputs: Inputs
    ) -> tuple[Array, dict[str, Array]]:
        s_rows = masked_rows(s, inputs.mask)
        require_rows("geometric_parametric: targets of the teacher", t.shape[0], inputs.mask)
        phi = widen(params["phi"])
        constant = jax.lax.stop_gradient(phi)
        distance = _squared_difference(_features(t, constant), _features(s_rows, constant))
        reconstruction = _reconstruction(t, phi, inputs.mask)
        return distance + reconstruction, {"distance": distance, "reconstruction": reconstruction}

    return of_last_hidden("geometric_parametric", init, masked_layer, loss)


def _features(x: Float[Array, "n d"], phi: Float[Array, "d k"]) -> Float[Array, "n k"]:
    """Computes `tanh(x phi)`: zero rows of `x` stay zero."""
    return jnp.tanh(product(x, phi))


def _squared_difference(t: Float[Array, "n k"], s: Float[Array, "n k"]) -> Float[Array, ""]:
    """Computes `|F^t F^t' - F^s F^s'|_F^2`; differences first, so that equal sides give exactly 0."""
    a, b = t - s, t + s
    mixed = product(a.T, b)
    return 0.5 * (jnp.sum(product(a.T, a) * product(b.T, b)) + jnp.sum(mixed * mixed.T))


def _reconstruction(x: Float[Array, "n d"], phi: Float[Array, "d k"], mask: Mask) -> Float[Array, ""]:
    features = _features(x, phi)
    smoothed = product(features, product(features.T, x))
    return jnp.sum((_standardised(smoothed, mask) - _standardised(x, mask)) ** 2)


def _standardised(x: Float[Array, "n d"], mask: Mask) -> Float[Array, "n d"]:
    """Scales every column to mean 0 and variance 1 over the masked nodes; zero rows outside."""
    centred = centre(x[None], mask)[1]
    return (centred * jax.lax.rsqrt(node_mean(centred**2, mask) + _STANDARD_EPSILON)[:, None, :])[0]
