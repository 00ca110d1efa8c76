"""Functions from outside the package, by name: `module:function`. Losses and models of one's own are such."""

import difflib
import hashlib
import importlib
import inspect
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from abkd_jax.types import InputError

__all__ = ["Kind", "first_line", "function_of", "is_outside", "name_of", "require_known", "source_digest"]


class Kind(NamedTuple):
    """What functions from outside are for, in messages.

    Attributes:
        noun: what the name stands for.
        example: a name.
        returns: what the function returns, with its article.
    """

    noun: str
    example: str
    returns: str


def is_outside(name: str) -> bool:
    """Tells whether a name is that of a function outside the package.

    Examples:
        >>> is_outside("my_losses:logit_mse"), is_outside("gcrd")
        (True, False)
    """
    return ":" in str(name)


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
        near = "".join(f"; did you mean {x}?" for x in difflib.get_close_matches(str(name), known, n=1))
        raise InputError(f"{noun} is {name!r}, expected one of {', '.join(known)}, or module:function{near}")


def function_of(name: str, kind: Kind) -> Callable[..., Any]:
    """Returns the function that a name stands for; its module is imported.

    Args:
        name: `module:function`: a module that Python finds on its path or in the current folder, and a function in it.
        kind: of the function.

    Raises:
        InputError: the module or the function is missing, or the import fails.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise InputError(f"{name!r} names no {kind.noun}, expected module:function, as in {kind.example}")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # a console script does not look there, `python -m` does
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name}: there is no module {error.name}, expected one in the current folder or on PYTHONPATH"
        ) from error
    except Exception as error:
        raise InputError(f"{name}: the import of {module_name} failed with {first_line(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        fault = "has no" if function is None else "has no function"
        raise InputError(f"{name}: {module_name} {fault} {attribute}, expected a function that returns {kind.returns}")
    return function


def name_of(function: Any, kind: Kind) -> str:
    """Returns the name that `function_of` finds a function by, in this program.

    Raises:
        InputError: it finds another one, or none: that of a lambda, or of a function inside another one.

    Examples:
        >>> name_of(name_of, Kind("loss", "my_losses:logit_mse", "an Objective"))
        'abkd_jax.outside:name_of'
    """
    module, name = (getattr(function, attribute, None) for attribute in ("__module__", "__qualname__"))
    if module is None or name is None or getattr(sys.modules.get(module), name, None) is not function:
        shown = name or f"an object of class {type(function).__name__}"
        raise InputError(
            f"{shown}: it cannot be found by name, expected a function at the top of a module, as {kind.example} names "
            f"one, that returns {kind.returns}"
        )
    return f"{module}:{name}"


def source_digest(name: str, kind: Kind) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of the source of a function, which tell one version from another.

    That is the file that defines it, or that of its module where Python knows no other. In a notebook it is the cell
    that defines the function, and those of all functions and classes that it names.

    Raises:
        InputError: see `function_of`; or there is no source.
    """
    function = function_of(name, kind)
    try:
        found = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # an object that can be called: a `functools.partial`, an instance
        found = None
    if found is None or not Path(found).is_file():
        cells = {} if found is None else dict(_cells(function, set()))
        if cells:
            return _digest(repr(sorted(cells.items())).encode())
        found = getattr(sys.modules[name.partition(":")[0]], "__file__", None)
    if found is None or not Path(found).is_file():
        raise InputError(f"{name}: its source is not known, expected that of a file or of a notebook")
    return _digest(Path(found).read_bytes())


def first_line(error: Exception) -> str:
    """Returns kind and message of an error in one line."""
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]


def _cells(thing: Any, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Yields names and texts of the cells that define a function or a class, and what it names of its module."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    for function in vars(thing).values() if isinstance(thing, type) else (thing,):
        code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
        text = "" if code is None else "".join(linecache.getlines(code.co_filename))
        if code is None or not text:  # methods that no one wrote, such as those of dataclasses
            continue
        yield code.co_filename, text
        for name in _names(code):
            value = getattr(sys.modules.get(thing.__module__), name, None)
            if getattr(value, "__module__", None) == thing.__module__:
                yield from _cells(value, seen)
            elif isinstance(value, int | float | str | tuple):
                yield name, repr(value)


def _names(code: CodeType) -> Iterator[str]:
    """Yields the names that a function reads, and the functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
