"""Functions from outside the package, by name: `module:function`. Losses and models of one's own are such."""

import dataclasses
import difflib
import dis
import functools
import hashlib
import importlib
import inspect
import linecache
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from abkd_jax.types import InputError

__all__ = [
    "Kind",
    "first_line",
    "function_of",
    "is_outside",
    "name_of",
    "require_known",
    "require_unchanged",
    "source_digest",
]

# By file: its module, as it was imported (another specification after a reload), and the digest that it then had.
_imported: dict[str, tuple[Any, str]] = {}

# Where files lie that are no user's: this package, what is installed, and what Python itself runs.
_LIBRARIES = (str(Path(__file__).parent), *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), "<frozen")


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
        owner, where = module_name, ""
        if module_name == "__main__":
            owner, where = "the program that runs, __main__,", ", as the script that named it had"
        raise InputError(f"{name}: {owner} {fault} {attribute}, expected a function that returns {kind.returns}{where}")
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

    That is the file that defines it, or that of its module where Python knows no other: as it was when this was first
    asked since its import, because that is what runs. In a notebook it is the cell that defines the function, and those
    of all functions, classes and values that it names.

    Raises:
        InputError: see `function_of`; or there is no source.
    """
    module, found = _source(name, kind)
    if isinstance(found, str):
        return _digest(found.encode())
    spec = getattr(module, "__spec__", None)
    if spec is None:  # a script: nothing tells whether it has run again
        return _digest(found.read_bytes())
    if str(found) not in _imported or _imported[str(found)][0] is not spec:
        _imported[str(found)] = spec, _digest(found.read_bytes())
    return _imported[str(found)][1]


def require_unchanged(name: str, kind: Kind) -> None:
    """Requires the file of a function to be as it was imported: an edited one is not what would run.

    Raises:
        InputError: see `source_digest`; or the file has changed.
    """
    known, (module, found) = source_digest(name, kind), _source(name, kind)
    if isinstance(found, Path) and known != _digest(found.read_bytes()):
        raise InputError(
            f"{name}: {found.name} has changed since it was imported, expected a new process, or "
            f"importlib.reload({module.__name__})"
        )


def _source(name: str, kind: Kind) -> tuple[ModuleType, Path | str]:
    """Returns the module of a function and the file that defines it, or the text of its cells in a notebook."""
    function, module = function_of(name, kind), sys.modules[name.partition(":")[0]]
    try:
        found = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # an object that can be called: a `functools.partial`, an instance
        found = None
    if found is not None:
        module = sys.modules.get(function.__module__, module)
        text = "" if Path(found).is_file() else _text(function, function.__module__, set())
        if text:
            return module, text
    if found is None or not Path(found).is_file():
        found = getattr(module, "__file__", None)
    if found is None or not Path(found).is_file():
        raise InputError(f"{name}: its source is not known, expected that of a file or of a notebook")
    return module, Path(found)


def first_line(error: Exception) -> str:
    """Returns kind and message of an error in one line, and the last file and line of a user's code on its way."""
    text = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
    if isinstance(error, SyntaxError):  # which names the line itself
        return text
    frames = traceback.extract_tb(error.__traceback__)
    places = [(f.filename, f.lineno) for f in frames if not f.filename.startswith(_LIBRARIES)]
    return f"{text} ({Path(places[-1][0]).name}, line {places[-1][1]})" if places else text


def _text(value: Any, home: str, seen: set[int]) -> str:
    """Returns what makes a value: the cells of the module `home` that define it, and the same of all that these name.

    What other modules define is its name. `seen` are the functions, classes and objects that are in the text already.
    """

    def texts(*parts: Any) -> list[str]:
        return [_text(part, home, seen) for part in parts]

    if value is None or isinstance(value, int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, dict):
        return repr(texts(*value.items()))
    if isinstance(value, list | tuple):
        return repr(texts(*value))
    if isinstance(value, set | frozenset):
        return repr(sorted(texts(*value)))
    if hasattr(value, "tobytes") and hasattr(value, "dtype"):
        return f"{value.dtype}{value.shape} {_digest(value.tobytes())}"
    if id(value) in seen:
        return ""
    seen.add(id(value))
    if isinstance(value, functools.partial | functools.partialmethod):
        return repr(texts(value.func, value.args, value.keywords))
    if inspect.isfunction(getter := getattr(value, "fget", None)):  # of a property, which Flax wraps
        return repr(texts(getter))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return repr(texts(type(value), *(getattr(value, field.name, None) for field in dataclasses.fields(value))))
    if getattr(value, "__module__", None) != home:
        own = getattr(value, "__qualname__", getattr(value, "__name__", ""))
        return f"{getattr(value, '__module__', '')}.{own}"
    if isinstance(value, type):
        members = (part for name, part in vars(value).items() if callable(part) or not name.startswith("__"))
        return repr(texts(*value.__bases__, *members))
    function = inspect.unwrap(value)
    if not inspect.isfunction(function):
        return repr(texts(type(value), getattr(value, "__dict__", None)))
    cell = "".join(linecache.getlines(function.__code__.co_filename))
    if not cell:  # a method that no one wrote, such as those of dataclasses
        return ""
    named = (function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__)
    closed = (part.cell_contents for part in function.__closure__ or ())
    return repr([cell, *texts(function.__defaults__, function.__kwdefaults__, *closed, *named)])


def _names(code: CodeType) -> Iterator[str]:
    """Yields the names of the module that a function reads, and the functions inside it."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            yield step.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
