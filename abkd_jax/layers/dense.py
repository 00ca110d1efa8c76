"""Linear maps, of features or of what they aggregate to, and dropout; on dense or sparse features."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt32

from abkd_jax.aggregate import Features, feature_matmul
from abkd_jax.graph.build import SparseFeatures
from abkd_jax.types import PRNGKey

__all__ = ["Dense", "Dropout", "Initialiser", "cast", "dense_features", "linear_aggregate", "uniform_fan_in"]

Initialiser = Callable[..., Array]  # (key, shape, dtype) -> array


def uniform_fan_in(fan_in: int) -> Initialiser:
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
    """`x W + b`, on dense or sparse features; both start as PyTorch's Linear does.

    Attributes:
        features: output width.
        use_bias: whether there is a `b`.
        kernel_init: another start of `W`.
        dtype: type to compute in; None is that of the input and the parameters.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initialiser | None = None
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Features, aggregate: Callable[[Array], Array] | None = None
    ) -> Float[Array, "_ {self.features}"]:
        """With `aggregate`, a linear map over the nodes: `aggregate(x) W + b`, on the narrower side of `W`."""
        init = uniform_fan_in(x.shape[1])
        kernel = self.param("kernel", self.kernel_init or init, (x.shape[1], self.features))
        x, kernel = cast(x, self.dtype), cast(kernel, self.dtype)
        out = feature_matmul(x, kernel) if aggregate is None else linear_aggregate(aggregate, x, kernel)
        if self.use_bias:
            out = out + cast(self.param("bias", init, (self.features,)), self.dtype)[None]
        return out


def linear_aggregate(
    aggregate: Callable[[Array], Array], x: Features, kernel: Float[Array, "f d"]
) -> Float[Array, "_ d"]:
    """`aggregate(x) W = aggregate(x W)` for an aggregation that is linear, over the narrower of the two widths."""
    if isinstance(x, SparseFeatures) or x.shape[1] > kernel.shape[1]:
        return aggregate(feature_matmul(x, kernel))
    return aggregate(x) @ kernel


def cast(x: Any, dtype: Any) -> Any:
    """An array or sparse features in the type that a layer computes in; as they are where that is None."""
    if dtype is None:
        return x
    if isinstance(x, SparseFeatures):
        return x._replace(values=jnp.asarray(x.values, dtype))
    return jnp.asarray(x, dtype)


def dense_features(x: Features) -> Float[Array, "n f"]:
    """Sparse features as a dense array; dense ones as they are."""
    if not isinstance(x, SparseFeatures):
        return x
    values = jnp.asarray(x.values)
    return jnp.zeros(x.shape, values.dtype).at[x.pattern.rows, x.pattern.cols].add(values)
