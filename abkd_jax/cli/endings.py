"""How a command ends: bad input, an interrupt, a closed pipe and a lost process are one line and an exit status.

Bad options end with the message of tyro; options that other programs have are named there as they are here.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from abkd_jax.cli.arguments import methods_in
from abkd_jax.configs.methods import method_name, option_hint

__all__ = ["in_one_line", "named_here", "output"]

Result = TypeVar("Result")

BAD_OPTIONS = 2  # exit status
INTERRUPTED, PIPE_CLOSED = 130, 141  # exit statuses: 128 + SIGINT, 128 + SIGPIPE
ELSEWHERE = {"--epochs": "--max-epochs", "--lr": "--teacher.optim.learning-rate and --<method>.optim.learning-rate"}


@contextlib.contextmanager
def named_here(arguments: Sequence[str]) -> Iterator[None]:
    """Names the options that are meant, in a last line, where a command ends because of options of other programs."""
    try:
        yield
    except SystemExit as end:
        names = [word.partition("=")[0] for word in arguments if word.startswith("--")]
        if end.code == BAD_OPTIONS:
            for name in filter(ELSEWHERE.__contains__, names):
                print(f"{name}: did you mean {ELSEWHERE[name]}?", file=sys.stderr)
            named = [method_name(entry) for entry in methods_in(arguments)]
            for line in filter(None, (option_hint(name, named) for name in names)):
                print(line, file=sys.stderr)
        raise


def in_one_line(name: str, call: Callable[[], Result], *, resumes: bool = True) -> Result:
    """Returns what a call returns; bad input, errors of the system and an interrupt end the command in one line.

    So does a failed program of XLA where several processes train as one: what fails then is their connection.

    Args:
        name: of the program, as the line begins.
        call: its work.
        resumes: the same command goes on after an interrupt, which the line then says.
    """
    import jax

    from abkd_jax.datasets.files import progress
    from abkd_jax.types import InputError

    try:
        return call()
    except KeyboardInterrupt:
        progress.write_line(f"{name}: interrupted" + "; the same command goes on from here" * resumes)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        raise
    except (InputError, OSError) as error:
        others = _others()
        if others is not None:
            others.end(f"{name}: {error}")
        sys.exit(f"{name}: {error}")
    except jax.errors.JaxRuntimeError as error:
        others = _others()
        if others is None:
            raise
        reason = " ".join(str(error).split())[:120]
        others.end(f"{name}: {others.LOST} ({reason})")
        raise


def _others() -> Any:
    """Returns the module that has joined this process with others; None where it is alone, without importing it."""
    multihost = sys.modules.get("abkd_jax.training.multihost")
    return multihost if multihost is not None and multihost.are_several() else None


@contextlib.contextmanager
def output() -> Iterator[None]:
    """Ends without a traceback where standard output cannot be written, at the final flush too."""
    try:
        try:
            yield
        finally:
            _flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(PIPE_CLOSED)


def _flush() -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        sys.exit(f"abkd_jax: standard output cannot be written: {error.strerror}")


def _drop_output() -> None:
    """Redirects standard output to the null device, since Python flushes its buffer once more at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
