"""Epoch 0 of a history: what an evaluation gives before any training, where attention and collapse move most."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from abkd_jax.training.sharding import Fit

__all__ = ["from_epoch_0", "kept", "kept_beside"]

PREFIX = "untrained_"  # of the names in a checkpoint: the evaluations, which a loop fills, stay as they are


def kept_beside(untrained: Mapping[str, np.ndarray], fit: Fit) -> Fit:
    """Returns a fit whose history has the numbers of the untrained models too, so that they are saved with it.

    Args:
        untrained: by name, `[seeds, ...]`.
        fit: a loop of `training.loops` that is given everything but `resume` and `on_chunk`; it sees evaluations alone.
    """
    named = {f"{PREFIX}{name}": values for name, values in untrained.items()}

    def run(*, resume: Any = None, on_chunk: Any = None) -> tuple[Any, Any]:
        if resume is not None:
            resume = resume[0], {name: values for name, values in resume[1].items() if not name.startswith(PREFIX)}
        state, history = fit(resume=resume, on_chunk=lambda state, history, *of: on_chunk(state, history | named, *of))
        return state, history | named

    return run


def kept(history: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the numbers of the untrained models in a history.

    Examples:
        >>> kept({"loss": np.ones((2, 1)), "untrained_loss": np.full(1, 3.0)})
        {'loss': array([3.])}
    """
    return {name.removeprefix(PREFIX): values for name, values in history.items() if name.startswith(PREFIX)}


def from_epoch_0(history: Mapping[str, np.ndarray], untrained: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a history whose first row is of the untrained models, `[1 + evaluations, seeds, ...]`.

    Args:
        history: see `training.fit`.
        untrained: by name, `[seeds, ...]`.

    Examples:
        >>> ran = {"loss": np.ones((2, 1)), "epoch": np.array([[5], [10]]), "seconds": np.ones(())}
        >>> ran |= {"recorded": np.ones((2, 1), bool), "diverged": np.zeros((2, 1), bool)}
        >>> found = from_epoch_0(ran, {"loss": np.full(1, 3.0)})
        >>> found["epoch"][:, 0].tolist(), found["loss"][:, 0].tolist()
        ([0, 5, 10], [3.0, 1.0, 1.0])
    """
    epoch, recorded = history["epoch"][0], history["recorded"][0]
    first = {"epoch": np.zeros_like(epoch), "recorded": np.ones_like(recorded), "diverged": np.zeros_like(recorded)}
    rows = {name: np.concatenate([row[None], history[name]]) for name, row in (dict(untrained) | first).items()}
    return rows | {"seconds": history["seconds"]}
