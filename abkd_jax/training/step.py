"""The training step, its optimizer and its evaluation."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jaxtyping import Array, Bool, Int

from abkd_jax.configs.options import OptimConfig
from abkd_jax.distill import batch_targets
from abkd_jax.graph.precision import in_float32
from abkd_jax.layers.output import UNITS
from abkd_jax.training.tasks import Task
from abkd_jax.types import Batch, GNNOutput, InputError, Objective, PRNGKey, Pytree, Scalar

__all__ = [
    "Gradients",
    "Step",
    "TrainState",
    "init_state",
    "make_distill_step",
    "make_gradients",
    "make_optimizer",
    "make_update",
    "make_validate",
    "with_teacher_targets",
]

Result = TypeVar("Result")


class TrainState(NamedTuple):
    """Everything that a step changes.

    Attributes:
        params: `{"student": ..., "objective": ...}`; a model trained from labels alone has an empty objective.
        model_state: further collections of the model (`batch_stats`, `units`), `{}` where it has none.
        opt_state: state of the optimizer over `params`.
        key: folded with `step` into the randomness of each step.
        step: steps taken.
    """

    params: dict[str, Pytree]
    model_state: Pytree
    opt_state: Pytree
    key: PRNGKey
    step: Int[Array, ""]


class Gradients(NamedTuple):
    """What one batch contributes to a step.

    Attributes:
        params: gradient of the loss with respect to the parameters of the state.
        model_state: collections of the model that the batch has changed.
        metrics: the loss and its terms, by name.
    """

    params: dict[str, Pytree]
    model_state: Pytree
    metrics: dict[str, Array]


Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]


def make_optimizer(config: OptimConfig, steps: int = 1) -> optax.GradientTransformation:
    """Makes Adam with L2 decay inside, in the two groups of GCNII: convolutions, and all other layers.

    The decay is added to the gradient before Adam's moments, so this is not AdamW; the objective's own parameters are
    never decayed. Source: Chen et al., arXiv 2007.02133.

    Args:
        config: rates and schedule; learning rate and decays may be traced.
        steps: steps per epoch.

    Examples:
        >>> optimizer = make_optimizer(OptimConfig(learning_rate=0.04, schedule="cosine", epochs=300))
        >>> state = optimizer.init({"student": {"conv": jnp.ones(2)}, "objective": {}})
        >>> make_optimizer(OptimConfig(learning_rate=-1.0))
        Traceback (most recent call last):
        abkd_jax.types.InputError: learning rate is -1.0, expected a positive number
    """
    if not isinstance(config.learning_rate, Tracer) and not config.learning_rate > 0.0:
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
        names = [jax.tree_util.keystr((entry,), simple=True) for entry in path]
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
    fixed: Pytree = None,
) -> TrainState:
    """Initialises a training state.

    Args:
        key: for the initialisation and for the steps.
        model: what is trained.
        optimizer: acts on `{"student", "objective"}` parameters.
        batch: one that the model reads.
        objective_params: parameters of the loss.
        student_params: in the place of the model's own initialisation.
        fixed: collections of the model that no step changes: `layers.output.variables_of` the units of real targets.
    """
    init_key, train_key = jax.random.split(key)
    variables = dict(model.init(init_key, batch.graph))
    own = variables.pop("params")
    params = {
        "student": own if student_params is None else student_params,
        "objective": {} if objective_params is None else objective_params,
    }
    return TrainState(params, variables | (fixed or {}), optimizer.init(params), train_key, jnp.zeros((), jnp.int32))


def make_distill_step(
    student: nn.Module,
    objective: Objective | None,
    optimizer: optax.GradientTransformation,
    task: Task,
    task_weight: Scalar = 1.0,
) -> Step:
    """Makes one jitted training step that donates its state.

    The loss is `task_weight * task loss + objective`; the optimizer updates the student and the objective's parameters.

    Args:
        student: model to train. With `objective=None` this is the supervised step, which also trains teachers.
        objective: distillation loss; `batch.targets` must hold its targets.
        optimizer: acts on `{"student", "objective"}` parameters.
        task: the loss on labelled nodes.
        task_weight: weight of that loss; 0 trains on the teacher alone.
    """
    gradients, update = make_gradients(student, objective, task, task_weight), make_update(optimizer)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        return update(state, gradients(state, batch))

    return jax.jit(step, donate_argnums=0)


def make_gradients(
    student: Any, objective: Objective | None, task: Task, task_weight: Scalar = 1.0
) -> Callable[[TrainState, Batch], Gradients]:
    """Makes the first half of a step: the gradient of the loss of `make_distill_step` on one batch.

    The student is a module, or what else has its `apply` (`tables.on_shards`).
    """

    def losses(params: Pytree, state: TrainState, batch: Batch) -> tuple[Array, tuple[Pytree, dict[str, Array]]]:
        if objective is not None and batch.targets is None:
            raise InputError("batch.targets is None, expected objective.targets(...) of the teacher's outputs")
        dropout_key, objective_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        out, model_state = student.apply(
            {"params": params["student"], **state.model_state},
            batch.graph,
            train=True,
            rngs={"dropout": dropout_key},
            mutable=[name for name in state.model_state if name != UNITS],
        )
        if not isinstance(out, GNNOutput):
            raise InputError(
                f"{type(student).__name__} returns {type(out).__name__}, expected GNNOutput(logits, hiddens)"
            )
        task_loss = task.loss(out.logits, batch.labels, batch.masks.labelled)
        total, metrics = task_weight * task_loss, {"task_loss": task_loss}
        if objective is not None:
            distilled, extra = objective.apply(
                params["objective"], batch.targets, out, graph=batch.graph, mask=batch.masks, key=objective_key
            )
            total, metrics = total + distilled, metrics | extra
        return total, (model_state, metrics | {"loss": total})

    def gradients(state: TrainState, batch: Batch) -> Gradients:
        (_, (model_state, metrics)), grads = jax.value_and_grad(losses, has_aux=True)(state.params, state, batch)
        return Gradients(grads, model_state, metrics)

    return gradients


def make_update(
    optimizer: optax.GradientTransformation,
) -> Callable[[TrainState, Gradients], tuple[TrainState, dict[str, Array]]]:
    """Makes the second half of a step: what the optimizer does with the gradient."""

    def update(state: TrainState, found: Gradients) -> tuple[TrainState, dict[str, Array]]:
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
            updates, opt_state = optimizer.update(found.params, state.opt_state, state.params)
        params: Any = optax.apply_updates(state.params, updates)
        model_state = {**state.model_state, **found.model_state}
        return TrainState(params, model_state, opt_state, state.key, state.step + 1), found.metrics

    return update


def make_validate(model: nn.Module, task: Task, val_mask: Bool[Array, " n"]) -> Callable[..., dict[str, Array]]:
    """Makes `(state, batch) -> {"val_loss", "val_accuracy"}` in evaluation mode.

    Raises:
        InputError: the mask has no node: nothing could choose the best evaluation.
    """
    known = not isinstance(val_mask, Tracer) and getattr(val_mask, "is_fully_addressable", True)
    if known and not jax.device_get(val_mask).any():
        raise InputError("make_validate: no node in the mask, expected at least one for validation")

    def validate(state: TrainState, batch: Batch) -> dict[str, Array]:
        out: Any = model.apply({"params": state.params["student"], **state.model_state}, batch.graph)
        logits = out.logits
        return {
            "val_loss": task.loss(logits, batch.labels, val_mask),
            "val_accuracy": task.score(logits, batch.labels, val_mask),
        }

    return validate


def with_teacher_targets(
    step: Callable[[TrainState, Batch], Result],
    objective: Objective | None,
    teacher: Callable[[Pytree, Any], GNNOutput] | None,
) -> Callable[..., Result]:
    """Makes a distillation step that computes the targets of its batch, `(state, batch, variables, basis) -> ...`.

    Args:
        step: from `make_distill_step`, or the first half of one from `make_gradients`.
        objective: the loss that `step` has, or None.
        teacher: `(variables, graph) -> GNNOutput` in evaluation mode, run on the batch; None where `batch.targets`
            holds the teacher's stored outputs of the batch's nodes (`sampling.gather_outputs`).

    Returns:
        One jitted step, which donates the state. `variables` are the teacher's, `basis` is `distill.teacher_basis` of
        the objective and of a sample of the teacher's outputs; without it the targets are `objective.targets` of the
        batch alone, with an eigendecomposition in every step where the loss has principal components.
    """

    def run(state: TrainState, batch: Batch, variables: Pytree, basis: Pytree = None) -> Result:
        if objective is None:
            return step(state, batch._replace(targets=None))
        out = batch.targets if teacher is None else teacher(variables, batch.graph)
        if basis is None:
            targets = objective.targets(out, graph=batch.graph, mask=batch.masks)
        else:
            targets = batch_targets(objective, basis, out, graph=batch.graph, mask=batch.masks)
        return step(state, batch._replace(targets=targets))

    return jax.jit(run, donate_argnums=0)
