"""Means and second moments of layer outputs over nodes: masked, and without a tensor per pair of layers.

Layers of different widths are stacked with zero columns: a zero column is centred at zero and adds nothing to any
moment. All moments are float32 at least, and the products use full float32 precision on every backend: differences of
moments cancel, and the 10-bit mantissa of the matrix units' default would leave nothing of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.distill.ops.checks import require_rows
from abkd_jax.distill.ops.numerics import product, widen
from abkd_jax.types import InputError, Mask

__all__ = [
    "NEGLIGIBLE_VARIANCE",
    "SILENT_SHARE",
    "NodeRows",
    "centre",
    "covariance",
    "cross_covariance",
    "layer_widths",
    "node_count",
    "node_max",
    "node_mean",
    "node_rows",
    "principal_axes",
    "require_same_nodes",
    "stack_layers",
]


class NodeRows(NamedTuple):
    """The frozen teacher as `[T * d, n]` rows, `basis' factor` where it has been reduced.

    Attributes:
        basis: `[r, T * d]` orthonormal rows, or None.
        factor: `[r, n]`, or the rows themselves.
    """

    basis: Float[Array, "r Td"] | None
    factor: Float[Array, "r n"]


# A component with less than this share of its layer's largest variance is taken as absent: the smaller eigenvalues of a
# float32 covariance are rounding (width * 1e-7), and dividing by them would turn rounding into targets.
NEGLIGIBLE_VARIANCE = 1e-5

# A variance that is a smaller share of the square of the mean is the rounding of that mean, up to 2e-13 in float32.
SILENT_SHARE = 1e-12


def layer_widths(hiddens: Sequence[Float[Array | jax.ShapeDtypeStruct, "n _"]]) -> tuple[int, ...]:
    """Returns the widths of `L` layers `[n, width]`, arrays or their shapes."""
    return tuple(h.shape[1] for h in hiddens)


def stack_layers(hiddens: Sequence[Float[Array, "n _"]]) -> Float[Array, "L n d"]:
    """Stacks layers of any widths, with zero columns up to the widest.

    Args:
        hiddens: `L` arrays `[n, width]`, at least one.

    Returns:
        `[L, n, d]` with `d` the largest width; float32 at least.

    Examples:
        >>> import jax.numpy as jnp
        >>> print(stack_layers([jnp.ones((1, 3)), jnp.ones((1, 2))]))
        [[[1. 1. 1.]]
        <BLANKLINE>
         [[1. 1. 0.]]]
    """
    d = max(layer_widths(hiddens))
    return jnp.stack([jnp.pad(h, ((0, 0), (0, d - h.shape[1]))) for h in widen(list(hiddens))])


def node_count(mask: Mask, dtype: DTypeLike) -> Float[Array, ""]:
    """Counts the masked nodes; 1 where there is none, so that a mean over no node is 0 and never NaN.

    Args:
        mask: `[n]`.
        dtype: type of the count.
    """
    return jnp.maximum(jnp.sum(mask), 1).astype(dtype)


def node_mean(layers: Float[Array, "L n d"], mask: Mask) -> Float[Array, "L d"]:
    """Computes the mean over the masked nodes, `[L, d]`; 0 where the mask is empty.

    Args:
        layers: `[L, n, d]`; rows outside the mask may hold anything.
        mask: `[n]`.
    """
    require_rows("hidden layers", layers.shape[1], mask)
    return jnp.sum(jnp.where(mask[None, :, None], layers, 0.0), axis=1) / node_count(mask, layers.dtype)


def node_max(layers: Float[Array, "L n d"], mask: Mask) -> Float[Array, "L d"]:
    """Computes the maximum over the masked nodes, `[L, d]`; 0 where the mask is empty.

    Args:
        layers: `[L, n, d]`; rows outside the mask may hold anything.
        mask: `[n]`.
    """
    require_rows("hidden layers", layers.shape[1], mask)
    lowest = float(jnp.finfo(layers.dtype).min)
    return jnp.where(jnp.any(mask), jnp.max(jnp.where(mask[None, :, None], layers, lowest), axis=1), 0.0)


def centre(layers: Float[Array, "L n d"], mask: Mask) -> tuple[Float[Array, "L d"], Float[Array, "L n d"]]:
    """Subtracts the mean over the masked nodes from every layer.

    Args:
        layers: `[L, n, d]`; rows outside the mask may hold anything.
        mask: `[n]`.

    Returns:
        The means `[L, d]`, and the centred layers `[L, n, d]` with zero rows outside the mask.

    Examples:
        >>> import jax.numpy as jnp
        >>> mean, centred = centre(jnp.array([[[1.0], [3.0], [99.0]]]), jnp.array([True, True, False]))
        >>> print(mean, centred.ravel())
        [[2.]] [-1.  1.  0.]
    """
    mean = node_mean(layers, mask)
    return mean, jnp.where(mask[None, :, None], layers - mean[:, None, :], 0.0)


def covariance(centred: Float[Array, "L n d"], mask: Mask) -> Float[Array, "L d d"]:
    """Computes the covariance of every layer over the masked nodes, `[L, d, d]`.

    Args:
        centred: `[L, n, d]` as `centre` returns it.
        mask: `[n]`.
    """
    moments = jnp.einsum("lnd,lne->lde", centred, centred, precision="highest")
    return moments / node_count(mask, centred.dtype)


def principal_axes(covariances: Float[Array, "L d d"], k: int) -> tuple[Float[Array, "L d k"], Float[Array, "L k"]]:
    """Computes the leading principal components of every layer: orthonormal axes of largest variance, largest first.

    Components whose variance is negligible beside the layer's largest are returned as zeros, with variance 0. Each axis
    points to where its largest entry is positive, since an eigenvector's sign is arbitrary.

    Args:
        covariances: `[L, d, d]`.
        k: components per layer; at most `d` are returned.

    Returns:
        The axes `[L, d, k]` in columns, and their variances `[L, k]`.

    Examples:
        >>> import jax.numpy as jnp
        >>> axes, variance = principal_axes(jnp.array([[[1.0, 0.0], [0.0, 4.0]]]), 1)
        >>> print(axes[0, :, 0], variance[0])
        [0. 1.] [4.]
    """
    variance, axes = jnp.linalg.eigh(covariances)
    variance, axes = variance[:, ::-1][:, :k], axes[:, :, ::-1][:, :, :k]
    kept = variance > NEGLIGIBLE_VARIANCE * jnp.maximum(variance[:, :1], 0.0)
    largest = jnp.take_along_axis(axes, jnp.argmax(jnp.abs(axes), axis=1, keepdims=True), axis=1)
    return jnp.where(kept[:, None, :], axes * jnp.sign(largest), 0.0), jnp.where(kept, variance, 0.0)


def node_rows(centred: Float[Array, "T n d"], mask: Mask, rank: int | None = None) -> NodeRows:
    """Returns the frozen teacher's features as rows over the number of nodes: the left side of `cross_covariance`.

    The layers of a deep teacher repeat each other: of the 4,096 directions of a 64 x 64 GCNII on Cora, 256 hold all but
    3e-7 of the variance. `rank` keeps that many leading directions of all layers together, found by a randomised
    range finder (Halko et al., arXiv 0909.4061, algorithm 4.4), and makes every later step cheaper by as much.

    Args:
        centred: `[T, n, d]` as `centre` returns it, or its projection on principal components.
        mask: `[n]`.
        rank: directions to keep; None, or a rank that is no saving, keeps all.
    """
    rows = centred.transpose(0, 2, 1).reshape(-1, centred.shape[1]) / node_count(mask, centred.dtype)
    if rank is None or rank >= min(rows.shape):
        return NodeRows(None, rows)
    sketch = jax.random.normal(jax.random.key(0), (rows.shape[1], rank), rows.dtype)  # any fixed draw serves
    basis, _ = jnp.linalg.qr(product(rows, sketch))
    for _ in range(2):
        basis, _ = jnp.linalg.qr(product(rows, product(rows.T, basis)))
    return NodeRows(basis.T, product(basis.T, rows))


def cross_covariance(rows: NodeRows, centred: Float[Array, "S n e"], teacher_layers: int) -> Float[Array, "T d S e"]:
    """Computes the covariances of every teacher layer with every student layer in one matrix product over the nodes.

    Args:
        rows: as `node_rows` returns it.
        centred: the student's centred layers `[S, n, e]`.
        teacher_layers: `T`.

    Returns:
        `C[t, :, s, :] = E_v[tau_t(v) sigma_s(v)']`, `[T, d, S, e]`.

    Raises:
        InputError: the two were computed on different numbers of nodes.
    """
    s, n, e = centred.shape
    require_same_nodes(rows, n)
    units = centred.transpose(0, 2, 1).reshape(s * e, n)
    # The long axis comes last in every operand, of the backward pass too: other orders cost 2 to 3 times as much.
    cross = jnp.einsum("un,rn->ur", units, rows.factor, precision="highest")
    cross = cross if rows.basis is None else product(cross, rows.basis)
    return cross.reshape(s, e, teacher_layers, -1).transpose(2, 3, 0, 1)


def require_same_nodes(rows: NodeRows, nodes: int) -> None:
    """Requires the teacher's rows to be of as many nodes as the student's layers.

    Args:
        rows: as `node_rows` returns it.
        nodes: number of nodes of the student's layers.

    Raises:
        InputError: they are not.
    """
    if rows.factor.shape[1] != nodes:
        raise InputError(
            f"the teacher's targets are of {rows.factor.shape[1]} nodes, the student's layers of {nodes}: expected the "
            "same nodes"
        )
