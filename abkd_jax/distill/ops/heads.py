"""Linear projections, one per layer, stacked into one array whatever the widths of the layers."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.distill.ops.numerics import widen
from abkd_jax.types import PRNGKey

__all__ = ["apply_heads", "init_heads"]


def init_heads(key: PRNGKey, widths: Sequence[int], dim: int, dtype: DTypeLike) -> dict[str, Array]:
    """Draws projections as `torch.nn.Linear` does: kernel and bias from U(-1/sqrt(width), 1/sqrt(width)).

    Rows beyond a layer's own width are zero and stay so: they meet the zero columns of `stack_layers` alone, and their
    gradient is zero.

    Args:
        key: a key of `jax.random.key`.
        widths: width of every layer, `L` of them.
        dim: output width of every projection.
        dtype: type of the parameters.

    Returns:
        `{"kernel": [L, d, dim], "bias": [L, dim]}` with `d` the largest width.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> heads = init_heads(jax.random.key(0), widths=(3, 2), dim=4, dtype=jnp.float32)
        >>> heads["kernel"].shape, bool((heads["kernel"][1, 2] == 0.0).all())
        ((2, 3, 4), True)
    """
    kernel_key, bias_key = jax.random.split(key)
    width = np.asarray(widths)
    bound = 1.0 / np.sqrt(width)
    row_bound = np.where(np.arange(width.max())[None, :] < width[:, None], bound[:, None], 0.0)  # [L, d]
    kernel = jax.random.uniform(kernel_key, (*row_bound.shape, dim), dtype, -1.0, 1.0)
    bias = jax.random.uniform(bias_key, (len(width), dim), dtype, -1.0, 1.0)
    return {
        "kernel": kernel * jnp.asarray(row_bound[:, :, None], dtype),
        "bias": bias * jnp.asarray(bound[:, None], dtype),
    }


def apply_heads(heads: dict[str, Array], pooled: Float[Array, "L d"]) -> Float[Array, "L k"]:
    """Projects each layer's pooled features with its own projection.

    Args:
        heads: `{"kernel": [L, d, k], "bias": [L, k]}`.
        pooled: `[L, d]`, float32 at least; projections of fewer bits are widened.

    Returns:
        `[L, k]`.
    """
    heads = widen(heads)
    return jnp.einsum("ld,ldk->lk", pooled, heads["kernel"], precision="highest") + heads["bias"]
