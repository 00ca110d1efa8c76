"""Graph attention networks: GAT and GATv2."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import jraph
from jaxtyping import Array

from abkd_jax.graph import edge_features, num_edges
from abkd_jax.layers import Dropout, GATConv, GATv2Conv
from abkd_jax.models.stack import Convolution, Stack
from abkd_jax.types import InputError

__all__ = ["GAT", "GATv2"]


class GAT(Stack):
    """GAT (Velickovic et al., arXiv 1710.10903), ELU between the layers; see `Stack` for the other attributes.

    Hidden layers concatenate their heads, and have a bias unless batch normalisation follows, which has its own; the
    last layer takes the mean of its heads. `hidden=750, heads=3, layers=3, norm="batch", residual="linear"` with
    ReLU, `destination_term=False` and `symmetric_norm=True` is the teacher of ogbn-arxiv (Wang et al., arXiv
    2103.13355).

    Attributes:
        hidden: width of the hidden layers, all heads together.
        heads: of the hidden layers; a divisor of `hidden`.
        output_heads: of the last layer.
        attention_dropout: rate on the attention weights.
        edge_dropout: share of the edges that each layer drops in a training step; self loops stay.
        destination_term: see `GATConv`.
        symmetric_norm: see `GATConv`.
        edge_features: number of real-valued features of an edge that every layer reads, `graph.edges` or its entry
            `"features"`; 0 where they are not read.
    """

    activation: Callable[[Array], Array] = nn.elu
    heads: int = 1
    output_heads: int = 1
    attention_dropout: float = 0.0
    edge_dropout: float = 0.0
    destination_term: bool = True
    symmetric_norm: bool = False
    edge_features: int = 0

    def attention(self) -> Callable[..., Any]:
        """Returns the layer's class, with the options that only one of them has."""
        return functools.partial(GATConv, destination_term=self.destination_term, symmetric_norm=self.symmetric_norm)

    def convolution(self, train: bool) -> Convolution:
        """Returns the layers of this model, by width, place and name; see `Stack.convolution`."""
        if self.hidden % self.heads:
            raise InputError(f"GAT: heads is {self.heads}, expected a divisor of the hidden width {self.hidden}")
        layer = functools.partial(self.attention(), dropout=self.attention_dropout, dtype=self.dtype)
        heads, output_heads, rate = self.heads, self.output_heads, self.edge_dropout if train else 0.0
        hidden_bias, edge_width = self.norm != "batch", self.edge_features

        def attending(width: int, last: bool, suffix: str) -> Callable[[jraph.GraphsTuple, Any], Array]:
            name = f"conv{suffix}"
            if last:
                conv = layer(width, output_heads, concat=False, name=name)
            else:
                conv = layer(width // heads, heads, use_bias=hidden_bias, name=name)

            def attend(graph: jraph.GraphsTuple, x: Any) -> Array:
                edges = {"edges": edge_features(graph, edge_width)} if edge_width else {}
                return conv(graph, x, deterministic=not train, edge_mask=_kept(graph, rate), **edges)

            return attend

        return attending


class GATv2(GAT):
    """GATv2 (Brody et al., arXiv 2105.14491): attention whose ranking of the neighbours depends on the node.

    As `GAT`, without `destination_term`, `symmetric_norm` and `edge_features`.
    """

    def attention(self) -> Callable[..., Any]:
        if self.symmetric_norm or not self.destination_term or self.edge_features:
            raise InputError("GATv2: symmetric_norm, destination_term=False and edge_features are of GAT alone")
        return GATv2Conv


def _kept(graph: jraph.GraphsTuple, rate: float) -> Array | None:
    """Draws `[e]`, False on dropped edges; returns None where none is dropped."""
    if rate == 0.0:
        return None
    kept = Dropout(rate)(jnp.ones((num_edges(graph), 1)), deterministic=False)
    return kept[:, 0] > 0.0
