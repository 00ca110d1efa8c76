"""Initialisation of a GCNII student with units and averaged layers of its GCNII teacher."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from abkd_jax.distill.ops.moments import centre, covariance, stack_layers
from abkd_jax.distill.ops.numerics import narrow_like, widen
from abkd_jax.types import GNNOutput, InputError, Mask, Pytree

__all__ = ["attention_map"]


def attention_map(
    params: Pytree,
    teacher_params: Pytree,
    teacher: GNNOutput,
    attention: Float[Array, "T_l S_l"],
    mask: Mask,
) -> Pytree:
    """Initialises a GCNII student with units and averaged layers of its GCNII teacher, along a map of layer attention.

    STRIDE (arXiv 2310.15938v2, section 3.2.3) initialises very small students from the learned attention map; its rule
    is not public. This one is this project's own:

    1. Student layer `s` stands for the teacher layers with the weights `a_ts = A[t, s] / sum_t A[t, s]`; a student
       layer that no teacher layer attends to stands for all of them alike.
    2. Of the teacher's `D` units, `d` are kept, the same in every layer, since GCNII adds layers to each other: one by
       one that which explains most of what is left of the covariance of the layers (pivoted Cholesky), each layer
       scaled to trace 1 and weighted by its `a_ts`. `R` `[d, D]` is the regression of all units on those kept.
       Units and not principal axes, because a rectifier keeps a unit and destroys a rotation.
    3. With `E` `[D, d]` the columns of the identity at the units kept: input `W E`, `b E`; convolution
       `K_s = R (sum_t a_ts K_t) E`; output `R' W`, its bias moved by the mean of the last layer that `R'` leaves over,
       with `R'` the regression on the last teacher layer alone.

    A student as wide and as deep as its teacher, on the identity for a map, is its teacher.

    Args:
        params: student parameters, of which only the shapes are used.
        teacher_params: teacher parameters, likewise `{"input", "blocks": {"conv"}, "output"}`.
        teacher: what the teacher returned.
        attention: `[T_l, S_l]`, not negative, for instance `layer_attention` of a student trained before.
        mask: `[n]`, the nodes over which the covariances are taken.

    Returns:
        Parameters of the student.

    Raises:
        InputError: a model is no GCNII, or one with `variant`, `repeated` or `norm`; the student is wider than its
            teacher, or the map has another shape.
    """
    attention, teacher_params = widen((attention, teacher_params))
    # 1. The teacher layers that each student layer stands for, [T_l, S_l].
    weights = _layer_weights(attention, _conv_kernels("student", params), _conv_kernels("teacher", teacher_params))
    width = params["input"]["kernel"].shape[1]
    # 2. One covariance of the teacher's units, pooled over its layers; each layer is scaled to trace 1 first, since
    # deep layers vary less. The units kept are those of this covariance, the same in every layer.
    mean, centred = centre(stack_layers(teacher.hiddens), mask)
    covariances = covariance(centred, mask)
    traces = jnp.trace(covariances, axis1=1, axis2=2)[:, None, None]
    pooled = jnp.einsum("t,tde->de", jnp.mean(weights, axis=1), covariances / jnp.maximum(traces, 1e-12))
    kept = _leading_units(pooled, width)
    # The output layer reads the last layer alone, so that it gets a regression of its own.
    regression, to_last = (_regression(of_units, kept) for of_units in (pooled, covariances[-1]))
    # 3. Of every map the output columns of dropped units go; their input rows are spread over the kept units by R.
    kernels = jnp.einsum("ts,tde->sde", weights, _conv_kernels("teacher", teacher_params))
    first, last = teacher_params["input"], teacher_params["output"]
    residual = mean[-1] - mean[-1][kept] @ to_last  # h = h_kept R' + residual: the constant part goes into the bias
    computed = {
        "input": {"kernel": first["kernel"][:, kept], "bias": first["bias"][kept]},
        "blocks": {"conv": {"kernel": jnp.einsum("kd,sde->ske", regression, kernels[:, :, kept])}},
        "output": {"kernel": to_last @ last["kernel"], "bias": last["bias"] + residual @ last["kernel"]},
    }
    return narrow_like(params, computed)


def _conv_kernels(side: str, params: Pytree) -> Float[Array, "L D D"]:
    if set(params) != {"input", "blocks", "output"}:
        raise InputError(f"attention_map: the {side} has parameters {sorted(params)}, expected those of a GCNII")
    if set(params["blocks"]) != {"conv"}:
        raise InputError(f"attention_map: the {side}'s blocks have {sorted(params['blocks'])}, expected conv alone")
    kernel = params["blocks"]["conv"]["kernel"]
    if kernel.ndim != 3:
        raise InputError(f"attention_map: the {side} repeats one convolution, expected one for every layer")
    if kernel.shape[1] != kernel.shape[2]:
        raise InputError(
            f"attention_map: the {side}'s convolutions have shape {kernel.shape[1:]}, expected square ones (no variant)"
        )
    return kernel


def _layer_weights(
    attention: Float[Array, "T_l S_l"], student: Float[Array, "S d d"], teacher: Float[Array, "T D D"]
) -> Float[Array, "T_l S_l"]:
    """Normalises the columns of the map to sum 1."""
    if attention.shape != (len(teacher), len(student)):
        raise InputError(
            f"attention_map: the map has shape {attention.shape}, expected (teacher layers, student layers) = "
            f"{len(teacher), len(student)}"
        )
    if student.shape[1] > teacher.shape[1]:
        raise InputError(
            f"attention_map: the student has width {student.shape[1]}, the teacher only {teacher.shape[1]}; "
            "choose another start"
        )
    mass = jnp.sum(attention, axis=0, keepdims=True)
    return jnp.where(mass > 0.0, attention / jnp.where(mass > 0.0, mass, 1.0), 1.0 / len(teacher))


def _leading_units(covariances: Float[Array, "D D"], count: int) -> Int[Array, " count"]:
    """Chooses units by pivoted Cholesky, the one that explains most first; none twice."""
    left, kept = covariances, []
    for _ in range(count):
        # `left` is the covariance that the units kept so far do not explain.
        variance = jnp.diagonal(left)
        taken = jnp.zeros(len(left), bool).at[jnp.array(kept, jnp.int32)].set(True)
        unit = jnp.argmax(jnp.where(taken, -1.0, variance))
        column = left[:, unit] / jnp.sqrt(jnp.maximum(variance[unit], 1e-12))
        left, kept = left - jnp.outer(column, column), [*kept, unit]
    return jnp.stack(kept)


def _regression(covariances: Float[Array, "D D"], kept: Int[Array, " d"]) -> Float[Array, "d D"]:
    """Regresses all units on those kept, which give themselves up to a ridge of 1e-6 of the mean variance."""
    inner = covariances[kept][:, kept]
    ridge = 1e-6 * jnp.trace(inner) / len(kept) + 1e-12
    return jnp.linalg.solve(inner + ridge * jnp.eye(len(kept), dtype=inner.dtype), covariances[kept])
