"""Linear heads, one per layer, stacked into one array whatever the widths of the layers."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.distill.ops.moments import widen
from abkd_jax.types import PRNGKey

__all__ = ["apply_heads", "init_heads"]


def init_heads(key: PRNGKey, widths: Sequence[int], dim: int, dtype: DTypeLike) -> dict[str, Array]:
    """Heads drawn as `torch.nn.Linear` draws them: kernel and bias from U(-1/sqrt(width), 1/sqrt(width)).

    Rows beyond a layer's own width are zero and stay so: they meet the zero columns of `stack_layers` alone, and their
    gradient is zero.

    Args:
        key: a key of `jax.random.key`.
        widths: width of every layer, `L` of them.
        dim: output width of every head.
        dtype: type of the parameters.

    Returns:
        `{"kernel": [L, d, dim], "bias": [L, dim]}` with `d` the largest width.
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
    """Each layer's pooled features through its own head.

    Args:
        heads: `{"kernel": [L, d, k], "bias": [L, k]}`.
        pooled: `[L, d]`, float32 at least; heads of fewer bits are widened.

    Returns:
        `[L, k]`.
    """
    heads = widen(heads)
    return jnp.einsum("ld,ldk->lk", pooled, heads["kernel"], precision="highest") + heads["bias"]
