"""Losses from outside the package, by name: `module:function`."""

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from abkd_jax.types import InputError, Objective

__all__ = ["is_outside", "outside", "require_known", "source_file"]


def is_outside(name: str) -> bool:
    """Tells whether a name is that of a function outside the package.

    Examples:
        >>> is_outside("my_losses:logit_mse"), is_outside("gcrd")
        (True, False)
    """
    return ":" in name


def require_known(noun: str, name: str, known: tuple[str, ...]) -> None:
    """Requires one of the known names, or `module:function`; imports nothing.

    Args:
        noun: what is named, for the message.
        name: the name.
        known: all others.

    Raises:
        InputError: the name is neither.

    Examples:
        >>> require_known("loss", "gcdr", ("gcrd", "lsp"))
        Traceback (most recent call last):
        abkd_jax.types.InputError: loss is 'gcdr', expected one of gcrd, lsp, or module:function; did you mean gcrd?
    """
    if not is_outside(name) and name not in known:
        near = "".join(f"; did you mean {x}?" for x in difflib.get_close_matches(name, known, n=1))
        raise InputError(f"{noun} is {name!r}, expected one of {', '.join(known)}, or module:function{near}")


def outside(name: str) -> Objective:
    """Builds a loss that is defined outside the package.

    Args:
        name: `module:function`: a module that Python finds from the current folder, and a function in it that returns
            an `Objective` and needs no argument.

    Raises:
        InputError: the module or function is missing or fails, or returns something else.
    """
    function = _function(name)
    try:
        objective = function()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: the call without arguments failed with {_in_one_line(error)}") from error
    if not isinstance(objective, Objective):
        raise InputError(f"{name}: it returns {type(objective).__name__}, expected an abkd_jax.Objective")
    return objective


def source_file(name: str) -> Path:
    """Returns the file that defines the function of a name, or that of the module where Python knows no other.

    Raises:
        InputError: the module or function is missing, or has no file.
    """
    function = _function(name)
    try:
        found = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # an object that can be called: a `functools.partial`, an instance
        found = None
    found = found or getattr(sys.modules[name.partition(":")[0]], "__file__", None)
    if found is None:
        raise InputError(f"{name}: it has no source file, expected one, whose digest tells one version from another")
    return Path(found)


def _function(name: str) -> Callable[[], Any]:
    module_name, _, attribute = name.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise InputError(f"{name!r} names no loss, expected module:function, as in my_losses:logit_mse")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # a console script does not look there, `python -m` does
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name}: there is no module {error.name}, expected one in the current folder or on PYTHONPATH"
        ) from error
    except Exception as error:
        raise InputError(f"{name}: the import of {module_name} failed with {_in_one_line(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        kind = "has no" if function is None else "has no function"
        raise InputError(f"{name}: {module_name} {kind} {attribute}, expected a function that returns an Objective")
    return function


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
