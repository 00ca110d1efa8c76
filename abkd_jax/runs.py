"""One training program that shows its progress, survives a kill and resumes to the same bits."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from abkd_jax import checkpoint
from abkd_jax.config import OptimConfig
from abkd_jax.locks import locked
from abkd_jax.training import FitState
from abkd_jax.types import InputError

__all__ = ["resumable_fit"]

SAVE_EVERY = 10.0  # least seconds between two checkpoints of a run in progress
SAVE_SHARE = 0.05  # of the time at most, where a checkpoint takes long


def resumable_fit(
    directory: Path,
    config: dict[str, Any],
    fit: Callable[..., tuple[FitState, dict[str, np.ndarray]]],
    fresh: FitState,
    optim: OptimConfig,
    label: str,
) -> tuple[FitState, dict[str, np.ndarray]]:
    """A fit with a checkpoint folder and a progress bar.

    Args:
        directory: checkpoints of this program; a finished one is read, not trained again. It is locked meanwhile: a
            second process that trains the same program waits, and then reads the result.
        config: identifies the program; a checkpoint of another config is refused.
        fit: `training.fit` or `minibatch.fit_minibatches` with all its arguments but `resume` and `on_chunk`.
        fresh: structure, shapes and types of its state.
        optim: epochs.
        label: what the progress bar says.

    Returns:
        Final state and history; `history["seconds"]` holds the training time, all sittings together.
    """
    with locked(directory, f"trains {label}", wait=True):
        resume = checkpoint.restore(directory, fresh, config)
        try:
            checkpoint.prepare(directory)
        except InputError:
            if resume is None or np.asarray(resume[0].active).any():
                raise  # else all that is left to do is to read, which a shared, read-only folder allows
        return _fit(directory, config, fit, resume, optim, label)


def _fit(
    directory: Path,
    config: dict[str, Any],
    fit: Callable[..., tuple[FitState, dict[str, np.ndarray]]],
    resume: tuple[FitState, dict[str, np.ndarray]] | None,
    optim: OptimConfig,
    label: str,
) -> tuple[FitState, dict[str, np.ndarray]]:
    before = float(resume[1]["seconds"]) if resume else 0.0
    began = last_save = time.perf_counter()
    pause = SAVE_EVERY

    with tqdm(total=optim.epochs, desc=label, unit="epoch", file=sys.stderr, dynamic_ncols=True) as bar:

        def on_chunk(state: FitState, history: dict[str, np.ndarray], epochs: int) -> None:
            nonlocal last_save, pause
            now = time.perf_counter()
            history["seconds"] = np.asarray(before + now - began)
            shown = np.flatnonzero(history["recorded"].any(axis=1))[-1]
            bar.set_postfix(
                loss=f"{np.mean(history['loss'][shown]):.4f}", val=f"{np.mean(history['val_accuracy'][shown]):.4f}"
            )
            bar.update(epochs - bar.n)
            if now - last_save > pause or epochs >= optim.epochs or not np.asarray(state.active).any():
                checkpoint.save(directory, state, history, config, step=epochs)
                last_save = time.perf_counter()
                pause = max(SAVE_EVERY, (last_save - now) / SAVE_SHARE)

        if resume:
            bar.update(int(np.max(resume[1]["epoch"])))
        return fit(resume=resume, on_chunk=on_chunk)
