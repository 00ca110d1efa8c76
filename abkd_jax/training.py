"""The training steps and `fit`, the only loop: many epochs a dispatch, many seeds a program."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from abkd_jax.configs.options import OptimConfig
from abkd_jax.distill import Term, gradient_shares, term_losses
from abkd_jax.divergence import is_healthy
from abkd_jax.graph.precision import in_float32
from abkd_jax.seeds import over_seeds
from abkd_jax.tasks import Task
from abkd_jax.types import Batch, InputError, Objective, PRNGKey, Pytree

__all__ = [
    "FitState",
    "TrainState",
    "fit",
    "init_state",
    "make_distill_step",
    "make_gradient_shares",
    "make_optimizer",
    "make_validate",
    "start",
]

# Evaluations a dispatch, fewer where an epoch of the graph takes long: seconds between two signs of life, with little
# idling at the end.
CHUNK_EVALUATIONS, CHUNK_NODES = 20, 4_000_000


class TrainState(NamedTuple):
    """Everything that a step changes.

    Attributes:
        params: `{"student": ..., "objective": ...}`; a model trained from labels alone has an empty objective.
        model_state: mutable collections of the model (`batch_stats`), `{}` where it has none.
        opt_state: state of the optimizer over `params`.
        key: folded with `step` into the randomness of each step.
        step: steps taken.
    """

    params: dict[str, Pytree]
    model_state: Pytree
    opt_state: Pytree
    key: PRNGKey
    step: Int[Array, ""]


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


def make_optimizer(config: OptimConfig, steps: int = 1) -> optax.GradientTransformation:
    """Adam with L2 inside, in GCNII's two groups (Chen et al., arXiv 2007.02133): convolutions, and all other layers.

    The decay is added to the gradient before Adam's moments, so this is not AdamW. Objective heads are never decayed.

    Args:
        config: rates and schedule.
        steps: steps an epoch.
    """
    if not config.learning_rate > 0.0:
        raise InputError(f"learning rate is {config.learning_rate}, expected a positive number")
    if config.epochs < 1 or config.eval_every < 1:
        raise InputError(f"epochs ({config.epochs}) and eval_every ({config.eval_every}) must be at least 1")
    if config.patience < 0:
        raise InputError(f"patience is {config.patience}, expected at least 0")
    cosine = config.schedule == "cosine"
    rate = optax.cosine_decay_schedule(config.learning_rate, config.epochs * steps) if cosine else config.learning_rate
    optimizer = optax.chain(
        optax.add_decayed_weights(config.conv_decay, mask=lambda params: _in_group(params, conv=True)),
        optax.add_decayed_weights(config.dense_decay, mask=lambda params: _in_group(params, conv=False)),
        optax.adam(rate),
    )
    return in_float32(optimizer)


def _in_group(params: Pytree, *, conv: bool) -> Pytree:
    def member(path: tuple[Any, ...], _: Array) -> bool:
        names = [str(entry.key) for entry in path]
        return names[0] == "student" and any("conv" in name for name in names) == conv

    return jax.tree_util.tree_map_with_path(member, params)


def init_state(
    key: PRNGKey,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    batch: Batch,
    *,
    objective_params: Pytree = None,
    student_params: Pytree = None,
) -> TrainState:
    """A fresh state; `student_params` replaces the model's own initialisation."""
    init_key, train_key = jax.random.split(key)
    variables = dict(model.init(init_key, batch.graph))
    own = variables.pop("params")
    params = {
        "student": own if student_params is None else student_params,
        "objective": {} if objective_params is None else objective_params,
    }
    return TrainState(params, variables, optimizer.init(params), train_key, jnp.zeros((), jnp.int32))


def make_distill_step(
    student: nn.Module,
    objective: Objective | None,
    optimizer: optax.GradientTransformation,
    task: Task,
    task_weight: float = 1.0,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """One jitted, donated step: `task_weight * task loss + objective`, its gradients and the optimizer's update.

    Args:
        student: model to train. With `objective=None` this is the supervised step, which also trains teachers.
        objective: distillation loss; `batch.targets` must hold its targets.
        optimizer: acts on `{"student", "objective"}` parameters.
        task: the loss on labelled nodes.
        task_weight: weight of that loss; 0 trains on the teacher alone.
    """

    def losses(params: Pytree, state: TrainState, batch: Batch) -> tuple[Array, tuple[Pytree, dict[str, Array]]]:
        dropout_key, objective_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        out, model_state = student.apply(
            {"params": params["student"], **state.model_state},
            batch.graph,
            train=True,
            rngs={"dropout": dropout_key},
            mutable=list(state.model_state),
        )
        task_loss = task.loss(out.logits, batch.labels, batch.masks.labelled)
        total, metrics = task_weight * task_loss, {"task_loss": task_loss}
        if objective is not None:
            distilled, extra = objective.apply(
                params["objective"], batch.targets, out, graph=batch.graph, mask=batch.masks, key=objective_key
            )
            total, metrics = total + distilled, metrics | extra
        return total, (model_state, metrics | {"loss": total})

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        (_, (model_state, metrics)), grads = jax.value_and_grad(losses, has_aux=True)(state.params, state, batch)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params: Any = optax.apply_updates(state.params, updates)
        return TrainState(params, model_state, opt_state, state.key, state.step + 1), metrics

    return jax.jit(step, donate_argnums=0)


def make_validate(model: nn.Module, task: Task, val_mask: Bool[Array, " n"]) -> Callable[..., dict[str, Array]]:
    """`(state, batch) -> {"val_loss", "val_accuracy"}` in evaluation mode."""

    def validate(state: TrainState, batch: Batch) -> dict[str, Array]:
        out: Any = model.apply({"params": state.params["student"], **state.model_state}, batch.graph)
        logits = out.logits
        return {
            "val_loss": task.loss(logits, batch.labels, val_mask),
            "val_accuracy": task.score(logits, batch.labels, val_mask),
        }

    return validate


def make_gradient_shares(
    student: nn.Module, terms: Sequence[Term], task: Task, task_weight: float = 1.0
) -> Callable[[TrainState, Batch], dict[str, Array]]:
    """`(state, batch) -> {"gradient_share/<term>": share}` of the student's parameters, for use beside `make_validate`.

    See `distill.gradient_shares`. The task loss is the term `"task"`; terms of weight 0 are left out, and where fewer
    than two remain there is nothing to share: `{}`. The student runs in evaluation mode. Costs a step of the student
    for each term.

    Args:
        student: as for `make_distill_step`.
        terms: those of the `weighted_sum` that is trained.
        task: as for `make_distill_step`.
        task_weight: as for `make_distill_step`.

    Raises:
        InputError: a term is called "task".
    """
    if any(term.name == "task" for term in terms):
        raise InputError("make_gradient_shares: a term is called 'task', expected another name beside the task loss")
    names = (["task"] if task_weight else []) + [term.name for term in terms if term.weight]

    def shares(state: TrainState, batch: Batch) -> dict[str, Array]:
        if len(names) < 2:
            return {}
        losses: dict[str, Callable[..., Array]] = {
            "task": lambda out: task_weight * task.loss(out.logits, batch.labels, batch.masks.labelled),
            **term_losses(
                terms,
                state.params["objective"],
                batch.targets,
                graph=batch.graph,
                mask=batch.masks,
                key=jax.random.fold_in(state.key, state.step),
            ),
        }

        def of_params(name: str) -> Callable[[Pytree], Array]:
            variables = lambda params: {"params": params, **state.model_state}  # noqa: E731
            return lambda params: losses[name](student.apply(variables(params), batch.graph))

        found = gradient_shares({name: of_params(name) for name in names}, state.params["student"])
        return {f"gradient_share/{name}": share for name, share in found.items()}

    return shares


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
