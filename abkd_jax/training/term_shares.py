"""The shares of the terms of a loss in the gradient of a student, measured beside its evaluation."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
from jaxtyping import Array

from abkd_jax.distill import Term, gradient_shares, term_losses
from abkd_jax.distill.ops.checks import is_used
from abkd_jax.training.step import TrainState
from abkd_jax.training.tasks import Task
from abkd_jax.types import Batch, InputError, Pytree, Scalar

__all__ = ["make_gradient_shares"]


def make_gradient_shares(
    student: nn.Module, terms: Sequence[Term], task: Task, task_weight: Scalar = 1.0
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
    names = (["task"] if is_used(task_weight) else []) + [term.name for term in terms if is_used(term.weight)]

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
