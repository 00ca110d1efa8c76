"""Where a small student starts. Four ReLU units that begin silent stay silent, so the first layer decides a lot.

`positive` and `teacher_directions` replace the student's input layer, `attention_map` all of its parameters. (Pilot
study: on Citeseer, a default start leaves 2 of 4 units silent on 99 % of the nodes, and the student 25 points below one
that starts from teacher directions.)
"""

from typing import Any

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Bool, Float, Int

from abkd_jax.aggregate import feature_matmul, propagate
from abkd_jax.distill.ops.moments import centre, covariance, narrow, stack_layers, widen
from abkd_jax.types import GNNOutput, InputError, PRNGKey, Pytree

__all__ = ["attention_map", "positive", "teacher_directions"]

INPUT_LAYERS = ("input", "dense_0", "conv_0", "hops")  # of GCNII, MLP, convolutional stacks and SIGN


def positive(params: Pytree) -> Pytree:
    """Input weights times 10 and biases plus 0.5: most pre-activations start positive and carry the features.

    Feature rows that sum to 1 make the default pre-activations about 0.01, whose sign is that of the bias. In an input
    layer of several parts, as GraphSAGE's, every `kernel` and `bias` is changed, in a perceptron those of its first
    linear map; attention vectors and the like stay.

    Args:
        params: student parameters with an input layer.

    Raises:
        InputError: there is none.
    """
    name = _input_layer(params)
    return {**params, name: _positive(params[name])}


def _positive(layer: Pytree) -> Pytree:
    def changed(name: str, value: Pytree) -> Pytree:
        if isinstance(value, dict):
            later = name.startswith("dense_") and name != "dense_0"
            return value if later else _positive(value)
        return value * 10.0 if name == "kernel" else value + 0.5 if name == "bias" else value

    return {name: changed(name, value) for name, value in layer.items()}


def teacher_directions(
    key: PRNGKey,
    params: Pytree,
    teacher_params: Pytree,
    graph: jraph.GraphsTuple,
    predictions: Int[Array, " n"],
    classes: int,
) -> Pytree:
    """The student's input layer as the directions of the teacher's that separate the classes best.

    The teacher's input pre-activations, smoothed over two hops, are split by the teacher's own predictions; the leading
    eigenvectors of (within-class scatter)^-1 (between-class scatter) give `d` directions. A random rotation mixes them,
    and every unit is scaled to pre-activations of mean 0.5 and standard deviation 0.5 over the nodes.

    Args:
        key: draws the rotation.
        params: student parameters.
        teacher_params: teacher parameters; its input layer has kernel `[f, D]` with `D >= d`.
        graph: the graph both models read.
        predictions: `[n]` classes that the teacher predicts; no label is used.
        classes: number of classes.

    Raises:
        InputError: the student's input layer is wider than the teacher's, or one of the two is no single linear map.
    """
    name, student_kernel = _linear_input(params, "student")
    width = student_kernel.shape[1]
    teacher_kernel: Array = widen(_linear_input(teacher_params, "teacher")[1])
    if width > teacher_kernel.shape[1]:
        raise InputError(
            f"teacher_directions: the student's input layer has {width} units, the teacher's only "
            f"{teacher_kernel.shape[1]}; choose another start"
        )
    features: Any = widen(graph.nodes)
    smoothed = propagate(graph, propagate(graph, feature_matmul(features, teacher_kernel)))
    directions = _separating_directions(smoothed, predictions, classes, width)
    rotation, _ = jnp.linalg.qr(jax.random.normal(key, (width, width), teacher_kernel.dtype))
    kernel = teacher_kernel @ directions @ rotation
    units = feature_matmul(features, kernel)
    scale = 0.5 / jnp.maximum(jnp.std(units, axis=0), 1e-12)
    layer = {"kernel": kernel * scale[None], "bias": 0.5 - jnp.mean(units, axis=0) * scale}
    return {**params, name: _in_types_of(params[name], layer)}


def attention_map(
    params: Pytree,
    teacher_params: Pytree,
    teacher: GNNOutput,
    attention: Float[Array, "T_l S_l"],
    mask: Bool[Array, " n"],
) -> Pytree:
    """A GCNII student cut out of its GCNII teacher along a map of layer attention.

    STRIDE (arXiv 2310.15938v2, section 3.2.3) starts very small students from the learned attention map; its rule is
    not public. This one is this project's own:

    1. Student layer `s` stands for the teacher layers in the shares `a_ts = A[t, s] / sum_t A[t, s]`; a student layer
       that no teacher layer attends to stands for all of them alike.
    2. Of the teacher's `D` units, `d` are kept, the same in every layer, since GCNII adds layers to each other: one by
       one that which explains most of what is left of the covariance of the layers (pivoted Cholesky), each layer
       scaled to trace 1 and weighted by its shares. `R` `[d, D]` is the regression of all units on those kept.
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

    Raises:
        InputError: a model is no GCNII, the student is wider than its teacher, or the map has another shape.
    """
    attention, teacher_params = widen((attention, teacher_params))
    shares = _shares(attention, _conv_kernels("student", params), _conv_kernels("teacher", teacher_params))
    width = params["input"]["kernel"].shape[1]
    mean, centred = centre(stack_layers(teacher.hiddens), mask)
    spread = covariance(centred, mask)
    traces = jnp.trace(spread, axis1=1, axis2=2)[:, None, None]
    pooled = jnp.einsum("t,tde->de", jnp.mean(shares, axis=1), spread / jnp.maximum(traces, 1e-12))
    kept = _leading_units(pooled, width)
    regression, to_last = (_regression(covariances, kept) for covariances in (pooled, spread[-1]))
    kernels = jnp.einsum("ts,tde->sde", shares, _conv_kernels("teacher", teacher_params))
    first, last = teacher_params["input"], teacher_params["output"]
    rest = mean[-1] - mean[-1][kept] @ to_last
    cut = {
        "input": {"kernel": first["kernel"][:, kept], "bias": first["bias"][kept]},
        "blocks": {"conv": {"kernel": jnp.einsum("kd,sde->ske", regression, kernels[:, :, kept])}},
        "output": {"kernel": to_last @ last["kernel"], "bias": last["bias"] + rest @ last["kernel"]},
    }
    return _in_types_of(params, cut)


def _in_types_of(params: Pytree, computed: Pytree) -> Pytree:
    """Parameters computed in float32 at least, in the types of those that they replace."""
    return jax.tree.map(lambda value, like: narrow(value, like.dtype), computed, params)


def _conv_kernels(side: str, params: Pytree) -> Float[Array, "L D D"]:
    if set(params) != {"input", "blocks", "output"}:
        raise InputError(f"attention_map: the {side} has parameters {sorted(params)}, expected those of a GCNII")
    return params["blocks"]["conv"]["kernel"]


def _shares(
    attention: Float[Array, "T_l S_l"], ours: Float[Array, "S d d"], theirs: Float[Array, "T D D"]
) -> Float[Array, "T_l S_l"]:
    """The map with columns of sum 1."""
    if attention.shape != (len(theirs), len(ours)):
        raise InputError(
            f"attention_map: the map has shape {attention.shape}, expected (teacher layers, student layers) = "
            f"{len(theirs), len(ours)}"
        )
    if ours.shape[1] > theirs.shape[1]:
        raise InputError(
            f"attention_map: the student has width {ours.shape[1]}, the teacher only {theirs.shape[1]}; "
            "choose another start"
        )
    mass = jnp.sum(attention, axis=0, keepdims=True)
    return jnp.where(mass > 0.0, attention / jnp.where(mass > 0.0, mass, 1.0), 1.0 / len(theirs))


def _leading_units(covariances: Float[Array, "D D"], count: int) -> Int[Array, " count"]:
    """Units by pivoted Cholesky, in the order in which they are found; none twice."""
    left, kept = covariances, []
    for _ in range(count):
        variance = jnp.diagonal(left)
        taken = jnp.zeros(len(left), bool).at[jnp.array(kept, jnp.int32)].set(True)
        unit = jnp.argmax(jnp.where(taken, -1.0, variance))
        column = left[:, unit] / jnp.sqrt(jnp.maximum(variance[unit], 1e-12))
        left, kept = left - jnp.outer(column, column), [*kept, unit]
    return jnp.stack(kept)


def _regression(covariances: Float[Array, "D D"], kept: Int[Array, " d"]) -> Float[Array, "d D"]:
    """All units regressed on those kept, which are themselves up to a ridge of 1e-6 of the mean variance."""
    inner = covariances[kept][:, kept]
    ridge = 1e-6 * jnp.trace(inner) / len(kept) + 1e-12
    return jnp.linalg.solve(inner + ridge * jnp.eye(len(kept), dtype=inner.dtype), covariances[kept])


def _separating_directions(
    x: Float[Array, "n D"], labels: Int[Array, " n"], classes: int, count: int
) -> Float[Array, "D count"]:
    """Fisher's linear discriminant directions of `x`, best first, each of unit within-class variance."""
    members = jax.nn.one_hot(labels, classes, dtype=x.dtype)
    sizes = jnp.sum(members, axis=0)
    means = (members.T @ x) / jnp.maximum(sizes, 1.0)[:, None]
    inner = x - members @ means
    outer = (means - jnp.mean(x, axis=0)[None]) * jnp.sqrt(sizes)[:, None]
    within = inner.T @ inner / x.shape[0]
    ridge = 1e-4 * jnp.trace(within) / x.shape[1] + 1e-12
    factor = jnp.linalg.cholesky(within + ridge * jnp.eye(x.shape[1], dtype=x.dtype))
    whitened = jax.scipy.linalg.solve_triangular(factor, outer.T / jnp.sqrt(x.shape[0]), lower=True)
    _, vectors = jnp.linalg.eigh(whitened @ whitened.T)
    return jax.scipy.linalg.solve_triangular(factor.T, vectors[:, ::-1][:, :count], lower=False)


def _linear_input(params: Pytree, whose: str) -> tuple[str, Float[Array, "f d"]]:
    name = _input_layer(params)
    if params[name].keys() != {"kernel", "bias"} or params[name]["kernel"].ndim != 2:
        raise InputError(
            f"teacher_directions: the {whose}'s input layer has {', '.join(sorted(params[name]))}, expected one kernel "
            "and one bias (gcnii, gcn, mlp); choose another start"
        )
    return name, params[name]["kernel"]


def _input_layer(params: Pytree) -> str:
    for name in INPUT_LAYERS:
        if name in params:
            return name
    raise InputError(f"the model has no input layer: parameters {sorted(params)}, expected one of {INPUT_LAYERS}")
