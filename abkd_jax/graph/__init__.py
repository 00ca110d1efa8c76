"""Graphs: from an edge list or a data set to a `jraph.GraphsTuple` that the kernels read."""

from abkd_jax.graph.access import (
    edge_features,
    edge_relations,
    edge_weights,
    layout_of,
    node_entry,
    node_features,
    node_mask,
    num_edges,
    num_nodes,
    raw_edges,
    with_raw_edges,
)
from abkd_jax.graph.build import from_dataset, from_edges, normalise, normalised_edges, pad_to_bucket, prepare
from abkd_jax.graph.layout import (
    Backend,
    LayoutInfo,
    NormalisedEdges,
    PreparedEdges,
    RelationLayout,
    SparseFeatures,
    graphs_tuple,
    sparse_features,
)
from abkd_jax.graph.partition import partition
from abkd_jax.graph.partitioned import PartitionedEdges, partition_of, place

__all__ = [
    "Backend",
    "LayoutInfo",
    "NormalisedEdges",
    "PartitionedEdges",
    "PreparedEdges",
    "RelationLayout",
    "SparseFeatures",
    "edge_features",
    "edge_relations",
    "edge_weights",
    "from_dataset",
    "from_edges",
    "graphs_tuple",
    "layout_of",
    "node_entry",
    "node_features",
    "node_mask",
    "normalise",
    "normalised_edges",
    "num_edges",
    "num_nodes",
    "pad_to_bucket",
    "partition",
    "partition_of",
    "place",
    "prepare",
    "raw_edges",
    "sparse_features",
    "with_raw_edges",
]
