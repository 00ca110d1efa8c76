"""Initialisation of small students. A dead ReLU unit stays dead, and of four units every one counts.

`positive` and `teacher_directions` replace the student's input layer, `attention_map` all of its parameters. On
Citeseer, default initialisation left 2 of 4 hidden units dead on 99 % of the nodes, and the student's accuracy 25
points below one initialised from teacher directions.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate import feature_matmul, propagate
from abkd_jax.distill.alignment.layer_attention import depth_proportional
from abkd_jax.distill.ops.checks import require_choice
from abkd_jax.distill.ops.moments import centre, covariance, stack_layers
from abkd_jax.distill.ops.numerics import narrow, widen
from abkd_jax.types import GNNOutput, InputError, Mask, PRNGKey, Pytree

__all__ = ["STARTS", "Start", "attention_map", "initialise", "positive", "teacher_directions"]

Start = Literal["default", "positive", "teacher_directions", "attention_map"]
STARTS = "default", "positive", "teacher_directions", "attention_map"

INPUT_LAYERS = ("input", "dense_0", "conv_0", "hops")  # of GCNII, MLP, convolutional stacks and SIGN


def initialise(
    start: Start,
    key: PRNGKey,
    params: Pytree,
    *,
    teacher_params: Pytree,
    teacher: GNNOutput,
    student: GNNOutput,
    graph: jraph.GraphsTuple,
    mask: Mask,
) -> Pytree:
    """Initialises a student before training; works under `jit`.

    Args:
        start: `"default"` keeps the parameters; the others are the functions of these names.
        key: for what draws random numbers.
        params: parameters as the student's module draws them.
        teacher_params: the teacher's parameters.
        teacher: what the teacher returned.
        student: what the student returns; its shapes suffice.
        graph: the graph that both models read.
        mask: `[n]`, the nodes that distillation may use.

    Returns:
        Parameters of the student.

    Raises:
        InputError: an unknown `start`, or models that it is not made for.

    Examples:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from abkd_jax import graph, models
        >>> x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
        >>> g = graph.from_edges(np.arange(5), np.arange(5) + 1, 6, nodes=x, undirected=True)
        >>> model = models.GCNII(2, 2, 3)
        >>> variables = model.init(jax.random.key(0), g)
        >>> output = model.apply(variables, g)
        >>> params = initialise(
        ...     "positive", jax.random.key(1), variables["params"], teacher_params=variables["params"],
        ...     teacher=output, student=output, graph=g, mask=graph.node_mask(g),
        ... )
        >>> print(params["input"]["bias"])
        [0.5 0.5]
    """
    require_choice("initialise", "start", start, STARTS)
    if start == "positive":
        return positive(params)
    if start == "teacher_directions":
        predictions = jnp.argmax(teacher.logits, axis=1)
        return teacher_directions(key, params, teacher_params, graph, predictions, teacher.logits.shape[1])
    if start == "attention_map":
        # Before training there is no learned map: layers of one relative depth stand for each other.
        by_depth = depth_proportional()
        depths = by_depth.targets(teacher, graph=graph, mask=mask)
        attention, _ = by_depth.apply({}, depths, student, graph=graph, mask=mask, key=None)
        return attention_map(params, teacher_params, teacher, attention, mask)
    return params


def positive(params: Pytree) -> Pytree:
    """Multiplies the input weights by 10 and adds 0.5 to the biases, so that most pre-activations start positive.

    Feature rows that sum to 1 make the default pre-activations about 0.01, whose sign is that of the bias. In an input
    layer of several parts, as GraphSAGE's, every `kernel` and `bias` is changed, in a perceptron those of its first
    linear map; attention vectors and the like stay.

    Args:
        params: student parameters with an input layer.

    Returns:
        The parameters with a new input layer.

    Raises:
        InputError: there is none.

    Examples:
        >>> import jax.numpy as jnp
        >>> params = {"input": {"kernel": jnp.ones((2, 1)), "bias": jnp.zeros(1)}, "output": {"bias": jnp.zeros(3)}}
        >>> started = positive(params)
        >>> print(started["input"]["kernel"].ravel(), started["input"]["bias"], started["output"]["bias"])
        [10. 10.] [0.5] [0. 0. 0.]
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
    """Replaces the student's input layer by the directions of the teacher's that separate the classes best.

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

    Returns:
        The student's parameters with a new input layer.

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
        InputError: a model is no GCNII, the student is wider than its teacher, or the map has another shape.
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
    return _in_types_of(params, computed)


def _in_types_of(params: Pytree, computed: Pytree) -> Pytree:
    """Casts parameters computed in float32 at least to the types of those that they replace."""
    return jax.tree.map(lambda value, like: narrow(value, like.dtype), computed, params)


def _conv_kernels(side: str, params: Pytree) -> Float[Array, "L D D"]:
    if set(params) != {"input", "blocks", "output"}:
        raise InputError(f"attention_map: the {side} has parameters {sorted(params)}, expected those of a GCNII")
    return params["blocks"]["conv"]["kernel"]


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


def _separating_directions(
    x: Float[Array, "n D"], labels: Int[Array, " n"], classes: int, count: int
) -> Float[Array, "D count"]:
    """Computes Fisher's linear discriminant directions of `x`, best first, each of unit within-class variance."""
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


def _linear_input(params: Pytree, side: str) -> tuple[str, Float[Array, "f d"]]:
    name = _input_layer(params)
    if params[name].keys() != {"kernel", "bias"} or params[name]["kernel"].ndim != 2:
        raise InputError(
            f"teacher_directions: the {side}'s input layer has {', '.join(sorted(params[name]))}, expected one kernel "
            "and one bias (gcnii, gcn, mlp); choose another start"
        )
    return name, params[name]["kernel"]


def _input_layer(params: Pytree) -> str:
    for name in INPUT_LAYERS:
        if name in params:
            return name
    raise InputError(f"the model has no input layer: parameters {sorted(params)}, expected one of {INPUT_LAYERS}")
