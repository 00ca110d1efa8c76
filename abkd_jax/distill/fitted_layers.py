"""Initialisation of a student of any architecture: its layers, fitted one after the other to axes of its teacher."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jraph
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from abkd_jax.distill.ops.moments import SILENT_SHARE, centre, covariance, principal_axes
from abkd_jax.distill.ops.numerics import narrow_like, product, sqrt_or_one, widen
from abkd_jax.graph import node_mask
from abkd_jax.types import GNNOutput, InputError, Mask, Pytree

__all__ = ["fitted"]

STEPS = 20  # of conjugate gradients: stopped early, they leave directions in which few nodes differ as they were drawn


def fitted(params: Pytree, student: Any, teacher: GNNOutput, graph: jraph.GraphsTuple, mask: Mask) -> Pytree:
    """Fits the layers of a student, from the first to the last, so that it starts as a linear model of its teacher.

    This project's own, for narrow students whatever their teacher is:

    1. The targets of every hidden layer are the leading principal axes of the teacher's logits over the nodes, as many
       as the layer has units, each of mean and standard deviation 1/2: then most activations of a rectifier are open,
       no unit starts dead, and every layer carries what the classes differ in.
    2. Layer by layer, each reading those fitted before it, the parameters are the least-squares solution of
       pre-activations = targets, by a few steps of conjugate gradients from the drawn values. The normal equations are
       applied by the layer itself and its gradient, so that one rule serves every layer that is linear in its
       parameters, on any graph. Units beyond the axes stay as they were drawn.
    3. The classifier is fitted to the logits likewise.
    4. Batch normalisation gets the mean and deviation that it takes away, so that in training it changes nothing yet.

    Args:
        params: student parameters as they were drawn.
        student: module with `activation`, `norm`, `dtype` and `stages()`; without the first three, each stage is linear
            in its parameters.
        teacher: what the teacher returned; hidden layers are not read.
        graph: the graph that both models read.
        mask: `[n]`, the nodes over which is fitted.

    Returns:
        Parameters of the student.

    Raises:
        InputError: the student has a normalisation other than that of the batch.

    Examples:
        >>> import numpy as np
        >>> from abkd_jax import graph, models
        >>> x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
        >>> g = graph.from_edges(np.arange(5), np.arange(5) + 1, 6, nodes=x, undirected=True)
        >>> model, teacher = models.GCN(4, 2, 3), GNNOutput(jnp.eye(6, 3), ())
        >>> params = fitted(model.init(jax.random.key(0), g)["params"], model, teacher, g, graph.node_mask(g))
        >>> model.apply({"params": params}, g).logits.argmax(axis=1)[:3].tolist()
        [0, 1, 2]
    """
    if student.norm not in ("none", "batch"):
        raise InputError(f"fitted: norm is {student.norm!r}, expected none or batch; choose another start")
    solved, logits, hiddens = widen(params), widen(teacher.logits), []

    def output(stage: Any, params: Pytree) -> Float[Array, "n _"]:
        read = [hiddens[number] for number in stage.reads]
        return widen(stage.module.apply(stage.variables({"params": params}), graph, read))

    *inner, last = student.clone(activation=lambda x: x, norm="none", dtype=None).stages()
    axes = _axes(logits, mask)
    for number, stage in enumerate(inner):
        layer = functools.partial(output, stage)
        solved = _least_squares(layer, solved, axes, mask)
        units = layer(solved)
        hiddens.append(student.activation(units))
        solved = _with_norm(solved, number, units, graph)
    return narrow_like(params, _least_squares(functools.partial(output, last), solved, logits, mask))


def _axes(logits: Float[Array, "n c"], mask: Mask) -> Float[Array, "n c"]:
    """Computes principal axes of mean and deviation 1/2, NaN where there is none."""
    mean, centred = centre(logits[None], mask)
    axes, variance = principal_axes(covariance(centred, mask), logits.shape[1])
    scores = 0.5 + 0.5 * product(centred[0], axes[0]) / sqrt_or_one(variance)
    return jnp.where(variance > SILENT_SHARE * jnp.sum(mean**2), scores, jnp.nan)


def _least_squares(
    layer: Callable[[Pytree], Array], params: Pytree, targets: Float[Array, "n c"], mask: Mask
) -> Pytree:
    """Fits a layer to the targets of its first columns over the nodes of a mask; NaN is no target."""
    zero = layer(jax.tree.map(jnp.zeros_like, params))
    out, pull_back = jax.vjp(layer, params)
    width = min(out.shape[1], targets.shape[1])
    wanted = jnp.zeros(out.shape, bool).at[:, :width].set(jnp.isfinite(targets[:, :width]) & mask[:, None])
    residual = jnp.zeros_like(out).at[:, :width].set(targets[:, :width]) - out

    def normal(step: Pytree) -> Pytree:
        return pull_back(jnp.where(wanted, layer(step) - zero, 0.0))[0]

    step, _ = cg(normal, pull_back(jnp.where(wanted, residual, 0.0))[0], maxiter=STEPS)
    return jax.tree.map(jnp.add, params, step)


def _with_norm(params: Pytree, number: int, units: Float[Array, "n d"], graph: jraph.GraphsTuple) -> Pytree:
    """Makes the batch normalisation after a stage, where there is one, return these units as they are."""
    seen = node_mask(graph)[:, None]
    found = {
        "scale": sqrt_or_one(jnp.var(units, axis=0, where=seen)),
        "bias": jnp.mean(units, axis=0, where=seen),
    }
    name, stacked = f"norm_{number}", params.get("blocks", {}).get("norm")
    if name in params:
        return {**params, name: found}
    if number == 0 or stacked is None:
        return params
    stacked = {leaf: values.at[number - 1].set(found[leaf]) for leaf, values in stacked.items()}
    return {**params, "blocks": {**params["blocks"], "norm": stacked}}
