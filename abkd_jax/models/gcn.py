"""GCN, a fixed average over the neighbours in every layer, and MLP, which ignores the graph."""

from typing import Any

import jraph

from abkd_jax.aggregate import receiving
from abkd_jax.graph import normalise
from abkd_jax.layers import Dense, GCNConv
from abkd_jax.models.stack import Convolution, Stack

__all__ = ["GCN", "MLP"]


class GCN(Stack):
    """GCN (Kipf & Welling, arXiv 1609.02907): convolutions with ReLU between; see `Stack` for the attributes.

    Examples:
        >>> import jax, numpy as np
        >>> from abkd_jax.graph import from_edges, prepare
        >>> ends, x = (np.array([0, 1]), np.array([1, 2])), np.ones((3, 5), np.float32)
        >>> graph = prepare(from_edges(*ends, num_nodes=3, nodes=x, undirected=True))
        >>> model = GCN(hidden=4, layers=2, classes=2)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), graph)  # shapes alone: compiles nothing
        >>> out = jax.eval_shape(model.apply, variables, graph)
        >>> out.logits.shape, [hidden.shape for hidden in out.hiddens]
        ((3, 2), [(3, 4)])
    """

    def convolution(self, train: bool) -> Convolution:
        dtype = self.dtype
        return lambda width, last, suffix: GCNConv(width, name=f"conv{suffix}", dtype=dtype)

    def graph(self, graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
        return normalise(graph)


class MLP(Stack):
    """Multilayer perceptron that ignores the edges; the student of GLNN (Zhang et al., arXiv 2110.08727).

    Its layers are `dense_0`, `dense_1`, ..., or `blocks/dense`; see `Stack` for the attributes. Features are not
    dropped by default (`input_dropout=0`).
    """

    input_dropout: float | None = 0.0

    def convolution(self, train: bool) -> Convolution:
        dtype = self.dtype

        def linear(width: int, last: bool, suffix: str) -> Any:
            dense = Dense(width, name=f"dense{suffix}", dtype=dtype)
            return lambda graph, x: dense(receiving(graph, x))

        return linear
