"""What both loops of training carry from one evaluation to the next, and the rule by which an evaluation changes it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from abkd_jax.training.divergence import is_healthy
from abkd_jax.training.step import TrainState
from abkd_jax.types import Pytree

__all__ = ["FitState", "Limits", "after_evaluation", "initial_fit_state", "initial_fit_states", "select"]


class Limits(NamedTuple):
    """What ends a fit: arguments of a compiled program, so that fits of other lengths need no other one.

    Attributes:
        epochs: trained at most.
        patience: epochs without a better evaluation until it stops; 0 trains to the end.
    """

    epochs: Int[Array, ""]
    patience: Int[Array, ""]


class FitState(NamedTuple):
    """A fit in progress: the training state and the best evaluation so far.

    Attributes:
        train: the training state.
        best_params: student parameters at the best evaluation.
        best_model_state: its mutable collections.
        best_score: that evaluation's monitored value, as a score (a loss with its sign turned).
        best_epoch: when that was.
        active: False once early stopping or the last epoch has been reached, or the training has diverged.
    """

    train: TrainState
    best_params: Pytree
    best_model_state: Pytree
    best_score: Float[Array, ""]
    best_epoch: Int[Array, ""]
    active: Bool[Array, ""]


def initial_fit_state(train: TrainState) -> FitState:
    """Returns the state of a fit of one seed before its first epoch."""
    return FitState(
        train=train,
        best_params=train.params["student"],
        best_model_state=train.model_state,
        best_score=jnp.asarray(-jnp.inf, jnp.float32),
        best_epoch=jnp.zeros((), jnp.int32),
        active=jnp.ones((), bool),
    )


initial_fit_states = jax.jit(jax.vmap(initial_fit_state))


def after_evaluation(
    state: FitState,
    train: TrainState,
    metrics: dict[str, Any],
    finite: Bool[Array, ""],
    epoch: Int[Array, ""],
    limits: Limits,
    monitor: str,
) -> tuple[FitState, Bool[Array, ""]]:
    """Applies the rule of both loops after an evaluation: the best one so far, early stopping, divergence.

    Args:
        state: of one seed before the steps that led here.
        train: the training state now.
        metrics: with `val_loss` and `val_accuracy`.
        finite: whether all training losses since the last evaluation are.
        epoch: epochs trained.
        limits: when the seed stops.
        monitor: the metric of the best evaluation; the loss where that score is NaN, as on labels without a score.

    Returns:
        The state now, and whether the seed is healthy: not diverged.
    """
    healthy = finite & jnp.isfinite(metrics["val_loss"]) & is_healthy(train)
    dtype = state.best_score.dtype  # whatever JAX computes in
    score = -metrics["val_loss"].astype(dtype)
    if monitor == "val_accuracy":
        own = metrics["val_accuracy"].astype(dtype)
        score = jnp.where(jnp.isnan(own), score, own)
    better = healthy & (score > state.best_score)
    best_epoch = jnp.where(better, epoch, state.best_epoch)
    patient = (limits.patience == 0) | (epoch - best_epoch < limits.patience)
    new = FitState(
        train=train,
        best_params=select(better, train.params["student"], state.best_params),
        best_model_state=select(better, train.model_state, state.best_model_state),
        best_score=jnp.where(better, score, state.best_score),
        best_epoch=best_epoch,
        active=(epoch < limits.epochs) & patient & healthy,
    )
    return new, healthy


def select(condition: Bool[Array, ""], new: Pytree, old: Pytree) -> Pytree:
    """Returns one of two trees of arrays, the new one where the condition holds."""
    return jax.tree.map(lambda a, b: jax.lax.select(condition, a, b), new, old)
