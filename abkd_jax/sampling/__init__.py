"""Minibatches of few shapes from graphs on the host, drawn in NumPy from a given generator.

`epochs = neighbour_batches(graph, 1024, (15, 10, 5))` once, then `for batch in prefetch(epochs(rng))` in each epoch;
`walk_batches`, `cluster_batches` and `graph_batches` likewise. `epochs.draw(rng)` also says which nodes a batch holds.
"""

from abkd_jax.sampling.batches import (
    Capacity,
    Epochs,
    Ladder,
    Minibatch,
    fit_capacities,
    gather_outputs,
    node_epochs,
    to_batch,
)
from abkd_jax.sampling.clusters import cluster_batches, partition
from abkd_jax.sampling.graphs import graph_batches, whole
from abkd_jax.sampling.neighbours import neighbour_batches, sample_neighbours
from abkd_jax.sampling.prefetch import PrefetchStats, prefetch
from abkd_jax.sampling.subgraph import Subgraph, as_numbers, induced
from abkd_jax.sampling.walks import random_walks, walk_batches

__all__ = [
    "Capacity",
    "Epochs",
    "Ladder",
    "Minibatch",
    "PrefetchStats",
    "Subgraph",
    "as_numbers",
    "cluster_batches",
    "fit_capacities",
    "gather_outputs",
    "graph_batches",
    "induced",
    "neighbour_batches",
    "node_epochs",
    "partition",
    "prefetch",
    "random_walks",
    "sample_neighbours",
    "to_batch",
    "walk_batches",
    "whole",
]
