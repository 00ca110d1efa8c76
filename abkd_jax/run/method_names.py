"""Methods of a run by name: which it has, which it is asked for, and one line for what is none."""

import dataclasses
import difflib
from typing import TypeVar

from abkd_jax.configs.methods import METHODS, method_name, methods_of, option_hint, with_named
from abkd_jax.configs.options import DistillConfig
from abkd_jax.types import InputError

__all__ = ["check_methods", "with_asked"]

Distill = TypeVar("Distill", bound=DistillConfig)


def with_asked(config: Distill) -> Distill:
    """Returns a run with a field for every method that it asks for, which are then named as their fields.

    Examples:
        >>> with_asked(DistillConfig(methods=("abkd,krd", "my_losses:logit_mse"))).methods
        ('abkd', 'krd', 'logit_mse')
    """
    entries = [name for entry in config.methods for name in entry.split(",") if name]
    config = with_named(config, entries)
    losses = {name: getattr(config, name).auxiliary for name in methods_of(config)}
    names = tuple(method_name(entry) if losses.get(method_name(entry)) == entry else entry for entry in entries)
    return config if names == config.methods else dataclasses.replace(config, methods=names)


def check_methods(config: DistillConfig) -> None:
    """Checks the names of the methods that a run asks for, after `with_asked`.

    Raises:
        InputError: there is none, one is named twice, or one is no method.
    """
    if len(set(config.methods)) != len(config.methods) or not config.methods:
        raise InputError(f"methods are {', '.join(config.methods) or 'none'}: expected at least one, each named once")
    known = tuple(dict.fromkeys([*methods_of(config), *METHODS]))
    for name in config.methods:
        if name.startswith("-"):
            raise InputError(option_hint(name, config.methods) or f"{name} is no option here, see --help")
        own = method_name(name)
        if own != name:
            if not own.isidentifier():
                raise InputError(f"method {name!r} names no loss, expected module:function, as in my_losses:logit_mse")
            itself = f", or {own} itself" if own in known else ""
            raise InputError(f"method {name} would be called {own}, which is taken; expected another function{itself}")
        if name not in methods_of(config):
            near = "".join(f"; did you mean {n}?" for n in difflib.get_close_matches(name.lower(), known, n=1))
            raise InputError(f"method {name} is unknown, expected some of {', '.join(known)}, or module:function{near}")
