"""Layer dissimilarity by centred kernel alignment (CKA) of the pairwise similarities of the nodes.

Like the members of `dissimilarity`, it is computed on the masked nodes alone, keeps the frozen teacher as targets, and
builds nothing of size `n` times the number of pairs.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.ops.checks import require_optional_count
from abkd_jax.distill.ops.moments import centre, covariance, cross_covariance, node_rows, stack_layers
from abkd_jax.distill.ops.numerics import safe_norm
from abkd_jax.distill.ops.outputs import freeze
from abkd_jax.distill.ops.staged import exact_in_batches
from abkd_jax.types import GNNOutput, Mask, PairMap, PRNGKey, Pytree

__all__ = ["cka", "cka_targets", "layer_cka"]

# A layer whose covariance has no larger Frobenius norm, features of 1e-6 that is, counts as constant.
_NEGLIGIBLE_NORM = 1e-12


def cka(rank: int | None = None) -> PairMap:
    """Builds one minus the linear centred kernel alignment of all pairs of layers (Kornblith et al., arXiv 1905.00414).

        D[t, s] = 1 - ||C_ts||_F^2 / (||M_t||_F ||N_s||_F)

    with `M_t = E[tau_t tau_t']`, `N_s = E[sigma_s sigma_s']` and `C_ts = E[tau_t sigma_s']` over the masked nodes, both
    layers centred (Eq. 3 there, and section 3 for the linear kernel). In [0, 1]: 0 where the layers agree up to
    rotation, scale and shift. Nothing is trained and nothing can collapse. A constant layer on either side, or one
    whose features vary by less than 1e-6, gives D = 1 with zero gradients. `"variance"` is 1: D is relative to the
    teacher's.

    Args:
        rank: directions of the teacher that are kept, see `moments.node_rows`; None is exact.

    Returns:
        A pair map without parameters.

    Raises:
        InputError: `rank` below 1.

    Examples:
        >>> from abkd_jax.distill import abkd, uniform
        >>> objective = abkd(uniform(), cka(rank=256))
    """
    require_optional_count("cka", rank=rank)

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        return {}

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask, rank: int | None = rank) -> Pytree:
        return cka_targets(teacher, mask, rank)

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Float[Array, "T_l S_l"], dict[str, Array]]:
        return _dissimilarity(targets, student, mask), {"variance": targets["variance"]}

    return PairMap(init, exact_in_batches(targets, rank), apply)


def cka_targets(teacher: GNNOutput, mask: Mask, rank: int | None = None) -> Pytree:
    """Computes what `layer_cka` reads of a teacher; linear CKA reads no graph.

    Args:
        teacher: the teacher's output; its hidden layers are read.
        mask: `[n]`, the nodes that are compared.
        rank: directions of the teacher that are kept, see `moments.node_rows`; None is exact.

    Returns:
        `"rows"` and `"variance"`, without gradients.
    """
    centred = _centred_layers(freeze(teacher), mask)
    scale = jnp.sqrt(_inverse_norm(covariance(centred, mask)))  # ||M_t||_F = 1 from here on
    rows = node_rows(scale[:, None, None] * centred, mask, rank)
    return {"rows": rows, "variance": jnp.ones_like(scale)}


def layer_cka(targets: Pytree, student: GNNOutput, *, mask: Mask) -> Float[Array, "T_l S_l"]:
    """Computes the linear CKA of every teacher layer with every student layer, for logs and figures.

    One product over the nodes, for which `targets` may have been reduced; made to be called at evaluations.

    Args:
        targets: from `cka_targets`, once per teacher.
        student: the student's output; its hidden layers are read.
        mask: `[n]`, the nodes that are compared.

    Returns:
        `[T_l, S_l]` in `[0, 1]`; 0 where a layer is constant.

    Examples:
        >>> import jax.numpy as jnp
        >>> from abkd_jax import GNNOutput
        >>> x, mask = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]), jnp.ones(3, bool)
        >>> output = GNNOutput(x, (x, 2.0 * x))
        >>> print(layer_cka(cka_targets(output, mask), output, mask=mask).round(3))
        [[1. 1.]
         [1. 1.]]
    """
    return 1.0 - _dissimilarity(targets, student, mask)


def _dissimilarity(targets: Pytree, student: GNNOutput, mask: Mask) -> Float[Array, "T_l S_l"]:
    """Computes one minus the alignment of every pair of layers."""
    centred = _centred_layers(student, mask)
    cross = cross_covariance(targets["rows"], centred, len(targets["variance"]))
    alignment = jnp.sum(cross**2, axis=(1, 3)) * _inverse_norm(covariance(centred, mask))[None, :]
    return jnp.maximum(1.0 - alignment, 0.0)


def _centred_layers(output: GNNOutput, mask: Mask) -> Float[Array, "L n d"]:
    # One node's row is subtracted before the mean, so that a constant unit is exactly zero however the mean is rounded.
    layers = stack_layers(output.hiddens)
    origin = jax.lax.stop_gradient(layers[:, jnp.argmax(mask)])  # the centred layers do not depend on it
    return centre(layers - origin[:, None, :], mask)[1]


def _inverse_norm(covariances: Float[Array, "L d d"]) -> Float[Array, " L"]:
    """Computes `1 / ||M||_F` per layer, and 0 with a zero gradient for a constant layer."""
    norm = safe_norm(covariances.reshape(len(covariances), -1))
    varies = norm > _NEGLIGIBLE_NORM
    return jnp.where(varies, 1.0 / jnp.where(varies, norm, 1.0), 0.0)
