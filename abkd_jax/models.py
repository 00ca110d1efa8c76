"""Stacks of layers. Every model maps a graph to `GNNOutput(logits, hiddens)`, a pure function under `apply`."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float

from abkd_jax.config import ModelConfig
from abkd_jax.graph import normalise
from abkd_jax.layers import Dense, Dropout, GCN2Conv, GCNConv
from abkd_jax.types import GNNOutput, InputError

__all__ = ["GCN", "GCNII", "MLP", "build"]


class _GCNIIBlock(nn.Module):
    """Dropout, convolution, ReLU: the step that GCNII scans over its layers."""

    alpha: float
    dropout: float
    deterministic: bool

    @nn.compact
    def __call__(
        self, h: Float[Array, "n d"], theta: Float[Array, ""], graph: jraph.GraphsTuple, h0: Float[Array, "n d"]
    ) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
        dropped: Any = Dropout(self.dropout)(h, deterministic=self.deterministic)
        h = nn.relu(GCN2Conv(self.alpha, name="conv")(graph, dropped, h0, theta))
        return h, h


class GCNII(nn.Module):
    """GCNII (Chen et al., arXiv 2007.02133): deep graph convolutions with initial residual and identity mapping.

    `h0 = ReLU(Linear(dropout(x)))`, then `layers` times dropout, convolution, ReLU, then `Linear(dropout(h))`. The
    weight of layer `l` (from 1) in the identity mapping is `theta_l = ln(lam / l + 1)`. The equal layers run under a
    scan, so 64 of them compile as fast as 4; their kernels are one `[layers, hidden, hidden]` parameter.

    Attributes:
        hidden: width of every layer.
        layers: number of convolutions.
        classes: width of the logits.
        alpha: share of the initial residual.
        lam: lambda of the identity mapping.
        dropout: rate before every layer.
    """

    hidden: int
    layers: int
    classes: int
    alpha: float = 0.1
    lam: float = 0.5
    dropout: float = 0.0

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, train: bool = False) -> GNNOutput:
        graph = normalise(graph)
        features: Any = graph.nodes
        drop = Dropout(self.dropout)
        h0 = nn.relu(Dense(self.hidden, name="input")(drop(features, deterministic=not train)))
        theta = jnp.log1p(self.lam / jnp.arange(1, self.layers + 1, dtype=h0.dtype))
        scan = nn.scan(
            _GCNIIBlock,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(0, nn.broadcast, nn.broadcast),  # type: ignore[arg-type]  # flax annotates one int
            length=self.layers,
        )
        block = scan(self.alpha, self.dropout, not train, name="blocks")
        h, stacked = block(h0, theta, graph, h0)
        logits = Dense(self.classes, name="output")(drop(h, deterministic=not train))
        return GNNOutput(logits, tuple(stacked))


class GCN(nn.Module):
    """GCN (Kipf & Welling, arXiv 1609.02907): convolutions with ReLU between; the last one gives the logits.

    Attributes:
        hidden: width of the layers before the last.
        layers: number of convolutions, the last included; at least 2.
        classes: width of the logits.
        dropout: rate before every convolution.
    """

    hidden: int
    layers: int
    classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, train: bool = False) -> GNNOutput:
        graph = normalise(graph)
        drop = Dropout(self.dropout)
        h: Any = graph.nodes
        hiddens = []
        for layer in range(self.layers - 1):
            h = nn.relu(GCNConv(self.hidden, name=f"conv_{layer}")(graph, drop(h, deterministic=not train)))
            hiddens.append(h)
        logits = GCNConv(self.classes, name=f"conv_{self.layers - 1}")(graph, drop(h, deterministic=not train))
        return GNNOutput(logits, tuple(hiddens))


class MLP(nn.Module):
    """A multilayer perceptron that ignores the edges; the student of GLNN (Zhang et al., arXiv 2110.08727).

    Attributes:
        hidden: width of the layers before the last.
        layers: number of linear maps, the last included; at least 2.
        classes: width of the logits.
        dropout: rate before every linear map but the first.
    """

    hidden: int
    layers: int
    classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, train: bool = False) -> GNNOutput:
        features: Any = graph.nodes
        h: Any = nn.relu(Dense(self.hidden, name="dense_0")(features))
        hiddens = [h]
        for layer in range(1, self.layers - 1):
            h = nn.relu(Dense(self.hidden, name=f"dense_{layer}")(Dropout(self.dropout)(h, deterministic=not train)))
            hiddens.append(h)
        h = Dropout(self.dropout)(h, deterministic=not train)
        return GNNOutput(Dense(self.classes, name=f"dense_{self.layers - 1}")(h), tuple(hiddens))


def build(config: ModelConfig, classes: int) -> nn.Module:
    """The model that a config names.

    Raises:
        InputError: the name is unknown, or a size or rate makes no model.
    """
    _check(config, classes)
    shared = {"hidden": config.hidden, "layers": config.layers, "classes": classes, "dropout": config.dropout}
    if config.name == "gcnii":
        return GCNII(**shared, alpha=config.alpha, lam=config.lam)
    return {"gcn": GCN, "mlp": MLP}[config.name](**shared)


def _check(config: ModelConfig, classes: int) -> None:
    least = 1 if config.name == "gcnii" else 2
    if config.name not in ("gcnii", "gcn", "mlp"):
        raise InputError(f"model {config.name!r} is unknown, expected one of gcnii, gcn, mlp")
    if config.hidden < 1:
        raise InputError(f"{config.name}: hidden width is {config.hidden}, expected at least 1")
    if config.layers < least:
        raise InputError(f"{config.name}: number of layers is {config.layers}, expected at least {least}")
    if not 0.0 <= config.dropout < 1.0:
        raise InputError(f"{config.name}: dropout is {config.dropout}, expected 0 <= rate < 1")
    if not 0.0 <= config.alpha <= 1.0:
        raise InputError(f"{config.name}: alpha is {config.alpha}, expected 0 to 1")
    if not config.lam > 0.0:
        raise InputError(f"{config.name}: lambda is {config.lam}, expected a positive number")
    if classes < 1:
        raise InputError(f"{config.name}: number of classes is {classes}, expected at least 1")
