"""Checks of the arguments of the factories: one clear line, before anything is compiled."""

import math
from collections import Counter
from collections.abc import Sequence
from numbers import Integral

from abkd_jax.types import InputError

__all__ = ["require_choice", "require_count", "require_positive", "require_weights"]


def require_positive(factory: str, **values: float) -> None:
    """Every value must be a finite number above zero.

    Args:
        factory: name of the factory, for the message.
        **values: the arguments under their own names.

    Raises:
        InputError: an argument is zero, negative, infinite or NaN.
    """
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{factory}: {name} is {value}, expected a finite number above 0")


def require_count(factory: str, **values: int) -> None:
    """Every value must be a whole number of at least 1.

    Args:
        factory: name of the factory, for the message.
        **values: the arguments under their own names.

    Raises:
        InputError: an argument is below 1 or no integer.
    """
    for name, value in values.items():
        if not (isinstance(value, Integral) and value >= 1):
            raise InputError(f"{factory}: {name} is {value}, expected a whole number of at least 1")


def require_choice(factory: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    """An argument must be one of the named choices.

    Args:
        factory: name of the factory, for the message.
        name: name of the argument.
        value: what was given.
        choices: what is allowed.

    Raises:
        InputError: `value` is not one of `choices`.
    """
    if value not in choices:
        raise InputError(f"{factory}: {name} is {value!r}, expected one of {', '.join(choices)}")


def require_weights(factory: str, noun: str, weighted: Sequence[tuple[str, float]]) -> None:
    """There must be something to add up, under different names, with finite weights that are not negative.

    Args:
        factory: name of the factory, for the message.
        noun: what is added up, for the message.
        weighted: name and weight of each.

    Raises:
        InputError: nothing was given, two have one name, or a weight is negative, infinite or NaN.
    """
    if not weighted:
        raise InputError(f"{factory}: no {noun} was given, expected at least one")
    name, count = Counter(name for name, _ in weighted).most_common(1)[0]
    if count > 1:
        raise InputError(f"{factory}: {count} {noun}s are called {name!r}, expected different names")
    for name, weight in weighted:
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(f"{factory}: weight of the {noun} {name!r} is {weight}, expected a finite number >= 0")
