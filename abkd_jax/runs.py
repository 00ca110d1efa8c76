"""One training program that shows its progress, survives a kill and resumes to the same bits."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from abkd_jax import checkpoint, progress
from abkd_jax.config import OptimConfig
from abkd_jax.training import FitState

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
        directory: checkpoints of this program; a finished one is read, not trained again.
        config: identifies the program; a checkpoint of another config is refused.
        fit: `training.fit` or `minibatch.fit_minibatches` with all its arguments but `resume` and `on_chunk`.
        fresh: structure, shapes and types of its state.
        optim: epochs.
        label: what is trained, for the progress that is shown.

    Returns:
        Final state and history; `history["seconds"]` holds the training time, all sittings together.
    """
    checkpoint.prepare(directory)
    resume = checkpoint.restore(directory, fresh, config)
    before = float(resume[1]["seconds"]) if resume else 0.0
    began = last_save = time.perf_counter()
    pause = SAVE_EVERY

    with progress.training(label, optim.epochs, resume) as show:

        def on_chunk(state: FitState, history: dict[str, np.ndarray], epochs: int) -> None:
            nonlocal last_save, pause
            now = time.perf_counter()
            history["seconds"] = np.asarray(before + now - began)
            show(history)
            if now - last_save > pause or epochs >= optim.epochs or not np.asarray(state.active).any():
                checkpoint.save(directory, state, history, config, step=epochs)
                last_save = time.perf_counter()
                pause = max(SAVE_EVERY, (last_save - now) / SAVE_SHARE)

        return fit(resume=resume, on_chunk=on_chunk)
