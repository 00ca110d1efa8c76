"""The programs that are compiled, as functions and their arguments: presets, sizes and data of the runs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from abkd_jax import distill
from abkd_jax.configs import presets
from abkd_jax.configs.options import BatchConfig, DistillConfig, MethodConfig, ModelConfig
from abkd_jax.distill.build import build_objective
from abkd_jax.inference.bundle import Bundle, inputs_of
from abkd_jax.inference.export import stablehlo
from abkd_jax.models import build
from abkd_jax.run.data import PreparedData, build_model, prepare_data
from abkd_jax.training.seeds import vmap_seeds
from abkd_jax.training.step import init_state, make_distill_step, make_optimizer, with_teacher_targets
from abkd_jax.types import Batch, GNNOutput, InputError, NodeMasks, Objective
from experiments.bench.ahead_of_time.blocks import rgcn_block

__all__ = ["PROGRAMS", "Program"]

STEPS, SEEDS = 10, 10
SAMPLE = 2048  # rows of random outputs of a teacher
TARGETS: Any = Batch(None, None, None, 0)  # type: ignore[arg-type]  # axes of jax.vmap: a teacher per seed, one graph


class Program(NamedTuple):
    """A jitted function and its arguments: arrays, or shapes where nothing of their values is read."""

    function: Any
    arguments: tuple[Any, ...]


def _cora(root: Path) -> tuple[PreparedData, DistillConfig]:
    return prepare_data("cora", root), presets.distill_config("cora")


def _arxiv(root: Path, batches: BatchConfig) -> tuple[PreparedData, DistillConfig]:
    return prepare_data("ogbn-arxiv", root, batches), presets.distill_config("ogbn-arxiv")


def supervised(data: PreparedData, model: ModelConfig, optim: Any) -> Program:
    """Returns the training step of a teacher."""
    module, optimizer = build_model(data, model), make_optimizer(optim)
    step = make_distill_step(module, None, optimizer, data.task)
    state = jax.eval_shape(lambda key, batch: init_state(key, module, optimizer, batch), jax.random.key(0), data.batch)
    return Program(step, (state, data.batch))


def distilled(data: PreparedData, config: DistillConfig, method: MethodConfig) -> Program:
    """Returns the training step of a student: with targets, or on minibatches with the teacher inside."""
    teacher, student = build_model(data, config.teacher.model), build_model(data, method.student or config.student)
    objective, optimizer = build_objective(method, data.loss_context), make_optimizer(method.optim)
    if objective is None:
        raise InputError("ahead_of_time: a method of labels alone, expected one that reads the teacher")
    batch = data.batch if data.sampler is None else next(iter(data.sampler(np.random.default_rng(0))))

    def outputs(key: Any, batch: Batch) -> tuple[Any, Any, Any]:
        variables = teacher.init(key, batch.graph)
        own: Any = student.apply(student.init(key, batch.graph), batch.graph)
        return variables, teacher.apply(variables, batch.graph), own

    def start(key: Any, batch: Batch, out: Any, own: Any) -> Any:
        return init_state(key, student, optimizer, batch, objective_params=objective.init(key, out, own))

    key, step = jax.random.key(0), make_distill_step(student, objective, optimizer, data.task, method.task_weight)
    variables, out, own = jax.eval_shape(outputs, key, batch)
    state = jax.eval_shape(start, key, batch, out, own)
    if data.sampler is None:
        targets = jax.eval_shape(lambda out, b: objective.targets(out, graph=b.graph, mask=b.masks), out, batch)
        return Program(step, (state, batch._replace(targets=targets)))
    return Program(
        with_teacher_targets(step, objective, teacher.apply), (state, batch, variables, _basis(objective, out))
    )


def _basis(objective: Objective, out: GNNOutput) -> Any:
    """Returns a basis of a teacher with such outputs, random ones; None where the loss needs none."""
    if not distill.needs_basis(objective):
        return None
    rng, mask = np.random.default_rng(0), np.ones(SAMPLE, bool)
    drawn = [rng.normal(size=(SAMPLE, leaf.shape[1])).astype(np.float32) for leaf in jax.tree.leaves(out)]
    sample = jax.tree.unflatten(jax.tree.structure(out), drawn)
    return distill.teacher_basis(objective, sample, NodeMasks(mask, mask, mask, mask))


def _cora_student(method: str, **changes: Any) -> Callable[[Path], Program]:
    def make(root: Path) -> Program:
        data, config = _cora(root)
        return distilled(data, config, dataclasses.replace(getattr(config, method), **changes))

    return make


def _cora_teacher(root: Path) -> Program:
    data, config = _cora(root)
    return supervised(data, config.teacher.model, config.teacher.optim)


def _block(program: Program) -> Program:
    """Returns ten steps of a program under one scan."""

    def run(state: Any, batch: Batch) -> Any:
        return jax.lax.scan(lambda carry, _: program.function(carry, batch), state, None, length=STEPS)

    return Program(jax.jit(run, donate_argnums=0), program.arguments)


def _seeds(program: Program) -> Program:
    """Returns ten steps of ten seeds, one program for all of them."""
    block, (state, batch) = _block(program), program.arguments

    def many(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((SEEDS, *leaf.shape), leaf.dtype)

    states, targets = jax.tree.map(many, (state, batch.targets))
    run = jax.jit(vmap_seeds(block.function, TARGETS, states.params["student"]), donate_argnums=0)
    return Program(run, (states, batch._replace(targets=targets)))


def _arxiv_sage(root: Path) -> Program:
    data, config = _arxiv(root, BatchConfig(kind="neighbours"))
    sage = dataclasses.replace(config.student, name="graphsage")
    return distilled(data, config, dataclasses.replace(config.abkd, student=sage))


def _arxiv_gat(root: Path) -> Program:
    data, config = _arxiv(root, BatchConfig())
    return supervised(data, config.teacher.model, config.teacher.optim)


def _of_preset(dataset: str) -> Callable[[Path], Program]:
    """Returns the maker of the step of `abkd` on the minibatches of a preset."""

    def make(root: Path) -> Program:
        config = presets.distill_config(dataset)
        return distilled(prepare_data(dataset, root, config.batches), config, config.abkd)

    return make


def _mag_layer(_: Path) -> Program:
    """Returns the second of three layers of ogbn-mag's teacher in layer-wise inference: a block of papers."""
    config = presets.distill_config("ogbn-mag")
    return Program(*rgcn_block(build(config.teacher.model, 349, relations=7, node_types=4, embeddings=1_203_354)))


def _cora_export(root: Path) -> Program:
    """Returns the exported student: raw arrays to probabilities."""
    data, config = _cora(root)
    variables = jax.jit(build_model(data, config.student).init)(jax.random.key(0), data.batch.graph)
    bundle = Bundle(config.student, inputs_of(data.dataset, "gcnii"), data.outputs, "classification", variables)
    ends = jax.ShapeDtypeStruct(data.dataset.senders.shape, jnp.int32)
    features = jax.ShapeDtypeStruct(data.dataset.features.shape, jnp.float32)
    return Program(jax.jit(stablehlo.program(bundle)), (features, ends, ends))


PROGRAMS: dict[str, Callable[[Path], Program]] = {
    "cora_teacher": _cora_teacher,
    "cora_soft": _cora_student("soft_label"),
    "cora_best": _cora_student("abkd"),
    "cora_paper": _cora_student("abkd_paper"),
    "cora_stride": _cora_student("abkd", dissimilarity="stride"),
    "cora_block": lambda root: _block(_cora_student("abkd")(root)),
    "cora_seeds": lambda root: _seeds(_cora_student("abkd")(root)),
    "cora_export": _cora_export,
    "arxiv_sage": _arxiv_sage,
    "arxiv_gat_teacher": _arxiv_gat,
    "molbace_gin": _of_preset("ogbg-molbace"),
    "mag_layer": _mag_layer,
    "mag_rgcn": _of_preset("ogbn-mag"),
}
