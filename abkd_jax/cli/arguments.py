"""What the words of a command line say before they are parsed: the data set and the methods decide the options."""

from collections.abc import Sequence

__all__ = ["asks_for_help", "dataset_in", "help_first", "methods_in", "value_in"]

_HELP = {"-h", "--help"}


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Tells whether the arguments ask for a help."""
    return not _HELP.isdisjoint(arguments)


def help_first(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with that for a help behind the command, where no option takes it for a value.

    Examples:
        >>> help_first(["distill", "--methods", "krd", "-h"])
        ['distill', '--help', '--methods', 'krd']
    """
    words = [word for word in arguments if word not in _HELP]
    return [*words[:1], "--help", *words[1:]] if asks_for_help(arguments) else words


def dataset_in(arguments: list[str], default: str = "digits") -> str:
    """Returns the data set that the arguments name, the last one: it decides the defaults of all other options.

    Args:
        arguments: words of the command line.
        default: data set where none is named.

    Examples:
        >>> dataset_in(["distill", "--dataset=cora", "--seeds", "2"])
        'cora'
        >>> dataset_in(["teacher"])
        'digits'
    """
    return value_in(arguments, "--dataset") or default


def methods_in(arguments: Sequence[str]) -> tuple[str, ...]:
    """Returns the methods that the arguments name, the last time that they do; () where they name none.

    Examples:
        >>> methods_in(["distill", "--methods", "soft_label", "krd,lsp", "--seeds", "2"])
        ('soft_label', 'krd', 'lsp')
    """
    found: list[str] = []
    flag = ""
    for argument in arguments:
        value = argument
        if argument.startswith("-"):
            flag, _, value = argument.partition("=")
            found = [] if flag == "--methods" else found
        if flag == "--methods":
            found += value.split(",")
    return tuple(name for name in found if name)


def value_in(arguments: list[str], option: str) -> str | None:
    """Returns the last value that the arguments give an option; None without any."""
    found = None
    for position, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag.replace("_", "-") == option and (equals or position + 1 < len(arguments)):
            found = value if equals else arguments[position + 1]
    return found
