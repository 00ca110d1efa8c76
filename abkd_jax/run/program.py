"""The training program of a teacher or of students."""

import functools
from collections.abc import Callable, Iterable

import flax.linen as nn
import numpy as np
from jaxtyping import Array

from abkd_jax.configs.options import OptimConfig
from abkd_jax.run.data import Problem, make_scores
from abkd_jax.sampling import prefetch
from abkd_jax.training.loops import FitState, fit_minibatches
from abkd_jax.training.step import Step, TrainState
from abkd_jax.types import Batch, InputError

__all__ = ["on_minibatches", "steps_an_epoch"]


def on_minibatches(
    problem: Problem, model: nn.Module, step: Step, state: TrainState, config: OptimConfig, seed: int
) -> Callable[..., tuple[FitState, dict[str, np.ndarray]]]:
    """`fit_minibatches` on the batches of a problem, made ahead of the device, without `resume` and `on_chunk`.

    Args:
        problem: one with minibatches.
        model: what is trained.
        step: one step.
        state: where to start.
        config: epochs and evaluations.
        seed: of the batches, together with the epoch.
    """
    scores, epochs = make_scores(problem, model), problem.epoch
    if epochs is None:
        raise InputError(f"{problem.dataset.name}: a step sees the whole graph, expected minibatches")

    def evaluate(state: TrainState) -> dict[str, Array]:
        found = scores({"params": state.params["student"], **state.model_state})
        return {name: value for name, value in found.items() if name.startswith("val_")}

    def batches(epoch: int) -> Iterable[Batch]:
        return prefetch(epochs(np.random.default_rng([seed, epoch])))

    return functools.partial(fit_minibatches, step, evaluate, state, batches, config)


def steps_an_epoch(problem: Problem, config: OptimConfig) -> int:
    """How many steps an epoch has, as a schedule counts them; 1 where the rate is constant."""
    if problem.epoch is None or config.schedule == "constant":
        return 1
    return problem.epoch.steps or sum(1 for _ in problem.epoch(np.random.default_rng(0)))
