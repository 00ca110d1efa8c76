"""Times all stages of a distillation on a graph of ogbn-mag's size: `python -m experiments.bench.mag_size`.

Files -> memory-mapped arrays -> edges of every node on the host -> GraphSAINT walks -> distillation steps, teacher and
student on the same subgraph -> layer-wise inference of both over all papers. Teacher and student have the sizes of the
paper, RGCN 3 x 512 and 2 x 32. Both are untrained, since only time and memory are measured. `experiments.mag_like`
writes such a graph where the real one is missing.
"""

import dataclasses
import json
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import tabulate
import tyro
from flax import linen as nn

from abkd_jax import datasets, distill, sampling
from abkd_jax.configs import presets
from abkd_jax.configs.options import DistillConfig
from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.distill.build import LossContext, build_objective
from abkd_jax.graph.host import HostGraph, host_graph
from abkd_jax.inference import evaluation
from abkd_jax.inference.layerwise import layerwise
from abkd_jax.models import build
from abkd_jax.training.step import TrainState, init_state, make_distill_step, make_optimizer, with_teacher_targets
from abkd_jax.training.tasks import classification
from abkd_jax.training.teacher_sample import make_sample_outputs
from abkd_jax.types import Batch, Dataset, Objective
from experiments.program import run_program


@dataclasses.dataclass(frozen=True)
class Args:
    """Time the stages of a distillation on a graph of ogbn-mag's schema."""

    data_root: Path | None = None
    """Folder of the data files."""
    steps: int = 30
    """Distillation steps."""
    roots: int = 20_000
    """Root nodes of the walks per step."""
    out: Path = Path("experiments/results/bench_mag_size.json")
    """File of the figures."""


class Stages:
    """Seconds of each stage, and the memory peak of the process after it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.began = time.perf_counter()

    def done(self, name: str, **facts: Any) -> None:
        """Ends a stage."""
        now = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self.rows.append({"stage": name, "seconds": now - self.began, "peak_gib": peak, **facts})
        print(f"{name}: {now - self.began:.1f} s, peak {peak:.1f} GiB {facts or ''}", flush=True)
        self.began = time.perf_counter()


class Models(NamedTuple):
    """Teacher with its variables, student, and the training of the student."""

    teacher: nn.Module
    variables: Any
    student: nn.Module
    objective: Objective
    optimizer: optax.GradientTransformation
    task_weight: float


def main(args: Args) -> None:
    """Runs the stages, prints their table, stores it."""
    stages, config = Stages(), presets.distill_config("ogbn-mag")
    dataset, host = load(args.data_root, stages)
    sampler, example = make_sampler(host, args, config.batches.length, stages)
    models, state = init_models(config, dataset, host, example, stages)
    state = train(models, state, sampler, example, args.steps, stages)
    infer(models, state, host, np.flatnonzero(dataset.labels >= 0), stages)
    store(stages.rows, args.out)


def load(data_root: Path | None, stages: Stages) -> tuple[Dataset, HostGraph]:
    """Returns the data set, and its graph on the host."""
    dataset = datasets.load("ogbn-mag", data_root)
    stages.done("files to arrays, or arrays found", source=dataset.source)
    host = host_graph(dataset)
    stages.done("edges of every node", nodes=host.num_nodes, edges=host.num_edges)
    return dataset, host


def make_sampler(host: HostGraph, args: Args, length: int, stages: Stages) -> tuple[sampling.EpochSampler, Batch]:
    """Returns the sampler of walks and a first batch; times an epoch of batches on the host."""
    sampler = sampling.walk_batches(host, args.roots, length, args.steps)
    example = next(iter(sampler(np.random.default_rng(0))))
    stages.done("sampler ready", batch_nodes=example.labels.shape[0], batch_edges=example.graph.senders.shape[0])
    sum(1 for _ in sampler(np.random.default_rng(0)))
    seconds = time.perf_counter() - stages.began
    stages.done(f"{args.steps} batches on the host, none of them used", batch_seconds=seconds / args.steps)
    return sampler, example


def init_models(
    config: DistillConfig, dataset: Dataset, host: HostGraph, example: Batch, stages: Stages
) -> tuple[Models, TrainState]:
    """Returns untrained models and the state of the student's training."""
    sizes = {"relations": host.num_relations, "node_types": 4, "embeddings": dataset.num_embeddings}
    teacher = build(config.teacher.model, dataset.num_classes, **sizes)
    student = build(config.student, dataset.num_classes, **sizes)
    method = config.abkd
    objective = build_objective(method, LossContext(minibatches=True))
    optimizer = make_optimizer(method.optim)
    t_variables = jax.jit(teacher.init)(jax.random.key(0), example.graph)
    s_variables = jax.jit(student.init)(jax.random.key(1), example.graph)
    outs = [jax.eval_shape(m.apply, v, example.graph) for m, v in ((teacher, t_variables), (student, s_variables))]
    projections = objective.init(jax.random.key(2), *outs)
    state = init_state(jax.random.key(1), student, optimizer, example, objective_params=projections)
    counts = [evaluation.parameter_count(v["params"]) for v in (t_variables, s_variables)]
    embeddings = [evaluation.embedding_count(v["params"]) for v in (t_variables, s_variables)]
    del s_variables  # 154 million numbers, which the state holds too
    stages.done("models", parameters=[n - e for n, e in zip(counts, embeddings, strict=True)], embeddings=embeddings)
    return Models(teacher, t_variables, student, objective, optimizer, method.task_weight), state


def train(
    models: Models, state: TrainState, sampler: sampling.EpochSampler, example: Batch, steps: int, stages: Stages
) -> TrainState:
    """Returns the state after an epoch of distillation steps, of which the first compiles."""
    step = make_distill_step(models.student, models.objective, models.optimizer, classification(), models.task_weight)
    step = with_teacher_targets(step, models.objective, models.teacher.apply)
    sample = make_sample_outputs(models.teacher.apply)(models.variables, sampler(np.random.default_rng(0)))
    basis = jax.device_put(distill.teacher_basis(models.objective, *sample))
    stages.done("basis of the teacher, from four batches")
    state, metrics = step(state, jax.device_put(example), models.variables, basis)
    jax.block_until_ready(metrics)
    stages.done("first step, with compilation")
    waits, edges = sampling.PrefetchStats(), 0
    draws, workers = sampler.groups(np.random.default_rng(1), 1), sampling.worker_count()
    drawn = sampling.prefetch(draws, put=lambda d: jax.device_put(d()[0]().batch), workers=workers, stats=waits)
    for batch in drawn:
        state, metrics = step(state, batch, models.variables, basis)
        edges += int(batch.graph.n_edge[0])
        jax.block_until_ready(metrics)
    programs = step._cache_size()
    facts = {"step_seconds": waits.total / steps, "idle_share": waits.idle_share, "programs": programs}
    stages.done(f"{steps} distillation steps", **facts, edges_per_step=edges // steps)
    return state


def infer(models: Models, state: TrainState, host: HostGraph, papers: np.ndarray, stages: Stages) -> None:
    """Runs layer-wise inference of student and teacher over all papers."""
    student = {"params": state.params["student"]}
    sides = (("student", models.student, student), ("teacher", models.teacher, models.variables))
    for name, model, variables in sides:
        logits = layerwise(model, variables, host, nodes=papers, progress=True)
        finite = bool(np.isfinite(logits).all())
        stages.done(f"layer-wise inference, {name}, all papers", papers=len(papers), finite=finite)
        del logits


def store(rows: list[dict[str, Any]], out: Path) -> None:
    """Stores the stages and prints their table."""
    device = jax.devices()[0].device_kind
    hardware = f"{os.cpu_count()} x {platform.machine()} cores, jax {jax.__version__} on {device}"
    write_atomic(out, json.dumps({"hardware": hardware, "stages": rows}, indent=1) + "\n")
    table = [(row["stage"], row["seconds"], row["peak_gib"]) for row in rows]
    print(tabulate.tabulate(table, ("stage", "s", "peak GiB"), floatfmt=".1f"))


if __name__ == "__main__":
    run_program("experiments.bench.mag_size", lambda: main(tyro.cli(Args)))
