"""Masked batch normalisation and jumping knowledge.

Layer normalisation is computed per node, so `flax.linen.LayerNorm` serves (PyTorch's has `epsilon=1e-5`).
"""

from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from abkd_jax.graph.precision import widened
from abkd_jax.layers.dense import cast
from abkd_jax.types import InputError

__all__ = ["MaskedBatchNorm", "jumping_knowledge"]


class MaskedBatchNorm(nn.Module):
    """Batch normalisation with statistics over the nodes of a mask (Ioffe & Szegedy, arXiv 1502.03167).

    `(x - mean) / sqrt(var + epsilon) * scale + bias`, per unit, with the biased variance of the batch. The running
    statistics, in the collection `batch_stats` as `mean` and `var`, take the unbiased variance, as PyTorch's do.
    Statistics are float32 or wider whatever the features are.

    Attributes:
        epsilon: added to the variance.
        momentum: share of the old running statistics that stays (PyTorch's momentum is the share of the new).
        dtype: type of the output; None is that of the input.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n d"], *, use_running_average: bool, mask: Bool[Array, " n"] | None = None
    ) -> Float[Array, "n d"]:
        """Normalises `x`; `mask` `[n]` is False on padding (`graph.node_mask`).

        An empty mask leaves the running statistics unchanged.

        Raises:
            InputError: the mask is not one boolean per node.
        """
        if mask is not None and (mask.shape, mask.dtype) != (x.shape[:1], jnp.bool_):
            raise InputError(f"MaskedBatchNorm: mask is {mask.dtype} {mask.shape}, expected booleans {x.shape[:1]}")
        width = x.shape[1:]
        scale = self.param("scale", nn.initializers.ones, width)
        bias = self.param("bias", nn.initializers.zeros, width)
        old_mean = self.variable("batch_stats", "mean", jnp.zeros, width)
        old_var = self.variable("batch_stats", "var", jnp.ones, width)
        wide = widened(x)
        if use_running_average:
            mean, var = (old.value.astype(wide.dtype) for old in (old_mean, old_var))
        else:
            counted = jnp.ones(x.shape[0], bool) if mask is None else mask
            mean, var, count = _moments(wide, counted)
            if not self.is_initializing():
                keep = jnp.where(count > 0, self.momentum, 1.0)
                unbiased = var * count / jnp.maximum(count - 1, 1)
                for old, new in ((old_mean, mean), (old_var, unbiased)):
                    old.value = (keep * widened(old.value) + (1.0 - keep) * new).astype(old.value.dtype)
        scale, bias = (a.astype(wide.dtype) for a in (scale, bias))
        out = (wide - mean[None]) / jnp.sqrt(var + self.epsilon)[None] * scale[None] + bias[None]
        return cast(out, x.dtype if self.dtype is None else self.dtype)


def _moments(x: Float[Array, "n d"], mask: Bool[Array, " n"]) -> tuple[Array, Array, Array]:
    """Computes mean and biased variance over the nodes of the mask, and counts these."""
    count = jnp.sum(mask).astype(x.dtype)
    divisor = jnp.maximum(count, 1.0)
    mean = jnp.sum(jnp.where(mask[:, None], x, 0.0), axis=0) / divisor
    centred = jnp.where(mask[:, None], x - mean[None], 0.0)
    return mean, jnp.sum(centred**2, axis=0) / divisor, count


def jumping_knowledge(
    hiddens: Sequence[Float[Array, "n _"]], how: Literal["last", "cat", "max"]
) -> Float[Array, "n _"]:
    """Combines the outputs of all layers (jumping knowledge: Xu et al., arXiv 1806.03536).

    Args:
        hiddens: `[n, width]` of every layer; of equal width for `"max"`.
        how: `"last"` returns the last one, `"cat"` concatenates them, `"max"` takes the maximum.

    Raises:
        InputError: another `how`, no layers, or widths that differ where they must not.

    Examples:
        >>> import jax.numpy as jnp
        >>> jumping_knowledge([jnp.ones((3, 2)), jnp.zeros((3, 4))], "cat").shape
        (3, 6)
    """
    if how not in ("last", "cat", "max") or not hiddens:
        raise InputError(f"jumping knowledge {how!r} of {len(hiddens)} layers, expected last, cat or max of some")
    if how == "last":
        return hiddens[-1]
    if how == "cat":
        return jnp.concatenate(hiddens, axis=1)
    widths = sorted({h.shape[1] for h in hiddens})
    if len(widths) > 1:
        raise InputError(f"jumping knowledge 'max' of layers of widths {widths}, expected one width")
    return jnp.max(jnp.stack(hiddens), axis=0)
