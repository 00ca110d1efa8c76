"""Graph isomorphism networks: sums of neighbours through perceptrons."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jraph
from jaxtyping import Array, Float

from abkd_jax.aggregate import Features
from abkd_jax.layers import Dense, GINConv, dense_features
from abkd_jax.models.stack import Convolution, Stack

__all__ = ["GIN"]


class GIN(Stack):
    """GIN (Xu et al., arXiv 1810.00826); each layer's MLP is linear, ReLU, linear. See `Stack` for the attributes.

    For graphs: `readout="sum"`; with `jumping="cat"` the classifier sees the sums of all layers, as in the paper
    (equation 4.2, without that of the input features). Sums of all neighbours grow with the degrees and the depth:
    choose `norm="batch"` where training starts badly. Sparse features become dense.

    Attributes:
        train_epsilon: whether the weight `1 + eps` of the node itself is trained, from 1.
    """

    train_epsilon: bool = False

    def convolution(self, train: bool) -> Convolution:
        train_epsilon, dtype = self.train_epsilon, self.dtype

        def isomorphic(width: int, last: bool, suffix: str) -> Callable[[jraph.GraphsTuple, Features], Array]:
            mlp = _Perceptron(width, dtype, parent=None)  # a child of the convolution: conv_0/mlp
            conv = GINConv(mlp, train_epsilon=train_epsilon, dtype=dtype, name=f"conv{suffix}")
            return lambda graph, x: conv(graph, dense_features(x))

        return isomorphic


class _Perceptron(nn.Module):
    """Linear, ReLU, linear, all as wide as the output."""

    width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "n _"]) -> Float[Array, "n {self.width}"]:
        return Dense(self.width, dtype=self.dtype, name="dense_1")(
            nn.relu(Dense(self.width, dtype=self.dtype, name="dense_0")(x))
        )
