"""Minibatches that fit the models and the loss that read them: layers are trimmed where roots alone are read."""

from collections.abc import Iterator, Sequence
from typing import Any

from abkd_jax.configs.options import MethodConfig
from abkd_jax.models.external import Applied, Ensemble
from abkd_jax.models.own import Own
from abkd_jax.models.reduced_input import ReducedInput
from abkd_jax.models.stack import Stack
from abkd_jax.outside import is_outside
from abkd_jax.run.data import PreparedData

__all__ = ["trimmed"]


def trimmed(data: PreparedData, models: Sequence[Any], method: MethodConfig | None = None) -> PreparedData:
    """Returns the data with minibatches in which these models compute the rows alone that the roots depend on.

    They are the same minibatches, and rows of roots and their gradients are the same up to rounding, but for batch
    normalisation (`models.Stack`). Losses, models and functions from outside may read any row: their batches stay as
    they are. The losses here read rows of their mask, and edges of which the mask holds both ends
    (`distill.check_objective`).

    Args:
        data: the data.
        models: modules of student and teacher; those that are no `Stack` compute all rows, whatever the batches have.
        method: that of the student; None learns from labels.
    """
    parts = [part for model in models for part in _parts(model)]
    own = any(isinstance(part, Own | Applied) for part in parts)
    if data.trim is None or own or (method is not None and is_outside(method.auxiliary)):
        return data
    layers = [part.layers for part in parts if isinstance(part, Stack) and part.trims]
    return data._replace(sampler=data.trim(max(layers)), trim=None) if layers else data


def _parts(model: Any) -> Iterator[Any]:
    """Yields the models that a model consists of."""
    if isinstance(model, ReducedInput):
        yield from _parts(model.module)
    elif isinstance(model, Ensemble):
        for member in model.members:
            yield from _parts(member)
    else:
        yield model
