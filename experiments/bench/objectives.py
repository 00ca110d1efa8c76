"""What every objective costs, forward and backward, beside the same loss in PyTorch: `experiments.bench.objectives`.

`python -m experiments.bench.objectives`, on Cora's sizes: 2,708 nodes, 10,556 directed edges, last hidden layers of 64
and 16 units, for the layer alignment 64 teacher layers x 64 and 4 student layers x 4. Random features stand in for the
models'; those of the teacher's layers have 48 directions, fewer than the reduced forms keep, so that all forms agree.
Loss and gradient are compared first (1e-4). Then all variants run in turn, on the same two
cores, in one process, each once untimed and once timed.

The frozen teacher's part is computed once on the JAX side, as in training; the straightforward PyTorch computes it at
every step (but for the teacher's principal axes), and `torch, best algebra` not.
"""

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import tabulate
import tyro

from abkd_jax import distill
from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.types import GNNOutput, Objective
from experiments.program import run_program

NODES, EDGES, CLASSES = 2708, 10556, 7
THREADS = 2
ALIGNED, LAST = ((64, 64), (4, 4)), ((1, 64), (1, 16))  # (layers, width) of teacher and student
PACKAGES = ("jax", "jaxlib", "numpy", "torch", "torch_geometric")


@dataclass(frozen=True)
class Args:
    """Time the objectives beside PyTorch."""

    rounds: int = 31
    """Timed evaluations of every variant, in turn."""
    only: str = ""
    """Only objectives whose name starts so."""
    out: Path = Path("experiments/results/bench_objectives.json")
    """Where the figures are stored."""


class Variant(NamedTuple):
    """One row: `run` evaluates loss and gradients once; `read` turns that into loss and slopes in NumPy."""

    objective: str
    variant: str
    run: Callable[[], Any]
    read: Callable[[Any], tuple[float, list[np.ndarray]]]


def main(args: Args) -> None:
    """Compares, times, prints and stores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])  # before either library starts its threads
    variants = [v for name in _objectives() if name.startswith(args.only) for v in _variants(name)]
    times: dict[int, list[float]] = {i: [] for i in range(len(variants))}
    for _ in range(args.rounds):
        for i, variant in enumerate(variants):
            variant.run()  # untimed: the caches hold the neighbour's arrays, and its threads may still be spinning
            began = time.perf_counter()
            variant.run()
            times[i].append(1e3 * (time.perf_counter() - began))
    ours = {v.objective: np.array(times[i]) for i, v in enumerate(variants) if v.variant == "jax"}
    rows = [
        {
            "objective": v.objective,
            "variant": v.variant,
            "median_ms": float(np.median(times[i])),
            "min_ms": min(times[i]),
            "max_ms": max(times[i]),
            "ratio": float(np.median(np.array(times[i]) / ours[v.objective])),
        }
        for i, v in enumerate(variants)
    ]
    hardware = f"{THREADS} of {os.cpu_count()} x {platform.machine()} cores ({_processor()})"
    stored = {"hardware": hardware, "versions": {p: version(p) for p in PACKAGES}, "rounds": args.rounds, "rows": rows}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.out, json.dumps(stored, indent=1) + "\n")
    print(tabulate.tabulate(rows, headers="keys", floatfmt=".2f"))
    print(f"\n{hardware}; {args.rounds} rounds; ratio: median over rounds of the time over that of the JAX form")


def _objectives() -> dict[str, tuple[Objective, tuple[tuple[int, int], tuple[int, int]]]]:
    attention = distill.learned(16)
    return {
        "soft_label": (distill.soft_label(4.0), LAST),
        "fitnet": (distill.fitnet(), LAST),
        "attention_transfer": (distill.attention_transfer(), LAST),
        "mustad": (distill.mustad(), LAST),
        "lsp": (distill.lsp(), LAST),
        "gsp": (distill.gsp(), LAST),
        "gcrd": (distill.gcrd(), LAST),
        "geometric": (distill.geometric(), LAST),
        "abkd, trained_heads": (distill.abkd(attention, distill.trained_heads(16)), ALIGNED),
        "abkd, trained_heads, rank 256": (distill.abkd(attention, distill.trained_heads(16, rank=256)), ALIGNED),
        "abkd, trained_heads pooled": (distill.abkd(attention, distill.trained_heads(16, reduce="pooled")), ALIGNED),
        "abkd, fixed_axes, rank 64": (distill.abkd(attention, distill.fixed_axes(8, rank=64)), ALIGNED),
        "abkd, closed_form": (distill.abkd(attention, distill.closed_form(8)), ALIGNED),
        "abkd, closed_form, rank 64": (distill.abkd(attention, distill.closed_form(8, rank=64)), ALIGNED),
    }


def _sides(sizes: tuple[tuple[int, int], tuple[int, int]]) -> tuple[GNNOutput, GNNOutput]:
    """Features of teacher and student from 48 common directions of falling weight, the student's rectified."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(NODES, 48)) * np.geomspace(1.0, 0.05, 48)
    draw = lambda width: jnp.asarray(common @ rng.normal(size=(48, width)) / 4 + 0.3, jnp.float32)  # noqa: E731
    outputs = [GNNOutput(draw(CLASSES), tuple(draw(width) for _ in range(layers))) for layers, width in sizes]
    return outputs[0], outputs[1]._replace(hiddens=tuple(jax.nn.relu(h) for h in outputs[1].hiddens))


def _graph() -> jraph.GraphsTuple:
    rng = np.random.default_rng(1)
    pairs = rng.integers(0, NODES, (2, EDGES // 2)).astype(np.int32)
    senders, receivers = np.concatenate([pairs, pairs[::-1]], axis=1)
    counts = np.array([NODES], np.int32), np.array([EDGES], np.int32)
    return jraph.GraphsTuple(None, None, receivers, senders, None, *counts)


def _variants(name: str) -> list[Variant]:
    """The JAX form and its peers, after their losses and gradients have been compared."""
    from experiments.bench.torch_objectives import BEST, STRAIGHTFORWARD

    objective, sizes = _objectives()[name]
    teacher, student = _sides(sizes)
    graph, mask = jax.device_put(_graph()), jnp.ones(NODES, bool)
    params = objective.init(jax.random.key(0), teacher, student)
    targets = jax.jit(objective.targets)(teacher, graph=graph, mask=mask)
    variants = [_jax_variant(name, objective, params, targets, student, graph, mask)]
    peers = {"torch": STRAIGHTFORWARD[name]} | ({"torch, best algebra": BEST[name]} if name in BEST else {})
    variants += [
        _torch_variant(name, label, loss, params, targets, teacher, student, graph) for label, loss in peers.items()
    ]
    _compare(variants)
    return variants


def _jax_variant(
    name: str, objective: Objective, params: Any, targets: Any, student: GNNOutput, graph: Any, mask: jax.Array
) -> Variant:
    @jax.jit
    def evaluate(params: Any, student: GNNOutput, targets: Any, graph: Any, mask: jax.Array) -> Any:
        def loss(params: Any, student: GNNOutput) -> jax.Array:
            return objective.apply(params, targets, student, graph=graph, mask=mask, key=None)[0]

        return jax.value_and_grad(loss, argnums=(0, 1))(params, student)

    def read(found: Any) -> tuple[float, list[np.ndarray]]:
        value, (_, slopes) = found
        return float(value), [np.asarray(x) for x in (slopes.logits, *slopes.hiddens)]

    return Variant(name, "jax", lambda: jax.block_until_ready(evaluate(params, student, targets, graph, mask)), read)


def _torch_variant(
    name: str, label: str, loss: Any, params: Any, targets: Any, teacher: GNNOutput, student: GNNOutput, graph: Any
) -> Variant:
    import torch

    from experiments.bench.torch_objectives import Side

    torch.set_num_threads(THREADS)

    def tensor(x: Any) -> Any:
        if hasattr(x, "_asdict"):
            return {key: tensor(value) for key, value in x._asdict().items()}
        if isinstance(x, dict):
            return {key: tensor(value) for key, value in x.items()}
        return None if x is None else torch.from_numpy(np.array(x))

    theirs, ours = (Side(tensor(o.logits), [tensor(h) for h in o.hiddens]) for o in (teacher, student))
    constants, heads = tensor(targets) if isinstance(targets, dict) else None, tensor(params)
    leaves = [ours.logits, *ours.hiddens]
    trained = leaves + _leaves(heads)
    for leaf in trained:
        leaf.requires_grad_()
    edges = torch.from_numpy(np.stack([np.asarray(graph.senders), np.asarray(graph.receivers)]).astype(np.int64))

    def run() -> Any:
        value = loss(theirs, ours, heads, constants, edges)
        return value, torch.autograd.grad(value, trained, allow_unused=True)

    def read(found: Any) -> tuple[float, list[np.ndarray]]:
        value, slopes = found
        pairs = zip(slopes, leaves, strict=False)
        return value.item(), [(torch.zeros_like(leaf) if g is None else g).numpy() for g, leaf in pairs]

    return Variant(name, label, run, read)


def _leaves(tree: Any) -> list[Any]:
    return [leaf for value in tree.values() for leaf in _leaves(value)] if isinstance(tree, dict) else [tree]


def _compare(variants: list[Variant]) -> None:
    """The first variant's loss and gradients against those of all others."""
    value, slopes = variants[0].read(variants[0].run())
    for other in variants[1:]:
        theirs, gradients = other.read(other.run())
        np.testing.assert_allclose(theirs, value, rtol=1e-4, err_msg=f"{other.objective}: loss of {other.variant}")
        scale = max(np.abs(g).max() for g in gradients)
        for ours, expected in zip(slopes, gradients, strict=True):
            message = f"{other.objective}: gradient of {other.variant}"
            np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4 * scale, err_msg=message)


def _processor() -> str:
    """The model name that Linux gives, or what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    run_program("experiments.bench.objectives", lambda: main(tyro.cli(Args)))
