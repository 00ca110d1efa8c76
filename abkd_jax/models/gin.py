"""Graph isomorphism networks: MLPs of sums over neighbours."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.aggregate import Features, category_sums
from abkd_jax.graph import edge_features, node_features, raw_edges
from abkd_jax.layers import Dense, GINConv, dense_features
from abkd_jax.models.lookups import check_lookup, lookup
from abkd_jax.models.stack import Convolution, Stack
from abkd_jax.types import InputError

__all__ = ["GIN"]


class GIN(Stack):
    """GIN (Xu et al., arXiv 1810.00826); each layer's MLP is linear, ReLU, linear. See `Stack` for the attributes.

    For graphs: `readout="sum"`; with `jumping="cat"` the classifier reads the sums of all layers, as in the paper
    (equation 4.2, without that of the input features). Sums of all neighbours grow with the degrees and the depth:
    choose `norm="batch"` where training starts badly. Sparse features become dense.

    For molecules: with a `vocabulary` the features are `[n, k]` integer categories, and the input is the sum of their
    learned embeddings, `[n, hidden]` (`atoms/table_0`, ...). With an `edge_vocabulary` so are `graph.edges`, or their
    entry `"features"`, `[e, k]`; every layer adds the sum of its own embeddings of an edge (`bonds_0/table_0`, ...) to
    the message along it, before a ReLU (GINE: Hu et al., arXiv 1905.12265; the tables of OGB, arXiv 2005.00687).
    Real-valued features pass through a linear map, `input`, then. With `edge_features` the edges have so many real
    numbers `[e, k]` instead, at the same place, and every layer its own linear map of them (`edges_0/kernel`,
    `edges_0/bias`, ...), as `GINEConv` of PyTorch Geometric with `edge_dim`.

    Attributes:
        train_epsilon: whether the weight `1 + eps` of the node itself is trained, starting at 1.
        vocabulary: number of categories per column of the features; () where they are real numbers.
        edge_vocabulary: likewise for the edges; () where they are not read.
        edge_features: number of real-valued features of an edge; 0 where they are not read.
    """

    train_epsilon: bool = False
    vocabulary: tuple[int, ...] = ()
    edge_vocabulary: tuple[int, ...] = ()
    edge_features: int = 0

    @nn.nowrap
    def inputs(self, graph: jraph.GraphsTuple) -> Any:
        if self.vocabulary:
            return _Categories(self.vocabulary, self.hidden, self.dtype, name="atoms")(node_features(graph, None))
        features = node_features(graph, self.dtype)
        reads_edges = self.edge_vocabulary or self.edge_features
        return Dense(self.hidden, dtype=self.dtype, name="input")(features) if reads_edges else features

    def convolution(self, train: bool) -> Convolution:
        train_epsilon, edge_vocabulary, dtype = self.train_epsilon, self.edge_vocabulary, self.dtype
        edge_width = self.edge_features
        if edge_vocabulary and edge_width:
            raise InputError(
                f"GIN: edge_vocabulary {edge_vocabulary} and {edge_width} edge_features, expected only one"
            )

        def isomorphic(width: int, last: bool, suffix: str) -> Callable[[jraph.GraphsTuple, Features], Array]:
            mlp = _MLP(width, dtype, parent=None)  # a child of the convolution: conv_0/mlp
            conv = GINConv(mlp, train_epsilon=train_epsilon, dtype=dtype, name=f"conv{suffix}")
            if not edge_vocabulary and not edge_width:
                return lambda graph, x: conv(graph, dense_features(x))

            def with_edges(graph: jraph.GraphsTuple, x: Any) -> Array:
                if edge_width:
                    linear = Dense(x.shape[1], dtype=dtype, name=f"edges{suffix}")
                    return conv(graph, x, edges=linear(edge_features(graph, edge_width)))
                bonds = _Categories(edge_vocabulary, x.shape[1], dtype, name=f"bonds{suffix}")
                return conv(graph, x, edges=bonds(_edge_categories(graph)))

            return with_edges

        return isomorphic


class _Categories(nn.Module):
    """Sum of the learned embeddings of `[n, k]` categories, one table per column."""

    vocabulary: tuple[int, ...]
    width: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: Any) -> Float[Array, "n {self.width}"]:
        if x is None or x.shape[1:] != (len(self.vocabulary),) or not jnp.issubdtype(x.dtype, jnp.integer):
            given = "missing" if x is None else f"{x.dtype} {x.shape}"
            raise InputError(f"GIN: {self.name} are {given}, expected {len(self.vocabulary)} integers in a row")
        tables = []
        for column, size in enumerate(self.vocabulary):
            tables.append(self.param(f"table_{column}", nn.initializers.glorot_uniform(), (size, self.width)))
            check_lookup(f"GIN: column {column} of {self.name}", size, x[:, column])

        dtype = tables[0].dtype if self.dtype is None else self.dtype

        def gathered(tables: Sequence[Array], x: Array) -> Array:
            rows = [lookup("", table, x[:, column], dtype) for column, table in enumerate(tables)]
            return sum(rows, jnp.zeros((x.shape[0], self.width), dtype))

        return category_sums(tables, jnp.asarray(x), dtype, gathered)


def _edge_categories(graph: jraph.GraphsTuple) -> Any:
    edges = raw_edges(graph)
    edges = edges.get("features") if isinstance(edges, dict) else edges
    return edges if edges is None else jnp.asarray(edges)


class _MLP(nn.Module):
    """Linear, ReLU, linear, all as wide as the output."""

    width: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: Float[Array, "n _"]) -> Float[Array, "n {self.width}"]:
        return Dense(self.width, dtype=self.dtype, name="dense_1")(
            nn.relu(Dense(self.width, dtype=self.dtype, name="dense_0")(x))
        )
