"""What of the jobs of a run only the data can tell: checked once they are read, before a teacher is trained."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from abkd_jax.configs.options import ModelConfig
from abkd_jax.distill import positive
from abkd_jax.distill.build import terms_of
from abkd_jax.distill.named import outside
from abkd_jax.models.external import combine
from abkd_jax.outside import first_line, is_outside
from abkd_jax.run.data import PreparedData, build_model
from abkd_jax.run.own_models import check_own
from abkd_jax.run.program import Teacher, select_seed
from abkd_jax.run.resolve import Job
from abkd_jax.types import GNNOutput, InputError

__all__ = ["check_jobs", "check_teacher", "output_shapes", "shapes_of_given"]


def check_jobs(data: PreparedData, jobs: Iterable[Job], teacher: Callable[[], GNNOutput]) -> None:
    """Checks that every job has a student and a loss on the data.

    Args:
        data: of the run.
        jobs: of the run.
        teacher: returns the shapes of the teacher's outputs; called where a loss is from outside the package.

    Raises:
        InputError: the student reads features, of which there are none; the loss is not for this task; or a loss from
            outside fails, or returns other than `(loss, metrics)` with a scalar loss and arrays as metrics.
    """
    for job in jobs:
        try:
            student = build_model(data, job.model)
            if is_outside(job.model.name):
                _check_student(data, job, student)
            terms_of(job.method, data.loss_context)
            if job.method.auxiliary_weight and is_outside(job.method.auxiliary):
                _check_outside(data, job, teacher(), _shapes(data, student))
        except InputError as error:
            raise InputError(f"{job.name} on {data.dataset.name}: {error}") from error


def check_teacher(data: PreparedData, model: ModelConfig, jobs: Iterable[Job]) -> None:
    """Checks that a teacher from outside the package can be trained on the data, and has what students read of it.

    Args:
        data: of the run.
        model: architecture and sizes; of one of this package nothing is checked.
        jobs: of the run; none where teachers alone are trained.

    Raises:
        InputError: see `own_models.check_own`; or it returns logits alone, where a method compares hidden layers.
    """
    if not is_outside(model.name):
        return
    try:
        found = check_own(data, model.name, build_model(data, model))
        for job in jobs:
            _require_hiddens(job, model.name, found)
    except InputError as error:
        raise InputError(f"teacher on {data.dataset.name}: {error}") from error


def _check_student(data: PreparedData, job: Job, student: nn.Module) -> None:
    name = job.model.name
    found = check_own(data, name, student)
    _require_hiddens(job, name, found)
    if job.method.start == "positive":
        try:
            params = jax.eval_shape(lambda: student.init(jax.random.key(0), data.batch.graph)["params"])
            jax.eval_shape(positive, params)
        except InputError as error:
            raise InputError(f"{name}: start positive: {error}; expected start default") from error


def _require_hiddens(job: Job, name: str, found: GNNOutput) -> None:
    if job.reads_hiddens and not found.hiddens:
        raise InputError(
            f"{name}: it returns no hidden layers, which {job.name} compares; expected some beside the logits"
        )


def output_shapes(data: PreparedData, model: ModelConfig, members: int = 1) -> GNNOutput:
    """Returns the shapes of a model's outputs on the data; nothing is computed.

    Args:
        data: of the run.
        model: architecture and sizes.
        members: number of such models that predict together.
    """
    one = _shapes(data, build_model(data, model))
    return jax.eval_shape(lambda out: combine([out] * members, data.dataset.task), one)


def shapes_of_given(data: PreparedData, teacher: Teacher) -> GNNOutput:
    """Returns the shapes of the outputs of a teacher that is there, for the nodes of the batch."""
    found = jax.eval_shape(teacher.models.module.apply, select_seed(teacher.models.variables, 0), data.batch.graph)
    if data.eval_nodes is None:
        return found
    rows = data.batch.masks.all.shape[0]  # a part of the graph, while stored outputs are those of all nodes
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype), found)


def _shapes(data: PreparedData, model: nn.Module) -> Any:
    key, graph = jax.random.key(0), data.batch.graph
    return jax.eval_shape(lambda key, graph: model.init_with_output(key, graph)[0], key, graph)


def _check_outside(data: PreparedData, job: Job, teacher: GNNOutput, student: GNNOutput) -> None:
    """Traces a loss from outside the package once, in the order in which training calls it."""
    name, nodes = job.method.auxiliary, getattr(data.batch.masks, job.method.auxiliary_nodes)
    objective = outside(name)

    def computed(key: Any, teacher: Any, student: Any, graph: Any, mask: Any) -> Any:
        params = objective.init(key, teacher, student)
        targets = objective.targets(teacher, graph=graph, mask=mask)
        return objective.apply(params, targets, student, graph=graph, mask=mask, key=key)

    try:
        found = jax.eval_shape(computed, jax.random.key(0), teacher, student, data.batch.graph, nodes)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: it fails on outputs of teacher and student: {first_line(error)}") from error
    loss: Any = found[0] if isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping) else None
    if not hasattr(loss, "shape"):
        raise InputError(f"{name}: its apply returns {type(found).__name__}, expected (loss, metrics), metrics a dict")
    if loss.shape != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise InputError(f"{name}: its loss is {loss.dtype}{list(loss.shape)}, expected a scalar of floats")
    for metric, value in found[1].items():
        if not hasattr(value, "shape"):
            raise InputError(f"{name}: its metric {metric} is {type(value).__name__}, expected an array or a number")
