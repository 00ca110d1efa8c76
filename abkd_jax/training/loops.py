"""The two loops of training: `fit` keeps a whole run on the device, `fit_minibatches` is fed by the host."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from abkd_jax.configs.options import OptimConfig
from abkd_jax.training.divergence import is_healthy
from abkd_jax.training.seeds import over_seeds
from abkd_jax.training.step import Step, TrainState
from abkd_jax.types import Batch, InputError, Pytree

__all__ = ["FitState", "fit", "fit_minibatches", "start"]

# Evaluations a dispatch, fewer where an epoch of the graph takes long: seconds between two signs of life, with little
# idling at the end.
CHUNK_EVALUATIONS, CHUNK_NODES = 20, 4_000_000


class FitState(NamedTuple):
    """A run in progress: the training state and the best evaluation so far.

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


def fit(
    step: Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]],
    validate: Callable[[TrainState, Batch], dict[str, Array]],
    states: TrainState,
    batch: Batch,
    batch_axes: Batch | None,
    config: OptimConfig,
    *,
    resume: tuple[FitState, dict[str, np.ndarray]] | None = None,
    on_chunk: Callable[[FitState, dict[str, np.ndarray], int], None] | None = None,
) -> tuple[FitState, dict[str, np.ndarray]]:
    """Trains one model a seed, all in one program, until every seed has stopped.

    Epochs run in chunks of one dispatch each; early stopping and the choice of the best evaluation happen on the
    device. A seed that has stopped keeps its state to the bit while the others go on. A seed has diverged,
    and stops, where a training loss since the last evaluation, the validation loss, a parameter or a number of the
    optimizer is not finite.

    Args:
        step: from `make_distill_step`.
        validate: from `make_validate`; what else it returns goes into the history.
        states: training states stacked over seeds, `[seeds, ...]`.
        batch: training batch.
        batch_axes: which parts of the batch differ between seeds, as `jax.vmap` takes it: 0, or None where shared.
        config: epochs, how often to evaluate, patience, and what to monitor.
        resume: what `on_chunk` was given; the run goes on from there to the same numbers.
        on_chunk: called on the host after every chunk with the state, the history so far and the epochs done. The
            history is one set of arrays that fills up: copy what must not change.

    Returns:
        The final state and the history: arrays `[evaluations, seeds, ...]`, one entry an evaluation (its last step's
        metrics); `recorded` is False where a seed had already stopped, `diverged` True where it stopped because its
        numbers were not finite.

    Raises:
        InputError: the evaluations do not divide the epochs.
    """
    evaluations, rest = divmod(config.epochs, config.eval_every)
    if rest:
        raise InputError(f"epochs is {config.epochs}, expected a multiple of eval_every ({config.eval_every})")
    nodes = config.eval_every * (1 if batch.labels is None else batch.labels.shape[0])
    chunks = -(-evaluations // max(1, min(CHUNK_EVALUATIONS, CHUNK_NODES // nodes)))
    length = -(-evaluations // chunks)
    block = over_seeds(_make_block(step, validate, config), batch_axes, states.params["student"])

    @jax.jit
    def run_chunk(state: FitState, batch: Batch) -> tuple[FitState, dict[str, Array]]:
        return jax.lax.scan(lambda carry, _: block(carry, batch), state, None, length=length)

    state = jax.jit(jax.vmap(start))(states) if resume is None else resume[0]
    shapes = jax.eval_shape(run_chunk, state, batch)[1]
    history = {k: np.zeros((chunks * length, *v.shape[1:]), v.dtype) for k, v in shapes.items()}
    if resume is not None:
        history |= {name: values.copy() for name, values in resume[1].items()}
    done = int(np.count_nonzero(np.any(history["recorded"], axis=1)))
    while done < chunks * length and bool(np.any(np.asarray(state.active))):
        state, metrics = run_chunk(state, batch)
        for name, values in jax.device_get(metrics).items():
            history[name][done : done + length] = values  # host arrays, filled in place
        done += length
        if on_chunk is not None:
            on_chunk(state, history, min(done * config.eval_every, config.epochs))
    return state, history


def start(train: TrainState) -> FitState:
    """A run of one seed before its first epoch."""
    return FitState(
        train=train,
        best_params=train.params["student"],
        best_model_state=train.model_state,
        best_score=jnp.asarray(-jnp.inf, jnp.float32),
        best_epoch=jnp.zeros((), jnp.int32),
        active=jnp.ones((), bool),
    )


def _make_block(
    step: Callable[..., Any], validate: Callable[..., Any], config: OptimConfig
) -> Callable[[FitState, Batch], tuple[FitState, dict[str, Array]]]:
    """`eval_every` steps and one evaluation of one seed."""

    def block(state: FitState, batch: Batch) -> tuple[FitState, dict[str, Array]]:
        train, metrics = jax.lax.scan(lambda carry, _: step(carry, batch), state.train, None, length=config.eval_every)
        losses = metrics["loss"]
        metrics = jax.tree.map(lambda values: values[-1], metrics) | validate(train, batch)
        healthy = jnp.isfinite(losses).all() & jnp.isfinite(metrics["val_loss"]) & is_healthy(train)
        score = metrics["val_accuracy"] if config.monitor == "val_accuracy" else -metrics["val_loss"]
        better = healthy & (score > state.best_score)
        epoch = train.step
        best_epoch = jnp.where(better, epoch, state.best_epoch)
        patient = jnp.asarray(config.patience == 0) | (epoch - best_epoch < config.patience)
        new = FitState(
            train=train,
            best_params=_select(better, train.params["student"], state.best_params),
            best_model_state=_select(better, train.model_state, state.best_model_state),
            best_score=jnp.where(better, score, state.best_score),
            best_epoch=best_epoch,
            active=(epoch < config.epochs) & patient & healthy,
        )
        metrics = metrics | {"epoch": epoch, "recorded": state.active, "diverged": state.active & ~healthy}
        return _select(state.active, new, state), metrics

    return block


def _select(condition: Bool[Array, ""], new: Pytree, old: Pytree) -> Pytree:
    return jax.tree.map(lambda a, b: jax.lax.select(condition, a, b), new, old)


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
