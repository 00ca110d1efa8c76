"""Where a small student starts. Four ReLU units that begin silent stay silent, so the first layer decides a lot.

Each start replaces the parameters of the student's input layer. (Pilot study: on Citeseer, a default start leaves 2 of
4 units silent on 99 % of the nodes, and the student 25 points below one that starts from teacher directions.)
"""

from typing import Any

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate import feature_matmul, propagate
from abkd_jax.types import InputError, PRNGKey, Pytree

__all__ = ["positive", "teacher_directions"]

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
    name, kernel = _linear_input(params, "student")
    width = kernel.shape[1]
    _, teacher_kernel = _linear_input(teacher_params, "teacher")
    if width > teacher_kernel.shape[1]:
        raise InputError(
            f"teacher_directions: the student's input layer has {width} units, the teacher's only "
            f"{teacher_kernel.shape[1]}; choose another start"
        )
    features: Any = graph.nodes
    smoothed = propagate(graph, propagate(graph, feature_matmul(features, teacher_kernel)))
    directions = _separating_directions(smoothed, predictions, classes, width)
    rotation, _ = jnp.linalg.qr(jax.random.normal(key, (width, width)))
    kernel = teacher_kernel @ directions @ rotation
    units = feature_matmul(features, kernel)
    scale = 0.5 / jnp.maximum(jnp.std(units, axis=0), 1e-12)
    return {**params, name: {"kernel": kernel * scale[None], "bias": 0.5 - jnp.mean(units, axis=0) * scale}}


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
