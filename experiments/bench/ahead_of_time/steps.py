"""Training steps as programs: jitted functions and the shapes of their arguments, nothing of which is computed."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from abkd_jax import distill
from abkd_jax.configs.options import DistillConfig, MethodConfig, ModelConfig, OptimConfig
from abkd_jax.distill.build import build_objective
from abkd_jax.graph import prepare
from abkd_jax.graph.host import host_graph, whole_graph
from abkd_jax.run.data import PreparedData, build_model
from abkd_jax.run.trimming import trimmed
from abkd_jax.training.step import init_state, make_distill_step, make_optimizer, with_teacher_targets
from abkd_jax.types import Batch, GNNOutput, GraphDataset, InputError, NodeMasks, Objective

__all__ = ["Learning", "Program", "Site", "distilled", "learning", "prepared_for", "supervised"]

SAMPLE = 2048  # rows of random outputs of a teacher


class Site(NamedTuple):
    """Where programs are compiled for, and where their data is.

    Attributes:
        root: folder of the data files.
        devices: described ones.
        platform: theirs, `"tpu"` or `"cuda"`.
    """

    root: Path
    devices: list[Any]
    platform: str


class Program(NamedTuple):
    """A jitted function and its arguments: arrays, or shapes where nothing of their values is read.

    Shapes with a sharding keep it; all other arguments are on the first device.
    """

    function: Any
    arguments: tuple[Any, ...]


class Learning(NamedTuple):
    """Shapes of the student's state, the teacher's variables, its basis, and the targets of one batch."""

    state: Any
    variables: Any
    basis: Any
    targets: Any


def learning(teacher: Any, student: Any, objective: Objective, optimizer: Any, batch: Batch) -> Learning:
    """Returns the shapes of a distillation; only the basis holds numbers, random ones."""

    def outputs(key: Any, batch: Batch) -> tuple[Any, Any, Any]:
        variables = teacher.init(key, batch.graph)
        own = student.apply(student.init(key, batch.graph), batch.graph)
        return variables, teacher.apply(variables, batch.graph), own

    def start(key: Any, batch: Batch, out: Any, own: Any) -> tuple[Any, Any]:
        state = init_state(key, student, optimizer, batch, objective_params=objective.init(key, out, own))
        return state, objective.targets(out, graph=batch.graph, mask=batch.masks)

    key = jax.random.key(0)
    variables, out, own = jax.eval_shape(outputs, key, batch)
    state, targets = jax.eval_shape(start, key, batch, out, own)
    return Learning(state, variables, _basis(objective, out), targets)


def _basis(objective: Objective, out: GNNOutput) -> Any:
    """Returns a basis of a teacher with such outputs; None where the loss needs none."""
    if not distill.needs_basis(objective):
        return None
    rng, mask = np.random.default_rng(0), np.ones(SAMPLE, bool)
    drawn = [rng.normal(size=(SAMPLE, leaf.shape[1])).astype(np.float32) for leaf in jax.tree.leaves(out)]
    sample = jax.tree.unflatten(jax.tree.structure(out), drawn)
    return distill.teacher_basis(objective, sample, NodeMasks(mask, mask, mask, mask))


def prepared_for(data: PreparedData, platform: str) -> PreparedData:
    """Returns data whose whole graph is laid out for another platform than that of this process."""
    if data.sampler is not None or isinstance(data.dataset, GraphDataset):
        return data
    host = host_graph(data.dataset)
    graph = prepare(whole_graph(host), relations=host.num_relations, platform=platform)
    return data._replace(batch=data.batch._replace(graph=graph))


def supervised(data: PreparedData, model: ModelConfig, optim: OptimConfig) -> Program:
    """Returns the training step of a teacher."""
    module, optimizer = build_model(data, model), make_optimizer(optim)
    step = make_distill_step(module, None, optimizer, data.task)
    state = jax.eval_shape(lambda key, batch: init_state(key, module, optimizer, batch), jax.random.key(0), data.batch)
    return Program(step, (state, data.batch))


def distilled(data: PreparedData, config: DistillConfig, method: MethodConfig) -> Program:
    """Returns the training step of a student: with targets, or on minibatches with the teacher inside.

    Raises:
        InputError: the method has no loss but that of the labels.
    """
    teacher, student = build_model(data, config.teacher.model), build_model(data, method.student or config.student)
    objective, optimizer = build_objective(method, data.loss_context), make_optimizer(method.optim)
    if objective is None:
        raise InputError("ahead_of_time: a method of labels alone, expected one that reads the teacher")
    data = trimmed(data, [student, teacher], method)
    batch = data.batch if data.sampler is None else next(iter(data.sampler(np.random.default_rng(0))))
    found = learning(teacher, student, objective, optimizer, batch)
    step = make_distill_step(student, objective, optimizer, data.task, method.task_weight)
    if data.sampler is None:
        return Program(step, (found.state, batch._replace(targets=found.targets)))
    learn = with_teacher_targets(step, objective, teacher.apply)
    return Program(learn, (found.state, batch, found.variables, found.basis))
