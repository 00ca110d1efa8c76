"""Message-passing layers (flax.linen): the formulas of their papers on the aggregations of `abkd_jax.aggregate`.

Every layer takes `dtype`, the type to compute in (parameters stay float32). Layers that begin with a linear map accept
sparse features.
"""

from abkd_jax.layers.dense import Dense, Dropout, cast, dense_features, uniform_fan_in
from abkd_jax.layers.gat import GATConv, GATv2Conv
from abkd_jax.layers.gcn import GCN2Conv, GCNConv
from abkd_jax.layers.gin import GINConv
from abkd_jax.layers.norms import MaskedBatchNorm, jumping_knowledge
from abkd_jax.layers.rgcn import RGCNConv
from abkd_jax.layers.sage import SAGEConv
from abkd_jax.layers.sgc import SGConv, hops, precompute

__all__ = [
    "Dense",
    "Dropout",
    "GATConv",
    "GATv2Conv",
    "GCN2Conv",
    "GCNConv",
    "GINConv",
    "MaskedBatchNorm",
    "RGCNConv",
    "SAGEConv",
    "SGConv",
    "cast",
    "dense_features",
    "hops",
    "jumping_knowledge",
    "precompute",
    "uniform_fan_in",
]
