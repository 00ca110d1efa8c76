"""What a trained model is worth and what it costs: accuracy, size, time, and how alike two models' layers are."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import Array, Bool, Float

from abkd_jax.training.tasks import accuracy
from abkd_jax.types import InputError, Pytree

__all__ = ["accuracy", "agreement", "cka", "embedding_count", "flops", "hidden_cka", "latency", "parameter_count"]

LEAST_CALLS, LONGEST = 3, 5.0  # timed calls at least, and seconds after which no more are made
WARM_UP_CALLS = 3  # the first calls after a compilation fill caches and allocate buffers


def agreement(logits: Float[Array, "n c"], teacher: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    """Computes the share of the masked rows that two models classify alike; of a single logit its sign is the class.

    NaN for an empty mask, and if a logit in it is NaN.

    Raises:
        InputError: shapes or types differ.
    """
    if logits.shape != teacher.shape:
        raise InputError(f"agreement: logits {logits.shape} and {teacher.shape}, expected one shape")
    if logits.shape[1] == 1:
        logits, teacher = (jnp.concatenate([jnp.zeros_like(x), x], axis=1) for x in (logits, teacher))
    undefined = jnp.any(mask & jnp.any(jnp.isnan(teacher), axis=1))
    return jnp.where(undefined, jnp.nan, accuracy(logits, jnp.argmax(teacher, axis=1), mask))


def parameter_count(params: Pytree) -> int:
    """The number of scalars in a pytree of arrays, or of the shapes that `jax.eval_shape` gives."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def embedding_count(params: Pytree) -> int:
    """The number of those scalars that are in tables named `embedding`: vectors that nodes without features train."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return sum(leaf.size for path, leaf in leaves if getattr(path[-1], "key", None) == "embedding")


def latency(function: Callable[..., Any], *args: Any, repeats: int = 30) -> dict[str, float]:
    """Time of one call, from the dispatch until the result is on the device, without compilation.

    The arguments are moved to the device beforehand. Hand everything that the call reads in as an argument, the
    parameters too: what the function closes over is a constant that the compiler may fold away.

    Args:
        function: a function that `jax.jit` accepts, or one that it has returned.
        *args: its arguments, pytrees of arrays.
        repeats: timed calls, fewer where they take seconds.

    Returns:
        `{"median_ms", "min_ms", "max_ms"}` in milliseconds.

    Raises:
        InputError: `repeats` below 1.
    """
    if repeats < 1:
        raise InputError(f"latency: expected repeats of at least 1, got {repeats}")
    compiled, args = jax.jit(function), jax.device_put(args)
    for _ in range(WARM_UP_CALLS):
        jax.block_until_ready(compiled(*args))
    milliseconds: list[float] = []
    while len(milliseconds) < min(repeats, LEAST_CALLS) or (
        len(milliseconds) < repeats and sum(milliseconds) < 1e3 * LONGEST
    ):
        milliseconds.append(_milliseconds(compiled, args))
    return {
        "median_ms": statistics.median(milliseconds),
        "min_ms": min(milliseconds),
        "max_ms": max(milliseconds),
    }


def flops(function: Callable[..., Any], *args: Any) -> float:
    """Floating-point operations of the matrix products in one call, dense and sparse; 2 a multiply-add.

    Counted on the traced program, a loop as often as it runs (XLA's own count takes its body once, and nothing inside
    the sparse kernel). Elementwise work is left out.

    Args:
        function: a function that JAX can trace.
        *args: its arguments, pytrees of arrays or of `jax.ShapeDtypeStruct`.
    """
    return float(_product_flops(jax.make_jaxpr(function)(*args).jaxpr))


def _product_flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = [_product_flops(sub) for sub in _inner_programs(equation.params)]
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            summed = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * summed * math.prod(equation.outvars[0].aval.shape)
        elif equation.primitive.name == "bcsr_dot_general":
            total += 2 * equation.invars[0].aval.shape[0] * equation.outvars[0].aval.shape[1]
        elif equation.primitive.name == "cond":
            # One branch runs. Of a choice by platform the first, the CPU's, is taken: others multiply zeros too.
            total += inner[0] if equation.params.get("branches_platforms") else max(inner)
        else:
            total += equation.params.get("length", 1) * sum(inner) if inner else 0
    return total


def _inner_programs(params: dict[str, Any]) -> list[Any]:
    """The programs inside an equation: loop bodies, branches, called functions."""
    values = [v for value in params.values() for v in (value if isinstance(value, tuple) else (value,))]
    closed = [value.jaxpr if isinstance(value, ClosedJaxpr) else value for value in values]
    return [value for value in closed if isinstance(value, Jaxpr)]


def cka(x: Float[Array, "n p"], y: Float[Array, "n q"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    """Linear centred kernel alignment of two hidden layers (Kornblith et al., arXiv 1905.00414, Eq. 3 and section 3).

    `||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F)` with centred columns: 1 where the layers agree up to rotation, scale and
    shift, 0 where they are uncorrelated or one of them is constant.

    Args:
        x: `[n, p]`.
        y: `[n, q]`.
        mask: `[n]`; rows outside may hold anything.
    """
    return hidden_cka((x,), (y,), mask)[0, 0]


def hidden_cka(
    teacher_hiddens: Sequence[Float[Array, "n _"]],
    student_hiddens: Sequence[Float[Array, "n _"]],
    mask: Bool[Array, " n"],
) -> Float[Array, "T_l S_l"]:
    """Linear CKA of every teacher layer with every student layer; see `cka`.

    Computed from cross-covariances between units: nothing of size `n x n` is formed.

    Args:
        teacher_hiddens: `T_l` arrays `[n, width]`.
        student_hiddens: `S_l` arrays `[n, width]`.
        mask: `[n]`; rows outside may hold anything.

    Returns:
        `[T_l, S_l]` in `[0, 1]`, float32.

    Raises:
        InputError: a layer has another number of rows than the mask.
    """
    for hidden in (*teacher_hiddens, *student_hiddens):
        if hidden.shape[0] != mask.shape[0]:
            raise InputError(f"hidden_cka: a layer has {hidden.shape[0]} rows, expected {mask.shape[0]} as the mask")
    teacher, student = _centred(teacher_hiddens, mask), _centred(student_hiddens, mask)
    cross = jnp.einsum("tnd,sne->tsde", teacher, student, precision="highest")
    norms = _self_norms(teacher)[:, None] * _self_norms(student)[None, :]
    return jnp.sum(cross**2, axis=(2, 3)) / jnp.where(norms > 0.0, norms, 1.0)


def _milliseconds(function: Callable[..., Any], args: tuple[Any, ...]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return 1e3 * (time.perf_counter() - start)


def _centred(hiddens: Sequence[Float[Array, "n _"]], mask: Bool[Array, " n"]) -> Float[Array, "L n d"]:
    """Centred layers, zero outside the mask and in the columns that pad to the widest, with largest entry 1."""
    widest = max(h.shape[1] for h in hiddens)
    return jnp.stack([jnp.pad(_centred_layer(h, mask), ((0, 0), (0, widest - h.shape[1]))) for h in hiddens])


def _centred_layer(hidden: Float[Array, "n d"], mask: Bool[Array, " n"]) -> Float[Array, "n d"]:
    # One node's row is taken off before the mean, so that a constant unit is exactly zero however the mean is rounded.
    shifted = hidden.astype(jnp.float32)
    shifted = jnp.where(mask[:, None], shifted - shifted[jnp.argmax(mask)][None, :], 0.0)
    mean = jnp.sum(shifted, axis=0) / jnp.maximum(jnp.sum(mask), 1).astype(jnp.float32)
    centred = jnp.where(mask[:, None], shifted - mean[None, :], 0.0)
    largest = jnp.max(jnp.abs(centred))
    return centred / jnp.where(largest > 0.0, largest, 1.0)  # CKA ignores scale; fourth powers of small units underflow


def _self_norms(layers: Float[Array, "L n d"]) -> Float[Array, " L"]:
    covariances = jnp.einsum("lnd,lne->lde", layers, layers, precision="highest")
    return jnp.sqrt(jnp.sum(covariances**2, axis=(1, 2)))
