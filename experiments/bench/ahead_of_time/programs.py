"""The programs that are compiled: presets, sizes and data of the runs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from abkd_jax.configs import presets
from abkd_jax.configs.options import BatchConfig, DistillConfig
from abkd_jax.inference.bundle import Bundle, inputs_of
from abkd_jax.inference.export import stablehlo
from abkd_jax.models import build
from abkd_jax.run.data import PreparedData, build_model, prepare_data
from abkd_jax.training.seeds import vmap_seeds
from abkd_jax.types import Batch
from experiments.bench.ahead_of_time.blocks import rgcn_block
from experiments.bench.ahead_of_time.papers100m import papers100m_step
from experiments.bench.ahead_of_time.steps import Program, Site, distilled, prepared_for, supervised

__all__ = ["PROGRAMS", "TOPOLOGIES"]

STEPS, SEEDS = 10, 10
TARGETS: Any = Batch(None, None, None, 0)  # type: ignore[arg-type]  # axes of jax.vmap: a teacher per seed, one graph
Make = Callable[[Site], Program]


def _data(name: str, site: Site) -> tuple[PreparedData, DistillConfig]:
    data = prepare_data(name, site.root)
    return prepared_for(data, site.platform), presets.distill_config(name)


def _teacher(name: str) -> Make:
    """Returns the maker of the training step of a preset's teacher, on the whole graph."""

    def make(site: Site) -> Program:
        data, config = _data(name, site)
        return supervised(data, config.teacher.model, config.teacher.optim)

    return make


def _cora(method: str, **changes: Any) -> Make:
    """Returns the maker of the step of Cora's student, by one method."""

    def make(site: Site) -> Program:
        data, config = _data("cora", site)
        return distilled(data, config, dataclasses.replace(getattr(config, method), **changes))

    return make


def _minibatches(name: str, batches: BatchConfig | None = None, student: str = "") -> Make:
    """Returns the maker of the step of `abkd` on minibatches, the preset's own by default."""

    def make(site: Site) -> Program:
        config = presets.distill_config(name)
        model = dataclasses.replace(config.student, name=student or config.student.name)
        method = dataclasses.replace(config.abkd, student=model)
        data = prepare_data(name, site.root, batches or config.batches, platform=site.platform)
        return distilled(data, config, method)

    return make


def _block(make: Make) -> Make:
    """Returns the maker of ten steps of a program under one scan."""

    def of_steps(site: Site) -> Program:
        program = make(site)

        def run(state: Any, batch: Batch) -> Any:
            return jax.lax.scan(lambda carry, _: program.function(carry, batch), state, None, length=STEPS)

        return Program(jax.jit(run, donate_argnums=0), program.arguments)

    return of_steps


def _seeds(make: Make) -> Make:
    """Returns the maker of a program for ten seeds."""

    def many(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((SEEDS, *leaf.shape), leaf.dtype)

    def of_seeds(site: Site) -> Program:
        function, (state, batch) = make(site)
        states, targets = jax.tree.map(many, (state, batch.targets))
        run = jax.jit(vmap_seeds(function, TARGETS, states.params["student"]), donate_argnums=0)
        return Program(run, (states, batch._replace(targets=targets)))

    return of_seeds


def _mag_layer(_: Site) -> Program:
    """Returns the second of three layers of ogbn-mag's teacher in layer-wise inference: a block of papers."""
    config = presets.distill_config("ogbn-mag")
    return Program(*rgcn_block(build(config.teacher.model, 349, relations=7, node_types=4, embeddings=1_203_354)))


def _export(site: Site) -> Program:
    """Returns Cora's exported student: raw arrays to probabilities."""
    data, config = _data("cora", site)
    variables = jax.jit(build_model(data, config.student).init)(jax.random.key(0), data.batch.graph)
    bundle = Bundle(config.student, inputs_of(data.dataset, "gcnii"), data.outputs, "classification", variables)
    ends = jax.ShapeDtypeStruct(data.dataset.senders.shape, jnp.int32)
    features = jax.ShapeDtypeStruct(data.dataset.features.shape, jnp.float32)
    return Program(jax.jit(stablehlo.program(bundle)), (features, ends, ends))


PROGRAMS: dict[str, Make] = {
    "cora_teacher": _teacher("cora"),
    "cora_soft": _cora("soft_label"),
    "cora_best": _cora("abkd"),
    "cora_paper": _cora("abkd_paper"),
    "cora_stride": _cora("abkd", dissimilarity="stride"),
    "cora_block": _block(_cora("abkd")),
    "cora_seeds": _seeds(_block(_cora("abkd"))),
    "cora_export": _export,
    "arxiv_sage": _minibatches("ogbn-arxiv", BatchConfig(kind="neighbours"), student="graphsage"),
    "arxiv_gat_teacher": _teacher("ogbn-arxiv"),
    "molbace_gin": _minibatches("ogbg-molbace"),
    "mag_layer": _mag_layer,
    "mag_rgcn": _minibatches("ogbn-mag"),
    "papers100m_sage": papers100m_step,
}
TOPOLOGIES = {("papers100m_sage", "v4"): "v4:2x2x4"}  # of programs for several devices: a v4-32 has 16 chips
