"""Reading the outputs of teacher and student; objectives that compare their last hidden layers alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.ops.numerics import masked_rows
from abkd_jax.types import GNNOutput, InputError, Mask, Objective, PRNGKey, Pytree

__all__ = [
    "Inputs",
    "Layer",
    "freeze",
    "last_hidden",
    "last_layers",
    "masked_layer",
    "of_last_hidden",
    "require_equal_widths",
]

Layer = Float[Array | jax.ShapeDtypeStruct, "n _"]  # a hidden layer, or its shape


class Inputs(NamedTuple):
    """Graph, mask and key of a loss, as `Objective.targets` and `Objective.apply` take it.

    Attributes:
        graph: the graph that both models read.
        mask: `[n]`, the nodes that count.
        key: for losses that draw nodes; None where none does, and always for `targets`.
    """

    graph: GraphsTuple
    mask: Mask
    key: PRNGKey | None = None


def freeze(output: GNNOutput) -> GNNOutput:
    """Stops the gradient through everything that a model returned.

    The first line of the `targets` of every objective and pair map that reads the teacher itself; those made of others
    (`weighted_sum`, `abkd`) leave it to their parts.

    Args:
        output: what the frozen model returned.

    Returns:
        The same arrays, constant under differentiation.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from abkd_jax import GNNOutput
        >>> jax.grad(lambda x: freeze(GNNOutput(x, ())).logits.sum())(jnp.ones((1, 2))).tolist()
        [[0.0, 0.0]]
    """
    return jax.lax.stop_gradient(output)


def last_hidden(factory: str, side: str, output: GNNOutput) -> Any:
    """Returns the last hidden layer of a model, which its classifier reads: `[n, width]`, an array or its shape.

    Args:
        factory: name of the factory, for the message.
        side: `"teacher"` or `"student"`, for the message.
        output: what the model returned.

    Raises:
        InputError: the model returns no hidden layer.
    """
    if not output.hiddens:
        raise InputError(f"{factory}: the {side} returns no hidden layers (GNNOutput.hiddens), expected at least one")
    return output.hiddens[-1]


def last_layers(factory: str, teacher: GNNOutput, student: GNNOutput) -> tuple[Layer, Layer]:
    """Returns the last hidden layers of both models, `[n, d_t]` and `[n, d_s]`.

    Args:
        factory: name of the factory, for the message.
        teacher: what the teacher returned; its shapes suffice.
        student: likewise.

    Raises:
        InputError: a model returns no hidden layer, or the models were run on different numbers of nodes.
    """
    t, s = last_hidden(factory, "teacher", teacher), last_hidden(factory, "student", student)
    if t.shape[0] != s.shape[0]:
        raise InputError(
            f"{factory}: hidden layers of {t.shape[0]} nodes of the teacher and {s.shape[0]} of the student, "
            "expected the same nodes"
        )
    return t, s


def require_equal_widths(factory: str, t: Layer, s: Layer, advice: str) -> None:
    """Requires the last hidden layers of both models to have one width.

    Args:
        factory: name of the factory, for the message.
        t: the teacher's layer `[n, d_t]`, or its shape.
        s: the student's layer `[n, d_s]`, or its shape.
        advice: what to do otherwise, for the message.

    Raises:
        InputError: they differ in width.
    """
    if s.shape[1] != t.shape[1]:
        raise InputError(
            f"{factory}: the student's last hidden layer has width {s.shape[1]}, expected the teacher's {t.shape[1]}; "
            f"{advice}"
        )


def masked_layer(t: Float[Array, "n d"], inputs: Inputs) -> Float[Array, "n d"]:
    """Returns the teacher's layer as targets: float32 or wider, with zero rows outside the mask.

    Args:
        t: the teacher's last hidden layer `[n, d]`.
        inputs: of the loss.
    """
    return masked_rows(t, inputs.mask)


def of_last_hidden(
    name: str,
    init: Callable[[PRNGKey, Layer, Layer], Pytree],
    targets: Callable[[Float[Array, "n d_t"], Inputs], Pytree],
    loss: Callable[[Pytree, Pytree, Float[Array, "n d_s"], Inputs], tuple[Float[Array, ""], dict[str, Array]]],
) -> Objective:
    """Builds an objective that reads the last hidden layer of either model and nothing else of them.

    Args:
        name: of the factory, for messages.
        init: `(key, t, s) -> params` from the layers of teacher and student; their shapes suffice.
        targets: `(t, inputs) -> targets` from the teacher's frozen layer `[n, d_t]`.
        loss: `(params, targets, s, inputs) -> (loss, metrics)` with the student's layer `[n, d_s]`.

    Returns:
        An objective.

    Raises:
        InputError: at `init`, `targets` and `apply`, a model without hidden layers; at `init`, models run on different
            numbers of nodes.

    Examples:
        >>> import jax.numpy as jnp
        >>> from abkd_jax.graph.precision import masked_mean
        >>> def distance(params, t, s, inputs):
        ...     error = jnp.sum((masked_rows(s, inputs.mask) - t) ** 2, axis=1)
        ...     return masked_mean(error, inputs.mask), {}
        >>> objective = of_last_hidden("distance", lambda key, t, s: {}, masked_layer, distance)
    """

    def init_params(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        return init(key, *last_layers(name, teacher, student))

    def reduce(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> Pytree:
        return targets(last_hidden(name, "teacher", freeze(teacher)), Inputs(graph, mask))

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        return loss(params, targets, last_hidden(name, "student", student), Inputs(graph, mask, key))

    return Objective(init_params, reduce, apply)
