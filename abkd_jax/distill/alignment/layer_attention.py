"""Layer attention: the weight of every (teacher layer, student layer) pair in the ABKD loss.

Every map but `fixed` has total mass `T_l`, one per teacher layer, so that the weight of the loss means the same for all
of them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.alignment.cka import cka
from abkd_jax.distill.ops.checks import require_choice, require_count
from abkd_jax.distill.ops.heads import apply_heads, init_heads
from abkd_jax.distill.ops.moments import layer_widths, node_max, node_mean, stack_layers
from abkd_jax.distill.ops.outputs import freeze
from abkd_jax.graph.precision import accumulation_dtype
from abkd_jax.types import GNNOutput, InputError, Mask, PairMap, PRNGKey, Pytree

__all__ = [
    "all_to_last",
    "depth_proportional",
    "fixed",
    "greedy",
    "last_layer",
    "last_to_all",
    "layer_attention",
    "learned",
    "uniform",
]

_POOLS = {"mean": node_mean, "max": node_max}
_SOFTMAX_AXES = {"student": 1, "teacher": 0, "pairs": (0, 1)}


def learned(
    dim: int = 16,
    over: Literal["student", "teacher", "pairs"] = "student",
    query: Literal["mean", "max"] = "mean",
    detach: bool = False,
) -> PairMap:
    """Builds trained attention between pooled layers (ABKD, arXiv 2310.15938, Eq. 3); see `layer_attention`.

    Parameters are one linear projection per layer and side, `{"teacher": ..., "student": ...}`; the targets are the
    pooled teacher layers `[T_l, d]`.

    Args:
        dim: width of the projections.
        over: axis of the softmax, as in `layer_attention`.
        query: how a layer is pooled over the masked nodes.
        detach: let the map send no gradient into the student, only into its projections.

    Returns:
        A pair map.

    Raises:
        InputError: `dim` below 1, or an unknown `over` or `query`.

    Examples:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from abkd_jax import GNNOutput, graph
        >>> g, mask = graph.from_edges(np.array([0]), np.array([1]), 2), jnp.ones(2, bool)
        >>> teacher = GNNOutput(jnp.ones((2, 3)), (jnp.ones((2, 5)),) * 4)
        >>> student = GNNOutput(jnp.ones((2, 3)), (jnp.ones((2, 3)),) * 2)
        >>> attention = learned(dim=8)
        >>> params = attention.init(jax.random.key(0), teacher, student)
        >>> targets = attention.targets(teacher, graph=g, mask=mask)
        >>> a, _ = attention.apply(params, targets, student, graph=g, mask=mask, key=None)
        >>> print(a.shape, a.sum(axis=1).round(4))
        (4, 2) [1. 1. 1. 1.]
    """
    require_count("learned", dim=dim)
    require_choice("learned", "over", over, tuple(_SOFTMAX_AXES))
    require_choice("learned", "query", query, tuple(_POOLS))

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        dtype = accumulation_dtype(student.hiddens[0].dtype)
        sides = zip(("teacher", "student"), jax.random.split(key), (teacher, student), strict=True)
        return {side: init_heads(side_key, layer_widths(o.hiddens), dim, dtype) for side, side_key, o in sides}

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> Float[Array, "T_l d"]:
        return _POOLS[query](stack_layers(freeze(teacher).hiddens), mask)

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Float[Array, "T_l S_l"], dict[str, Array]]:
        output = freeze(student) if detach else student
        return layer_attention(params, targets, output, mask=mask, over=over, query=query), {}

    return PairMap(init, targets, apply)


def layer_attention(
    params: Pytree,
    targets: Float[Array, "T_l d"],
    student: GNNOutput,
    *,
    mask: Mask,
    over: Literal["student", "teacher", "pairs"] = "student",
    query: Literal["mean", "max"] = "mean",
) -> Float[Array, "T_l S_l"]:
    """Computes the attention map of ABKD (arXiv 2310.15938, Eq. 3), one row per teacher layer.

        a_i = W_i' tbar_i + b_i,    c_j = V_j' sbar_j + c_j,    A = softmax(a_i . c_j / sqrt(dim))

    with `tbar`, `sbar` the layers pooled over the masked nodes and one projection per layer and side. With
    `over = "student"`, as in the paper, every row sums to 1. `"teacher"` normalises the columns, each to `T_l / S_l`,
    and `"pairs"` the whole map to `T_l`.

    Args:
        params: projections `{"teacher": ..., "student": ...}`, each `{"kernel": [L, d, dim], "bias": [L, dim]}`.
        targets: pooled teacher layers `[T_l, d]`.
        student: the student's output; its hidden layers are read.
        mask: `[n]`, the nodes that are pooled.
        over: the layers among which the softmax chooses.
        query: `"mean"` or `"max"` over the masked nodes, for the student's side.

    Returns:
        `[T_l, S_l]`, total mass `T_l`.
    """
    pooled = _POOLS[query](stack_layers(student.hiddens), mask)
    a, c = apply_heads(params["teacher"], targets), apply_heads(params["student"], pooled)
    scores = jnp.matmul(a, c.T, precision="highest") / math.sqrt(a.shape[1])
    rows, columns = scores.shape
    mass = {"student": 1.0, "teacher": rows / columns, "pairs": float(rows)}[over]
    return mass * jax.nn.softmax(scores, axis=_SOFTMAX_AXES[over])


def uniform() -> PairMap:
    """Builds uniform attention, `A = 1 / S_l`: the control of learned attention."""

    def weigh(rows: int, columns: int, dtype: jnp.dtype) -> Float[Array, "T_l S_l"]:
        return jnp.full((rows, columns), 1.0 / columns, dtype)

    return _constant(weigh)


def last_layer() -> PairMap:
    """Builds attention to the last pair alone, `A[T_l - 1, S_l - 1] = T_l` ("Modified" in the ablation of ABKD).

    The one weight is `T_l`, so that the mean over rows is the dissimilarity of the last pair itself.
    """

    def weigh(rows: int, columns: int, dtype: jnp.dtype) -> Float[Array, "T_l S_l"]:
        return jnp.zeros((rows, columns), dtype).at[-1, -1].set(float(rows))

    return _constant(weigh)


def all_to_last() -> PairMap:
    """Builds attention of every teacher layer to the last student layer: `A[t, S_l - 1] = 1`, zero elsewhere."""

    def weigh(rows: int, columns: int, dtype: jnp.dtype) -> Float[Array, "T_l S_l"]:
        return jnp.zeros((rows, columns), dtype).at[:, -1].set(1.0)

    return _constant(weigh)


def last_to_all() -> PairMap:
    """Builds attention of the last teacher layer to all student layers: `A[T_l - 1, s] = T_l / S_l`, zero elsewhere."""

    def weigh(rows: int, columns: int, dtype: jnp.dtype) -> Float[Array, "T_l S_l"]:
        return jnp.zeros((rows, columns), dtype).at[-1].set(rows / columns)

    return _constant(weigh)


def depth_proportional() -> PairMap:
    """Builds attention to the student layer at the same relative depth: `A[t, s(t)] = 1`, zero elsewhere.

        s(t) = ceil((t + 1) S_l / T_l) - 1

    the first student layer whose depth `(s + 1) / S_l` reaches the teacher layer's `(t + 1) / T_l`, so that the last
    layers always meet. Where `S_l` divides `T_l` the layers of equal depth are the pairs of TinyBERT's uniform mapping
    (Jiao et al., arXiv 1909.10351), and the teacher layers before each go with it.
    """

    def weigh(rows: int, columns: int, dtype: jnp.dtype) -> Float[Array, "T_l S_l"]:
        partners = np.array([((t + 1) * columns - 1) // rows for t in range(rows)])  # the ceiling, in whole numbers
        return jax.nn.one_hot(partners, columns, dtype=dtype)

    return _constant(weigh)


def greedy(by: PairMap | None = None) -> PairMap:
    """Builds hard attention to the student layer that is most similar at this step, without a gradient.

        A[t, s] = 1 for s = argmin_s D[t, s], zero elsewhere

    with `D = 1 - CKA` unless another dissimilarity is given; the first of equals is taken. It is the limit
    of a sharpened learned attention if only similarity counted: several teacher layers may share a student layer, and
    the depths need not be in order. (`depth_proportional` is the control that keeps them in order.)

    Args:
        by: a dissimilarity without trained projections, for instance the `closed_form(...)` that is weighted; None is
            `cka()`.

    Returns:
        A pair map without parameters; the targets are those of `by`.

    Raises:
        InputError: at `init`, a dissimilarity with parameters: nothing would train them.
    """
    dissimilarity = cka() if by is None else by

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        params = dissimilarity.init(key, teacher, student)
        if jax.tree.leaves(params):
            raise InputError("greedy: the dissimilarity has trained projections, expected one without, such as cka()")
        return params

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Float[Array, "T_l S_l"], dict[str, Array]]:
        d, _ = dissimilarity.apply(params, targets, freeze(student), graph=graph, mask=mask, key=key)
        return jax.nn.one_hot(jnp.argmin(d, axis=1), d.shape[1], dtype=d.dtype), {}

    return PairMap(init, dissimilarity.targets, apply)


def fixed(array: np.ndarray | Array | Sequence[Sequence[float]]) -> PairMap:
    """Builds attention from a given map, used as it is: its total mass is the caller's choice.

    Args:
        array: `[T_l, S_l]`, finite and not negative, not all zero. A copy is kept.

    Returns:
        A pair map without parameters.

    Raises:
        InputError: `array` is no such array; at `apply`, teacher and student with other numbers of layers.

    Examples:
        >>> from abkd_jax.distill import abkd, closed_form
        >>> objective = abkd(fixed([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), closed_form())
    """
    weights = _checked_map(array)

    def weigh(rows: int, columns: int, dtype: jnp.dtype) -> Float[Array, "T_l S_l"]:
        if weights.shape != (rows, columns):
            raise InputError(
                f"fixed: array has shape {weights.shape}, expected (teacher layers, student layers) = {rows, columns}"
            )
        return jnp.asarray(weights, dtype)

    return _constant(weigh)


def _checked_map(array: np.ndarray | Array | Sequence[Sequence[float]]) -> np.ndarray:
    """Copies a usable map to float64."""
    try:
        weights = np.array(array, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("fixed: array is no table of numbers, expected [teacher layers, student layers]") from error
    if weights.ndim != 2:
        raise InputError(f"fixed: array has shape {weights.shape}, expected [teacher layers, student layers]")
    bad = np.argwhere(~(np.isfinite(weights) & (weights >= 0.0)))
    if bad.size:
        t, s = bad[0].tolist()
        raise InputError(f"fixed: array[{t}, {s}] is {weights[t, s]}, expected a finite number >= 0")
    if not weights.any():
        raise InputError(f"fixed: array of shape {weights.shape} has no entry above 0, expected at least one")
    return weights


def _constant(weigh: Callable[[int, int, jnp.dtype], Array]) -> PairMap:
    """Builds a map that depends on the numbers of layers alone: `weigh(T_l, S_l, dtype)`."""

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        return {}

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> Float[Array, " T_l"]:
        return jnp.ones(len(teacher.hiddens), accumulation_dtype(teacher.hiddens[0].dtype))  # carries T_l in its shape

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Float[Array, "T_l S_l"], dict[str, Array]]:
        return weigh(targets.shape[0], len(student.hiddens), accumulation_dtype(student.hiddens[0].dtype)), {}

    return PairMap(init, targets, apply)
