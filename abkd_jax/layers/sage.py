"""GraphSAGE layer: a node and the mean or the maximum of its neighbours, each with its own weights."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.aggregate import Features, maximum, mean, num_receivers, receiving
from abkd_jax.graph import SparseFeatures
from abkd_jax.graph.input_checks import check_rows
from abkd_jax.graph.precision import widened
from abkd_jax.layers.dense import Dense, cast
from abkd_jax.types import InputError

__all__ = ["SAGEConv"]


class SAGEConv(nn.Module):
    """`W_l agg(x_j) + b + W_r x` (Hamilton et al., arXiv 1706.02216, algorithm 1); the mean on the narrower side.

    The neighbours are the senders of the edges that enter a node; without any, `agg` is zero. Parameters:
    `neighbour/kernel`, `neighbour/bias`, `root/kernel`, `project/kernel`, `project/bias`, all initialised as in
    PyTorch's Linear.

    Attributes:
        features: output width.
        aggregation: `"mean"` or `"max"`.
        use_bias: whether there is a `b`.
        root_weight: whether there is a `W_r`.
        normalize: scales every output row to Euclidean norm 1; a row of zeros stays zero and has no gradient.
        project: sends `relu(x W_p + b_p)` instead of `x`, of the same width.
        dtype: type to compute in; None is that of the input and the parameters.
    """

    features: int
    aggregation: Literal["mean", "max"] = "mean"
    use_bias: bool = True
    root_weight: bool = True
    normalize: bool = False
    project: bool = False
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, graph: jraph.GraphsTuple, x: Features, *, aggregated: Float[Array, "_ f"] | None = None
    ) -> Float[Array, "_ {self.features}"]:
        """Computes the layer; `aggregated` is `agg(x_j)` where that is precomputed (`precompute`).

        Raises:
            InputError: the aggregation is unknown; `"max"` of sparse features; `aggregated` with `project`.
        """
        self._check(aggregated)
        x = cast(x, self.dtype)
        neighbour = Dense(self.features, self.use_bias, dtype=self.dtype, name="neighbour")
        sent = nn.relu(Dense(x.shape[1], dtype=self.dtype, name="project")(x)) if self.project else x
        if aggregated is not None:
            check_rows("node", aggregated, num_receivers(graph))
            out = neighbour(aggregated)
        elif self.aggregation == "max":
            if isinstance(sent, SparseFeatures):
                raise InputError("SAGEConv: the maximum of sparse features, expected dense ones or aggregation mean")
            out = neighbour(maximum(graph, sent))
        else:
            out = neighbour(sent, lambda sent: mean(graph, sent))
        if self.root_weight:
            out = out + Dense(self.features, use_bias=False, dtype=self.dtype, name="root")(receiving(graph, x))
        return _unit_rows(out) if self.normalize else out

    def _check(self, aggregated: Array | None) -> None:
        if self.aggregation not in ("mean", "max"):
            raise InputError(f"SAGEConv: aggregation is {self.aggregation!r}, expected mean or max")
        if self.project and aggregated is not None:
            raise InputError("SAGEConv: aggregated features with project, expected only one of them")


def _unit_rows(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    wide = widened(x)
    squared = jnp.sum(wide**2, axis=1, keepdims=True)
    positive = squared > 0.0
    return jnp.where(positive, wide / jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0).astype(x.dtype)
