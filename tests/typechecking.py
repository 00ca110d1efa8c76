"""How tests check types: by beartype, once for a function inside another, which Python makes anew at every call."""

from collections.abc import Callable

from beartype import beartype

_MADE: dict[tuple, Callable] = {}


def checked(function: Callable) -> Callable:
    """Returns the function, checked at every call.

    jaxtyping passes an empty function with the signature to check. It holds nothing of the function that it stands
    for, so that one made before for the same name, parameters and annotations does as well. Making it takes 2 ms and
    memory that is never freed. Annotations that name classes made inside a function are not compared.
    """
    annotations = repr(getattr(function, "__annotations__", None))
    if "<locals>" not in function.__qualname__ or "<locals>" in annotations:
        return beartype(function)
    code = function.__code__
    parameters = code.co_varnames, code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount, code.co_flags
    defaults = len(function.__defaults__ or ()), frozenset(function.__kwdefaults__ or ())
    key = function.__module__, function.__qualname__, code.co_code, parameters, defaults, annotations
    if key not in _MADE:
        _MADE[key] = beartype(function)
    return _MADE[key]
