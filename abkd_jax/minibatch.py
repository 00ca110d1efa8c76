"""Training on minibatches: the teacher sees each batch before the student, and the host feeds the steps.

`training.fit` keeps a whole run on the device; here batches are made on the host, so the loop runs there too.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from abkd_jax.configs.options import OptimConfig
from abkd_jax.divergence import is_healthy
from abkd_jax.problems import Problem, make_scores
from abkd_jax.sampling import prefetch
from abkd_jax.training import FitState, TrainState, start
from abkd_jax.types import Batch, GNNOutput, InputError, Objective, Pytree

__all__ = ["fit_minibatches", "on_minibatches", "steps_an_epoch", "taught"]

Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]


def taught(
    step: Step, objective: Objective | None, teacher: Callable[[Pytree, Any], GNNOutput] | None
) -> Callable[[TrainState, Batch, Pytree], tuple[TrainState, dict[str, Array]]]:
    """A distillation step that computes the targets of its batch, `(state, batch, teacher's variables) -> ...`.

    Args:
        step: from `make_distill_step`.
        objective: the loss that `step` has, or None.
        teacher: `(variables, graph) -> GNNOutput` in evaluation mode, run on the batch; None where `batch.targets`
            holds the teacher's stored outputs of the batch's nodes (`sampling.gather_outputs`).

    Returns:
        One jitted step, which donates the state.
    """

    def run(state: TrainState, batch: Batch, variables: Pytree) -> tuple[TrainState, dict[str, Array]]:
        if objective is None:
            return step(state, batch._replace(targets=None))
        out = batch.targets if teacher is None else teacher(variables, batch.graph)
        return step(state, batch._replace(targets=objective.targets(out, graph=batch.graph, mask=batch.masks)))

    return jax.jit(run, donate_argnums=0)


def fit_minibatches(
    step: Step,
    evaluate: Callable[[TrainState], dict[str, Array]],
    state: TrainState,
    batches: Callable[[int], Iterable[Batch]],
    config: OptimConfig,
    *,
    resume: tuple[FitState, dict[str, np.ndarray]] | None = None,
    on_chunk: Callable[[FitState, dict[str, np.ndarray], int], None] | None = None,
) -> tuple[FitState, dict[str, np.ndarray]]:
    """Trains one model, with early stopping and the choice of the best evaluation as in `training.fit`.

    Args:
        step: one step; it may donate the state.
        evaluate: `state -> {"val_loss", "val_accuracy", ...}`.
        state: where to start.
        batches: `epoch -> minibatches`, epochs counted from 1; the same epoch must give the same batches again.
        config: epochs (all minibatches once), how often to evaluate, patience, and what to monitor.
        resume: what `on_chunk` was given; the run goes on from there to the same numbers.
        on_chunk: called after every evaluation with the state, the history so far and the epochs done.

    Returns:
        The final state and the history: arrays `[evaluations, 1, ...]`, metrics as means over the steps since the
        evaluation before; `recorded` is False where training had already stopped, `diverged` True where it stopped
        because its numbers were not finite, as in `training.fit`.

    Raises:
        InputError: the evaluations do not divide the epochs, or an epoch has no batch.
    """
    evaluations, rest = divmod(config.epochs, config.eval_every)
    if rest:
        raise InputError(f"epochs is {config.epochs}, expected a multiple of eval_every ({config.eval_every})")
    if resume is None:
        run, history = start(_copy(state)), {}
        run = run._replace(best_params=_copy(run.best_params), best_model_state=_copy(run.best_model_state))
    else:
        run, history = resume[0], {name: values.copy() for name, values in resume[1].items()}
    done = int(np.count_nonzero(history["recorded"])) if history else 0
    finite = jax.jit(is_healthy)
    for row in range(done, evaluations):
        if not run.active:
            break
        train, collected = run.train, []
        for epoch in range(row * config.eval_every + 1, (row + 1) * config.eval_every + 1):
            for batch in batches(epoch):
                train, metrics = step(train, batch)
                collected.append(metrics)
        if not collected:
            raise InputError(f"epoch {epoch} has no batch, expected at least one with a labelled node or graph")
        metrics = jax.device_get({name: sum(m[name] for m in collected) / len(collected) for name in collected[0]})
        metrics |= {name: np.asarray(value) for name, value in evaluate(train).items()}
        healthy = bool(np.isfinite(metrics["loss"]) & np.isfinite(metrics["val_loss"])) and bool(finite(train))
        run = _advance(run, train, metrics, epoch, config, healthy=healthy)
        state_of = {"recorded": np.asarray(True), "diverged": np.asarray(not healthy)}
        metrics |= {"epoch": np.asarray(epoch, np.int32), **state_of}
        for name, value in metrics.items():
            history.setdefault(name, np.zeros((evaluations, 1, *value.shape), value.dtype))[row, 0] = value
        if on_chunk is not None:
            on_chunk(run, history, epoch)
    return run, history


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


def _advance(
    run: FitState, train: TrainState, metrics: dict[str, Any], epoch: int, config: OptimConfig, *, healthy: bool
) -> FitState:
    """The run after an evaluation."""
    score = metrics["val_accuracy"] if config.monitor == "val_accuracy" else -metrics["val_loss"]
    if healthy and score > run.best_score:  # copies: the next step takes the state's own buffers
        run = run._replace(
            best_params=_copy(train.params["student"]),
            best_model_state=_copy(train.model_state),
            best_score=jnp.asarray(score, jnp.float32),
            best_epoch=jnp.asarray(epoch, jnp.int32),
        )
    patient = config.patience == 0 or epoch - int(run.best_epoch) < config.patience
    return run._replace(train=train, active=jnp.asarray(epoch < config.epochs and patient and healthy))


def _copy(tree: Pytree) -> Pytree:
    return jax.tree.map(jnp.copy, tree)
