"""A fit with checkpoints: it shows its progress and resumes after an interruption to the same bits."""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from abkd_jax.configs.options import OptimConfig
from abkd_jax.datasets.files import progress
from abkd_jax.datasets.files.atomic import read_json, write_atomic
from abkd_jax.datasets.files.locks import locked
from abkd_jax.training import checkpoint, multihost, trees
from abkd_jax.training.fit_state import FitState
from abkd_jax.training.provenance import provenance, same_code
from abkd_jax.types import InputError

__all__ = ["Origin", "fit_with_checkpoints"]

SAVE_EVERY = 10.0  # least seconds between two checkpoints of a run in progress
SAVE_SHARE = 0.05  # of the time at most, where a checkpoint takes long
MADE_BY = "made_by.json"  # beside the checkpoints: one provenance per process that trained
TEACHERS = "teachers.json"  # likewise: digests of the teachers that it began with, by seed

Teachers = Callable[[], dict[str, str]] | None

_logger = logging.getLogger(__name__)


class Origin(NamedTuple):
    """Origin of a trained model.

    Attributes:
        trained: whether this process trained it, or the last part of it; False where a finished one was read.
        made_by: provenance of the processes that trained it, in their order; empty where nothing was written down.
        teachers: digests of the weights of its teachers, by seed; empty where it has none, or nothing was written down.
    """

    trained: bool
    made_by: tuple[dict[str, Any], ...]
    teachers: Mapping[str, str] = {}


def fit_with_checkpoints(
    directory: Path,
    config: dict[str, Any],
    fit: Callable[..., tuple[FitState, dict[str, np.ndarray]]],
    template: FitState,
    optim: OptimConfig,
    label: str,
    *,
    may_train: bool = True,
    teachers: Teachers = None,
) -> tuple[FitState, dict[str, np.ndarray], Origin]:
    """Runs a fit with a checkpoint folder and a progress bar.

    Args:
        directory: checkpoints of this program; a finished one is read, not trained again. It is locked meanwhile: a
            second process that trains the same program waits, and then reads the result.
        config: identifies the program; a checkpoint of another config is refused.
        fit: `fit` or `fit_minibatches` of `training.loops` with all its arguments but `resume` and `on_chunk`; it is
            not called where the program is finished.
        template: structure, shapes and types of its state.
        optim: epochs.
        label: what is trained, for the progress that is shown.
        may_train: False refuses a program that is not finished instead of training it.
        teachers: returns the digests of the weights of what it learns from, by seed. Identities do not hold them: they
            are written down beside the checkpoints, a program in progress that began with others is refused, and one
            that is finished is read with a warning.

    Returns:
        Final state, history and origin; `history["seconds"]` holds the training time over all processes.

    Raises:
        InputError: the folder cannot be written, its checkpoint is damaged or of another config, or `may_train` is
            False and the program is not finished.
    """
    if not may_train:
        found = checkpoint.restore(directory, template, config)
        _compare_teachers(directory, found, teachers, label)
        finished = _finished(directory, found, label)
        if finished is None:
            raise InputError(f"{label}: {directory} holds no finished checkpoint; `distill` makes one")
        return finished
    alone = locked(directory, f"trains {label}", wait=True) if multihost.is_first() else contextlib.nullcontext()
    with alone:
        resume = _from_first(lambda: _restored(directory, template, config, teachers, label), template)
        return _finished(directory, resume, label) or _fit(directory, config, fit, resume, optim, label, teachers)


def _restored(
    directory: Path, template: FitState, config: dict[str, Any], teachers: Teachers, label: str
) -> tuple[FitState, dict[str, np.ndarray]] | None:
    """Reads the checkpoint of a program that may train on, and checks that a new one can be written."""
    resume = checkpoint.restore(directory, template, config)
    _compare_teachers(directory, resume, teachers, label)
    try:
        checkpoint.prepare(directory)
    except InputError:
        if resume is None or not _is_finished(resume[0]):
            raise  # else all that is left to do is to read, which a shared, read-only folder allows
    return resume


def _is_finished(state: FitState) -> bool:
    return not np.asarray(state.active).any()


def _compare_teachers(
    directory: Path, found: tuple[FitState, dict[str, np.ndarray]] | None, teachers: Teachers, label: str
) -> None:
    """Compares the teachers that a program began with, where they are written down, with those of now."""
    known = _teachers(directory)
    if found is None or teachers is None or not known or known == teachers():
        return
    fault = f"{label}: the checkpoint in {directory} is of other teachers than those of now"
    if not _is_finished(found[0]):
        raise InputError(f"{fault}; remove it, or give --overwrite, to train anew")
    _logger.warning("%s; it is read as it is", fault)


def _finished(
    directory: Path, found: tuple[FitState, dict[str, np.ndarray]] | None, label: str
) -> tuple[FitState, dict[str, np.ndarray], Origin] | None:
    """Returns what a finished program has trained, or None where there is something left to train."""
    if found is None or not _is_finished(found[0]):
        return None
    progress.was_read(label, *found)
    return *found, Origin(False, _made_by(directory), _teachers(directory))


def _from_first(
    read: Callable[[], tuple[FitState, dict[str, np.ndarray]] | None], template: FitState
) -> tuple[FitState, dict[str, np.ndarray]] | None:
    """Returns in every process what process 0 has read: the others may have no such folder."""
    if not multihost.are_several():
        return read()
    found = read() if multihost.is_first() else None
    history = multihost.from_first(lambda: found and found[1])
    if history is None:
        return None
    own = trees.raw(template)
    state = jax.device_get(trees.raw(found[0])) if found else jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), own)
    return trees.with_keys(jax.device_put(multihost.arrays_from_first(state)), template), history


def _fit(
    directory: Path,
    config: dict[str, Any],
    fit: Callable[..., tuple[FitState, dict[str, np.ndarray]]],
    resume: tuple[FitState, dict[str, np.ndarray]] | None,
    optim: OptimConfig,
    label: str,
    teachers: Teachers,
) -> tuple[FitState, dict[str, np.ndarray], Origin]:
    made_by: tuple[dict[str, Any], ...] = _made_by(directory) if resume else ()
    seconds = resume[1]["seconds"] if resume else np.zeros(())
    before = float(seconds)
    trained = False
    began = last_save = time.perf_counter()
    pause = SAVE_EVERY

    with progress.training(label, optim.epochs, resume) as show:

        def on_chunk(state: FitState, history: dict[str, np.ndarray], epochs: int) -> None:
            nonlocal last_save, pause, trained, made_by, seconds
            if not multihost.is_first():
                return
            if not trained:
                if not resume and teachers is not None:
                    _write(directory / TEACHERS, teachers())
                trained, made_by = True, _sign(directory, made_by)
            now = time.perf_counter()
            history["seconds"] = seconds = np.asarray(before + now - began)
            show(history)
            if now - last_save > pause or epochs >= optim.epochs or not np.asarray(state.active).any():
                checkpoint.save(directory, state, history, config, step=epochs)
                last_save = time.perf_counter()
                pause = max(SAVE_EVERY, (last_save - now) / SAVE_SHARE)

        state, history = fit(resume=resume, on_chunk=on_chunk)
    return state, history | {"seconds": seconds}, Origin(trained, made_by, _teachers(directory))


def _made_by(directory: Path) -> tuple[dict[str, Any], ...]:
    """Reads the provenances beside the checkpoints; none where the file is damaged, as no number depends on it."""
    found = _read(directory / MADE_BY)
    whole = isinstance(found, list) and all(isinstance(entry, dict) and "commit" in entry for entry in found)
    return tuple(found) if whole else ()


def _sign(directory: Path, earlier: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Adds the provenance of this process to those of earlier ones, on disk too."""
    here = provenance()
    made_by = earlier if earlier and same_code(earlier[-1], here) else (*earlier, here)
    _write(directory / MADE_BY, made_by)
    return made_by


def _teachers(directory: Path) -> dict[str, str]:
    """Reads the digests beside the checkpoints; none where older versions wrote none, or the file is damaged."""
    found = _read(directory / TEACHERS)
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> Any:
    """Reads a file beside the checkpoints, None where it is missing or damaged."""
    try:
        return read_json(path) if path.exists() else None
    except InputError:
        return None


def _write(path: Path, content: Any) -> None:
    try:
        write_atomic(path, json.dumps(content, indent=1))
    except OSError as error:
        raise InputError(f"checkpoint folder {path.parent} cannot be written: {error.strerror}") from error
