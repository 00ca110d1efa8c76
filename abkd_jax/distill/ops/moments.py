"""Means and second moments of layer outputs over nodes: masked, and without a tensor per pair of layers.

Layers of different widths are stacked with zero columns: a zero column is centred at zero and adds nothing to any
moment. All moments are float32 at least, and the products use full float32 precision on every backend: differences of
moments cancel, and the 10-bit mantissa of the matrix units' default would leave nothing of them. In 16 bits a square
overflows from 256 on, a count is inexact from 256 (bfloat16) or 2,048 (float16) on, and 1e-8 is zero: whatever comes in
16 bits goes through `widen` before anything is computed from it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from abkd_jax.distill.ops.checks import require_rows
from abkd_jax.graph.precision import accumulation_dtype
from abkd_jax.types import InputError, Pytree

__all__ = [
    "NodeRows",
    "centre",
    "covariance",
    "cross_covariance",
    "layer_widths",
    "masked_mean",
    "narrow",
    "node_count",
    "node_max",
    "node_mean",
    "node_rows",
    "principal_axes",
    "require_same_nodes",
    "stack_layers",
    "widen",
]


class NodeRows(NamedTuple):
    """The frozen teacher as `[T * d, n]` rows, `basis' factor` where it has been reduced.

    Attributes:
        basis: `[r, T * d]` orthonormal rows, or None.
        factor: `[r, n]`, or the rows themselves.
    """

    basis: Float[Array, "r Td"] | None
    factor: Float[Array, "r n"]


# An axis with less than this share of its layer's largest variance is taken as absent: the smaller eigenvalues of a
# float32 covariance are rounding (width * 1e-7), and dividing by them would turn rounding into targets.
_NEGLIGIBLE_VARIANCE = 1e-5


def widen(tree: Pytree) -> Pytree:
    """Casts arrays to the type in which moments are computed, float32 at least.

    Gradients come back in the type of each array, finite where the float32 gradient is: what a 16-bit type cannot hold
    becomes its largest number of that sign.

    Args:
        tree: arrays of any shapes; integers stay as they are.
    """

    def is_short(x: Array | np.ndarray) -> bool:
        return jnp.issubdtype(x.dtype, jnp.floating) and accumulation_dtype(x.dtype) != x.dtype

    return jax.tree.map(lambda x: _widen(x) if is_short(x) else x, tree)


@jax.custom_vjp
def _widen(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return x.astype(accumulation_dtype(x.dtype))


_widen.defvjp(lambda x: (_widen(x), jnp.zeros(0, x.dtype)), lambda like, slope: (narrow(slope, like.dtype),))


def narrow(x: Float[Array, "*shape"], dtype: DTypeLike) -> Float[Array, "*shape"]:
    """Casts an array to a type of fewer bits, finite numbers to finite ones; infinities and NaN stay.

    Args:
        x: an array.
        dtype: the type that comes out; one of no fewer bits is a plain cast.
    """
    if jnp.finfo(dtype).bits >= jnp.finfo(x.dtype).bits:
        return x.astype(dtype)
    largest = float(jnp.finfo(dtype).max)
    return jnp.where(jnp.isfinite(x), jnp.clip(x, -largest, largest), x).astype(dtype)


def layer_widths(hiddens: Sequence[Float[Array | jax.ShapeDtypeStruct, "n _"]]) -> tuple[int, ...]:
    """The widths of `L` layers `[n, width]`, arrays or their shapes."""
    return tuple(h.shape[1] for h in hiddens)


def stack_layers(hiddens: Sequence[Float[Array, "n _"]]) -> Float[Array, "L n d"]:
    """Stack layers of any widths, with zero columns up to the widest.

    Args:
        hiddens: `L` arrays `[n, width]`, at least one.

    Returns:
        `[L, n, d]` with `d` the largest width; float32 at least.
    """
    d = max(layer_widths(hiddens))
    return jnp.stack([jnp.pad(h, ((0, 0), (0, d - h.shape[1]))) for h in widen(list(hiddens))])


def node_count(mask: Bool[Array, " n"], dtype: DTypeLike) -> Float[Array, ""]:
    """The number of masked nodes, 1 where there is none, so that a mean over no node is 0 and never NaN."""
    return jnp.maximum(jnp.sum(mask), 1).astype(dtype)


def masked_mean(values: Float[Array, " m"], mask: Bool[Array, " m"]) -> Float[Array, ""]:
    """The mean of one number a node, or an edge, where the mask holds; 0 where it is empty.

    Args:
        values: `[m]`; entries outside the mask may hold anything.
        mask: `[m]`.
    """
    require_rows("values", values.shape[0], mask)
    values = widen(values)
    return jnp.sum(jnp.where(mask, values, 0.0)) / node_count(mask, values.dtype)


def node_mean(layers: Float[Array, "L n d"], mask: Bool[Array, " n"]) -> Float[Array, "L d"]:
    """The mean over the masked nodes, `[L, d]`; 0 where the mask is empty.

    Args:
        layers: `[L, n, d]`; rows outside the mask may hold anything.
        mask: `[n]`.
    """
    require_rows("hidden layers", layers.shape[1], mask)
    return jnp.sum(jnp.where(mask[None, :, None], layers, 0.0), axis=1) / node_count(mask, layers.dtype)


def node_max(layers: Float[Array, "L n d"], mask: Bool[Array, " n"]) -> Float[Array, "L d"]:
    """The maximum over the masked nodes, `[L, d]`; 0 where the mask is empty.

    Args:
        layers: `[L, n, d]`; rows outside the mask may hold anything.
        mask: `[n]`.
    """
    require_rows("hidden layers", layers.shape[1], mask)
    lowest = float(jnp.finfo(layers.dtype).min)
    return jnp.where(jnp.any(mask), jnp.max(jnp.where(mask[None, :, None], layers, lowest), axis=1), 0.0)


def centre(layers: Float[Array, "L n d"], mask: Bool[Array, " n"]) -> tuple[Float[Array, "L d"], Float[Array, "L n d"]]:
    """Take the mean over the masked nodes off every layer.

    Args:
        layers: `[L, n, d]`; rows outside the mask may hold anything.
        mask: `[n]`.

    Returns:
        The means `[L, d]`, and the centred layers `[L, n, d]` with zero rows outside the mask.
    """
    mean = node_mean(layers, mask)
    return mean, jnp.where(mask[None, :, None], layers - mean[:, None, :], 0.0)


def covariance(centred: Float[Array, "L n d"], mask: Bool[Array, " n"]) -> Float[Array, "L d d"]:
    """Mean over the masked nodes of the outer product of each row with itself, `[L, d, d]`.

    Args:
        centred: `[L, n, d]` as `centre` gives it.
        mask: `[n]`.
    """
    moments = jnp.einsum("lnd,lne->lde", centred, centred, precision="highest")
    return moments / node_count(mask, centred.dtype)


def principal_axes(covariances: Float[Array, "L d d"], k: int) -> tuple[Float[Array, "L d k"], Float[Array, "L k"]]:
    """The orthonormal axes of largest variance of every layer, largest first.

    Axes whose variance is negligible beside the layer's largest are returned as zeros, with variance 0. Each axis
    points to where its largest entry is positive, since an eigenvector's sign is arbitrary.

    Args:
        covariances: `[L, d, d]`.
        k: axes per layer; at most `d` are returned.

    Returns:
        The axes `[L, d, k]` in columns, and their variances `[L, k]`.
    """
    variance, axes = jnp.linalg.eigh(covariances)
    variance, axes = variance[:, ::-1][:, :k], axes[:, :, ::-1][:, :, :k]
    kept = variance > _NEGLIGIBLE_VARIANCE * jnp.maximum(variance[:, :1], 0.0)
    largest = jnp.take_along_axis(axes, jnp.argmax(jnp.abs(axes), axis=1, keepdims=True), axis=1)
    return jnp.where(kept[:, None, :], axes * jnp.sign(largest), 0.0), jnp.where(kept, variance, 0.0)


def node_rows(centred: Float[Array, "T n d"], mask: Bool[Array, " n"], rank: int | None = None) -> NodeRows:
    """The frozen teacher's features as rows, divided by the number of nodes: the left side of `cross_covariance`.

    The layers of a deep teacher repeat each other: of the 4,096 directions of a 64 x 64 GCNII on Cora, 256 hold all but
    3e-7 of the variance. `rank` keeps that many leading directions of all layers together, found by a randomised
    range finder (Halko et al., arXiv 0909.4061, algorithm 4.4), and makes every later step cheaper by as much.

    Args:
        centred: `[T, n, d]` as `centre` gives it, or its projection on some axes.
        mask: `[n]`.
        rank: directions to keep; None, or a rank that is no saving, keeps all.
    """
    rows = centred.transpose(0, 2, 1).reshape(-1, centred.shape[1]) / node_count(mask, centred.dtype)
    if rank is None or rank >= min(rows.shape):
        return NodeRows(None, rows)
    sketch = jax.random.normal(jax.random.key(0), (rows.shape[1], rank), rows.dtype)  # any fixed draw serves
    basis, _ = jnp.linalg.qr(_product(rows, sketch))
    for _ in range(2):
        basis, _ = jnp.linalg.qr(_product(rows, _product(rows.T, basis)))
    return NodeRows(basis.T, _product(basis.T, rows))


def cross_covariance(rows: NodeRows, centred: Float[Array, "S n e"], teacher_layers: int) -> Float[Array, "T d S e"]:
    """The covariances of every teacher layer with every student layer, from one matrix product over the nodes.

    Args:
        rows: as `node_rows` gives it.
        centred: the student's centred layers `[S, n, e]`.
        teacher_layers: `T`.

    Returns:
        `C[t, :, s, :] = E_v[tau_t(v) sigma_s(v)']`, `[T, d, S, e]`.
    """
    s, n, e = centred.shape
    require_same_nodes(rows, n)
    units = centred.transpose(0, 2, 1).reshape(s * e, n)
    # The long axis comes last in every operand, of the backward pass too: other orders cost 2 to 3 times as much.
    product = jnp.einsum("un,rn->ur", units, rows.factor, precision="highest")
    product = product if rows.basis is None else _product(product, rows.basis)
    return product.reshape(s, e, teacher_layers, -1).transpose(2, 3, 0, 1)


def require_same_nodes(rows: NodeRows, nodes: int) -> None:
    """Requires the teacher's rows to be of as many nodes as the student's layers.

    Raises:
        InputError: they are not.
    """
    if rows.factor.shape[1] != nodes:
        raise InputError(
            f"the teacher's targets are of {rows.factor.shape[1]} nodes, the student's layers of {nodes}: expected the "
            "same nodes"
        )


def _product(a: Float[Array, "i j"], b: Float[Array, "j k"]) -> Float[Array, "i k"]:
    return jnp.matmul(a, b, precision="highest")
