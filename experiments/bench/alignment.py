"""What the layer alignment costs: the distillation step with it over the same step without it, at Cora's size.

`python -m experiments.bench.alignment`. A random graph and a random 64-layer teacher of Cora's sizes stand in for the
real ones: the work is the same and no file is needed. All variants run in turn in one process; medians of the rounds.
"""

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
import tabulate
import tyro

from abkd_jax import distill
from abkd_jax.configs.options import ModelConfig, OptimConfig
from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.distill.build import AXES_RANK, TEACHER_RANK
from abkd_jax.graph import from_edges, prepare, sparse_features
from abkd_jax.models import build
from abkd_jax.training.step import init_state, make_distill_step, make_optimizer
from abkd_jax.training.tasks import classification
from abkd_jax.types import Batch, NodeMasks, PairMap
from experiments.program import run_program

NODES, EDGES, WORDS, CLASSES = 2708, 5278, 1433, 7  # Cora
DENSITY = 0.0127  # share of the words that a paper holds
STEPS = 5  # steps per dispatch


@dataclass(frozen=True)
class Args:
    """Measure the cost of the layer alignment."""

    rounds: int = 31
    """Timed dispatches of every variant."""
    seeds: int = 1
    """Students side by side in one program."""
    out: Path = Path("experiments/results/bench_alignment.json")
    """Where the figures are stored."""


def main(args: Args) -> None:
    """Measures, prints and stores."""
    batch = _batch()
    runs = {name: _compiled(pairs, batch, args.seeds) for name, pairs in _variants().items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, (run, _) in runs.items():
            began = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - began) / STEPS)
    base = np.array(times["soft labels only"])
    rows = [
        {
            "variant": name,
            "median_ms": float(np.median(ms)),
            "min_ms": min(ms),
            "max_ms": max(ms),
            "ratio": float(np.median(np.array(ms) / base)),
            "temp_mb": runs[name][1] / 1e6,
        }
        for name, ms in times.items()
    ]
    hardware = f"{os.cpu_count()} x {platform.machine()} cores, jax {jax.__version__} on {jax.devices()[0].device_kind}"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.out, json.dumps({"hardware": hardware, "seeds": args.seeds, "rows": rows}, indent=1) + "\n")
    print(tabulate.tabulate(rows, headers="keys", floatfmt=".2f"))
    print(
        f"\n{hardware}; {args.seeds} seeds a program, {args.rounds} rounds; ratio: median over rounds, to the first row"
    )


def _variants() -> dict[str, PairMap | None]:
    """Pair dissimilarities under learned attention; the ranks are those of the pipeline."""
    return {
        "soft labels only": None,
        "closed_form(8)": distill.closed_form(8, rank=AXES_RANK),
        "closed_form(8), exact": distill.closed_form(8),
        "fixed_axes(8)": distill.fixed_axes(8, rank=AXES_RANK),
        "trained_heads(16)": distill.trained_heads(16, rank=TEACHER_RANK),
        "trained_heads(16), exact": distill.trained_heads(16),
        "trained_heads(16), pooled": distill.trained_heads(16, reduce="pooled"),
    }


def _batch() -> Batch:
    rng = np.random.default_rng(0)
    words = sp.random_array((NODES, WORDS), density=DENSITY, format="csr", rng=rng, dtype=np.float32)
    ends = rng.integers(0, NODES, (2, EDGES))
    graph = prepare(from_edges(*ends, NODES, nodes=sparse_features(sp.csr_matrix(words)), undirected=True))
    masks = NodeMasks(all=jnp.ones(NODES, bool), train=jnp.arange(NODES) < 140)
    return Batch(jax.device_put(graph), jnp.asarray(rng.integers(0, CLASSES, NODES)), masks)


def _compiled(pairs: PairMap | None, batch: Batch, seeds: int) -> tuple[Callable[[], None], int]:
    """A dispatch of `STEPS` steps of `seeds` students, and its temporary memory in bytes."""
    terms = [distill.Term("soft_label", 1.0, distill.soft_label(0.25))]
    if pairs is not None:
        terms.append(distill.Term("abkd", 0.1, distill.abkd(distill.learned(16), pairs)))
    objective = distill.weighted_sum(*terms)
    teacher = build(ModelConfig(), CLASSES)
    student = build(ModelConfig(layers=4, hidden=4, dropout=0.0), CLASSES)
    optimizer = make_optimizer(OptimConfig(epochs=300))

    @jax.jit
    def one_seed(key: jax.Array) -> tuple:
        out = teacher.apply(teacher.init(key, batch.graph), batch.graph)
        heads = objective.init(key, out, student.apply(student.init(key, batch.graph), batch.graph))
        targets = objective.targets(out, graph=batch.graph, mask=batch.masks)
        return init_state(key, student, optimizer, batch, objective_params=heads), targets

    prepared = [one_seed(jax.random.key(seed)) for seed in range(seeds)]
    states, targets = jax.tree.map(lambda *leaves: jnp.stack(leaves), *prepared)
    step = jax.vmap(
        make_distill_step(student, objective, optimizer, classification()), in_axes=(0, Batch(None, None, None, 0))
    )
    program = jax.jit(lambda s, b: jax.lax.scan(lambda c, _: step(c, b), s, None, length=STEPS))
    full = batch._replace(targets=targets)
    compiled = program.lower(states, full).compile()
    memory = compiled.memory_analysis()
    return lambda: jax.block_until_ready(compiled(states, full)), memory.temp_size_in_bytes if memory else 0


if __name__ == "__main__":
    run_program("experiments.bench.alignment", lambda: main(tyro.cli(Args)))
