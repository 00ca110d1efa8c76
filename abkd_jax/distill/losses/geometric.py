"""Distillation of the kernels of all pairs of nodes, layer by layer (GeometricKD, arXiv 2210.13014)."""

from collections.abc import Sequence
from numbers import Integral
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.ops.checks import (
    require_choice,
    require_not_negative,
    require_optional_count,
    require_positive,
)
from abkd_jax.distill.ops.numerics import masked_rows
from abkd_jax.distill.ops.outputs import freeze, last_layers
from abkd_jax.distill.ops.pairwise_kernels import (
    Kernel,
    drawn_nodes,
    gaussian,
    rowwise,
    sigmoid,
    squared_difference,
)
from abkd_jax.distill.ops.soft_targets import counted_edges
from abkd_jax.types import GNNOutput, InputError, Mask, Objective, PRNGKey, Pytree

__all__ = ["geometric"]


def geometric(
    kernel: Literal["sigmoid", "gaussian"] = "sigmoid",
    delta: float = 1.0,
    scale: float = 1.0,
    layers: tuple[tuple[int, int], ...] | None = None,
    max_nodes: int | None = None,
) -> Objective:
    """Builds the comparison of the kernels of all pairs of nodes in every layer (GeometricKD, arXiv 2210.13014).

        loss = mean over layers of sum_uv w_uv (k(t_u, t_v) - k(s_u, s_v))^2

    over the masked nodes, with `w_uv = 1` for `u = v` and for the graph's edges `u -> v`, and `delta` for all other
    pairs. Kernels: `"sigmoid"`, `tanh(x_u . x_v)`; `"gaussian"`, `exp(-|x_u - x_v| / scale)`. They exist for one
    block of rows at a time, forwards and backwards. The authors' code (github.com/chr26195/GKD) batch-normalises the
    layers first; here they are taken as the models return them. The trained kernel is `geometric_parametric`.

    Args:
        kernel: `"sigmoid"` or `"gaussian"`.
        delta: weight of the pairs that no edge joins, finite and not negative; at 1 the graph is not read.
            Otherwise it must not hold an edge twice, but for edges of several types, of which one counts.
        scale: of the Gaussian kernel, in units of the features; without effect on the other.
        layers: `(teacher layer, student layer)` pairs, counted from 0, or from the end where negative; None pairs
            layers of one depth, of which both models must then have the same number.
        max_nodes: nodes drawn per step without replacement, the same for all layers; None takes all. The value falls
            with the square of their number.

    Returns:
        An objective without parameters; the targets are the teacher's layers, a tuple of `[n, d]`, one per pair. It
        needs a key where it draws nodes.

    Raises:
        InputError: a bad argument here; at `init`, different depths without `layers`, or a layer that does not exist;
            at `apply`, nodes to draw and no key.

    Examples:
        >>> from abkd_jax.distill import Term, weighted_sum
        >>> last = geometric(delta=0.1, layers=((-1, -1),), max_nodes=4096)
        >>> objective = weighted_sum(Term("geometric", 1e-6, last))
    """
    require_choice("geometric", "kernel", kernel, ("sigmoid", "gaussian"))
    require_positive("geometric", scale=scale)
    require_not_negative("geometric", delta=delta)
    require_optional_count("geometric", max_nodes=max_nodes)
    _check_pairs(layers)
    of_nodes = sigmoid() if kernel == "sigmoid" else gaussian(float(scale))

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        _check_layers(layers, len(teacher.hiddens), len(student.hiddens))
        last_layers("geometric", teacher, student)
        return {}

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> tuple[Float[Array, "n _"], ...]:
        hiddens = freeze(teacher).hiddens
        chosen = hiddens if layers is None else [hiddens[t] for t, _ in layers]
        return tuple(masked_rows(x, mask) for x in chosen)

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        chosen = student.hiddens if layers is None else [student.hiddens[s] for _, s in layers]
        pairs = [(x, masked_rows(y, mask)) for x, y in zip(targets, chosen, strict=True)]
        drawn = drawn_nodes("geometric", mask, key, max_nodes)
        if drawn is None:
            compared, kept = pairs, mask
        else:
            compared, kept = [(x[drawn], y[drawn]) for x, y in pairs], mask[drawn]
            mask = jnp.zeros_like(mask).at[drawn].set(kept)
        losses = [float(delta) * squared_difference(of_nodes, x, y, kept) for x, y in compared]
        if delta != 1:
            losses += [(1.0 - float(delta)) * _squared_difference_nearby(of_nodes, x, y, graph, mask) for x, y in pairs]
        return jnp.sum(jnp.stack(losses)) / len(pairs), {}

    return Objective(init, targets, apply)


def _squared_difference_nearby(
    kernel: Kernel, t: Float[Array, "n _"], s: Float[Array, "n _"], graph: GraphsTuple, mask: Mask
) -> Float[Array, ""]:
    """Computes `squared_difference` over the edges and the pairs of a node with itself alone."""
    t, s = kernel.rows(t, mask), kernel.rows(s, mask)
    u, v, counted = counted_edges(graph, mask)
    along = (rowwise(kernel, s[u], s[v]) - rowwise(kernel, t[u], t[v])) ** 2
    itself = (rowwise(kernel, s, s) - rowwise(kernel, t, t)) ** 2
    return jnp.sum(jnp.where(counted & (u != v), along, 0.0)) + jnp.sum(jnp.where(mask, itself, 0.0))


def _check_pairs(layers: tuple[tuple[int, int], ...] | None) -> None:
    """Requires pairs of layer numbers, or None."""
    if layers is not None and not layers:
        raise InputError("geometric: layers is empty, expected at least one (teacher layer, student layer) pair")
    for pair in layers or ():
        whole = isinstance(pair, Sequence) and all(isinstance(x, Integral) for x in pair)
        if not whole or len(pair) != 2:
            raise InputError(f"geometric: layers holds {pair}, expected two numbers: teacher layer, student layer")


def _check_layers(layers: tuple[tuple[int, int], ...] | None, teacher_depth: int, student_depth: int) -> None:
    if layers is None and not teacher_depth == student_depth > 0:
        raise InputError(
            f"geometric: the student has {student_depth} hidden layers and the teacher {teacher_depth}, expected the "
            "same number above 0, or pairs in `layers`"
        )
    for t, s in layers or ():
        if not (-teacher_depth <= t < teacher_depth and -student_depth <= s < student_depth):
            raise InputError(
                f"geometric: layers holds ({t}, {s}), expected a teacher layer in 0..{teacher_depth - 1} and a student "
                f"layer in 0..{student_depth - 1}"
            )
