"""The two loops of training: `fit` keeps a whole run on the device, `fit_minibatches` is fed by the host."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from abkd_jax.configs.options import OptimConfig
from abkd_jax.training.divergence import diverged_epochs
from abkd_jax.training.fit_state import (
    FitState,
    Limits,
    after_evaluation,
    initial_fit_state,
    initial_fit_states,
    select,
)
from abkd_jax.training.seeds import vmap_seeds
from abkd_jax.training.sharding import check_seeds_axis, put, take
from abkd_jax.training.step import Step, TrainState
from abkd_jax.types import Batch, InputError, Pytree

__all__ = ["fit", "fit_minibatches"]

# Evaluations per dispatch, fewer where an epoch of the graph takes long: seconds between two updates of the progress,
# with little idling at the end. The first divides the 30 and 90 evaluations of students: one program for both lengths.
CHUNK_EVALUATIONS, CHUNK_NODES = 15, 4_000_000


def fit(
    step: Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]],
    validate: Callable[[TrainState, Batch], dict[str, Array]],
    states: TrainState,
    batch: Batch,
    batch_axes: Batch | None,
    config: OptimConfig,
    *,
    mesh: Mesh | None = None,
    resume: tuple[FitState, dict[str, np.ndarray]] | None = None,
    on_chunk: Callable[[FitState, dict[str, np.ndarray], int], None] | None = None,
) -> tuple[FitState, dict[str, np.ndarray]]:
    """Trains one model per seed, all in one program, until every seed has stopped.

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
        mesh: its axis `seeds` shares the seeds: `training.make_mesh(["seeds=4"])`. States and batch must lie on it, as
            `put_seeds(states, mesh)` and `put_batch(batch, batch_axes, mesh)` return them. Where copies of the last
            seed fill up, state and history hold these too, after the seeds.
        resume: what `on_chunk` was given; the run goes on from there to the same numbers, with more epochs too, where
            the schedule of the step does not depend on them. Seeds that early stopping or divergence has ended stay
            as they are.
        on_chunk: called on the host after every chunk with the state, the history so far and the epochs done. The
            history is one set of arrays that fills up: copy what must not change.

    Returns:
        The final state and the history: arrays `[evaluations, seeds, ...]`, one entry per evaluation (its last step's
        metrics); `recorded` is False where a seed had already stopped, `diverged` True where it stopped because its
        numbers were not finite.

    Raises:
        InputError: the evaluations do not divide the epochs, states are those of one seed, `resume` has other seeds, or
            states and batch do not lie on the mesh, or it has no axis `seeds`.
    """
    evaluations = _evaluations(config)
    _check_seeds(states, resume)
    nodes = config.eval_every * (1 if batch.labels is None else batch.labels.shape[0])
    chunks = -(-evaluations // max(1, min(CHUNK_EVALUATIONS, CHUNK_NODES // nodes)))
    length = -(-evaluations // chunks)

    @jax.jit
    def run_chunk(state: FitState, batch: Batch, limits: Limits) -> tuple[FitState, dict[str, Array]]:
        of_seed = _make_block(step, validate, config, limits)
        block = vmap_seeds(of_seed, batch_axes, states.params["student"], mesh)
        return jax.lax.scan(lambda carry, _: block(carry, batch), state, None, length=length)

    batch = _moved(batch)
    if mesh is not None:
        _check_placed(mesh, batch, states if resume is None else resume[0])
    limits = _limits(config) if mesh is None else put(_limits(config), mesh)
    state = initial_fit_states(states) if resume is None else resume[0]
    history = {} if resume is None else _with_room(resume[1], evaluations)
    done = int(np.count_nonzero(np.any(history["recorded"], axis=1))) if history else 0
    if 0 < done < evaluations:
        active, best_epoch = take((state.active, state.best_epoch), mesh)
        active = _trains_on(active, best_epoch, history, done, config.patience)
        state = state._replace(active=jnp.asarray(active) if mesh is None else put(active, mesh, "seeds"))
    while done < evaluations and bool(np.any(jax.device_get(take(state.active, mesh)))):
        with _no_transfers(), jax.profiler.StepTraceAnnotation("epochs", step_num=done):
            state, metrics = run_chunk(state, batch, limits)
            metrics = jax.device_get(take(metrics, mesh))
        if not history:
            history = {name: np.zeros((evaluations, *of.shape[1:]), of.dtype) for name, of in metrics.items()}
        new = min(length, evaluations - done)  # the last chunk may be longer
        for name, values in metrics.items():
            history[name][done : done + new] = values[:new]  # host arrays, filled in place
        done += length
        if on_chunk is not None:
            on_chunk(state, history, min(done * config.eval_every, config.epochs))
    return state, history


def _no_transfers() -> contextlib.AbstractContextManager[Any]:
    """Forbids transfers between host and device, which a program has none of; without `jit` constants are transfers."""
    return contextlib.nullcontext() if jax.config.values["jax_disable_jit"] else jax.transfer_guard("disallow")


def _evaluations(config: OptimConfig) -> int:
    """Returns the number of evaluations of a fit."""
    if config.epochs < 1 or config.eval_every < 1:
        raise InputError(f"epochs ({config.epochs}) and eval_every ({config.eval_every}) must be at least 1")
    if config.epochs % config.eval_every:
        raise InputError(f"epochs is {config.epochs}, expected a multiple of eval_every ({config.eval_every})")
    return config.epochs // config.eval_every


def _trains_on(active: Any, best_epoch: Any, history: dict[str, np.ndarray], done: int, patience: int) -> np.ndarray:
    """Returns which seeds of a resumed run train on: those in progress, and those that its epochs alone had ended.

    Args:
        active: of its state, `[seeds]`, or `[]` of one model.
        best_epoch: likewise.
        history: of the run, with `done` evaluations.
        done: at least 1.
        patience: epochs without a better evaluation until a seed stops; 0 trains to the end.
    """
    active, best_epoch = jax.device_get((active, best_epoch))
    waited = history["epoch"][done - 1].reshape(active.shape) - best_epoch
    healthy = np.array([epoch is None for epoch in diverged_epochs(history)]).reshape(active.shape)
    reached = history["recorded"][done - 1].reshape(active.shape)  # it had not stopped before the others
    return np.asarray(active | (reached & healthy & ((patience == 0) | (waited < patience))))


def _check_placed(mesh: Mesh, *trees: Pytree) -> None:
    """Checks that arrays lie on the devices of a mesh: the loop moves nothing between devices."""
    check_seeds_axis(mesh)
    devices = set(mesh.devices.flat)
    if any(leaf.sharding.device_set != devices for leaf in jax.tree.leaves(trees)):
        raise InputError(
            f"fit: states or batch do not lie on the {mesh.size} devices of the mesh, expected training.put_seeds("
            "states, mesh) and put_batch(batch, batch_axes, mesh)"
        )


def _check_seeds(states: TrainState, resume: tuple[FitState, Any] | None) -> None:
    if not states.step.ndim:
        raise InputError("fit: the training state of one seed, expected states stacked over seeds, [seeds, ...]")
    if resume is not None and resume[0].active.shape != states.step.shape:
        kept, given = resume[0].active.shape[0], states.step.shape[0]
        raise InputError(f"fit: resume holds {kept} seeds, expected the {given} of the states")


def _with_room(history: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Returns a copy of a history with at least so many rows: a run may be resumed with more epochs."""
    history = {name: values.copy() for name, values in history.items()}
    missing = rows - history["recorded"].shape[0]
    if missing <= 0:
        return history
    empty = lambda values: np.zeros((missing, *values.shape[1:]), values.dtype)  # noqa: E731
    by_row = {name: values for name, values in history.items() if values.ndim > 1}
    return history | {name: np.concatenate([values, empty(values)]) for name, values in by_row.items()}


def _make_block(
    step: Callable[..., Any], validate: Callable[..., Any], config: OptimConfig, limits: Limits
) -> Callable[[FitState, Batch], tuple[FitState, dict[str, Array]]]:
    """Returns `eval_every` steps and one evaluation of one seed, as one function."""

    def block(state: FitState, batch: Batch) -> tuple[FitState, dict[str, Array]]:
        train, metrics = jax.lax.scan(lambda carry, _: step(carry, batch), state.train, None, length=config.eval_every)
        finite = jnp.isfinite(metrics["loss"]).all()
        metrics = jax.tree.map(lambda values: values[-1], metrics) | validate(train, batch)
        new, healthy = after_evaluation(state, train, metrics, finite, train.step, limits, config.monitor)
        metrics = metrics | {"epoch": train.step, "recorded": state.active, "diverged": state.active & ~healthy}
        return select(state.active, new, state), metrics  # a seed that has stopped keeps its state to the bit

    return block


def _limits(config: OptimConfig) -> Limits:
    return Limits(jnp.asarray(config.epochs, jnp.int32), jnp.asarray(config.patience, jnp.int32))


_after_evaluation_on_host = jax.jit(after_evaluation, static_argnames="monitor")  # compiled once for all seeds


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
        resume: what `on_chunk` was given; the run goes on from there to the same numbers, as in `training.fit`.
        on_chunk: called after every evaluation with the state, the history so far and the epochs done.

    Returns:
        The final state and the history: arrays `[evaluations, 1, ...]`, metrics as means over the steps since the
        evaluation before; `recorded` is False where training had already stopped, `diverged` True where it stopped
        because its numbers were not finite, as in `training.fit`.

    Raises:
        InputError: the evaluations do not divide the epochs, or an epoch has no batch.
    """
    evaluations = _evaluations(config)
    if resume is None:
        run, history = initial_fit_state(_copy(state)), {}  # a step may donate its state: the caller keeps its own
        run = run._replace(best_params=_copy(run.best_params), best_model_state=_copy(run.best_model_state))
    else:
        run, history = resume[0], _with_room(resume[1], evaluations)
    done = int(np.count_nonzero(history["recorded"])) if history else 0
    if 0 < done < evaluations and not run.active:
        run = run._replace(active=jnp.asarray(_trains_on(run.active, run.best_epoch, history, done, config.patience)))
    limits = _limits(config)
    for row in range(done, evaluations):
        if not run.active:
            break
        epochs = range(row * config.eval_every + 1, (row + 1) * config.eval_every + 1)
        train, metrics = _train_epochs(step, run.train, batches, epochs)
        metrics |= {name: np.asarray(value) for name, value in evaluate(train).items()}
        epoch, finite = np.asarray(epochs[-1], np.int32), np.isfinite(metrics["loss"])
        # The step has donated the state that `run` held: only what is not of the training may be read from it.
        scores = {name: metrics[name] for name in ("val_loss", "val_accuracy")}
        run = run._replace(train=train)
        run, healthy = _after_evaluation_on_host(run, train, scores, finite, epoch, limits, config.monitor)
        metrics |= {"epoch": epoch, "recorded": np.asarray(True), "diverged": ~np.asarray(healthy)}
        for name, value in metrics.items():
            history.setdefault(name, np.zeros((evaluations, 1, *value.shape), value.dtype))[row, 0] = value
        if on_chunk is not None:
            on_chunk(run, history, int(epoch))
    return run, history


def _train_epochs(
    step: Step, train: TrainState, batches: Callable[[int], Iterable[Batch]], epochs: range
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """Trains some epochs on minibatches and returns the means of the metrics over their steps.

    Raises:
        InputError: they have no batch.
    """
    collected = []
    for epoch in epochs:
        for batch in batches(epoch):
            placed = _moved(batch)
            with _no_transfers(), jax.profiler.StepTraceAnnotation("step", step_num=len(collected)):
                train, metrics = step(train, placed)
            collected.append(metrics)
    if not collected:
        raise InputError(f"epoch {epochs[-1]} has no batch, expected at least one with a labelled node or graph")
    found = jax.device_get(collected)
    return train, {name: np.asarray(sum(of[name] for of in found) / len(found)) for name in found[0]}


def _moved(batch: Pytree) -> Pytree:
    """Moves arrays of the host to the device: the loops themselves move nothing."""
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jax.device_put(leaf), batch)


@jax.jit
def _copy(tree: Pytree) -> Pytree:
    return jax.tree.map(jnp.copy, tree)
