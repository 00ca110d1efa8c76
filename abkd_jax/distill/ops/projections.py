"""Trained projections of the last hidden layers, which make layers of different widths comparable.

They are those of G-CRD (Joshi et al., arXiv 2111.04964, github.com/chaitjo/efficient-gnns), which trains one on each
side; only the teacher's features are frozen. The argument that chooses them is called `head`.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.distill.ops.heads import init_heads
from abkd_jax.distill.ops.moments import centre, node_mean
from abkd_jax.distill.ops.numerics import masked_rows, product, widen
from abkd_jax.distill.ops.outputs import Layer
from abkd_jax.graph.precision import accumulation_dtype
from abkd_jax.types import Mask, PRNGKey

__all__ = ["HEADS", "Head", "init_projection", "init_sides", "project"]

Head = Literal["none", "linear", "bnrelu"]
HEADS = "none", "linear", "bnrelu"

_BATCH_NORM_EPSILON = 1e-5  # of torch.nn.BatchNorm1d


def init_projection(key: PRNGKey, width_in: int, dim: int, head: Head, dtype: DTypeLike) -> dict[str, Array]:
    """Draws one projection: the linear map as `torch.nn.Linear` draws it, batch norm as the identity.

    Args:
        key: a key of `jax.random.key`.
        width_in: width of the features.
        dim: width of the projection; without effect for the head `"none"`.
        head: as in `project`.
        dtype: type of the parameters.

    Returns:
        `{}` for `"none"`; `{"kernel": [width_in, dim], "bias": [dim]}` for `"linear"`; for `"bnrelu"` also
        `{"scale": [dim], "shift": [dim]}`.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> params = init_projection(jax.random.key(0), 3, 2, "bnrelu", jnp.float32)
        >>> {name: value.shape for name, value in sorted(params.items())}
        {'bias': (2,), 'kernel': (3, 2), 'scale': (2,), 'shift': (2,)}
    """
    if head == "none":
        return {}
    linear = {name: stacked[0] for name, stacked in init_heads(key, (width_in,), dim, dtype).items()}
    if head == "linear":
        return linear
    return linear | {"scale": jnp.ones(dim, dtype), "shift": jnp.zeros(dim, dtype)}


def init_sides(key: PRNGKey, t: Layer, s: Layer, head: Head, dim: int | None) -> dict[str, dict[str, Array]]:
    """Draws one projection for the last hidden layer of either side, `{"teacher": ..., "student": ...}`.

    Args:
        key: a key of `jax.random.key`.
        t: the teacher's layer `[n, d_t]`, or its shape.
        s: the student's layer `[n, d_s]`, or its shape.
        head: as in `project`.
        dim: width of both projections; None is the student's last width.
    """
    dtype, keys = accumulation_dtype(s.dtype), jax.random.split(key)
    return {
        side: init_projection(side_key, x.shape[1], dim or s.shape[1], head, dtype)
        for (side, x), side_key in zip((("teacher", t), ("student", s)), keys, strict=True)
    }


def project(params: dict[str, Array], x: Float[Array, "n d"], mask: Mask, head: Head) -> Float[Array, "n dim"]:
    """Projects the features of the masked nodes; zero rows for all other nodes.

        none:    x
        linear:  x W + b
        bnrelu:  relu(scale * (y - E_v y) / sqrt(var_v y + 1e-5) + shift),    y = x W + b

    Batch norm always uses the mean and the biased variance of the masked nodes, and keeps no running statistics:
    projections exist only while training.

    Args:
        params: as `init_projection` returns them.
        x: `[n, d]`; rows outside the mask may hold anything.
        mask: `[n]`.
        head: `"none"`, `"linear"` or `"bnrelu"`.

    Returns:
        `[n, dim]`, float32 at least; `[n, d]` for the head `"none"`.

    Raises:
        InputError: the mask is not boolean, or has another number of entries than `x` has rows.
    """
    kept, params = masked_rows(x, mask), widen(params)
    if head == "none":
        return kept
    y = product(kept, params["kernel"]) + params["bias"][None, :]
    if head == "bnrelu":
        _, centred = centre(y[None], mask)
        variance = node_mean(centred**2, mask)
        normalised = centred[0] * jax.lax.rsqrt(variance + _BATCH_NORM_EPSILON)
        y = jax.nn.relu(params["scale"][None, :] * normalised + params["shift"][None, :])
    return jnp.where(mask[:, None], y, 0.0)
