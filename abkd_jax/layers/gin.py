"""Graph isomorphism layer: an MLP of a node plus the sum of its neighbours."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.aggregate import receiver_sums, receiving, sender_values, weighted_sum
from abkd_jax.graph import num_edges
from abkd_jax.graph.input_checks import check_rows
from abkd_jax.layers.dense import cast
from abkd_jax.types import InputError

__all__ = ["GINConv"]


class GINConv(nn.Module):
    """`mlp((1 + eps) x + sum_j x_j)` (Xu et al., arXiv 1810.00826, equation 4.1), the sum over edges that enter a node.

    With edge features: `mlp((1 + eps) x + sum_j relu(x_j + e_ij))` (GINE: Hu et al., arXiv 1905.12265). That needs one
    message per edge, `[e, d]`, in memory; without them nothing of that size is built.

    Attributes:
        mlp: any map of `[n, d]`, usually a module: its parameters are `mlp/...`.
        epsilon: `eps`, or its initial value.
        train_epsilon: whether `eps` is a parameter.
        dtype: type of the messages and of the input of the MLP (its layers have their own `dtype`); None is that of the
            input.
    """

    mlp: Callable[[Any], Any]
    epsilon: float = 0.0
    train_epsilon: bool = False
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, graph: jraph.GraphsTuple, x: Float[Array, "n d"], *, edges: Float[Array, "e _"] | None = None
    ) -> Float[Array, "_ _"]:
        """Computes the layer; `edges` are `[e, d]` edge features in the order of `graph.senders`.

        Raises:
            InputError: the edge features do not have the width of `x`, or not one row per edge.
        """
        x = cast(x, self.dtype)
        if edges is None:
            total = weighted_sum(graph, x, None)
        else:
            check_rows("edge", edges, num_edges(graph))
            if edges.shape[1:] != x.shape[1:]:
                raise InputError(
                    f"GINConv: edge features are {edges.shape[1]} wide, expected {x.shape[1]} as the nodes"
                )
            total = receiver_sums(graph, jax.nn.relu(sender_values(graph, x) + cast(edges, self.dtype)))
        if self.train_epsilon:
            epsilon = self.param("epsilon", nn.initializers.constant(self.epsilon), ())
        else:
            epsilon = jnp.asarray(self.epsilon)
        return self.mlp((1.0 + epsilon).astype(x.dtype) * receiving(graph, x) + total)
