"""Measures how fast models of several sizes answer: teacher, 4 x 4 student, 1-layer student and MLP, side by side.

`python -m experiments.bench.latency --data-root DATA` times one random test node with its neighbourhood (200 of them),
256 nodes, and the whole graph, cold and warm, with untrained weights: only sizes matter. Beside the pass over the whole
graph stands that of the same model with the same weights in PyTorch Geometric, with as many threads, both in turn, some
passes each; their logits must agree. The teacher of ogbn-arxiv is the GAT 3 x 96 of `arxiv_small` with the two options
that PyTorch Geometric's GATConv knows: a term of the receiving nodes, and no normalisation by degrees, with which
single nodes would have no neighbourhood here; features of stand-ins do.
"""

import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tabulate
import tyro

from abkd_jax.configs.large_presets import arxiv
from abkd_jax.configs.options import ModelConfig
from abkd_jax.configs.rules import semi_supervised
from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.inference.evaluation import parameter_count
from abkd_jax.run.data import PreparedData, build_model, prepare_data
from abkd_jax.run.report.tables import latency_table
from abkd_jax.run.timing import time_model, with_host
from abkd_jax.study.report.excerpt import filled
from abkd_jax.training.provenance import provenance
from abkd_jax.types import InputError
from experiments.bench.torch_stacks import torch_pass
from experiments.program import run_program

TURNS, LEAST = 3, 5  # passes over the whole graph, here and in PyTorch Geometric; a turn of more where they are short
TURN = 0.2  # seconds
PAUSE = 0.3  # seconds before a turn: threads of either spin for a while after their work, on cores that the other needs
TOLERANCE = 1e-4  # largest difference of logits, of the largest one: sums of float32 in another order
NAME = "latency"  # of the excerpt


@dataclass(frozen=True)
class Args:
    """Measure latencies."""

    datasets: tuple[str, ...] = ("cora", "coauthor_cs", "ogbn-arxiv")
    """Data sets."""
    data_root: Path | None = None
    """Folder of the data files; default: $ABKD_JAX_DATA."""
    out: Path = Path("experiments/results/bench_latency.json")
    """File of the results."""
    readme: Path | None = None
    """Text with lines `<!-- study latency -->` and `<!-- end -->`, between which the table is put as well."""


def main(args: Args) -> None:
    """Measures, stores and prints the tables.

    Raises:
        InputError: data that cannot be loaded, a text without a place for the table, or logits that differ from those
            of PyTorch Geometric.
    """
    if args.readme is not None:
        filled(args.readme, NAME, "")  # what is wrong with it is said before the measurement
    found = {}
    for name in args.datasets:
        data = with_host(prepare_data(name, args.data_root))
        rows = [_row(data, label, config) for label, config in _models(name).items()]
        for row in rows:
            row["compression"] = rows[0]["parameters"] / row["parameters"]
        found[name] = {"source": data.dataset.source, "rows": rows}
        _show(name, rows)
    made_by = {key: provenance()[key] for key in ("commit", "hardware", "versions", "date")}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.out, json.dumps({**made_by, "threads": os.cpu_count(), "data": found}, indent=1) + "\n")
    if args.readme is not None:
        write_atomic(args.readme, filled(args.readme, NAME, as_text(found)))


def _models(name: str) -> dict[str, ModelConfig]:
    """Returns the sizes that are compared, the teacher first."""
    teacher, student = semi_supervised().teacher.model, ModelConfig("gcnii", layers=4, hidden=4, dropout=0.0)
    if name == "ogbn-arxiv":
        teacher = dataclasses.replace(arxiv().teacher.model, hidden=96, destination_term=True, symmetric_norm=False)
    mlp = ModelConfig("mlp", layers=2, hidden=128, dropout=0.0)
    return {
        f"teacher, {teacher.name} {teacher.layers} x {teacher.hidden}": teacher,
        "gcnii 4 x 4": student,
        "gcnii 1 x 4": dataclasses.replace(student, layers=1),
        "mlp 2 x 128": mlp,
    }


def _row(data: PreparedData, label: str, config: ModelConfig) -> dict[str, Any]:
    model: Any = build_model(data, config)
    variables = jax.jit(model.init)(jax.random.key(0), data.batch.graph)
    predict = jax.jit(lambda variables, graph: model.apply(variables, graph).logits)
    passes: dict[str, Callable[[], Any]] = {
        "here_ms": lambda: jax.block_until_ready(predict(variables, data.batch.graph)),
        "pyg_ms": torch_pass(data, config, variables),
    }
    differs = _difference(*(np.asarray(run()) for run in passes.values()), label)
    row = time_model(data, label, config, model, variables)
    return {**row, "parameters": parameter_count(variables["params"]), **_in_turn(passes), "difference": differs}


def _difference(here: np.ndarray, there: np.ndarray, label: str) -> float:
    """Returns the largest difference between the logits of both sides, relative to the largest logit."""
    differs = float(np.abs(here - there).max() / np.abs(there).max())
    if not differs < TOLERANCE:
        raise InputError(f"{label}: logits here and in PyTorch Geometric differ by {differs:.2g} of the largest one")
    return differs


def _in_turn(passes: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Returns the median time of each pass, in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in passes}
    for name, run in [*passes.items()] * TURNS:
        time.sleep(PAUSE)
        run()  # untimed: the first one compiles, and the caches hold the neighbour's arrays
        of_turn, ends = [], time.perf_counter() + TURN
        while len(of_turn) < LEAST or time.perf_counter() < ends:
            began = time.perf_counter()
            run()
            of_turn.append(1e3 * (time.perf_counter() - began))
        times[name] += of_turn
    return {name: statistics.median(of) for name, of in times.items()}


def _show(name: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{name}, milliseconds; in brackets times faster than the teacher\n\n{latency_table(rows)}\n")
    cells = [(r["method"], r["parameters"], r["compression"], r["here_ms"], r["pyg_ms"]) for r in rows]
    headers = ("model", "parameters", "compression", "whole graph ms", "PyTorch Geometric ms")
    print(tabulate.tabulate(cells, headers, floatfmt=".4g", intfmt=","))
    print(f"{platform.machine()}, {os.cpu_count()} threads, medians of {TURNS} turns of {LEAST} passes or more")


def as_text(found: Mapping[str, Any]) -> str:
    """Returns the table of stored results, as Markdown.

    Args:
        found: by data set, what the file of the results has in its entry `data`.
    """
    headers = ("graph", "model", "parameters, times fewer", "one node, p50 and p99", "cold", "256 nodes", "cold")
    lines = [
        (
            name + (", stand-in features" if "stand-in" in of_graph["source"] else ""),
            row["method"],
            f"{row['parameters']:,}, {row['compression']:.3g}",
            f"{row['one']['p50']:.3g}, {row['one']['p99']:.3g}",
            f"{row['one']['cold']:.3g}",
            f"{row['batch']['p50']:.3g}",
            f"{row['batch']['cold']:.3g}",
            f"{row['here_ms']:.3g}",
            f"{row['all']['cold']:.3g}",
            f"{row['pyg_ms']:.3g}",
        )
        for name, of_graph in found.items()
        for row in of_graph["rows"]
    ]
    headers += ("whole graph", "cold", "PyTorch Geometric")
    return tabulate.tabulate(lines, headers, tablefmt="github", disable_numparse=True) + "\n"


if __name__ == "__main__":
    run_program("experiments.bench.latency", lambda: main(tyro.cli(Args, description=__doc__)))
