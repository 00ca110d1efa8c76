"""GCNII: deep graph convolutions with initial residual connections."""

import functools
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.aggregate.readout import Readout
from abkd_jax.graph import node_features, normalise
from abkd_jax.layers import Dense, Dropout, GCN2Conv
from abkd_jax.models.stack import Norm, classify, normalised, precise, scanned
from abkd_jax.types import GNNOutput

__all__ = ["GCNII"]


class GCNII(nn.Module):
    """GCNII (Chen et al., arXiv 2007.02133): deep graph convolutions with initial residual and identity mapping.

    `h0 = ReLU(Linear(dropout(x)))`, then `layers` times dropout, convolution, ReLU, then `Linear(dropout(h))`. The
    weight of layer `l` (from 1) in the identity mapping is `theta_l = ln(lam / l + 1)`. The equal layers run under a
    scan, so 64 of them compile as fast as 4; their kernels are one `[layers, hidden, hidden]` parameter,
    `blocks/conv/kernel`; the linear layers are `input` and `output`.

    Attributes:
        hidden: width of every layer.
        layers: number of convolutions.
        classes: width of the logits.
        alpha: share of the initial residual.
        lam: lambda of the identity mapping.
        dropout: rate before every layer.
        input_dropout: rate before the first linear layer; None takes `dropout`.
        variant: whether the initial residual has its own kernel, GCNII* (section 5 there).
        norm: `"batch"`, `"layer"` or `"none"`, of every convolution, before its ReLU.
        residual: `"identity"` adds the input of a layer, before dropout, to its convolution, beside the initial one.
        readout: `"sum"`, `"mean"` or `"max"` of the nodes of a graph before `output`: logits `[graphs, classes]`.
        remat: whether layers are recomputed in the backward pass.
        dtype: type to compute in; None takes that of the features and parameters. Logits are float32 at least.

    Examples:
        >>> import jax, numpy as np
        >>> from abkd_jax.graph import from_edges, prepare
        >>> ends, x = (np.array([0, 1]), np.array([1, 2])), np.ones((3, 5), np.float32)
        >>> graph = prepare(from_edges(*ends, num_nodes=3, nodes=x, undirected=True))
        >>> model = GCNII(hidden=4, layers=8, classes=2, dropout=0.5)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), graph)  # shapes alone: compiles nothing
        >>> out = jax.eval_shape(model.apply, variables, graph)
        >>> out.logits.shape, len(out.hiddens), out.hiddens[0].shape
        ((3, 2), 8, (3, 4))
    """

    hidden: int
    layers: int
    classes: int
    alpha: float = 0.1
    lam: float = 0.5
    dropout: float = 0.0
    input_dropout: float | None = None
    variant: bool = False
    norm: Norm = "none"
    residual: Literal["none", "identity"] = "none"
    readout: Readout | None = None
    remat: bool = False
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, train: bool = False) -> GNNOutput:
        """Computes logits and hidden layers; see `abkd_jax.models`."""
        graph = normalise(graph)
        drop = functools.partial(Dropout(self.dropout), deterministic=not train)
        drop_input = (
            drop
            if self.input_dropout is None
            else functools.partial(Dropout(self.input_dropout), deterministic=not train)
        )
        h0 = nn.relu(Dense(self.hidden, dtype=self.dtype, name="input")(drop_input(node_features(graph, self.dtype))))
        steps = jnp.arange(1, self.layers + 1, dtype=precise(h0).dtype)
        scan = scanned(_Block, self.layers, remat=self.remat, per_layer=(0, nn.broadcast, nn.broadcast))
        block = scan(self.alpha, self.variant, self.dropout, self.norm, self.residual, self.dtype, train, name="blocks")
        h, stacked = block(h0, jnp.log1p(self.lam / steps), graph, h0)
        return GNNOutput(classify(self.classes, graph, h, self.readout, drop, self.dtype), tuple(stacked))


class _Block(nn.Module):
    """Dropout, convolution and ReLU: the scanned step of GCNII; the attributes are those of `GCNII`."""

    alpha: float
    variant: bool
    dropout: float
    norm: Norm
    residual: str
    dtype: DTypeLike | None
    train: bool

    @nn.compact
    def __call__(
        self, h: Float[Array, "n d"], theta: Float[Array, ""], graph: jraph.GraphsTuple, h0: Float[Array, "n d"]
    ) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
        dropped = Dropout(self.dropout)(h, deterministic=not self.train)
        out = GCN2Conv(self.alpha, self.variant, self.dtype, name="conv")(graph, dropped, h0, theta)
        if self.residual == "identity":
            out = out + h
        h = nn.relu(normalised(self.norm, graph, out, "norm", train=self.train, dtype=self.dtype))
        return h, h
