"""Graphs: from an edge list or a data set to a `jraph.GraphsTuple` that the kernels read."""

from abkd_jax.graph.build import (
    LayoutFacts,
    PreparedEdges,
    RelationLayout,
    SparseFeatures,
    edge_relations,
    edge_weights,
    from_dataset,
    from_edges,
    layout_of,
    node_mask,
    normalise,
    num_edges,
    num_nodes,
    pad_to_bucket,
    prepare,
    sparse_features,
)

__all__ = [
    "LayoutFacts",
    "PreparedEdges",
    "RelationLayout",
    "SparseFeatures",
    "edge_relations",
    "edge_weights",
    "from_dataset",
    "from_edges",
    "layout_of",
    "node_mask",
    "normalise",
    "num_edges",
    "num_nodes",
    "pad_to_bucket",
    "prepare",
    "sparse_features",
]
