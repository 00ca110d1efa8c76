"""Options that are words of the command line: completion offers some of them, and takes others."""

from typing import Any

import tyro

__all__ = ["word"]


class _Suggested(tuple[str, ...]):
    """Words that completion offers; other words are accepted too, since the commands report them with a suggestion."""

    def __contains__(self, _: object) -> bool:
        return True


def word(metavar: str, suggested: tuple[str, ...]) -> Any:
    """Returns what the type of such an option is annotated with.

    Args:
        metavar: stands for the word in the help.
        suggested: what completion offers.
    """
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
        choices=_Suggested(suggested),
    )
