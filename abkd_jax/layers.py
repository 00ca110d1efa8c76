"""Message-passing layers (flax.linen). Each is the plain formula of its paper on the one aggregation core."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float, UInt32

from abkd_jax.aggregate import Features, feature_matmul, propagate
from abkd_jax.graph import SparseFeatures
from abkd_jax.types import InputError, PRNGKey

__all__ = ["Dense", "Dropout", "GCN2Conv", "GCNConv", "uniform_fan_in"]


def uniform_fan_in(fan_in: int) -> Callable[..., Array]:
    """Initialiser U(-1/sqrt(fan_in), 1/sqrt(fan_in)): that of PyTorch's Linear, and with it of the GCNII code."""
    bound = 1.0 / math.sqrt(fan_in)

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Dropout(nn.Module):
    """Zeroes entries with probability `rate` and scales the rest by `1 / (1 - rate)`; sparse features stay sparse.

    Attributes:
        rate: in [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(self, x: Features, *, deterministic: bool) -> Features:
        if deterministic or self.rate == 0.0:
            return x
        if isinstance(x, SparseFeatures):
            return x._replace(values=self._drop(jnp.asarray(x.values)))
        return self._drop(x)

    def _drop(self, x: Array) -> Array:
        keep = _hashed_bits(self.make_rng("dropout"), x.shape) >= jnp.uint32(round(self.rate * 2**32))
        return jnp.where(keep, x / (1.0 - self.rate), jnp.zeros((), x.dtype))


def _hashed_bits(key: PRNGKey, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """32 random bits an entry: the entry's index through two rounds of an integer hash, keyed by two threefry words.

    Threefry for every entry is a third of a 64-layer training step on a CPU; this is a twentieth of its cost and
    random enough for masks. Constants: the `lowbias32` finaliser of C. Wellons' hash prospector (public domain).
    """
    words = jax.random.bits(key, (2,), jnp.uint32)
    bits = jax.lax.iota(jnp.uint32, math.prod(shape))
    for word in words:
        bits = bits + word
        bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
        bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
        bits = bits ^ (bits >> 16)
    return bits.reshape(shape)


class Dense(nn.Module):
    """`x W + b`, on dense or sparse features, initialised as PyTorch's Linear.

    Attributes:
        features: output width.
        use_bias: whether there is a `b`.
    """

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Features) -> Float[Array, "n {self.features}"]:
        init = uniform_fan_in(x.shape[1])
        kernel = self.param("kernel", init, (x.shape[1], self.features))
        out = feature_matmul(x, kernel)
        if self.use_bias:
            out = out + self.param("bias", init, (self.features,))[None]
        return out


class GCNConv(nn.Module):
    """`A' x W + b` with `A' = D^-1/2 (A + I) D^-1/2` (Kipf & Welling, arXiv 1609.02907), on the narrower side.

    Attributes:
        features: output width.
        use_bias: whether there is a `b`.
    """

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, x: Features) -> Float[Array, "n {self.features}"]:
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (x.shape[1], self.features))
        if isinstance(x, SparseFeatures) or x.shape[1] > self.features:
            out = propagate(graph, feature_matmul(x, kernel))
        else:
            out = propagate(graph, x) @ kernel
        if self.use_bias:
            out = out + self.param("bias", nn.initializers.zeros, (self.features,))[None]
        return out


class GCN2Conv(nn.Module):
    """GCNII convolution, before its activation (Chen et al., arXiv 2007.02133, equation 5).

    `theta S W + (1 - theta) S` with `S = (1 - alpha) A' h + alpha h0` and `A' = D^-1/2 (A + I) D^-1/2`. No bias.

    Attributes:
        alpha: share of the initial residual, in [0, 1].
    """

    alpha: float

    @nn.compact
    def __call__(
        self,
        graph: jraph.GraphsTuple,
        h: Float[Array, "n d"],
        h0: Float[Array, "n _"],
        theta: Float[Array, ""] | float,
    ) -> Float[Array, "n d"]:
        if h.shape != h0.shape:
            raise InputError(f"GCN2Conv: h {h.shape} and the initial features {h0.shape} must have one shape")
        width = h.shape[1]
        kernel = self.param("kernel", uniform_fan_in(width), (width, width))
        support = (1.0 - self.alpha) * propagate(graph, h) + self.alpha * h0
        theta = jnp.asarray(theta, h.dtype)
        return theta * (support @ kernel) + (1.0 - theta) * support
