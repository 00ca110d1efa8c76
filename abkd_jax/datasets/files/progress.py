"""Shows progress: bars on a terminal, plain lines in the log elsewhere; and writes that log to standard error."""

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tqdm.auto import tqdm as live_bar
from tqdm.std import tqdm

__all__ = ["bar", "logging_to_stderr", "training", "was_read", "write_line"]

PAUSE = 5.0  # least seconds between two lines of one bar
LIBRARIES = ("absl", "jax", "orbax")  # whose warnings concern the developer, not the user

package = logging.getLogger("abkd_jax")
log = logging.getLogger(__name__)


def bar(**options: Any) -> tqdm:
    """Returns a progress bar where one can be drawn, else one that writes lines to the log.

    Nothing is shown where the level of the logger `abkd_jax` is above INFO.

    Args:
        options: those of `tqdm`: `total`, `desc`, `unit`, `unit_scale`, `disable`, ...

    Examples:
        >>> with bar(total=100, desc="download", unit="B") as shown:
        ...     _ = shown.update(100)
    """
    drawn = "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
    silent = options.pop("disable", False) or package.level > logging.INFO
    if drawn:
        return live_bar(**options, file=sys.stderr, dynamic_ncols=True, disable=silent)
    return _Lines(**options, disable=silent)


class _Lines(tqdm):
    """A progress bar for logs: a line at its start, one every few seconds, one at its end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._last_line = ""
        options |= {"file": io.StringIO(), "mininterval": PAUSE, "miniters": 1, "gui": False}
        form = "{n_fmt}{unit} of {total_fmt}{unit}" if options.get("unit_scale") else "{unit} {n_fmt} of {total_fmt}"
        super().__init__(*args, bar_format="{desc}: " + form + "{postfix}", **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        line = str(self)
        if line != self._last_line:
            log.info(line)
        self._last_line = line
        return True

    def close(self) -> None:
        if not self.disable:
            self.display()
        self.leave = False
        super().close()


def was_read(label: str, state: Any, history: dict[str, np.ndarray]) -> None:
    """Says of a finished training program that it was read.

    Args:
        label: name of what was trained.
        state: `FitState`.
        history: see `training.fit`.
    """
    best = sorted({int(epoch) for epoch in np.atleast_1d(state.best_epoch)})
    between = f"{best[0]} to {best[-1]}" if len(best) > 1 else f"{best[0]}"
    log.info("%s: read (%d epochs, best %s)", label, _last_epoch(history), between)


@contextlib.contextmanager
def training(
    label: str, epochs: int, resume: tuple[Any, dict[str, np.ndarray]] | None
) -> Iterator[Callable[[dict[str, np.ndarray]], None]]:
    """Shows the progress of a training program.

    Args:
        label: name of what is trained.
        epochs: most epochs that it may take.
        resume: `FitState` and history of an earlier run, or None.

    Yields:
        A function to be called with the history after every chunk of epochs.
    """
    done = 0 if resume is None else _last_epoch(resume[1])
    with bar(total=epochs, initial=done, desc=label, unit="epoch", postfix="compiling") as shown:

        def show(history: dict[str, np.ndarray]) -> None:
            row = np.flatnonzero(history["recorded"].any(axis=1))[-1]
            with np.errstate(all="ignore"):  # a seed that diverged has losses without a mean
                loss, value = (float(np.mean(history[name][row])) for name in ("loss", "val_accuracy"))
            shown.set_postfix(loss=f"{loss:.4f}", val=f"{value:.4f}", refresh=False)
            shown.update(_last_epoch(history) - shown.n)

        yield show
        shown.total = shown.n  # early stopping may have ended it


def _last_epoch(history: dict[str, np.ndarray]) -> int:
    """Returns the last epoch that any seed has trained: chunks of epochs go on after it."""
    return int(np.max(history["epoch"], where=history["recorded"], initial=0))


@contextlib.contextmanager
def logging_to_stderr(level: int) -> Iterator[None]:
    """Writes the log of this package, and Python's warnings, to standard error: one line per record, above any bar.

    Args:
        level: of the logger `abkd_jax`; warnings of the libraries below it are shown from DEBUG on.
    """
    handler, before = _Handler(), (package.level, package.propagate)
    others = {name: logging.getLogger(name).level for name in LIBRARIES}
    receivers = (package, logging.getLogger("py.warnings"))
    for logger in receivers:
        logger.addHandler(handler)
    package.setLevel(level)
    package.propagate = False  # some libraries add a handler to the root logger
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING if level <= logging.DEBUG else logging.ERROR)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for name, old in others.items():
            logging.getLogger(name).setLevel(old)
        package.setLevel(before[0])
        package.propagate = before[1]
        for logger in receivers:
            logger.removeHandler(handler)


class _Handler(logging.Handler):
    """Writes to the current standard error at every record, since tests and notebooks replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(record.getMessage().split())
        write_line(message if record.levelno < logging.WARNING else f"abkd_jax: {record.levelname.lower()}: {message}")


def write_line(line: str) -> None:
    """Writes a line to standard error, above any bar; a closed pipe is ignored."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            tqdm.write(line, file=sys.stderr)
            sys.stderr.flush()
