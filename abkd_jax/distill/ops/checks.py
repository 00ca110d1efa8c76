"""Checks of the arguments of the factories: one line of `InputError`, before anything is compiled."""

import math
from collections import Counter
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from jax.core import Tracer
from jaxtyping import Bool

from abkd_jax.types import HostOrDevice, InputError, NodeMasks, Scalar

__all__ = [
    "constant",
    "is_used",
    "require_choice",
    "require_count",
    "require_in_range",
    "require_not_negative",
    "require_optional_count",
    "require_positive",
    "require_rows",
    "require_temperature",
    "require_weights",
]

# Weights and scales become float32 constants: what is larger would be infinite there, what is smaller zero.
_LARGEST, _SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)

# Logits over a temperature below the lower end are one-hot and overflow in float32; above the upper end they are
# uniform up to rounding, and the factor T^2 turns the rounding into the loss.
_TEMPERATURES = 1e-3, 1e3


def constant(value: Any) -> Any:
    """Returns a weight or temperature as a Python float, or as it is where it is traced."""
    return value if isinstance(value, Tracer) else float(value)


def is_used(weight: Any) -> bool:
    """Tells whether a term of this weight is computed: a traced weight may be anything, so its term always is."""
    return isinstance(weight, Tracer) or bool(weight)


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values that can be checked: those of students side by side may be traced, one for each."""
    return {name: value for name, value in values.items() if not isinstance(value, Tracer)}


def require_positive(factory: str, **values: Scalar) -> None:
    """Requires finite numbers above zero.

    Args:
        factory: name of the factory, for the message.
        **values: the arguments under their own names.

    Raises:
        InputError: an argument is no number, zero, negative, infinite (in float32 too) or NaN.
    """
    for name, value in _known(values).items():
        if not _SMALLEST <= _number(value) <= _LARGEST:
            raise InputError(f"{factory}: {name} is {value}, expected a finite number above 0")


def require_not_negative(factory: str, **values: Scalar) -> None:
    """Requires finite numbers of at least zero.

    Args:
        factory: name of the factory, for the message.
        **values: the arguments under their own names, or the words that describe them.

    Raises:
        InputError: an argument is no number, negative, infinite (in float32 too) or NaN.
    """
    for name, value in _known(values).items():
        if not 0.0 <= _number(value) <= _LARGEST:
            raise InputError(f"{factory}: {name} is {value}, expected a finite number >= 0")


def require_in_range(factory: str, lowest: float, highest: float, **values: Scalar) -> None:
    """Requires numbers above zero between two bounds.

    Args:
        factory: name of the factory, for the message.
        lowest: least value allowed.
        highest: largest value allowed.
        **values: the arguments under their own names.

    Raises:
        InputError: an argument is no number, not above zero, or outside the bounds.
    """
    require_positive(factory, **values)
    for name, value in _known(values).items():
        if not lowest <= _number(value) <= highest:
            raise InputError(f"{factory}: {name} is {value}, expected {lowest:g} to {highest:g}")


def require_temperature(factory: str, **values: Scalar) -> None:
    """Requires temperatures of a softmax, 1e-3 to 1e3.

    Args:
        factory: name of the factory, for the message.
        **values: the arguments under their own names.

    Raises:
        InputError: an argument is no number in this range.
    """
    require_in_range(factory, *_TEMPERATURES, **values)


def require_count(factory: str, **values: int) -> None:
    """Requires whole numbers of at least 1.

    Args:
        factory: name of the factory, for the message.
        **values: the arguments under their own names.

    Raises:
        InputError: an argument is below 1 or no integer.

    Examples:
        >>> require_count("gsp", dim=0)
        Traceback (most recent call last):
        abkd_jax.types.InputError: gsp: dim is 0, expected a whole number of at least 1
    """
    for name, value in values.items():
        if isinstance(value, bool) or not (isinstance(value, Integral) and value >= 1):
            raise InputError(f"{factory}: {name} is {value}, expected a whole number of at least 1")


def require_optional_count(factory: str, **values: int | None) -> None:
    """Requires whole numbers of at least 1 where the arguments are not None.

    Args:
        factory: name of the factory, for the message.
        **values: the arguments under their own names; None chooses a default.

    Raises:
        InputError: an argument is below 1, or neither an integer nor None.
    """
    require_count(factory, **{name: value for name, value in values.items() if value is not None})


def require_rows(noun: str, rows: int, mask: Bool[HostOrDevice, " n"]) -> None:
    """Requires a boolean mask with one entry per row of an array; reads shapes alone, so it works in `jit`.

    Args:
        noun: what the array is, for the message.
        rows: how many rows it has.
        mask: `[n]`.

    Raises:
        InputError: the mask is not of this type, or has another number of entries.
    """
    if isinstance(mask, NodeMasks):
        raise InputError(
            "the mask is a NodeMasks, expected one boolean for each node; weighted_sum(Term(...)) takes it"
        )
    if mask.ndim != 1 or mask.dtype != bool:
        raise InputError(f"a mask is {mask.dtype} of shape {mask.shape}, expected one boolean for each node")
    if rows != mask.shape[0]:
        raise InputError(
            f"{noun}: {rows} rows with a mask of {mask.shape[0]} entries, expected as many; teacher, student and mask "
            "must be of the same nodes"
        )


def require_choice(factory: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    """Requires one of the named choices.

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


def require_weights(factory: str, noun: str, weighted: Sequence[tuple[str, Scalar]]) -> None:
    """Requires at least one summand, under different names, with finite weights that are not negative.

    Args:
        factory: name of the factory, for the message.
        noun: what is added up, for the message.
        weighted: name and weight of each.

    Raises:
        InputError: nothing was given, two have one name, or a weight is no number, negative, infinite or NaN.
    """
    if not weighted:
        raise InputError(f"{factory}: no {noun} was given, expected at least one")
    name, count = Counter(name for name, _ in weighted).most_common(1)[0]
    if count > 1:
        raise InputError(f"{factory}: {count} {noun}s are called {name!r}, expected different names")
    for name, weight in weighted:
        require_not_negative(factory, **{f"weight of the {noun} {name!r}": weight})


def _number(value: Any) -> float:
    """Returns the value as a float; NaN for text, booleans and whatever else is no number."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
