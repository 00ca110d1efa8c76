"""Losses from outside the package, by name: `module:function`."""

from abkd_jax.outside import Kind, first_line, function_of
from abkd_jax.types import InputError, Objective

__all__ = ["LOSS", "outside"]

LOSS = Kind("loss", "my_losses:logit_mse", "an Objective")


def outside(name: str) -> Objective:
    """Builds a loss that is defined outside the package.

    Args:
        name: `module:function`: a module that Python finds from the current folder, and a function in it that returns
            an `Objective` and needs no argument.

    Raises:
        InputError: the module or function is missing or fails, or returns something else.
    """
    function = function_of(name, LOSS)
    try:
        objective = function()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: the call without arguments failed with {first_line(error)}") from error
    if not isinstance(objective, Objective):
        raise InputError(f"{name}: it returns {type(objective).__name__}, expected an abkd_jax.Objective")
    return objective
