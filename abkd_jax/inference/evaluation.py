"""Measures quality and cost of trained models: accuracy, size, FLOPs, latency, and similarity of hidden layers."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import Array, Bool, Float

from abkd_jax import distill
from abkd_jax.training.tasks import accuracy
from abkd_jax.types import GNNOutput, InputError, Pytree

__all__ = ["accuracy", "agreement", "cka", "embedding_count", "flops", "hidden_cka", "latency", "parameter_count"]

LEAST_CALLS, LONGEST = 3, 5.0  # timed calls at least, and seconds after which no more are made
WARM_UP_CALLS = 3  # the first calls after a compilation fill caches and allocate buffers


def agreement(logits: Float[Array, "n c"], teacher: Float[Array, "n c"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    """Computes the share of the masked rows that two models classify alike; of a single logit its sign is the class.

    NaN for an empty mask, and if a logit in it is NaN.

    Raises:
        InputError: shapes or types differ.

    Examples:
        >>> logits, teacher = jnp.array([[2.0, 1.0], [0.0, 3.0]]), jnp.array([[5.0, 1.0], [4.0, 3.0]])
        >>> float(agreement(logits, teacher, jnp.ones(2, bool)))
        0.5
    """
    if logits.shape != teacher.shape:
        raise InputError(f"agreement: logits {logits.shape} and {teacher.shape}, expected one shape")
    if logits.shape[1] == 1:
        logits, teacher = (jnp.concatenate([jnp.zeros_like(x), x], axis=1) for x in (logits, teacher))
    undefined = jnp.any(mask & jnp.any(jnp.isnan(teacher), axis=1))
    return jnp.where(undefined, jnp.nan, accuracy(logits, jnp.argmax(teacher, axis=1), mask))


def parameter_count(params: Pytree) -> int:
    """Counts the scalars in a pytree of arrays, or of the shapes that `jax.eval_shape` returns.

    Examples:
        >>> parameter_count({"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)})
        16
    """
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def embedding_count(params: Pytree) -> int:
    """Counts the scalars in tables named `embedding`: the learned embeddings of nodes without features."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return sum(leaf.size for path, leaf in leaves if getattr(path[-1], "key", None) == "embedding")


def latency(function: Callable[..., Any], *args: Any, repeats: int = 30) -> dict[str, float]:
    """Measures the time of one call, from the dispatch until the result is on the device, without compilation.

    The arguments are moved to the device beforehand. Pass everything that the call reads as an argument, the
    parameters too: what the function closes over is a constant that the compiler may fold.

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
    """Counts the floating-point operations of the matrix products in one call, dense and sparse; 2 per multiply-add.

    Counted on the traced program, a loop body once per iteration (XLA's own count takes it once, and nothing inside the
    sparse kernel). Elementwise operations are left out.

    Args:
        function: a function that JAX can trace.
        *args: its arguments, pytrees of arrays or of `jax.ShapeDtypeStruct`.

    Examples:
        >>> flops(jnp.dot, jnp.ones((8, 16)), jnp.ones((16, 4)))
        1024.0
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
        elif equation.primitive.name == "ffi_call" and equation.params["target_name"].endswith("row_sums"):
            entries, x = equation.invars[1].aval.shape[0], equation.invars[-1].aval  # see `aggregate.native`
            total += 2 * entries * math.prod(x.shape[1:])
        elif equation.primitive.name == "cond":
            # One branch runs. Of a choice by platform the first, for CPUs, is counted: others multiply zeros too.
            total += inner[0] if equation.params.get("branches_platforms") else max(inner)
        else:
            total += equation.params.get("length", 1) * sum(inner) if inner else 0
    return total


def _inner_programs(params: dict[str, Any]) -> list[Any]:
    """Returns the programs inside an equation: loop bodies, branches, called functions."""
    values = [v for value in params.values() for v in (value if isinstance(value, tuple) else (value,))]
    closed = [value.jaxpr if isinstance(value, ClosedJaxpr) else value for value in values]
    return [value for value in closed if isinstance(value, Jaxpr)]


def cka(x: Float[Array, "n p"], y: Float[Array, "n q"], mask: Bool[Array, " n"]) -> Float[Array, ""]:
    """Computes the linear centred kernel alignment (CKA) of two hidden layers (Kornblith et al., arXiv 1905.00414).

    `||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F)` with centred columns (Eq. 3 and section 3): 1 where the layers agree up to
    rotation, scale and shift, 0 where they are uncorrelated or one of them is constant.

    Args:
        x: `[n, p]`.
        y: `[n, q]`.
        mask: `[n]`; rows outside may hold anything.

    Examples:
        >>> x = jax.random.normal(jax.random.key(0), (50, 4))
        >>> round(float(cka(x, 3.0 * x[:, ::-1] + 1.0, jnp.ones(50, bool))), 4)
        1.0
    """
    return hidden_cka((x,), (y,), mask)[0, 0]


def hidden_cka(
    teacher_hiddens: Sequence[Float[Array, "n _"]],
    student_hiddens: Sequence[Float[Array, "n _"]],
    mask: Bool[Array, " n"],
) -> Float[Array, "T_l S_l"]:
    """Computes the linear CKA of every teacher layer with every student layer, at any scale; see `distill.layer_cka`.

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
    teacher, student = (_scaled(hiddens, mask) for hiddens in (teacher_hiddens, student_hiddens))
    return distill.layer_cka(distill.cka_targets(teacher, mask), student, mask=mask)


def _milliseconds(function: Callable[..., Any], args: tuple[Any, ...]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return 1e3 * (time.perf_counter() - start)


def _scaled(hiddens: Sequence[Float[Array, "n _"]], mask: Bool[Array, " n"]) -> GNNOutput:
    """Divides each layer by its largest entry: CKA ignores the scale, and fourth powers of small numbers underflow."""

    def scaled(hidden: Float[Array, "n d"]) -> Float[Array, "n d"]:
        values = jnp.where(mask[:, None], hidden.astype(jnp.float32), 0.0)
        largest = jnp.max(jnp.abs(values))
        return values / jnp.where(largest > 0.0, largest, 1.0)

    layers = tuple(map(scaled, hiddens))
    return GNNOutput(logits=layers[-1], hiddens=layers)  # the logits are not read
