"""Measures sampled minibatches: edges per second, here and in PyTorch Geometric, on a graph of ogbn-arxiv's size.

`python -m experiments.bench.sampling --edges edge.csv.gz` reads the real edges (two columns, as in the files of OGB);
without it, it takes a random graph with as many nodes and edges. Neighbour sampling, undirected, one process and one
thread on both sides, in turn, medians of the rounds; "ahead" is as in training, by several threads. "draw" is the
choice of nodes and edges alone; "ready" is the input of a training step: here features gathered, padded, laid out for
the kernels and normalised, there a `Data` of `NeighborLoader`, which neither pads nor normalises. PyTorch Geometric
samples with `torch-sparse` or `pyg-lib`; without either it is left out. "for a TPU" lays edges out in slots too.
"""

import functools
import itertools
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tabulate
import tyro

from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.graph.host import HostGraph, host_graph
from abkd_jax.sampling import EpochSampler, neighbour_batches, prefetch, sample_neighbours
from abkd_jax.types import Dataset
from experiments.program import run_program

NODES, EDGES, WIDTH, CLASSES = 169_343, 1_166_243, 128, 40  # ogbn-arxiv


@dataclass(frozen=True)
class Args:
    """Measure neighbour sampling."""

    edges: Path | None = None
    """Edge list, `edge.csv.gz` of ogbn-arxiv; default: a random graph."""
    fan_outs: tuple[int, ...] = (15, 10, 5)
    """Maximum number of edges into a node, hop by hop."""
    batch_size: int = 1024
    """Root nodes per batch."""
    batches: int = 10
    """Batches per round."""
    threads: tuple[int, ...] = (1, 2, 4)
    """Numbers of threads that draw ahead of a consumer that does nothing."""
    rounds: int = 7
    """Number of timed rounds per side."""
    out: Path = Path("experiments/results/bench_sampling.json")
    """File of the results."""


def main(args: Args) -> None:
    """Measures, stores and prints the table."""
    graph = arxiv_graph(args.edges)
    runs = _abkd_jax(graph, args) | _pytorch_geometric(graph, args)
    timings: dict[str, list[tuple[float, int]]] = {name: [] for name in runs}
    for run in runs.values():
        run(0)
    for number, (name, run) in itertools.product(range(args.rounds), runs.items()):
        began = time.perf_counter()
        edges = run(number)
        timings[name].append((time.perf_counter() - began, edges))
    rows = [
        {
            "what": name,
            "edges_a_second_millions": float(np.median([edges / seconds / 1e6 for seconds, edges in rounds])),
            "batches_a_second": float(np.median([args.batches / seconds for seconds, _ in rounds])),
            "ms_a_batch": float(np.median([1e3 * seconds / args.batches for seconds, _ in rounds])),
            "min_ms": min(1e3 * seconds / args.batches for seconds, _ in rounds),
            "edges_a_batch": float(np.mean([edges / args.batches for _, edges in rounds])),
        }
        for name, rounds in timings.items()
    ]
    hardware = f"{os.cpu_count()} x {platform.machine()} cores, one thread where nothing else is said"
    settings = {"fan_outs": args.fan_outs, "batch_size": args.batch_size, "rounds": args.rounds}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.out, json.dumps({"hardware": hardware, **settings, "rows": rows}, indent=1) + "\n")
    print(tabulate.tabulate(rows, headers="keys", floatfmt=".2f"))
    print(f"\n{hardware}; {args.rounds} rounds of {args.batches} batches, in turn; medians")


def arxiv_graph(path: Path | None = None) -> HostGraph:
    """Returns a graph of ogbn-arxiv's size with random features and labels: of its edges, or of random ones.

    Args:
        path: the edges, `edge.csv.gz`.
    """
    rng = np.random.default_rng(0)
    if path is None:
        senders, receivers = rng.integers(0, NODES, (2, EDGES), dtype=np.int32)
    else:
        senders, receivers = np.loadtxt(path, np.int32, delimiter=",").T
    train = rng.random(NODES) < 0.5
    dataset = Dataset(
        name="bench",
        features=rng.normal(size=(NODES, WIDTH)).astype(np.float32),
        senders=senders.copy(),
        receivers=receivers.copy(),
        labels=rng.integers(0, CLASSES, NODES, dtype=np.int32),
        num_classes=CLASSES,
        train_mask=train,
        val_mask=~train,
        test_mask=np.zeros(NODES, bool),
        source="edges of ogbn-arxiv" if path else "random",
    )
    return host_graph(dataset)


def _abkd_jax(graph: HostGraph, args: Args) -> dict[str, Callable[[int], int]]:
    epochs = neighbour_batches(graph, args.batch_size, args.fan_outs)
    in_slots = neighbour_batches(graph, args.batch_size, args.fan_outs, platform="tpu")

    def draw(seed: int) -> int:
        rng = np.random.default_rng(seed)
        return sum(sample_neighbours(graph, roots, args.fan_outs, rng).senders.size for roots in _roots(args, rng))

    def ready(seed: int) -> int:
        batches = itertools.islice(epochs(np.random.default_rng(seed)), args.batches)
        return sum(int(batch.graph.n_edge[0]) for batch in batches)

    def ahead(seed: int, epochs: EpochSampler, workers: int) -> int:
        draws = itertools.islice(epochs.groups(np.random.default_rng(seed), 1), args.batches)
        batches = prefetch(draws, put=lambda draw: draw()[0]().batch, workers=workers)
        return sum(int(batch.graph.n_edge[0]) for batch in batches)

    in_threads = {
        f"ready{where}, {n} threads ahead": functools.partial(ahead, epochs=of, workers=n)
        for where, of in (("", epochs), (" for a TPU", in_slots))
        for n in args.threads
    }
    return {"draw, abkd_jax": draw, "ready, abkd_jax": ready} | in_threads


def _pytorch_geometric(graph: HostGraph, args: Args) -> dict[str, Callable[[int], int]]:
    import torch
    from torch_geometric.data import Data
    from torch_geometric.loader import NeighborLoader
    from torch_geometric.sampler import NeighborSampler, NodeSamplerInput
    from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SPARSE

    if not (WITH_PYG_LIB or WITH_TORCH_SPARSE):
        print("neither torch-sparse nor pyg-lib is installed: PyTorch Geometric cannot sample")
        return {}
    torch.set_num_threads(1)
    receivers = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    ends = torch.from_numpy(np.stack([graph.senders.astype(np.int64), receivers]))
    data = Data(x=torch.from_numpy(graph.features), y=torch.from_numpy(graph.labels), edge_index=ends)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch Geometric recommends pyg-lib over torch-sparse
        sampler = NeighborSampler(data, num_neighbors=list(args.fan_outs))
        loader: Any = NeighborLoader(data, list(args.fan_outs), batch_size=args.batch_size, shuffle=True)

    def draw(seed: int) -> int:
        torch.manual_seed(seed)
        total = 0
        for roots in _roots(args, np.random.default_rng(seed)):
            out: Any = sampler.sample_from_nodes(NodeSamplerInput(None, torch.from_numpy(roots.astype(np.int64))))
            total += out.row.numel()
        return total

    def ready(seed: int) -> int:
        torch.manual_seed(seed)
        return sum(batch.edge_index.shape[1] for batch in itertools.islice(loader, args.batches))

    return {"draw, PyTorch Geometric": draw, "ready, PyTorch Geometric": ready}


def _roots(args: Args, rng: np.random.Generator) -> Iterator[np.ndarray]:
    order = rng.permutation(NODES)[: args.batch_size * args.batches]
    return iter(order.reshape(args.batches, args.batch_size))


if __name__ == "__main__":
    run_program("experiments.bench.sampling", lambda: main(tyro.cli(Args)))
