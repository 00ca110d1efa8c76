"""SIGN: feed-forward networks on precomputed powers of the adjacency; no message passing while training."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.aggregate import propagate, receiving
from abkd_jax.graph import node_entry, node_features, normalise
from abkd_jax.layers import Dense, Dropout, dense_features, hops
from abkd_jax.layers.output import finished
from abkd_jax.models.stack import Part, Stage
from abkd_jax.types import GNNOutput, InputError

__all__ = ["SIGN", "with_hops"]


class SIGN(nn.Module):
    """SIGN (Frasca et al., arXiv 2004.11198): a network per power `A'^k x`, `k = 0 .. hops`, and one for all of them.

    Networks are `layers` linear maps with PReLU and dropout between. Those of the powers have outputs `[n, hidden]`;
    their concatenation, after PReLU and dropout, is the input of the last network, which gives the logits. Hidden
    layers are that concatenation, `[n, (hops + 1) hidden]`, and those of the last network. `layers=2, hidden=512,
    hops=5` is the model of the OGB leader board. The powers need no weights: `with_hops` computes them once. Sparse
    features become dense.

    Parameters: `hops/dense_0`, ... stacked over the powers, and `output/dense_0`, ...; PReLU slopes are `prelu`.

    Attributes:
        hidden: width of the networks.
        layers: linear maps in each network, at least 1.
        classes: width of the logits.
        hops: largest power.
        dropout: rate between linear maps.
        input_dropout: rate on the powers.
        dtype: type to compute in; None is that of the features and parameters. Logits are float32 at least.
    """

    hidden: int
    layers: int
    classes: int
    hops: int = 5
    dropout: float = 0.0
    input_dropout: float = 0.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, train: bool = False) -> GNNOutput:
        return self._output(_powers(graph, self.hops, self.dtype), train)

    @nn.nowrap
    def stages(self) -> tuple[Stage, ...]:
        """Splits the model in evaluation mode into the powers and the networks that read them; see `Stack.stages`."""

        def features(graph: jraph.GraphsTuple, _: Sequence[Array]) -> Array:
            return dense_features(receiving(graph, node_features(graph)))

        def power(graph: jraph.GraphsTuple, hiddens: Sequence[Array]) -> Array:
            return propagate(graph, hiddens[0])

        def logits(graph: jraph.GraphsTuple, hiddens: Sequence[Array]) -> Array:
            return self._output(jnp.stack([receiving(graph, h) for h in hiddens], axis=1), False).logits

        middle = Part(power, None)
        return (
            Stage(Part(features, None), lambda variables: {}, reads=(), edges=False),
            *(Stage(middle, lambda variables: {}, reads=(k,)) for k in range(self.hops)),
            Stage(Part(logits, self.dtype), lambda variables: variables, tuple(range(self.hops + 1)), edges=False),
        )

    @nn.nowrap
    def _output(self, powers: Float[Array, "n k1 f"], train: bool) -> GNNOutput:
        """Computes the networks, with parameters in the calling module."""
        each = nn.vmap(
            _FeedForward,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(1,),  # type: ignore[arg-type]  # flax annotates one int
            out_axes=1,
        )
        rates = (self.input_dropout, self.dropout)
        read = each(self.hidden, self.hidden, self.layers, rates, self.dtype, train, name="hops")
        parts, _ = read(powers)
        joined = _prelu("prelu")(parts.reshape(parts.shape[0], -1))
        rates = (self.dropout, self.dropout)
        last = _FeedForward(self.hidden, self.classes, self.layers, rates, self.dtype, train, name="output")
        logits, inner = last(joined)
        return GNNOutput(finished(logits), (joined, *inner))


class _FeedForward(nn.Module):
    """Linear maps with dropout before and PReLU (one slope for all) between; also returns the values between them."""

    hidden: int
    width: int
    layers: int
    dropout: tuple[float, float]  # before the first, before the others
    dtype: DTypeLike | None
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n _"]) -> tuple[Array, tuple[Array, ...]]:
        prelu, hiddens = _prelu("prelu"), []
        dropped = Dropout(self.dropout[0])(x, deterministic=not self.train)
        for layer in range(self.layers - 1):
            hiddens.append(prelu(Dense(self.hidden, dtype=self.dtype, name=f"dense_{layer}")(dropped)))
            dropped = Dropout(self.dropout[1])(hiddens[-1], deterministic=not self.train)
        return Dense(self.width, dtype=self.dtype, name=f"dense_{self.layers - 1}")(dropped), tuple(hiddens)


def with_hops(graph: jraph.GraphsTuple, k: int) -> jraph.GraphsTuple:
    """Computes the powers that `SIGN` reads, once: `nodes` become `{"features": [n, f], "hops": [n, k + 1, f]}`.

    Raises:
        InputError: `k` is negative.

    Examples:
        >>> import numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> graph = from_edges(np.array([0]), np.array([1]), num_nodes=2, nodes=np.ones((2, 5), np.float32))
        >>> with_hops(graph, 3).nodes["hops"].shape
        (2, 4, 5)
    """
    powers = hops(normalise(graph), node_features(graph), k)
    return graph._replace(nodes={"features": powers[0], "hops": jnp.stack(powers, axis=1)})


def _powers(graph: jraph.GraphsTuple, k: int, dtype: DTypeLike | None) -> Float[Array, "n k1 f"]:
    powers = node_entry(graph, "hops")
    if powers is None:
        powers = jnp.stack(hops(normalise(graph), node_features(graph), k), axis=1)
    elif powers.shape[1] != k + 1:
        raise InputError(f"SIGN: nodes['hops'] is {powers.shape}, expected {k + 1} powers along axis 1")
    return powers if dtype is None else powers.astype(dtype)


def _prelu(name: str) -> nn.Module:
    return nn.PReLU(negative_slope_init=0.25, name=name)  # as PyTorch's starts
