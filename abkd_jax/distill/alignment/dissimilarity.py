"""Layer dissimilarity: the distance of every student layer from every teacher layer, `D [T_l, S_l]`.

All members are computed on the masked nodes alone. The teacher is frozen and the projections are linear, so its moments
are targets, computed once; all pairs are compared by the cross-covariances of one matrix product, and nothing of size
`n` times the number of pairs, or `n` times the width of the projections, is built.

Each `apply` also returns `"variance"` `[T_l]`: the variance over nodes of the projected teacher, 1 where the
dissimilarity is relative to it by construction. Its fall is the sign of a collapse.
"""

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.ops.axis_basis import AxisBasis, axis_basis, rows_on_axes
from abkd_jax.distill.ops.checks import require_choice, require_count, require_in_range, require_optional_count
from abkd_jax.distill.ops.chunked_moments import student_moments
from abkd_jax.distill.ops.heads import apply_heads, init_heads
from abkd_jax.distill.ops.moments import (
    SILENT_SHARE,
    NodeRows,
    centre,
    covariance,
    layer_widths,
    node_mean,
    node_rows,
    principal_axes,
    stack_layers,
)
from abkd_jax.distill.ops.numerics import sqrt_or_one, widen
from abkd_jax.distill.ops.outputs import freeze
from abkd_jax.distill.ops.staged import StagedTargets, exact_in_batches
from abkd_jax.graph.precision import accumulation_dtype
from abkd_jax.types import GNNOutput, InputError, Mask, PairMap, PRNGKey, Pytree

__all__ = ["closed_form", "fixed_axes", "trained_heads"]

# Added to a student layer's variance: features below 1e-6 count as constant, with D = 1 and no gradient.
_SILENT_VARIANCE = 1e-12


def trained_heads(
    dim: int = 16,
    per_layer: bool = True,
    projection: bool = True,
    reduce: Literal["per_node", "pooled"] = "per_node",
    rank: int | None = None,
) -> PairMap:
    """Builds the dissimilarity of ABKD (arXiv 2310.15938, Eq. 4): both sides through trained linear projections.

        D[t, s] = E_v || (tau_t(v) W_t + b_t - sigma_s(v) V_s - c_s) P ||^2        reduce = "per_node"
        D[t, s] = || E_v (tau_t(v) W_t + b_t - sigma_s(v) V_s - c_s) P ||^2        reduce = "pooled"

    The paper leaves open which of the two is meant. Per node, it is the pooled one plus a part of the centred moments,

        tr(W_t P P' W_t' M_t) + tr(V_s P P' V_s' N_s) - 2 tr(P' W_t' C_ts V_s P)

    with `M`, `N` the covariances of the sides and `C` between them. Both sides are trained, so that D can fall by
    discarding information about the teacher: watch `"variance"`.

    Args:
        dim: width of the projections and of `P`.
        per_layer: one projection per layer; otherwise one per side, whose layers then need equal widths.
        projection: with the trained square matrix `P`; otherwise `P` is the identity.
        reduce: the square of the norm per node and then the mean, or the mean first.
        rank: directions of the teacher that are kept, see `moments.node_rows`; None is exact.

    Returns:
        A pair map with parameters `{"teacher": ..., "student": ..., "projection": [dim, dim]}`, one stack of
        projections per side.

    Raises:
        InputError: `dim` or `rank` below 1, or an unknown `reduce`; at `init`, unequal widths on a side that shares
            one projection.

    Examples:
        >>> from abkd_jax.distill import abkd, learned
        >>> objective = abkd(learned(16), trained_heads(16, rank=256))
    """
    require_count("trained_heads", dim=dim)
    require_optional_count("trained_heads", rank=rank)
    require_choice("trained_heads", "reduce", reduce, ("per_node", "pooled"))

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        teacher_key, student_key, projection_key = jax.random.split(key, 3)
        dtype = accumulation_dtype(student.hiddens[0].dtype)
        params: dict[str, Any] = {
            "teacher": init_heads(teacher_key, _head_widths("teacher", teacher, per_layer), dim, dtype),
            "student": init_heads(student_key, _head_widths("student", student, per_layer), dim, dtype),
        }
        if projection:
            params["projection"] = jax.random.normal(projection_key, (dim, dim), dtype) / math.sqrt(dim)
        return params

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask, rank: int | None = rank) -> Pytree:
        mean, centred = centre(stack_layers(freeze(teacher).hiddens), mask)
        moments = {"mean": mean, "covariance": covariance(centred, mask)}
        return moments | ({"rows": node_rows(centred, mask, rank)} if reduce == "per_node" else {})

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Float[Array, "T_l S_l"], dict[str, Array]]:
        params = widen(params)
        if reduce == "per_node":
            mean, covariances, cross = student_moments(student.hiddens, targets["rows"], mask, len(targets["mean"]))
        else:
            mean = node_mean(stack_layers(student.hiddens), mask)
        t_heads = _project(params["teacher"], params.get("projection"), len(targets["mean"]))
        s_heads = _project(params["student"], params.get("projection"), len(mean))
        difference = apply_heads(t_heads, targets["mean"])[:, None, :] - apply_heads(s_heads, mean)[None, :, :]
        distance = jnp.sum(difference**2, axis=-1)
        variance = _projected_variance(t_heads["kernel"], targets["covariance"])
        if reduce == "per_node":
            shared = _projected_cross(t_heads["kernel"], cross, s_heads["kernel"])
            both = variance[:, None] + _projected_variance(s_heads["kernel"], covariances)[None, :]
            distance = distance + jnp.maximum(both - 2.0 * shared, 0.0)
        return distance, {"variance": variance}

    return PairMap(init, exact_in_batches(targets, rank), apply)


def fixed_axes(k: int = 8, rank: int | None = None) -> PairMap:
    """Builds the distance of a trained projection of the student from the teacher's principal components, both centred.

        D[t, s] = 2 - 2 corr(y_t, z_s),    corr = tr E[y z'] / sqrt(E||y||^2 E||z||^2)

    with `y_t` teacher layer `t` on its `k` leading principal components (orthonormal, not whitened) and
    `z_s = sigma_s V_s`. Nothing is trained on the teacher's side, so that its information cannot be discarded. A layer
    without variance on either side has no correlation: D = 2, and without gradients where it is the student's. This
    project's own; it is not in the paper.

    Args:
        k: components per teacher layer; no more than the teacher's largest width are used.
        rank: directions of the teacher that are kept, see `moments.node_rows`; None is exact.

    Returns:
        A pair map with parameters `{"kernel": [S_l, d, k]}`.

    Raises:
        InputError: `k` or `rank` below 1.
    """
    require_count("fixed_axes", k=k)
    require_optional_count("fixed_axes", rank=rank)

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        axes = min(k, max(layer_widths(teacher.hiddens)))
        heads = init_heads(key, layer_widths(student.hiddens), axes, accumulation_dtype(student.hiddens[0].dtype))
        return {"kernel": heads["kernel"]}

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> Pytree:
        _, centred = centre(stack_layers(freeze(teacher).hiddens), mask)
        axes, variance = principal_axes(covariance(centred, mask), k)
        return {"rows": node_rows(_on_axes(centred, axes), mask, rank), "variance": jnp.sum(variance, axis=-1)}

    def of_batch(basis: AxisBasis, teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> Pytree:
        rows, variance = rows_on_axes(basis, teacher, mask)
        return {"rows": rows, "variance": variance}

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Float[Array, "T_l S_l"], dict[str, Array]]:
        covariances, cross = _varying_moments(student, targets["rows"], mask, len(targets["variance"]))
        kernel: Array = widen(params["kernel"])
        shared = jnp.einsum("tkse,sek->ts", cross, kernel, precision="highest")
        s_deviation = sqrt_or_one(_projected_variance(kernel, covariances))
        correlation = shared / (sqrt_or_one(targets["variance"])[:, None] * s_deviation[None, :])
        return jnp.maximum(2.0 - 2.0 * correlation, 0.0), {"variance": jnp.ones_like(targets["variance"])}

    sampled = functools.partial(axis_basis, k=k, whitened=False)
    return PairMap(init, StagedTargets(targets, sampled, of_batch), apply)


def closed_form(k: int = 8, ridge: float = 1e-3, rank: int | None = None) -> PairMap:
    """Builds the share of a teacher layer's variance that a ridge regression on a student layer leaves unexplained.

        D[t, s] = 1 - tr(C_ts (N_s + lambda_s I)^-1 C_ts') / k,    lambda_s = ridge * mean diagonal of N_s

    with `z_t` teacher layer `t`, centred, on its `k` leading principal components, each scaled to unit variance,
    `sigma_s` student layer `s`, centred, `C_ts = E[z_t sigma_s']` and `N_s = E[sigma_s sigma_s']`. In [0, 1], and
    invariant to scale, shift and rotation of the student layer: nothing is trained, and nothing can collapse.
    Components of negligible variance are left out, of the trace and of `k`. A constant layer on either side gives
    D = 1 with zero gradients. This project's own; it is not in the paper.

    On minibatches (`distill.batch_targets`) the components are those of a sample of the teacher's outputs, `z_t` is
    scaled by their deviations there, and `tr(C_ts ...)` is divided by the variance `E||z_t||^2` of the batch, `k` but
    for the noise of the batch: D is again the share of it that is left.

    Args:
        k: components per teacher layer; a layer that varies along fewer uses those.
        ridge: strength of the ridge, relative to the student layer's mean variance per unit; 1e-6 to 1e6.
        rank: directions of the components that are kept, see `moments.node_rows`; None is exact.

    Returns:
        A pair map without parameters.

    Raises:
        InputError: `k` or `rank` below 1, or `ridge` outside 1e-6 to 1e6.

    Examples:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from abkd_jax import GNNOutput, graph
        >>> g, mask = graph.from_edges(np.array([0]), np.array([1]), 6), jnp.ones(6, bool)
        >>> x = jax.random.normal(jax.random.key(0), (6, 2))
        >>> teacher, student = GNNOutput(x, (x,)), GNNOutput(x, (3.0 * x[:, ::-1] + 1.0,))
        >>> dissimilarity = closed_form(k=2)
        >>> targets = dissimilarity.targets(teacher, graph=g, mask=mask)
        >>> d, _ = dissimilarity.apply({}, targets, student, graph=g, mask=mask, key=None)
        >>> print(d.shape, bool(d[0, 0] < 0.01))  # the layers agree up to scale, shift and order of the units
        (1, 1) True
    """
    require_count("closed_form", k=k)
    require_optional_count("closed_form", rank=rank)
    require_in_range("closed_form", 1e-6, 1e6, ridge=ridge)  # below, nothing is left of it in float32
    ridge = float(ridge)

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        return {}

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> Pytree:
        _, centred = centre(stack_layers(freeze(teacher).hiddens), mask)
        axes, variance = principal_axes(covariance(centred, mask), k)
        whitening = axes / sqrt_or_one(variance)[:, None, :]
        kept = jnp.maximum(jnp.sum(variance > 0.0, axis=-1), 1).astype(centred.dtype)
        return {"rows": node_rows(_on_axes(centred, whitening), mask, rank), "axes": kept}

    def of_batch(basis: AxisBasis, teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> Pytree:
        rows, variance = rows_on_axes(basis, teacher, mask)
        return {"rows": rows, "axes": jnp.where(variance > 0.0, variance, 1.0)}

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Float[Array, "T_l S_l"], dict[str, Array]]:
        covariances, cross = _varying_moments(student, targets["rows"], mask, len(targets["axes"]))
        widths = jnp.asarray(layer_widths(student.hiddens), covariances.dtype)
        explained = _ridge_explained(cross, covariances, widths, ridge)
        unexplained = 1.0 - explained / targets["axes"][:, None]
        return jnp.maximum(unexplained, 0.0), {"variance": jnp.ones_like(targets["axes"])}

    sampled = functools.partial(axis_basis, k=k, whitened=True)
    return PairMap(init, StagedTargets(targets, sampled, of_batch), apply)


def _head_widths(side: str, output: GNNOutput, per_layer: bool) -> tuple[int, ...]:
    widths = layer_widths(output.hiddens)
    if per_layer:
        return widths
    if len(set(widths)) > 1:
        raise InputError(
            f"trained_heads: the {side}'s layers have widths {widths}, expected equal widths with per_layer=False"
        )
    return widths[:1]


def _project(heads: Pytree, projection: Float[Array, "k k"] | None, layers: int) -> dict[str, Array]:
    """Folds `P` into the projections, `W P` and `b P`; a shared one is repeated for each of the layers."""
    p = jnp.eye(heads["bias"].shape[-1], dtype=heads["bias"].dtype) if projection is None else projection
    folded = {name: jnp.matmul(value, p, precision="highest") for name, value in heads.items()}
    return {name: jnp.broadcast_to(value, (layers, *value.shape[1:])) for name, value in folded.items()}


def _projected_variance(kernel: Float[Array, "L d k"], covariances: Float[Array, "L d d"]) -> Float[Array, " L"]:
    """Computes `tr(W' M W)` per layer."""
    return jnp.sum(kernel * jnp.matmul(covariances, kernel, precision="highest"), axis=(1, 2))


def _projected_cross(
    t_kernel: Float[Array, "T d k"], cross: Float[Array, "T d S e"], s_kernel: Float[Array, "S e k"]
) -> Float[Array, "T S"]:
    """Computes `tr(W_t' C_ts V_s)` per pair."""
    half = jnp.einsum("tdk,tdse->tkse", t_kernel, cross, precision="highest")
    return jnp.einsum("tkse,sek->ts", half, s_kernel, precision="highest")


def _varying_moments(
    student: GNNOutput, rows: NodeRows, mask: Mask, teacher_layers: int
) -> tuple[Float[Array, "S e e"], Float[Array, "T d S e"]]:
    """Computes covariances as `student_moments` does, 0 without a gradient for a constant layer.

    Of equal numbers the rounding of their mean is left, and a loss that is relative to it would be steep.
    """
    mean, covariances, cross = student_moments(student.hiddens, rows, mask, teacher_layers)
    varies = jnp.trace(covariances, axis1=1, axis2=2) > SILENT_SHARE * jnp.sum(mean**2, axis=1)
    return jnp.where(varies[:, None, None], covariances, 0.0), jnp.where(varies[None, None, :, None], cross, 0.0)


def _on_axes(centred: Float[Array, "L n d"], axes: Float[Array, "L d k"]) -> Float[Array, "L n k"]:
    return jnp.matmul(centred, axes, precision="highest")


def _ridge_explained(
    cross: Float[Array, "T k S e"], covariances: Float[Array, "S e e"], widths: Float[Array, " S"], ridge: float
) -> Float[Array, "T S"]:
    """Computes `tr(C_ts (N_s + lambda_s I)^-1 C_ts')`, the student layer scaled to unit mean variance first.

    Only the `e x e` middle is inverted: a triangular solve against all `T k` rows goes to a threaded BLAS, whose
    threads cost more than the step on a busy machine.
    """
    e = cross.shape[-1]
    scale = jnp.trace(covariances, axis1=1, axis2=2) / widths + _SILENT_VARIANCE  # [S]
    ridged = covariances / scale[:, None, None] + ridge * jnp.eye(e, dtype=cross.dtype)[None]
    shared = jnp.einsum("tksd,tkse->tsde", cross, cross, precision="highest") / scale[None, :, None, None]
    return jnp.sum(jnp.linalg.inv(ridged)[None] * shared, axis=(2, 3))
