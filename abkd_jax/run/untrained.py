"""A student before its training: its start, the parameters of its loss, the targets that it learns from."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from abkd_jax import distill
from abkd_jax.configs.options import MethodConfig
from abkd_jax.layers.output import UNITS, Units, unscaled, variables_of
from abkd_jax.models.reduced_input import ReducedInput, input_kernel, reduced, with_identity
from abkd_jax.run.starts import STARTS_OF_WEIGHTS
from abkd_jax.training.step import TrainState, init_state
from abkd_jax.types import Batch, Objective, Pytree

__all__ = ["Prepare", "make_prepare"]

Prepare = Callable[[Any, Pytree, Batch], tuple[TrainState, Pytree]]


def make_prepare(
    teacher: Any,
    student: nn.Module,
    objective: Objective | None,
    method: MethodConfig,
    optimizer: Any,
    *,
    whole: bool,
    units: Units | None = None,
) -> Prepare:
    """Makes `(key, teacher's variables, batch) -> (student's training state, targets of the loss)` for one seed.

    Without a `teacher` the batch holds the teacher's outputs as its targets. The targets are those of the whole graph:
    None where the batch is a part of it. `units` are those of the outputs.
    """

    def prepare(key: Any, teacher_variables: Pytree, batch: Batch) -> tuple[TrainState, Pytree]:
        state_key, objective_key, start_key = jax.random.split(key, 3)
        graph, teacher_params = batch.graph, _in_units(teacher_variables, units)
        drawn = student
        # Dropped by XLA where nothing reads it.
        out = batch.targets if teacher is None else teacher.apply(teacher_variables, graph)
        if isinstance(student, ReducedInput):  # it starts from what it reads, and the teacher's first layer is that
            drawn = ReducedInput(student.module, input_kernel(teacher, teacher_params, graph))
            if method.start in STARTS_OF_WEIGHTS:
                teacher_params = with_identity(teacher, teacher_params, graph)
            graph = reduced(graph, drawn.kernel)
        variables = drawn.init(state_key, batch.graph)
        shapes = jax.eval_shape(lambda v: student.apply(v, batch.graph), variables)
        params = distill.initialise(
            method.start,  # type: ignore[arg-type]  # `resolve` decides what `auto` is
            start_key,
            variables["params"],
            module=student.module if isinstance(student, ReducedInput) else student,
            teacher_params=teacher_params,
            teacher=out if units is None else out._replace(logits=unscaled(out.logits, units)),
            student=shapes,
            graph=graph,
            mask=batch.masks.all,
        )
        projections, targets = None, None
        if objective is not None:
            projections = objective.init(objective_key, out, shapes)
            targets = objective.targets(out, graph=batch.graph, mask=batch.masks) if whole else None
        own = {"objective_params": projections, "student_params": params, "fixed": variables_of(units)}
        state = init_state(state_key, drawn, optimizer, batch, **own)
        return state, targets

    return prepare


def _in_units(variables: Pytree, units: Units | None) -> Pytree:
    """Returns the parameters of a teacher whose classifier gives outputs in the units of its students."""
    params = variables.get("params", {})
    if units is None or UNITS in variables or "output" not in params:
        return params
    kernel, bias = params["output"]["kernel"], params["output"]["bias"]
    own = {"kernel": kernel / jnp.asarray(units.scale)[None], "bias": unscaled(bias[None], units)[0]}
    return {**params, "output": own}
