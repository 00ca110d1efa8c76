"""GCN and MLP: a fixed average of the neighbours in every layer, and none at all."""

from typing import Any

import jraph

from abkd_jax.aggregate import receiving
from abkd_jax.graph.build import normalise
from abkd_jax.layers import Dense, GCNConv
from abkd_jax.models.stack import Convolution, Stack

__all__ = ["GCN", "MLP"]


class GCN(Stack):
    """GCN (Kipf & Welling, arXiv 1609.02907): convolutions with ReLU between; see `Stack` for the attributes."""

    def convolution(self, train: bool) -> Convolution:
        dtype = self.dtype
        return lambda width, last, suffix: GCNConv(width, name=f"conv{suffix}", dtype=dtype)

    def graph(self, graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
        return normalise(graph)


class MLP(Stack):
    """A multilayer perceptron that ignores the edges; the student of GLNN (Zhang et al., arXiv 2110.08727).

    Its layers are `dense_0`, `dense_1`, ..., or `blocks/dense`; see `Stack` for the attributes. None of the features is
    dropped unless `input_dropout` says so.
    """

    input_dropout: float | None = 0.0

    def convolution(self, train: bool) -> Convolution:
        dtype = self.dtype

        def linear(width: int, last: bool, suffix: str) -> Any:
            dense = Dense(width, name=f"dense{suffix}", dtype=dtype)
            return lambda graph, x: dense(receiving(graph, x))

        return linear
