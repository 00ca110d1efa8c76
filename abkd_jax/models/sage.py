"""GraphSAGE: weights for a node and for the mean or maximum of its neighbours."""

from typing import Literal

from abkd_jax.layers import SAGEConv
from abkd_jax.models.stack import Convolution, Stack

__all__ = ["GraphSAGE"]


class GraphSAGE(Stack):
    """GraphSAGE (Hamilton et al., arXiv 1706.02216), full neighbourhoods; see `Stack` for the other attributes.

    Attributes:
        aggregation: `"mean"` or `"max"` of the neighbours; the maximum takes dense features.
    """

    aggregation: Literal["mean", "max"] = "mean"

    def convolution(self, train: bool) -> Convolution:
        aggregation, dtype = self.aggregation, self.dtype
        return lambda width, last, suffix: SAGEConv(width, aggregation, dtype=dtype, name=f"conv{suffix}")
