"""One training program, of teachers or students: compiled once, resumed as a whole, looped on the device or host."""

import functools
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from abkd_jax.configs.options import ModelConfig, OptimConfig
from abkd_jax.models.reduced_input import ReducedInput
from abkd_jax.run.data import PreparedData
from abkd_jax.run.epoch_0 import from_epoch_0, kept, kept_beside
from abkd_jax.run.scores import for_validation, make_scores
from abkd_jax.sampling import prefetch, worker_count
from abkd_jax.training.accumulate import build_parts
from abkd_jax.training.fit_state import initial_fit_state
from abkd_jax.training.loops import fit, fit_minibatches
from abkd_jax.training.profiling import profiled
from abkd_jax.training.resume import Origin, fit_with_checkpoints
from abkd_jax.training.seeds import over_seeds, put_batch, put_seeds
from abkd_jax.training.sharding import Fit, in_blocks, on_mesh, put
from abkd_jax.training.step import Step, TrainState
from abkd_jax.training.tables import put_tables, take_tables
from abkd_jax.types import Batch, InputError, Pytree

__all__ = ["Program", "Start", "Teacher", "Trained", "select_seed", "stack", "stack_trees", "steps_per_epoch", "train"]


class Stopped(Exception):
    """The training of a model ends because one beside it has failed."""


class Start(NamedTuple):
    """What a program trains with.

    Attributes:
        step: one training step.
        states: training states, stacked over seeds `[seeds, ...]`; of the one seed where the data has minibatches.
        batch: the training batch; not read where the data has minibatches.
        batch_axes: parts of the batch that differ between seeds, as `jax.vmap` takes them; None where all are shared.
    """

    step: Step
    states: TrainState
    batch: Batch
    batch_axes: Batch | None = None


class Program(NamedTuple):
    """A training program: compiled, trained and resumed as one.

    Attributes:
        label: names it in the progress that is shown.
        directory: of its checkpoints.
        identity: identifies it among all programs, JSON-like.
        seeds: of the models it trains; one where the data has minibatches.
        optim: epochs, evaluations, early stopping.
        validate: `(state, batch) -> metrics`; not read where the data has minibatches, which have scores of their own.
        shapes: of the training states.
        start: computes what it trains with; it is not called for a program that is finished.
        untrained: makes what an evaluation of the untrained models gives, `[seeds, ...]`: the epoch 0 of the history,
            which is kept with it. None leaves it out.
        teachers: returns the digests of the weights of their teachers, by seed; None where they read none.
    """

    label: str
    directory: Path
    identity: dict[str, Any]
    seeds: list[int]
    optim: OptimConfig
    validate: Callable[[TrainState, Batch], dict[str, Array]]
    shapes: TrainState
    start: Callable[[], Start]
    untrained: Callable[[Start], dict[str, np.ndarray]] | None = None
    teachers: Callable[[], dict[str, str]] | None = None


class Trained(NamedTuple):
    """Trained models of one job, stacked over seeds.

    Attributes:
        variables: parameters and other collections (`batch_stats`) after the last epoch, `[seeds, ...]`; of teachers
            those of the best validation epoch.
        best_variables: those of the best validation epoch.
        epochs: `[seeds]` epochs until `variables`.
        best_epochs: `[seeds]` epochs until `best_variables`.
        history: arrays `[evaluations, seeds, ...]`, see `training.fit`; those of students start with the untrained
            ones where a step reads the whole graph. `seconds` is `[seeds]`, or a scalar for seeds trained together.
        origins: per seed whether it was trained just now, and by which code and hardware.
        module: what `variables` are of: `module.apply(variables, graph) -> GNNOutput`.
    """

    variables: Pytree
    best_variables: Pytree
    epochs: np.ndarray
    best_epochs: np.ndarray
    history: dict[str, np.ndarray]
    origins: tuple[Origin, ...]
    module: Any


class Teacher(NamedTuple):
    """Teacher of a run: a model for every seed, or the same one for all of them.

    Attributes:
        models: stacked over seeds.
        config: architecture and sizes; None where they are not known.
        source: what the identities of its students say of it, JSON-like.
    """

    models: Trained
    config: ModelConfig | None
    source: dict[str, Any]


def train(data: PreparedData, model: nn.Module, program: Program, *, may_train: bool = True) -> Trained:
    """Trains a program, or what is left of it, or reads its finished checkpoint.

    Args:
        data: decides the loop: on the device where a step reads the whole graph, fed by the host for minibatches.
        model: what is trained; with a reduced input it becomes its module.
        program: how.
        may_train: False refuses a program that is not finished instead of training it.

    Raises:
        InputError: see `training.resume.fit_with_checkpoints`.
    """
    if data.sampler is None:
        template = jax.eval_shape(jax.vmap(initial_fit_state), program.shapes)
        run = _started(program, lambda start: _on_whole_graph(program, start, data.mesh))
    else:
        template = jax.eval_shape(initial_fit_state, program.shapes)
        run = _started(program, lambda start: _on_minibatches(data, model, program, start))
    if data.stop is not None:
        run = _until(run, data.stop)
    if data.profile_dir is not None:
        run = profiled(run, data.profile_dir / program.label.replace(" ", "_"))
    state, history, origin = fit_with_checkpoints(
        program.directory,
        program.identity,
        run,
        template,
        program.optim,
        program.label,
        may_train=may_train,
        teachers=program.teachers,
    )
    if program.untrained is not None:
        # Checkpoints of older versions do not hold these numbers.
        history = from_epoch_0(history, kept(history) or program.untrained(program.start()))
    last = {"params": state.train.params["student"], **state.train.model_state}
    best = {"params": state.best_params, **state.best_model_state}
    if data.sampler is not None:
        last, best = stack_trees((last, best))
    elif in_blocks(data.mesh):
        last, best = put((last, best), data.mesh)  # they are evaluated on the graph, which is in blocks
    module, as_module = _plain(model, data)
    last, best = jax.vmap(as_module)(last), jax.vmap(as_module)(best)
    epochs = np.max(history["epoch"], axis=0, where=history["recorded"], initial=0)
    best_epochs = np.atleast_1d(np.asarray(state.best_epoch))
    return Trained(last, best, epochs, best_epochs, history, (origin,) * len(program.seeds), module)


def _plain(model: nn.Module, data: PreparedData) -> tuple[nn.Module, Callable[[Pytree], Pytree]]:
    """Returns the module that reads the features as they are, and the function that makes its variables."""
    if isinstance(model, ReducedInput):
        return model.module, lambda variables: model.plain(variables, data.batch.graph)
    return model, lambda variables: variables


def _started(program: Program, loop: Callable[[Start], Fit]) -> Fit:
    """Returns a fit of a program that starts when it is called; its history keeps the numbers of the untrained."""

    def run(*, resume: Any = None, on_chunk: Any = None) -> tuple[Any, Any]:
        start = program.start()
        untrained = {} if program.untrained is None else program.untrained(start)
        return kept_beside(untrained, loop(start))(resume=resume, on_chunk=on_chunk)

    return run


def _on_whole_graph(program: Program, start: Start, mesh: Mesh | None) -> Fit:
    """Returns `fit` of a program, without `resume` and `on_chunk`."""
    step, states, batch, axes = start
    if mesh is not None:
        states, batch = put_seeds(states, mesh), put_batch(batch, axes, mesh)
    run = functools.partial(fit, step, program.validate, states, batch, axes, program.optim, mesh=mesh)
    return run if mesh is None else over_seeds(run, len(program.seeds), mesh)


def _until(fit: Fit, stop: threading.Event) -> Fit:
    """Returns a fit that ends with `Stopped` at its next evaluation once the event is set."""

    def run(*, resume: Any = None, on_chunk: Any = None) -> tuple[Any, Any]:
        def checked(*of: Any) -> None:
            on_chunk(*of)
            _check(stop)

        return fit(resume=resume, on_chunk=checked)

    return run


def _check(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Stopped


def _on_minibatches(data: PreparedData, model: nn.Module, program: Program, start: Start) -> Fit:
    """Returns `fit_minibatches` on the minibatches of the data, without `resume` and `on_chunk`."""
    module, as_module = _plain(model, data)
    scores, sampler, (seed,) = make_scores(for_validation(data), module), data.sampler, program.seeds
    mesh, per_step = data.mesh, data.per_step
    if sampler is None:
        raise InputError(f"{data.dataset.name}: a step reads the whole graph, expected minibatches")

    def taken(tree: Pytree) -> Pytree:
        return take_tables(tree, mesh, start.states.params["student"])

    def evaluate(state: TrainState) -> dict[str, Array]:
        found = scores(as_module(taken({"params": state.params["student"], **state.model_state})))
        return {name: value for name, value in found.items() if name.startswith("val_")}

    def batches(epoch: int) -> Iterable[Any]:
        draws = sampler.groups(np.random.default_rng([seed, epoch]), per_step)

        def put_step(draw: Callable[[], Any]) -> Any:
            _check(data.stop)
            built = draw()
            if per_step > 1:
                return build_parts(built, per_step, mesh)
            batch = built[0]().batch
            return jax.device_put(batch) if mesh is None else put(batch, mesh)

        return prefetch(draws, put=put_step, workers=worker_count())

    if mesh is None:
        return functools.partial(fit_minibatches, start.step, evaluate, start.states, batches, program.optim)
    states = put_tables(start.states, mesh)
    run = functools.partial(fit_minibatches, start.step, evaluate, states, batches, program.optim)
    return on_mesh(
        run,
        lambda state, history: (put_tables(state, mesh), history),
        lambda state, history: (taken(state), history),
    )


def steps_per_epoch(data: PreparedData, config: OptimConfig) -> int:
    """Returns the number of steps per epoch, as a schedule counts them; 1 where the rate is constant."""
    if data.sampler is None or config.schedule == "constant":
        return 1
    batches = data.sampler.steps or sum(1 for _ in data.sampler(np.random.default_rng(0)))
    return -(-batches // data.per_step)


def select_seed(tree: Pytree, seed: int) -> Pytree:
    """Returns one seed of a tree that is stacked over seeds, `[seeds, ...]` to `[...]`.

    Examples:
        >>> int(select_seed({"w": jnp.array([3, 4])}, 1)["w"])
        4
    """
    if any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(tree)):
        return _select(tree, seed)  # what is on the host stays there: outputs of all nodes
    return _selected(tree, seed)


def _select(tree: Pytree, seed: Any) -> Pytree:
    return jax.tree.map(lambda leaf: leaf[seed], tree)


# Of whole trees: outside of a program every shape of a leaf is compiled by itself.
_selected = jax.jit(_select)
_concatenate = jax.jit(lambda *trees: jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees))
stack_trees = jax.jit(lambda *trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees))


def stack(parts: list[Trained]) -> Trained:
    """Joins models of one job that were trained by several programs, seed after seed."""
    if len(parts) == 1:
        return parts[0]
    last, best = (
        _concatenate(*trees) for trees in zip(*((part.variables, part.best_variables) for part in parts), strict=True)
    )
    histories = [part.history for part in parts]
    names = [key for key, values in histories[0].items() if np.ndim(values) > 1]
    history = {key: np.concatenate([of[key] for of in histories], axis=1) for key in names}
    history["seconds"] = np.concatenate([np.broadcast_to(p.history["seconds"], len(p.origins)) for p in parts])
    epochs, best_epochs = (
        np.concatenate(arrays) for arrays in zip(*((part.epochs, part.best_epochs) for part in parts), strict=True)
    )
    origins = tuple(origin for part in parts for origin in part.origins)
    return Trained(last, best, epochs, best_epochs, history, origins, parts[0].module)
