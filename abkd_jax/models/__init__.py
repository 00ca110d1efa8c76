"""Stacks of layers. Every model maps a graph to `GNNOutput(logits, hiddens)`, a pure function under `apply`.

A model takes one graph: `nodes` are dense or sparse features, or `{"features": ..., "type": [n], "embedding": [n]}`
where nodes have types or learned embeddings. `apply(variables, graph, train=True, rngs={"dropout": key},
mutable=["batch_stats"])` trains; without `train` nothing is dropped and batch normalisation uses its running
statistics.
"""

from abkd_jax.models.build import build
from abkd_jax.models.gat import GAT, GATv2
from abkd_jax.models.gcn import GCN, MLP
from abkd_jax.models.gcnii import GCNII
from abkd_jax.models.gin import GIN
from abkd_jax.models.label_propagation import label_propagation
from abkd_jax.models.rgcn import RGCN
from abkd_jax.models.sage import GraphSAGE
from abkd_jax.models.sign import SIGN, with_hops

__all__ = [
    "GAT",
    "GCN",
    "GCNII",
    "GIN",
    "MLP",
    "RGCN",
    "SIGN",
    "GATv2",
    "GraphSAGE",
    "build",
    "label_propagation",
    "with_hops",
]
