"""Divergence: when a training has left the finite numbers, and which seeds of a run have."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

__all__ = ["diverged_epochs", "is_healthy"]


def is_healthy(state: Any) -> Bool[Array, ""]:
    """Tells whether parameters, collections and optimizer of a `training.TrainState` hold finite numbers only.

    The optimizer counts too: a gradient of 1e30 makes its second moment infinite and its updates 0, so that the
    parameters stay as they are, finite and untrained.
    """
    leaves = jax.tree.leaves((state.params, state.model_state, state.opt_state))
    return jnp.stack([jnp.isfinite(x).all() for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]).all()


def diverged_epochs(history: dict[str, np.ndarray]) -> list[int | None]:
    """Returns for each seed of a history the epoch at which it was found to have diverged, or None.

    Args:
        history: from `training.fit`: `"epoch"` and `"diverged"`, `[evaluations, seeds]`.
    """
    flags = history.get("diverged")
    if flags is None:  # written before divergence was looked for
        return [None] * history["epoch"].shape[1]
    return [
        int(epochs[found][0]) if found.any() else None
        for epochs, found in zip(history["epoch"].T, flags.T, strict=True)
    ]
