"""Measures training steps on sampled neighbours whose layers are trimmed to the rows that the roots depend on.

`python -m experiments.bench.trimmed` trains GraphSAGE, 3 layers of 256 units, on the same minibatches of a random graph
of ogbn-arxiv's size: here and in PyTorch Geometric (`GraphSAGE` with numbers of sampled nodes and edges, that is
`trim_to_layer`), trimmed and with all rows, all four with the same weights, threads and optimizer, in turn. The losses
of the first step are compared before anything is timed. Batches are on the device before a step begins.
"""

import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import tabulate
import tyro

from abkd_jax.configs.options import ModelConfig
from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.models import GraphSAGE, pyg
from abkd_jax.sampling import neighbour_batches
from abkd_jax.training.provenance import provenance
from abkd_jax.training.step import init_state, make_distill_step
from abkd_jax.training.tasks import classification
from abkd_jax.types import Batch, InputError
from experiments.bench.sampling import CLASSES, WIDTH, arxiv_graph
from experiments.program import run_program

HIDDEN, FAN_OUTS, ROOTS, RATE = 256, (15, 10, 5), 1024, 1e-3
HERE, THERE = "abkd_jax", "PyTorch Geometric"
TRIMMED, WHOLE = "trimmed", "all rows"
TOLERANCE = 1e-4  # of the losses of the first step, relative
PAUSE = 0.3  # seconds before a step: threads of either spin for a while after their work

Step = Callable[[int], float]  # number of the minibatch -> loss


@dataclass(frozen=True)
class Args:
    """Measure trimmed layers."""

    batches: int = 3
    """Minibatches."""
    rounds: int = 2
    """Passes over them on each side."""
    out: Path = Path("experiments/results/bench_trimmed.json")
    """File of the results."""


def main(args: Args) -> None:
    """Measures, stores and prints the table.

    Raises:
        InputError: the losses of the first step differ.
    """
    graph, layers = arxiv_graph(), len(FAN_OUTS)
    samplers = {
        TRIMMED: neighbour_batches(graph, ROOTS, FAN_OUTS, layers=layers),
        WHOLE: neighbour_batches(graph, ROOTS, FAN_OUTS),
    }
    drawn = {
        name: [*itertools.islice(sampler(np.random.default_rng(0)), args.batches)] for name, sampler in samplers.items()
    }
    model = GraphSAGE(HIDDEN, layers, CLASSES)
    variables = model.init(jax.random.key(0), drawn[WHOLE][0].graph)
    steps = {f"{HERE}, {name}": _here(model, variables, batches) for name, batches in drawn.items()}
    steps |= {f"{THERE}, {name}": _there(variables, drawn[TRIMMED], name == TRIMMED) for name in (TRIMMED, WHOLE)}
    losses = {name: step(0) for name, step in steps.items()}
    if not np.allclose([*losses.values()], losses[f"{HERE}, {WHOLE}"], rtol=TOLERANCE):
        raise InputError(f"losses of the first step: {losses}, expected the same")
    times = _in_turn(steps, args)
    least = statistics.median(times[f"{HERE}, {TRIMMED}"])
    rows = [
        {
            "what": name,
            "ms": 1e3 * statistics.median(of),
            "ratio": statistics.median(of) / least,
            "min_ms": 1e3 * min(of),
        }
        for name, of in times.items()
    ]
    hops = [[int(hop.reached) for hop in batch.graph.edges.hops] for batch in drawn[TRIMMED]]
    sizes = {"nodes": [int(batch.graph.n_node[0]) for batch in drawn[TRIMMED]], "nodes_within_hops": hops}
    made_by = {key: provenance()[key] for key in ("commit", "hardware", "versions", "date")}
    settings = {"threads": os.cpu_count(), "graph": "random, of ogbn-arxiv's size", "losses": losses, **sizes}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.out, json.dumps({**made_by, **settings, "rows": rows}, indent=1) + "\n")
    print(tabulate.tabulate(rows, headers="keys", floatfmt=".2f"))


def _in_turn(steps: Mapping[str, Step], args: Args) -> dict[str, list[float]]:
    """Returns the seconds of every second step on each minibatch."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in [*range(args.batches)] * args.rounds:
        for name, step in steps.items():
            time.sleep(PAUSE)
            step(number)  # untimed: caches hold the neighbour's arrays, and shapes may be new
            began = time.perf_counter()
            step(number)
            times[name].append(time.perf_counter() - began)
    return times


def _here(model: GraphSAGE, variables: Any, batches: list[Batch]) -> Step:
    optimizer = optax.adam(RATE)
    take, on_device = make_distill_step(model, None, optimizer, classification()), jax.device_put(batches)
    params = jax.tree.map(lambda leaf: leaf.copy(), variables["params"])  # a step donates its state
    state = init_state(jax.random.key(0), model, optimizer, on_device[0], student_params=params)

    def step(number: int) -> float:
        nonlocal state
        state, metrics = take(state, on_device[number])
        return float(metrics["loss"])

    return step


def _there(variables: Any, batches: list[Batch], trims: bool) -> Step:
    """Returns the step of PyTorch Geometric on the real nodes and edges of the same minibatches."""
    import torch
    from torch_geometric.nn.models import GraphSAGE as Theirs

    torch.set_num_threads(os.cpu_count() or 1)
    layers = len(FAN_OUTS)
    model = Theirs(WIDTH, HIDDEN, layers, CLASSES)
    state = pyg.to_state_dict(ModelConfig("graphsage", layers=layers, hidden=HIDDEN), variables)
    model.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in state.items()})
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    inputs = [_theirs(batch) for batch in batches]

    def step(number: int) -> float:
        features, ends, labels, chosen, nodes, edges = inputs[number]
        optimizer.zero_grad()
        counts = {"num_sampled_nodes_per_hop": nodes, "num_sampled_edges_per_hop": edges} if trims else {}
        out = model(features, ends, **counts)
        loss = torch.nn.functional.cross_entropy(out[:ROOTS][chosen], labels[chosen])
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def _theirs(batch: Batch) -> tuple[Any, ...]:
    """Returns features, edges, labels and mask of the roots, and how many nodes and edges each hop adds."""
    import torch

    graph: Any = batch.graph
    count, edges = int(graph.n_node[0]), int(graph.n_edge[0])
    ends = np.stack([graph.senders[:edges], graph.receivers[:edges]]).astype(np.int64)
    reached = [int(hop.reached) for hop in graph.edges.hops]
    into = [int(hop.row_ptr[n]) for hop, n in zip(graph.edges.hops, reached, strict=True)]
    labels, mask = (torch.from_numpy(np.asarray(rows[:ROOTS])) for rows in (batch.labels, batch.masks.train))
    return (
        torch.from_numpy(np.asarray(graph.nodes[:count])),
        torch.from_numpy(ends),
        labels.long(),
        mask,
        np.diff([0, *reached, count]).tolist(),
        np.diff([0, *into]).tolist(),
    )


if __name__ == "__main__":
    run_program("experiments.bench.trimmed", lambda: main(tyro.cli(Args, description=__doc__)))
