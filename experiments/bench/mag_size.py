"""Every stage of a distillation on a graph of ogbn-mag's size: `python -m experiments.bench.mag_size --data-root ROOT`.

Files -> memory-mapped arrays -> edges of every node on the host -> GraphSAINT walks -> distillation steps, teacher and
student on the same subgraph -> layer-wise inference of both over all papers. Teacher and student have the sizes of the
paper, RGCN 3 x 512 and 2 x 32, and start untrained: time and memory are what is measured. `experiments.mag_like` writes
such a graph where the real one is not at hand.
"""

import dataclasses
import json
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tabulate
import tyro

from abkd_jax import datasets, sampling
from abkd_jax.configs import presets
from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.distill.build import Setting, build_objective
from abkd_jax.graph.host import host_graph
from abkd_jax.inference import evaluation
from abkd_jax.inference.layerwise import layerwise
from abkd_jax.models import build
from abkd_jax.training.step import init_state, make_distill_step, make_optimizer, taught
from abkd_jax.training.tasks import classification


@dataclasses.dataclass(frozen=True)
class Args:
    """Time the stages of one distillation on a graph of ogbn-mag's schema."""

    data_root: Path | None = None
    """Folder of the data files."""
    steps: int = 30
    """Distillation steps."""
    roots: int = 20_000
    """Start nodes of the walks of a step."""
    out: Path = Path("experiments/results/bench_mag_size.json")
    """Where the figures go."""


class Stages:
    """Seconds and the memory peak of the process after each stage."""

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


def main(args: Args) -> None:
    """Runs the stages, prints their table, stores it."""
    stages, config = Stages(), presets.distill_config("ogbn-mag")
    dataset = datasets.load("ogbn-mag", args.data_root)
    stages.done("files to arrays, or arrays found", source=dataset.source)
    host = host_graph(dataset)
    stages.done("edges of every node", nodes=host.num_nodes, edges=host.num_edges)
    epochs = sampling.walk_batches(host, args.roots, config.batches.length, args.steps)
    example = next(iter(epochs(np.random.default_rng(0))))
    stages.done("sampler ready", batch_nodes=example.labels.shape[0], batch_edges=example.graph.senders.shape[0])
    sum(1 for _ in epochs(np.random.default_rng(0)))
    seconds = time.perf_counter() - stages.began
    stages.done(f"{args.steps} batches on the host, none of them used", batch_seconds=seconds / args.steps)
    kinds = {"relations": host.num_relations, "node_types": 4, "embeddings": dataset.num_embeddings}
    teacher = build(config.teacher.model, dataset.num_classes, **kinds)
    student = build(config.student, dataset.num_classes, **kinds)
    method = config.abkd
    objective = build_objective(method, Setting(minibatches=True))
    optimizer = make_optimizer(method.optim)
    variables = jax.jit(teacher.init)(jax.random.key(0), example.graph)
    own = jax.jit(student.init)(jax.random.key(1), example.graph)
    outs = [jax.eval_shape(m.apply, v, example.graph) for m, v in ((teacher, variables), (student, own))]
    heads = objective.init(jax.random.key(2), *outs)
    state = init_state(jax.random.key(1), student, optimizer, example, objective_params=heads)
    sizes = [evaluation.parameter_count(v["params"]) for v in (variables, own)]
    tables = [evaluation.embedding_count(v["params"]) for v in (variables, own)]
    del own
    stages.done("models", parameters=[s - t for s, t in zip(sizes, tables, strict=True)], embeddings=tables)
    step = taught(
        make_distill_step(student, objective, optimizer, classification(), method.task_weight), objective, teacher.apply
    )
    state, metrics = step(state, jax.device_put(example), variables)
    jax.block_until_ready(metrics)
    stages.done("first step, with compilation")
    waits, edges = sampling.PrefetchStats(), 0
    for batch in sampling.prefetch(epochs(np.random.default_rng(1)), stats=waits):
        state, metrics = step(state, batch, variables)
        edges += int(batch.graph.n_edge[0])
        jax.block_until_ready(metrics)
    compiled = step._cache_size()
    facts = {"step_seconds": waits.total / args.steps, "idle_share": waits.idle_share, "programs": compiled}
    stages.done(f"{args.steps} distillation steps", **facts, edges_per_step=edges // args.steps)
    papers = np.flatnonzero(dataset.labels >= 0)
    for name, model, found in (
        ("student", student, {"params": state.params["student"]}),
        ("teacher", teacher, variables),
    ):
        logits = layerwise(model, found, host, nodes=papers, progress=True)
        stages.done(
            f"layer-wise inference, {name}, all papers", papers=len(papers), finite=bool(np.isfinite(logits).all())
        )
        del logits
    platform_name = jax.devices()[0].device_kind
    record = {
        "hardware": f"{os.cpu_count()} x {platform.machine()} cores, jax {jax.__version__} on {platform_name}",
        "stages": stages.rows,
    }
    write_atomic(args.out, json.dumps(record, indent=1) + "\n")
    print(
        tabulate.tabulate(
            [(r["stage"], r["seconds"], r["peak_gib"]) for r in stages.rows], ("stage", "s", "peak GiB"), floatfmt=".1f"
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Args))
