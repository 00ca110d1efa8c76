"""Models from outside: stored outputs, any pure function, and ensembles, used as the modules here are: by `apply`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jraph

from abkd_jax.types import GNNOutput, InputError, Pytree, TaskName

__all__ = ["Applied", "Ensemble", "Stored", "as_output", "combine", "joined"]


@dataclass(frozen=True)
class Stored:
    """Model of which only its outputs for one graph are known: they are its variables, `{"outputs": GNNOutput}`.

    Attributes:
        parameters: number of its parameters, where that is known.
    """

    parameters: int | None = None

    def apply(self, variables: Pytree, graph: jraph.GraphsTuple) -> GNNOutput:
        """Returns the outputs, whatever the graph."""
        return variables["outputs"]


@dataclass(frozen=True)
class Applied:
    """Model that is a pure function.

    Attributes:
        function: `(variables, graph) -> output`, in any of the forms that `as_output` takes.
    """

    function: Callable[[Pytree, jraph.GraphsTuple], Any]

    def apply(self, variables: Pytree, graph: jraph.GraphsTuple) -> GNNOutput:
        """Computes the output in its one form."""
        return as_output(self.function(variables, graph))


@dataclass(frozen=True)
class Ensemble:
    """Several models that predict together; see `combine`. Its variables are made by `joined`.

    Attributes:
        members: models with an `apply`.
        task: decides what their mean is.
    """

    members: tuple[Any, ...]
    task: TaskName

    def variables_of(self, variables: Pytree, member: int) -> Pytree:
        """Returns the variables of one member."""
        return {name: parts[member] for name, parts in variables.items()}

    def apply(self, variables: Pytree, graph: jraph.GraphsTuple) -> GNNOutput:
        """Computes the outputs of all members and their mean."""
        outputs = [model.apply(self.variables_of(variables, i), graph) for i, model in enumerate(self.members)]
        return combine(outputs, self.task)


def joined(members: Sequence[Pytree]) -> Pytree:
    """Returns the variables of an ensemble: of every collection a tuple, one entry per member.

    Examples:
        >>> joined([{"params": 1}, {"params": 2, "batch_stats": 3}])
        {'batch_stats': ({}, 3), 'params': (1, 2)}
    """
    names = sorted({name for variables in members for name in variables})
    return {name: tuple(variables.get(name, {}) for variables in members) for name in names}


def combine(outputs: Sequence[GNNOutput], task: TaskName) -> GNNOutput:
    """Combines the outputs of the members of an ensemble; one alone stays as it is.

    Logits become the logarithm of the mean of the members' probabilities (of several labels the logit of the mean of
    their sigmoids, of real targets the mean). Hidden layers stand side by side, those of the first member first.

    Args:
        outputs: of the members, for the same graph.
        task: of the data.

    Raises:
        InputError: logits of several shapes.

    Examples:
        >>> probabilities = jnp.array([[0.25, 0.75]]), jnp.array([[0.75, 0.25]])
        >>> out = combine([GNNOutput(jnp.log(p), ()) for p in probabilities], "classification")
        >>> jnp.exp(out.logits).round(3).tolist()
        [[0.5, 0.5]]
    """
    shapes = sorted({out.logits.shape for out in outputs})
    if len(shapes) != 1:
        raise InputError(f"ensemble: logits of shapes {', '.join(map(str, shapes)) or 'none'}, expected one shape")
    if len(outputs) == 1:
        return outputs[0]
    logits = jnp.stack([jnp.asarray(out.logits, jnp.float32) for out in outputs])
    if task == "regression":
        mean = jnp.mean(logits, axis=0)
    elif task == "multilabel":
        mean = _log_mean(jax.nn.log_sigmoid(logits)) - _log_mean(jax.nn.log_sigmoid(-logits))
    else:
        mean = _log_mean(jax.nn.log_softmax(logits, axis=2))
    return GNNOutput(mean, tuple(hidden for out in outputs for hidden in out.hiddens))


def as_output(value: Any) -> GNNOutput:
    """Converts what a model returns: a `GNNOutput`, logits alone, or `(logits, hiddens)`.

    Raises:
        InputError: it is none of the three.

    Examples:
        >>> as_output((jnp.ones((3, 2)), [jnp.ones((3, 4))])).hiddens[0].shape
        (3, 4)
    """
    if isinstance(value, GNNOutput):
        return value
    pair: Any = value if isinstance(value, tuple | list) and len(value) == 2 else (value, ())
    logits, hiddens = pair
    if (
        isinstance(hiddens, tuple | list)
        and getattr(logits, "ndim", None) == 2
        and all(getattr(h, "ndim", None) == 2 for h in hiddens)
    ):
        return GNNOutput(logits, tuple(hiddens))
    kind = f"an array of shape {logits.shape}" if hasattr(logits, "shape") else type(logits).__name__
    raise InputError(f"teacher: its output is {kind}, expected logits [n, c], (logits, hidden layers) or a GNNOutput")


def _log_mean(logs: jax.Array) -> jax.Array:
    """Computes `log(mean(exp(logs)))` over the first axis without underflow."""
    return jax.nn.logsumexp(logs, axis=0) - jnp.log(jnp.float32(logs.shape[0]))
