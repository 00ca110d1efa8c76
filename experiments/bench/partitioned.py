"""Compiles steps that are spread over the eight devices of a v5e-8: `python -m experiments.bench.partitioned`.

A full-graph GCN step on a graph of ogbn-arxiv's size, in blocks of receivers, with an all-to-all of what blocks need
and with an all-gather; and a distillation step (soft labels) of ogbn-mag's RGCN on eight minibatches of walks, with the
tables of learned node embeddings of teacher and student by row and, beside it, whole on every device. Compiled, not
run: collectives with bytes, and memory per device. Needs `libtpu`.
"""

import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from abkd_jax.datasets.files.atomic import write_atomic
from experiments.bench.ahead_of_time.hlo import parse, shape_bytes
from experiments.bench.ahead_of_time.targets import environment, require
from experiments.program import run_program

COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
TOPOLOGY, DEVICES = "v5e:2x4", 8
ARXIV_NODES, ARXIV_PAIRS, ARXIV_SIZES = 169_343, 1_157_799, (128, 256, 40)  # pairs of neighbours, without loops
MAG_NODES, MAG_EDGES, MAG_TABLE = 61_888, 349_904, (1_203_354, 128)  # of one minibatch of 20,000 walks
MAG_RELATIONS, MAG_TYPES, MAG_CLASSES = 7, 4, 349


@dataclasses.dataclass(frozen=True)
class Args:
    """Compile sharded steps for a v5e-8."""

    edges: Path | None = None
    """CSV file, packed or not, of ogbn-arxiv's edges; a random graph of its size without it."""
    out: Path = Path("experiments/results/bench_partitioned.json")
    """File of the figures."""


def main(args: Args) -> None:
    """Compiles in a process of its own, whose environment describes the devices, and stores what it prints."""
    target = require("v5e")
    command = [sys.executable, "-m", "experiments.bench.partitioned", "--worker", str(args.edges or "")]
    done = subprocess.run(command, env=environment(target), check=True, capture_output=True, text=True)
    cells = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    versions = {name: version(name) for name in ("jax", "jaxlib", "libtpu")}
    graph = "ogbn-arxiv's edges" if args.edges else "a random graph of ogbn-arxiv's size"
    found = {"note": "compiled, not run", "topology": TOPOLOGY, "graph": graph, "versions": versions, "cells": cells}
    write_atomic(args.out, json.dumps(found, indent=1) + "\n")
    for cell in cells:
        sent = {name: f"{of['count']} x, {of['bytes'] / 1e6:.1f} MB" for name, of in cell["collectives"].items()}
        print(f"{cell['program']}: {cell['bytes_per_device'] / 1e9:.2f} GB per device, {sent}")


def compile_all(edges: str) -> Iterator[dict[str, Any]]:
    """Yields the records of all programs."""
    from jax.sharding import AxisType, Mesh

    from experiments.bench.ahead_of_time.compile import memory
    from experiments.bench.ahead_of_time.targets import describe_devices

    devices = np.array(describe_devices(require("v5e"), TOPOLOGY)[:DEVICES])
    mesh = Mesh(devices.reshape(DEVICES, 1, 1), ("data", "seeds", "nodes"), axis_types=(AxisType.Auto,) * 3)
    blocks = Mesh(devices.reshape(1, 1, DEVICES), ("data", "seeds", "nodes"), axis_types=(AxisType.Auto,) * 3)
    programs = {
        "gcn on arxiv, all-to-all": lambda: full_graph(edges, blocks, halo=True),
        "gcn on arxiv, all-gather": lambda: full_graph(edges, blocks, halo=False),
        "rgcn on mag, table by row": lambda: minibatches(mesh, by_row=True),
        "rgcn on mag, table on every device": lambda: minibatches(mesh, by_row=False),
    }
    for name, make in programs.items():
        function, arguments = make()
        began = time.perf_counter()
        compiled = function.lower(*arguments).compile()
        seconds = time.perf_counter() - began
        sent = collectives(compiled.as_text())
        yield {"program": name, "compile_seconds": seconds, **memory(compiled), "collectives": sent}


def collectives(text: str) -> dict[str, dict[str, int]]:
    """Counts the collectives of a program, also those that fusions run piece by piece beside other work.

    Returns:
        Their number, and the bytes of the larger side of each.
    """
    module, found = parse(text), {}
    for name, ops in module.computations.items():
        for op in ops:
            channel = re.search(r"channel_id=(\d+)", op.attributes)
            source = re.search(r'op_name="([^"]*)"', op.attributes)
            kind = op.opcode.removesuffix("-start")
            if channel and kind in COLLECTIVES:
                fused = "reduce-scatter" if "all-reduce-scatter" in name else kind
                sides = [op.shape, *(module.ops[operand].shape for operand in op.operands if operand in module.ops)]
                # The pieces of one collective have its channel and its place in the source.
                key = fused, channel.group(1), source.group(1) if source else op.name
                found[key] = fused, max(map(shape_bytes, sides))
    kinds = sorted({kind for kind, _ in found.values()})
    sizes = {kind: [size for own, size in found.values() if own == kind] for kind in kinds}
    return {kind: {"count": len(of), "bytes": sum(of)} for kind, of in sizes.items()}


def full_graph(edges: str, mesh: Any, *, halo: bool) -> tuple[Any, tuple[Any, ...]]:
    """Returns a training step of a GCN on the whole graph, and its arguments as shapes."""
    import jax
    import jax.numpy as jnp
    import optax
    from jax.sharding import NamedSharding, PartitionSpec

    from abkd_jax import models
    from abkd_jax.graph import from_edges, partition
    from abkd_jax.graph.partitioned import placement
    from abkd_jax.training.step import init_state, make_distill_step
    from abkd_jax.training.tasks import classification
    from abkd_jax.types import Batch, NodeMasks

    if edges:
        pairs = np.loadtxt(edges, np.int64, delimiter=",").T
    else:
        pairs = np.random.default_rng(0).integers(0, ARXIV_NODES, (2, ARXIV_PAIRS))
    features, hidden, classes = ARXIV_SIZES
    graph = from_edges(*pairs, ARXIV_NODES, nodes=np.zeros((ARXIV_NODES, features), np.float32), undirected=True)
    cut, shardings = placement(partition(graph, DEVICES, halo=halo), mesh)
    by_row, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("nodes",), ()))
    placed = jax.tree.map(_shape, cut, shardings)
    rows = cut.edges.info.nodes
    mask = jax.ShapeDtypeStruct((rows,), bool, sharding=by_row)
    batch = Batch(placed, jax.ShapeDtypeStruct((rows,), jnp.int32, sharding=by_row), NodeMasks(mask, mask))
    model, optimizer = models.GCN(hidden, 2, classes), optax.adam(0.01)
    state = jax.eval_shape(lambda key, batch: init_state(key, model, optimizer, batch), jax.random.key(0), batch)
    state = jax.tree.map(lambda leaf: _shape(leaf, whole), state)
    return make_distill_step(model, None, optimizer, classification()), (state, batch)


def minibatches(mesh: Any, *, by_row: bool) -> tuple[Any, tuple[Any, ...]]:
    """Returns a distillation step of ogbn-mag on one minibatch per device, and its arguments as shapes."""
    import jax
    import optax
    from jax.sharding import NamedSharding, PartitionSpec

    from abkd_jax import distill, models
    from abkd_jax.training import accumulate, tables
    from abkd_jax.training.step import init_state, make_gradients, with_teacher_targets
    from abkd_jax.training.tasks import classification

    if not by_row:  # as before tables were spread: with the whole state, and a gradient as large, on every device
        accumulate.table_specs = lambda tree: PartitionSpec()
        accumulate.sum_over_devices = lambda tree: jax.lax.psum(tree, "data")
    one, optimizer = _mag_batch(), optax.adam(0.01)
    sizes = {"relations": MAG_RELATIONS, "node_types": MAG_TYPES, "embeddings": MAG_TABLE[0]}
    teacher, student = (
        models.RGCN(hidden, layers, MAG_CLASSES, embedding_width=MAG_TABLE[1], **sizes)
        for hidden, layers in ((512, 3), (32, 2))
    )
    objective = distill.weighted_sum(distill.Term("soft", 1.0, distill.soft_label()))
    start = functools.partial(init_state, model=student, optimizer=optimizer, objective_params={"soft": {}})
    state = jax.eval_shape(lambda key, batch: start(key, batch=batch), jax.random.key(0), one)
    variables = jax.eval_shape(teacher.init, jax.random.key(0), one.graph)

    def padded(path: Any, leaf: Any) -> Any:
        if leaf.shape != MAG_TABLE or not by_row:
            return _shape(leaf, NamedSharding(mesh, PartitionSpec()))
        rows = -(-MAG_TABLE[0] // DEVICES) * DEVICES
        spread = NamedSharding(mesh, PartitionSpec("data"))
        return jax.ShapeDtypeStruct((rows, MAG_TABLE[1]), leaf.dtype, sharding=spread)

    state, variables = jax.tree_util.tree_map_with_path(padded, (state, variables))
    own = NamedSharding(mesh, PartitionSpec("data"))
    many = lambda leaf: jax.ShapeDtypeStruct((DEVICES, *np.shape(leaf)), leaf.dtype, sharding=own)  # noqa: E731
    parts = jax.tree.map(many, accumulate.Parts(one, np.zeros((), np.float32), np.zeros((), np.int32)))
    if by_row:
        teacher, student = (tables.on_shards(model, mesh) for model in (teacher, student))
    gradients = make_gradients(student, objective, classification())
    learn = with_teacher_targets(gradients, objective, teacher.apply)
    return accumulate.make_parts_step(learn, optimizer, mesh), (state, parts, variables)


def _mag_batch() -> Any:
    """Returns a random minibatch of the sizes of ogbn-mag's."""
    from abkd_jax.graph import from_edges, prepare
    from abkd_jax.types import Batch, NodeMasks

    rng = np.random.default_rng(0)
    nodes = {
        "features": np.zeros((MAG_NODES, MAG_TABLE[1]), np.float32),
        "type": rng.integers(0, MAG_TYPES, MAG_NODES).astype(np.int32),
        "embedding": rng.integers(-1, MAG_TABLE[0], MAG_NODES).astype(np.int32),
    }
    graph = from_edges(*rng.integers(0, MAG_NODES, (2, MAG_EDGES)), MAG_NODES, nodes=nodes)
    relations = rng.integers(0, MAG_RELATIONS, graph.senders.shape[0]).astype(np.int32)
    typed = prepare(graph._replace(edges={"relation": relations}), buckets=False, relations=MAG_RELATIONS)
    mask = np.ones(MAG_NODES, bool)
    return Batch(typed, np.zeros(MAG_NODES, np.int32), NodeMasks(mask, mask))


def _shape(leaf: Any, sharding: Any) -> Any:
    import jax

    return jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.result_type(leaf), sharding=sharding)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # libraries print too
        for found in compile_all(sys.argv[2]):
            print(json.dumps(found), file=answers, flush=True)
    else:
        run_program("experiments.bench.partitioned", lambda: main(tyro.cli(Args)))
