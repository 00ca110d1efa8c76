"""Times predictions for some nodes of a graph of ogbn-mag's size: `python -m experiments.bench.predict`.

An untrained student, RGCN 2 x 32, is kept as a folder, read back, and predicts 1,000 random nodes of all types, whose
neighbourhood of two steps alone is computed; then 1,000 others, whose programs are compiled already, one node, and
layer by layer all nodes. The largest difference between the first and the last is among the figures.
`experiments.mag_like` writes such a graph where the real one is missing.
"""

import dataclasses
import tempfile
from pathlib import Path

import jax
import numpy as np
import tyro

from abkd_jax import datasets, load
from abkd_jax.configs import presets
from abkd_jax.graph.host import HostGraph, host_graph
from abkd_jax.graph.layout import graphs_tuple
from abkd_jax.inference import bundle
from abkd_jax.inference.layerwise import rows_of_stages
from abkd_jax.inference.predict import logits
from abkd_jax.training.provenance import commit
from abkd_jax.types import Dataset
from experiments.bench.mag_size import Stages, store
from experiments.program import run_program


@dataclasses.dataclass(frozen=True)
class Args:
    """Time predictions for some nodes of a graph of ogbn-mag's schema."""

    data_root: Path | None = None
    """Folder of the data files."""
    nodes: int = 1000
    """Nodes that are predicted."""
    seed: int = 0
    """Seed of the nodes and of the weights."""
    out: Path = Path("experiments/results/bench_predict.json")
    """File of the figures."""


def main(args: Args) -> None:
    """Runs the stages, prints their table, stores it."""
    stages, rng = Stages(), np.random.default_rng(args.seed)
    dataset = datasets.load("ogbn-mag", args.data_root)
    origin = {"source": dataset.source.partition(", in ")[0], "commit": commit(Path(datasets.__file__).parents[1])}
    stages.done("files to arrays, or arrays found", **origin)
    with tempfile.TemporaryDirectory() as folder:
        student = load(bundle.save(untrained(dataset, rng), folder)).bundle
    stages.done("student written and read", parameters=sum(leaf.size for leaf in jax.tree.leaves(student.variables)))
    host = host_graph(dataset)
    stages.done("edges of every node", nodes=host.num_nodes, edges=host.num_edges)
    nodes, others = rng.permutation(host.num_nodes)[: 2 * args.nodes].reshape(2, -1)
    some = predict(student, host, nodes, "with compilation", stages)
    predict(student, host, others, "others", stages)
    predict(student, host, nodes[:1], "with compilation", stages)
    predict(student, host, nodes[1:2], "another", stages)
    every = logits(student, host, whole_bytes=0, progress=True)
    difference = np.abs(every[nodes] - some).max()
    facts = {"largest_logit": float(np.abs(every).max()), "largest_difference": float(difference)}
    stages.done("all nodes, layer by layer", **facts, equal_rows=int((every[nodes] == some).all(axis=1).sum()))
    store(stages.rows, args.out)


def untrained(dataset: Dataset, rng: np.random.Generator) -> bundle.Bundle:
    """Returns a student with random weights, of the size that is trained on ogbn-mag."""
    config = presets.distill_config("ogbn-mag").student
    student = bundle.Bundle(config, bundle.inputs_of(dataset, config.name), dataset.num_classes, dataset.task, {})
    example = graphs_tuple(
        nodes={
            "features": np.zeros((1, student.inputs.features), np.float32),
            "type": np.zeros(1, np.int32),
            "embedding": np.zeros(1, np.int32),
        },
        edges={"relation": np.zeros(1, np.int32)},
        senders=np.zeros(1, np.int32),
        receivers=np.zeros(1, np.int32),
        n_node=np.ones(1, np.int32),
        n_edge=np.ones(1, np.int32),
    )
    shapes = jax.eval_shape(bundle.model_of(student).init, jax.random.key(0), example)

    def drawn(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return np.abs(rng.standard_normal(leaf.shape, np.float32)) / np.float32(np.sqrt(leaf.shape[-1]))

    return dataclasses.replace(student, variables=jax.tree.map(drawn, shapes))


def predict(student: bundle.Bundle, host: HostGraph, nodes: np.ndarray, which: str, stages: Stages) -> np.ndarray:
    """Returns the logits of some nodes; stores the number of nodes that each layer computes for them."""
    found = logits(student, host, nodes, whole_bytes=0)
    rows = rows_of_stages(bundle.model_of(student).stages(), host, np.unique(nodes))
    stages.done(f"{len(nodes)} nodes, {which}", nodes_by_layer=[layer.shape[0] for layer in rows])
    return found


if __name__ == "__main__":
    run_program("experiments.bench.predict", lambda: main(tyro.cli(Args)))
