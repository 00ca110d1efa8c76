"""Minibatches of few shapes from graphs on the host, drawn in NumPy from a given generator.

`sampler = neighbour_batches(graph, 1024, (15, 10, 5), layers=3)` once, then `for batch in prefetch(sampler(rng))` in
each epoch; `walk_batches`, `cluster_batches` and `graph_batches` likewise. `sampler.minibatches(rng)` also tells which
nodes each batch holds. With `prefetch(sampler.groups(rng, 1), put=lambda draw: jax.device_put(draw()[0]().batch),
workers=4)` four threads draw the same batches.
"""

from abkd_jax.sampling.assembly import gather_outputs, to_batch
from abkd_jax.sampling.batches import EpochSampler, Minibatch, node_sampler
from abkd_jax.sampling.buckets import BucketSizes, Capacity, bucket_size, fit_capacities, padded
from abkd_jax.sampling.clusters import cluster_batches, partition
from abkd_jax.sampling.graph_parts import GraphParts, graph_parts
from abkd_jax.sampling.graphs import all_graphs, graph_batches
from abkd_jax.sampling.neighbours import neighbour_batches, sample_neighbours
from abkd_jax.sampling.prefetch import PrefetchStats, prefetch, worker_count
from abkd_jax.sampling.subgraph import Subgraph, as_indices, induced
from abkd_jax.sampling.walks import random_walks, walk_batches

__all__ = [
    "BucketSizes",
    "Capacity",
    "EpochSampler",
    "GraphParts",
    "Minibatch",
    "PrefetchStats",
    "Subgraph",
    "all_graphs",
    "as_indices",
    "bucket_size",
    "cluster_batches",
    "fit_capacities",
    "gather_outputs",
    "graph_batches",
    "graph_parts",
    "induced",
    "neighbour_batches",
    "node_sampler",
    "padded",
    "partition",
    "prefetch",
    "random_walks",
    "sample_neighbours",
    "to_batch",
    "walk_batches",
    "worker_count",
]
