"""Linear maps, also combined with an aggregation, and dropout; on dense or sparse features."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt32

from abkd_jax.aggregate import Features, feature_matmul
from abkd_jax.aggregate.edges import FeaturesT
from abkd_jax.graph import SparseFeatures
from abkd_jax.types import PRNGKey

__all__ = ["Dense", "Dropout", "Initialiser", "cast", "dense_features", "linear_aggregate", "uniform_fan_in"]

Initialiser = Callable[..., Array]  # (key, shape, dtype) -> array


def uniform_fan_in(fan_in: int) -> Initialiser:
    """Returns the initialiser U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as PyTorch's Linear and the GCNII code have it.

    Examples:
        >>> import jax
        >>> kernel = uniform_fan_in(4)(jax.random.key(0), (4, 100))
        >>> kernel.shape, bool((abs(kernel) <= 0.5).all())
        ((4, 100), True)
    """
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
    def __call__(self, x: FeaturesT, *, deterministic: bool) -> FeaturesT:
        return x if deterministic or self.rate == 0.0 else self._drop(x)

    def _drop(self, x: Any) -> Any:
        if isinstance(x, SparseFeatures):
            return x._replace(values=self._drop(jnp.asarray(x.values)))
        keep = _hashed_bits(self.make_rng("dropout"), x.shape) >= jnp.uint32(round(self.rate * 2**32))
        # Else a TPU draws the bits again inside of the products of the backward pass, which then compile slowly.
        keep = jax.lax.platform_dependent(keep, tpu=jax.lax.optimization_barrier, default=lambda keep: keep)
        return jnp.where(keep, x / (1.0 - self.rate), jnp.zeros((), x.dtype))


def _hashed_bits(key: PRNGKey, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Draws 32 random bits per entry: two rounds of an integer hash of its index, keyed by two threefry words.

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
    """Linear map `x W + b` of dense or sparse features; both are initialised as in PyTorch's Linear.

    Attributes:
        features: output width.
        use_bias: whether there is a `b`.
        kernel_init: initialiser of `W`; None takes that of PyTorch's Linear.
        dtype: type to compute in; None is that of the input and the parameters.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> layer, x = Dense(3), jnp.ones((2, 5))
        >>> variables = jax.eval_shape(layer.init, jax.random.key(0), x)  # shapes alone: compiles nothing
        >>> jax.eval_shape(layer.apply, variables, x).shape
        (2, 3)
    """

    features: int
    use_bias: bool = True
    kernel_init: Initialiser | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Features, aggregate: Callable[[Array], Array] | None = None
    ) -> Float[Array, "_ {self.features}"]:
        """Maps `x`; with `aggregate`, a linear map over the nodes, returns `aggregate(x) W + b`.

        The aggregation runs on the narrower side of `W`.
        """
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
    """Computes `aggregate(x) W = aggregate(x W)` for a linear aggregation, on the narrower of both widths."""
    if isinstance(x, SparseFeatures) or x.shape[1] > kernel.shape[1]:
        return aggregate(feature_matmul(x, kernel))
    return aggregate(x) @ kernel


def cast(x: Any, dtype: DTypeLike | None) -> Any:
    """Converts an array or sparse features to the type that a layer computes in; None returns them as they are."""
    if dtype is None:
        return x
    if isinstance(x, SparseFeatures):
        return x._replace(values=jnp.asarray(x.values, dtype))
    return jnp.asarray(x, dtype)


def dense_features(x: Features) -> Float[Array, "n f"]:
    """Converts sparse features to a dense array; returns dense ones as they are.

    Examples:
        >>> import scipy.sparse as sp
        >>> from abkd_jax.graph import sparse_features
        >>> dense_features(sparse_features(sp.csr_matrix([[0.0, 2.0], [1.0, 0.0]]))).tolist()
        [[0.0, 2.0], [1.0, 0.0]]
    """
    if not isinstance(x, SparseFeatures):
        return x
    values = jnp.asarray(x.values)
    return jnp.zeros(x.shape, values.dtype).at[x.pattern.rows, x.pattern.cols].add(values)
