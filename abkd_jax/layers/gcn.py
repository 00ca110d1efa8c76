"""Graph convolutions with the symmetric normalisation `A' = D^-1/2 (A + I) D^-1/2`."""

import flax.linen as nn
import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.aggregate import Features, feature_matmul, num_receivers, propagate, receiving
from abkd_jax.graph.input_checks import check_rows
from abkd_jax.layers.dense import cast, linear_aggregate, uniform_fan_in
from abkd_jax.types import InputError

__all__ = ["GCN2Conv", "GCNConv"]


class GCNConv(nn.Module):
    """Graph convolution `A' x W + b` (Kipf & Welling, arXiv 1609.02907, section 2.1), on the narrower side of `W`.

    `W` is initialised by Glorot & Bengio's uniform distribution, `b` with zeros.

    Attributes:
        features: output width.
        use_bias: whether there is a `b`.
        dtype: type to compute in; None is that of the input and the parameters.

    Examples:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> layer, x = GCNConv(4), jnp.ones((3, 5))
        >>> graph = from_edges(np.array([0, 1]), np.array([1, 2]), num_nodes=3, nodes=x, undirected=True)
        >>> variables = jax.eval_shape(layer.init, jax.random.key(0), graph, x)  # shapes alone: compiles nothing
        >>> jax.eval_shape(layer.apply, variables, graph, x).shape
        (3, 4)
    """

    features: int
    use_bias: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, graph: jraph.GraphsTuple, x: Features, *, aggregated: Float[Array, "_ f"] | None = None
    ) -> Float[Array, "_ {self.features}"]:
        """Computes the layer; `aggregated` is `A' x` where that is precomputed (`precompute`).

        Raises:
            InputError: `aggregated` has another number of rows than there are receivers.
        """
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (x.shape[1], self.features))
        kernel = cast(kernel, self.dtype)
        if aggregated is None:
            out = linear_aggregate(lambda x: propagate(graph, x), cast(x, self.dtype), kernel)
        else:
            check_rows("node", aggregated, num_receivers(graph))
            out = feature_matmul(cast(aggregated, self.dtype), kernel)
        if self.use_bias:
            out = out + cast(self.param("bias", nn.initializers.zeros, (self.features,)), self.dtype)[None]
        return out


class GCN2Conv(nn.Module):
    """GCNII convolution without its activation (Chen et al., arXiv 2007.02133, equation 5). No bias.

    `theta S W + (1 - theta) S` with `S = (1 - alpha) A' h + alpha h0`. The variant, GCNII*, is `theta [A' h, h0] W +
    (1 - theta) S` with a `W` of twice as many rows, as in its authors' code; their paper's form, with two weights
    that multiply `(1 - alpha) A' h` and `alpha h0`, is the same layer with those factors inside the weights. `W` is
    initialised uniform in `+-1 / sqrt(width)`.

    Attributes:
        alpha: share of the initial residual, in [0, 1].
        variant: whether to compute GCNII*.
        dtype: type to compute in; None is that of the input and the parameters.
    """

    alpha: float
    variant: bool = False
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        graph: jraph.GraphsTuple,
        h: Float[Array, "n d"],
        h0: Float[Array, "n _"],
        theta: Float[Array, ""] | float,
    ) -> Float[Array, "_ d"]:
        """Computes the layer from its input `h`, the first hidden features `h0` and the weight of the identity mapping.

        Raises:
            InputError: `h` and `h0` differ in shape.
        """
        if h.shape != h0.shape:
            raise InputError(f"GCN2Conv: h {h.shape} and the initial features {h0.shape} must have one shape")
        width = h.shape[1]
        kernel = self.param("kernel", uniform_fan_in(width), (2 * width if self.variant else width, width))
        h, h0, kernel = (cast(a, self.dtype) for a in (h, h0, kernel))
        neighbours, h0 = propagate(graph, h), receiving(graph, h0)
        support = (1.0 - self.alpha) * neighbours + self.alpha * h0
        mapped = neighbours @ kernel[:width] + h0 @ kernel[width:] if self.variant else support @ kernel
        theta = jnp.asarray(theta, h.dtype)
        return theta * mapped + (1.0 - theta) * support
