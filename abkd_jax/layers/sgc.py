"""Aggregations before training: powers of `A'` times the features, and the first aggregation of other layers."""

from typing import Literal

import flax.linen as nn
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.aggregate import Features, maximum, mean, propagate
from abkd_jax.layers.dense import Dense, dense_features
from abkd_jax.types import InputError

__all__ = ["SGConv", "hops", "precompute"]


class SGConv(nn.Module):
    """Simplified graph convolution `A'^K x W + b` (Wu et al., arXiv 1902.07153, equation 8), on the narrower side.

    Initialised as PyTorch's Linear. On `hops(graph, x, K)[-1]` the layer is a `Dense`: with fixed features, aggregate
    once and train that.

    Attributes:
        features: output width.
        hops: `K`, at least 0.
        use_bias: whether there is a `b`.
        dtype: type to compute in; None is that of the input and the parameters.
    """

    features: int
    hops: int = 1
    use_bias: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, x: Features) -> Float[Array, "n {self.features}"]:
        """Computes the layer."""
        linear = Dense(self.features, self.use_bias, dtype=self.dtype, name="linear")
        return linear(x, lambda x: hops(graph, x, self.hops)[-1])


def hops(graph: jraph.GraphsTuple, x: Features, k: int) -> tuple[Float[Array, "n f"], ...]:
    """Computes `(x, A' x, ..., A'^k x)`, the input of SIGN (Frasca et al., arXiv 2004.11198). Sparse `x` becomes dense.

    Raises:
        InputError: `k` is negative.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> graph = from_edges(np.array([0]), np.array([1]), num_nodes=2, undirected=True)
        >>> [power.shape for power in hops(graph, jnp.ones((2, 5)), 2)]
        [(2, 5), (2, 5), (2, 5)]
    """
    if k < 0:
        raise InputError(f"hops: k is {k}, expected at least 0")
    powers = [dense_features(x)]
    for _ in range(k):
        powers.append(propagate(graph, powers[-1]))
    return tuple(powers)


def precompute(graph: jraph.GraphsTuple, x: Features, how: Literal["normalised", "mean", "max"]) -> Float[Array, "n f"]:
    """Aggregates fixed features once: the `aggregated` of a first `GCNConv` or `SAGEConv`.

    Args:
        graph: plain or prepared.
        x: `[n, f]`; sparse features become dense.
        how: `"normalised"` is `A' x` (GCN), `"mean"` and `"max"` are those over the neighbours (GraphSAGE).

    Raises:
        InputError: another `how`.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> star = from_edges(np.array([1, 2]), np.array([0, 0]), num_nodes=3)
        >>> precompute(star, jnp.array([[9.0], [2.0], [1.0]]), "max")[:, 0].tolist()
        [2.0, 0.0, 0.0]
    """
    aggregations = {"normalised": propagate, "mean": mean, "max": maximum}
    if how not in aggregations:
        raise InputError(f"precompute: how is {how!r}, expected one of {', '.join(aggregations)}")
    return aggregations[how](graph, dense_features(x))
