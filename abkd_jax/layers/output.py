"""The end of every model: logits in float32, and real targets in their own units.

Targets may be dollars or a share of one; a model that starts near 0 learns outputs of about unit spread. So one that is
trained for real targets holds their mean and deviation among its variables, beside the parameters, and its outputs are
in the units of the targets from the first step on, wherever it runs.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from abkd_jax.types import Pytree

__all__ = ["UNITS", "Units", "finished", "precise", "units_of", "unscaled", "variables_of"]

UNITS = "units"  # collection of variables that no step changes
NAME = "targets"  # of its only entry


class Units(NamedTuple):
    """Units of real targets, column by column.

    Attributes:
        scale: `[c]` float32, above 0.
        shift: `[c]` float32.
    """

    scale: Any
    shift: Any


def finished(logits: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Ends a model: `logits * scale + shift` in float32 where its variables hold units, else the logits in float32.

    Inside a Flax module, whose variables are read.

    Args:
        logits: `[n, c]` of any precision; float64 stays.
    """
    return _Rescaled(name=NAME)(precise(logits))


class _Rescaled(nn.Module):
    @nn.compact
    def __call__(self, x: Float[Array, "n c"]) -> Float[Array, "n c"]:
        if not self.has_variable(UNITS, "scale"):
            return x
        scale, shift = (jnp.asarray(self.get_variable(UNITS, name), x.dtype) for name in Units._fields)
        return x * scale[None] + shift[None]


def precise(x: Array) -> Array:
    """Converts 16-bit logits to float32: losses take exponentials of them."""
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def unscaled(outputs: Float[Array, "n c"], units: Units) -> Float[Array, "n c"]:
    """Returns outputs in units of their own, of about unit spread: `(outputs - shift) / scale`."""
    scale, shift = (jnp.asarray(part, outputs.dtype)[None] for part in units)
    return (outputs - shift) / scale


def variables_of(units: Units | None) -> Pytree:
    """Returns the collection of a model's variables that makes its outputs have such units; `{}` for None.

    Examples:
        >>> variables_of(Units([2.0], [1.0]))
        {'units': {'targets': {'scale': [2.0], 'shift': [1.0]}}}
    """
    return {} if units is None else {UNITS: {NAME: units._asdict()}}


def units_of(variables: Pytree) -> Units | None:
    """Returns the units that a model's variables hold; None without.

    Examples:
        >>> units_of(variables_of(Units([2.0], [1.0])))
        Units(scale=[2.0], shift=[1.0])
    """
    return Units(**variables[UNITS][NAME]) if UNITS in variables else None
