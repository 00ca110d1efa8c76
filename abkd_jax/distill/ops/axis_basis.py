"""Principal components of the frozen teacher from a sample of its nodes, on the host, and minibatches on them.

`moments.principal_axes` on the nodes of every batch differs from them by the noise of the batch alone.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from abkd_jax.distill.ops.checks import require_rows
from abkd_jax.distill.ops.moments import NEGLIGIBLE_VARIANCE, NodeRows, centre, node_count, node_rows
from abkd_jax.distill.ops.numerics import product, widen
from abkd_jax.distill.ops.outputs import freeze
from abkd_jax.types import GNNOutput, HostOrDevice, Mask

__all__ = ["AxisBasis", "axis_basis", "rows_on_axes"]


class AxisBasis(NamedTuple):
    """The leading principal components of every teacher layer, over the sample.

    Attributes:
        mean: `[T_l, d]`, with zeros beyond the width of a layer.
        axes: `[T_l, d, k]` in columns; zero where the variance is negligible, and beyond the width of a layer.
    """

    mean: Float[HostOrDevice, "T_l d"]
    axes: Float[HostOrDevice, "T_l d k"]


def axis_basis(teacher: GNNOutput, mask: Bool[np.ndarray, " n"], k: int, *, whitened: bool) -> AxisBasis:
    """Computes the principal components of each hidden layer of the teacher in float64.

    Args:
        teacher: NumPy arrays; its hidden layers are read.
        mask: `[n]`, the rows that count.
        k: components per layer; no more than the largest width are returned.
        whitened: whether each axis is divided by the deviation along it, or has length 1.

    Returns:
        float32 arrays. NaN where a layer is not finite.

    Examples:
        >>> x = np.array([[0.0, 3.0], [0.0, -1.0]])
        >>> basis = axis_basis(GNNOutput(x, (x,)), np.ones(2, bool), 1, whitened=True)
        >>> basis.mean.tolist(), basis.axes.tolist()
        ([[0.0, 1.0]], [[[0.0], [0.5]]])
    """
    widths = [hidden.shape[1] for hidden in teacher.hiddens]
    mean = np.zeros((len(widths), max(widths)), np.float32)
    axes = np.zeros((*mean.shape, min(k, max(widths))), np.float32)
    for layer, (hidden, width) in enumerate(zip(teacher.hiddens, widths, strict=True)):
        require_rows("hidden layers", hidden.shape[0], mask)
        rows = np.asarray(hidden)[mask].astype(np.float64)
        centred = rows - (average := rows.sum(axis=0) / max(len(rows), 1))
        columns = _leading_axes(centred.T @ centred / max(len(rows), 1), k, whitened)
        mean[layer, :width], axes[layer, :width, : columns.shape[1]] = average, columns
    return AxisBasis(mean, axes)


def rows_on_axes(basis: AxisBasis, teacher: GNNOutput, mask: Mask) -> tuple[NodeRows, Float[Array, " T_l"]]:
    """Projects the teacher's hidden layers of a minibatch on the axes, and centres them over its nodes.

    One product of every layer with its `k` axes, instead of its covariance: `d / k` times less.

    Args:
        basis: from `axis_basis`.
        teacher: what the teacher returned for the batch.
        mask: `[n]`; rows outside may hold anything.

    Returns:
        The left side of `moments.cross_covariance`, and the variance over the nodes of each layer on its axes.
    """
    hiddens = widen(freeze(teacher)).hiddens
    axes = [jnp.asarray(a[: h.shape[1]], h.dtype) for a, h in zip(basis.axes, hiddens, strict=True)]
    # The mean of the sample first: the rows that are left are small, and so is the rounding of their own mean.
    shifts = [product(jnp.asarray(m[None, : len(a)], a.dtype), a) for m, a in zip(basis.mean, axes, strict=True)]
    projected = jnp.stack([product(h, a) - shift for h, a, shift in zip(hiddens, axes, shifts, strict=True)])
    _, centred = centre(projected, mask)
    variance = jnp.sum(centred**2, axis=(1, 2)) / node_count(mask, centred.dtype)
    return node_rows(centred, mask), variance


def _leading_axes(covariance: np.ndarray, k: int, whitened: bool) -> np.ndarray:
    """Returns `[d, k]` columns as `moments.principal_axes` does; NaN where the covariance is not finite."""
    if not np.isfinite(covariance).all():
        return np.full((len(covariance), min(k, len(covariance))), np.nan)
    variance, axes = np.linalg.eigh(covariance)
    variance, axes = variance[::-1][:k], axes[:, ::-1][:, :k]
    kept = variance > NEGLIGIBLE_VARIANCE * max(variance[0], 0.0)
    sign = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0))
    scale = np.sqrt(np.where(kept, variance, 1.0)) if whitened else 1.0
    return np.where(kept, axes * sign / scale, 0.0)
