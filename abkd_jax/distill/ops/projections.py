"""Last hidden layers made comparable: trained heads for either side, and norms that are safe at zero.

Teacher and student differ in width, and their features in scale. The heads are those of G-CRD (Joshi et al.,
arXiv 2111.04964, github.com/chaitjo/efficient-gnns), which trains one on each side; only the teacher's features are
frozen.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from abkd_jax.distill.ops.checks import require_rows
from abkd_jax.distill.ops.heads import init_heads
from abkd_jax.distill.ops.moments import centre, node_mean, widen
from abkd_jax.graph.precision import accumulation_dtype
from abkd_jax.types import GNNOutput, InputError, PRNGKey

__all__ = ["Head", "init_projection", "init_sides", "last_hidden", "last_layers", "project", "safe_norm", "unit_rows"]

Head = Literal["none", "linear", "bnrelu"]

_BATCH_NORM_EPSILON = 1e-5  # of torch.nn.BatchNorm1d
_NORM_FLOOR = 1e-12  # of torch.nn.functional.normalize


def last_hidden(factory: str, side: str, output: GNNOutput) -> Any:
    """The last hidden layer of a model, what its classifier reads: `[n, width]`, an array or its shape.

    Args:
        factory: name of the factory, for the message.
        side: `"teacher"` or `"student"`, for the message.
        output: what the model returned; its shapes suffice.

    Raises:
        InputError: the model returns no hidden layer.
    """
    if not output.hiddens:
        raise InputError(f"{factory}: the {side} returns no hidden layers (GNNOutput.hiddens), expected at least one")
    return output.hiddens[-1]


def last_layers(factory: str, teacher: GNNOutput, student: GNNOutput) -> tuple[Any, Any]:
    """Returns the last hidden layers of both models, `[n, d_t]` and `[n, d_s]`.

    Args:
        factory: name of the factory, for the message.
        teacher: what the teacher returned; its shapes suffice.
        student: likewise.

    Raises:
        InputError: a model returns no hidden layer, or the models were run on different numbers of nodes.
    """
    theirs, ours = last_hidden(factory, "teacher", teacher), last_hidden(factory, "student", student)
    if theirs.shape[0] != ours.shape[0]:
        raise InputError(
            f"{factory}: hidden layers of {theirs.shape[0]} nodes of the teacher and {ours.shape[0]} of the student, "
            "expected the same nodes"
        )
    return theirs, ours


def init_projection(key: PRNGKey, width_in: int, dim: int, head: Head, dtype: DTypeLike) -> dict[str, Array]:
    """Parameters of one head: the linear map as `torch.nn.Linear` draws it, batch norm as the identity.

    Args:
        key: a key of `jax.random.key`.
        width_in: width of the features.
        dim: width of the projection; without effect for the head `"none"`.
        head: as in `project`.
        dtype: type of the parameters.

    Returns:
        `{}` for `"none"`; `{"kernel": [width_in, dim], "bias": [dim]}` for `"linear"`; for `"bnrelu"` also
        `{"scale": [dim], "shift": [dim]}`.
    """
    if head == "none":
        return {}
    linear = {name: stacked[0] for name, stacked in init_heads(key, (width_in,), dim, dtype).items()}
    if head == "linear":
        return linear
    return linear | {"scale": jnp.ones(dim, dtype), "shift": jnp.zeros(dim, dtype)}


def init_sides(
    factory: str, key: PRNGKey, teacher: GNNOutput, student: GNNOutput, head: Head, dim: int | None
) -> dict[str, dict[str, Array]]:
    """Parameters of one head for the last hidden layer of either side, `{"teacher": ..., "student": ...}`.

    Args:
        factory: name of the factory, for the message.
        key: a key of `jax.random.key`.
        teacher: what the teacher returns; its shapes suffice.
        student: likewise.
        head: as in `project`.
        dim: width of both projections; None is the student's last width.

    Raises:
        InputError: a model without hidden layers, or models run on different numbers of nodes.
    """
    layers = dict(zip(("teacher", "student"), last_layers(factory, teacher, student), strict=True))
    width, dtype = layers["student"].shape[1], accumulation_dtype(layers["student"].dtype)
    keys = jax.random.split(key)
    return {
        side: init_projection(side_key, x.shape[1], dim or width, head, dtype)
        for (side, x), side_key in zip(layers.items(), keys, strict=True)
    }


def project(
    params: dict[str, Array], x: Float[Array, "n d"], mask: Bool[Array, " n"], head: Head
) -> Float[Array, "n dim"]:
    """The features of the masked nodes through a head; zero rows for all other nodes.

        none:    x
        linear:  x W + b
        bnrelu:  relu(scale * (y - E_v y) / sqrt(var_v y + 1e-5) + shift),    y = x W + b

    Batch norm always uses the mean and the biased variance of the masked nodes, and keeps no running statistics: heads
    exist only while training.

    Args:
        params: as `init_projection` gives them.
        x: `[n, d]`; rows outside the mask may hold anything.
        mask: `[n]`.
        head: `"none"`, `"linear"` or `"bnrelu"`.

    Returns:
        `[n, dim]`, float32 at least; `[n, d]` for the head `"none"`.
    """
    require_rows("features", x.shape[0], mask)
    kept, params = jnp.where(mask[:, None], widen(x), 0.0), widen(params)
    if head == "none":
        return kept
    y = jnp.matmul(kept, params["kernel"], precision="highest") + params["bias"][None, :]
    if head == "bnrelu":
        _, centred = centre(y[None], mask)
        variance = node_mean(centred**2, mask)
        normalised = centred[0] * jax.lax.rsqrt(variance + _BATCH_NORM_EPSILON)
        y = jax.nn.relu(params["scale"][None, :] * normalised + params["shift"][None, :])
    return jnp.where(mask[:, None], y, 0.0)


def safe_norm(x: Float[Array, "*rows d"]) -> Float[Array, "*rows"]:
    """Euclidean norm over the last axis, whose gradient at a zero vector is 0 and not NaN.

    Args:
        x: `[..., d]`.
    """
    squared = jnp.sum(x**2, axis=-1)
    positive = squared > 0.0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def unit_rows(x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """Vectors scaled to Euclidean norm 1; one no longer than 1e-12 becomes zero and has no gradient.

    Dividing such a vector by the floor instead, as torch does, would give gradients of `1e12`.

    Args:
        x: `[..., d]`.
    """
    norm = safe_norm(x)[..., None]
    long_enough = norm > _NORM_FLOOR
    return jnp.where(long_enough, x / jnp.where(long_enough, norm, 1.0), 0.0)
