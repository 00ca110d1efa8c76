"""Relational graph convolutional networks: weights per edge type and node type."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate import Features, feature_matmul, receiving, typed_layout_of, typed_product
from abkd_jax.graph import edge_relations, layout_of, node_entry, node_features, num_edges, with_raw_edges
from abkd_jax.graph.type_blocks import TypedLayout
from abkd_jax.layers import Dense, RGCNConv, cast, dense_features
from abkd_jax.models.lookups import lookup
from abkd_jax.models.stack import Convolution, Stack
from abkd_jax.types import InputError

__all__ = ["RGCN"]

_GLOROT_OF_MANY = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform", batch_axis=(0,))


class RGCN(Stack):
    """RGCN (Schlichtkrull et al., arXiv 1703.06103); see `Stack` for the other attributes.

    Edge types are those of `graph.edge_relations`; with one relation a graph may have none. With several node types
    `graph.nodes` is `{"features": [n, f], "type": [n]}`, and every type has its own root weight and bias, as on
    ogbn-mag: `7 a b + 4 (a b + b)` parameters in a layer from `a` to `b` units with 7 relations and 4 node types.

    Attributes:
        relations: number of edge types.
        node_types: number of node types.
        bases: number of basis matrices, whose combinations are those of the relations; None gives each its own.
        embeddings: number of learned node embeddings, `input/embedding` `[embeddings, width]`: the input of nodes with
            a row of it in `graph.nodes["embedding"]` `[n]`, instead of their features; -1 is no row. Features of that
            width stay as they are, others pass through the linear map `input/linear`; there may be none, `f = 0`.
            Initialised by Glorot & Bengio's uniform distribution, as G-CRD's on ogbn-mag (Joshi et al., arXiv
            2111.04964).
        embedding_width: width of the embeddings; None takes `hidden`.
    """

    relations: int = 1
    node_types: int = 1
    bases: int | None = None
    embeddings: int = 0
    embedding_width: int | None = None

    @nn.nowrap
    def inputs(self, graph: jraph.GraphsTuple) -> Any:
        features = node_features(graph, self.dtype)
        if not self.embeddings:
            return features
        rows = node_entry(graph, "embedding")
        if rows is None:
            raise InputError(
                f"RGCN: {self.embeddings} embeddings, expected graph.nodes with 'embedding' [n]: their rows, or -1"
            )
        table = _Embedded(self.embeddings, self.embedding_width or self.hidden, self.dtype, name="input")
        return table(features, rows, node_entry(graph, "embedded"))

    @property
    def trims(self) -> bool:
        """See `Stack`; hops of a minibatch have no layout by relation."""
        return False

    def graph(self, graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
        return _of_one_type(graph) if self.relations == 1 and edge_relations(graph) is None else graph

    def convolution(self, train: bool) -> Convolution:
        relations, node_types, bases, dtype = self.relations, self.node_types, self.bases, self.dtype

        def relational(width: int, last: bool, suffix: str) -> Callable[[jraph.GraphsTuple, Features], Array]:
            if node_types == 1:
                return RGCNConv(width, relations, bases, dtype=dtype, name=f"conv{suffix}")
            return _TypedConv(width, relations, node_types, bases, dtype, name=f"conv{suffix}")

        return relational


class _Embedded(nn.Module):
    """Learned embeddings of the nodes that have one, and the features of the others brought to their width."""

    rows: int
    width: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(
        self, x: Features, embedding: Int[Array, " n"], embedded: Float[Array, "n {self.width}"] | None
    ) -> Float[Array, "n {self.width}"]:
        """Looks up the rows; `embedded` are rows that were looked up already, where devices share the table."""
        if embedded is None:
            table = self.param("embedding", nn.initializers.glorot_uniform(), (self.rows, self.width))
            learned = lookup("RGCN: nodes['embedding']", table, jnp.maximum(embedding, 0), self.dtype)
        else:
            learned = cast(embedded, self.dtype)
        if x.shape[1] == 0:
            features = jnp.zeros_like(learned)
        elif x.shape[1] != self.width:
            features = Dense(self.width, dtype=self.dtype, name="linear")(x)
        else:
            features = dense_features(x)
        return jnp.where((embedding >= 0)[:, None], learned, features)


class _TypedConv(nn.Module):
    """`sum over r of W_r mean_j x_j + W_type x + b_type`."""

    features: int
    relations: int
    node_types: int
    bases: int | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, x: Features) -> Float[Array, "_ {self.features}"]:
        types = node_entry(graph, "type")
        if types is None:
            raise InputError(
                f"RGCN: {self.node_types} node types, expected graph.nodes as {{'features': [n, f], 'type': [n]}}"
            )
        relations = RGCNConv(
            self.features,
            self.relations,
            self.bases,
            root_weight=False,
            use_bias=False,
            dtype=self.dtype,
            name="relations",
        )
        layout = layout_of(graph)
        present = None if layout is None else layout.info.types
        root = _TypedDense(self.features, self.node_types, self.dtype, present, name="root")
        return relations(graph, x) + root(receiving(graph, x), receiving(graph, types), typed_layout_of(graph))


class _TypedDense(nn.Module):
    """`W_type x + b_type`, with `kernel` `[types, in, out]` and `bias` `[types, out]`.

    `present` are the types that occur; None stands for all.
    """

    features: int
    types: int
    dtype: DTypeLike | None
    present: tuple[int, ...] | None

    @nn.compact
    def __call__(
        self, x: Features, types: Int[Array, " n"], layout: TypedLayout | None = None
    ) -> Float[Array, "n {self.features}"]:
        """Computes the map; in a batch whose nodes are sorted by type each type is multiplied by its weights alone."""
        kernel = self.param("kernel", _GLOROT_OF_MANY, (self.types, x.shape[1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.types, self.features))
        if layout is not None:
            kernel, bias = cast(kernel, self.dtype), cast(bias, self.dtype)
            return typed_product(layout, dense_features(x), kernel, bias)
        kernel, out = cast(kernel, self.dtype), lookup("RGCN: nodes['type']", bias, types, self.dtype)
        present = range(self.types) if self.present is None else self.present
        for node_type in present:  # few, and no [n, types, out] is built
            out = out + jnp.where((types == node_type)[:, None], feature_matmul(x, kernel[node_type]), 0.0)
        return out


def _of_one_type(graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    """Returns the graph with type 0 for all edges."""
    return with_raw_edges(graph, jnp.zeros(num_edges(graph), jnp.int32))
