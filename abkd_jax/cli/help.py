"""What `--help` says of options: each text in one piece, equal options explained once, those of other methods left out.

Options of methods that are not trained are taken all the same: settings of a run tell it from others, so that a run
with `--gcrd.dim 8` is found again by `evaluate --methods soft_label --gcrd.dim 8`.
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
from collections.abc import Sequence
from typing import Any, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from abkd_jax.configs.methods import FURTHER
from abkd_jax.configs.options import MethodConfig, ModelConfig, OptimConfig

__all__ = ["describing"]


def describing(shown: Sequence[str]) -> ConstructorRegistry:
    """Returns the rule by which `tyro.cli` describes the options of the commands.

    Args:
        shown: methods whose options are listed, those of the last one with what they mean; () lists and explains all.
    """
    registry = ConstructorRegistry()
    registry.struct_rule(functools.partial(_described, tuple(shown), []))
    return registry


def _described(shown: tuple[str, ...], brief: list[Any], info: StructTypeInfo) -> StructConstructorSpec | None:
    """Returns the options of a dataclass; `brief` collects the groups below whose options are explained elsewhere."""
    if not dataclasses.is_dataclass(info.type) or not info.type.__module__.startswith("abkd_jax."):
        return None  # tyro has dataclasses of its own
    kinds, is_brief, found = get_type_hints(info.type, include_extras=True), _is_in(info.default, brief), []
    for option in dataclasses.fields(info.type):
        kind, default, elsewhere = kinds[option.name], _default(option, info.default), None
        if kind is MethodConfig and shown and option.name not in shown:
            kind = tyro.conf.Suppress[kind]
        elif is_brief or _explained(info.type, option.name, type(default), shown):
            elsewhere = _explained(info.type, option.name, type(default), shown)
            default = dataclasses.replace(default) if elsewhere else default  # a copy, known again by its identity
            brief.append(default)
        text = functools.partial(_text, info.type, option.name, default, elsewhere)
        found.append(StructFieldSpec(option.name, kind, default, text if elsewhere or not is_brief else ""))
    return StructConstructorSpec(info.type, tuple(found))


def _is_in(group: Any, groups: list[Any]) -> bool:
    return any(group is other for other in groups)


def _explained(owner: Any, name: str, kind: Any, shown: tuple[str, ...]) -> str | None:
    """Returns the group that explains the options of a group; None where it does so itself."""
    if not shown:
        return None
    if kind is MethodConfig and name != shown[-1]:
        return f"{shown[-1]}, below"
    if issubclass(owner, MethodConfig) and kind is OptimConfig:
        return "teacher.optim"
    return "teacher.model" if kind is ModelConfig and name == "student" else None


def _default(option: Any, given: Any) -> Any:
    if dataclasses.is_dataclass(given):
        return getattr(given, option.name)
    if option.default is not dataclasses.MISSING:
        return option.default
    return tyro.MISSING if option.default_factory is dataclasses.MISSING else option.default_factory()


def _text(owner: type, name: str, default: Any, elsewhere: str | None) -> str:
    text = _texts(owner).get(name) or FURTHER.get(name)
    if text is None:
        text = f"Soft labels and {default.auxiliary}."
    return text if elsewhere is None else f"{text} Options as of {elsewhere.replace('_', '-')}."


@functools.cache
def _texts(owner: type) -> dict[str, str]:
    """Returns the texts below the options of a dataclass and of those that it extends."""
    found = {}
    for part in (kind for kind in reversed(owner.__mro__) if "__dataclass_fields__" in vars(kind)):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        lines: Any = definition
        for option, text in itertools.pairwise(lines.body):
            if isinstance(option, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[ast.unparse(option.target)] = " ".join(ast.literal_eval(text.value).split())
    return found
