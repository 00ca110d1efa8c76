"""GCNII: deep graph convolutions with initial residual connections."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.aggregate import receiving
from abkd_jax.aggregate.readout import Readout
from abkd_jax.graph import node_features, normalise
from abkd_jax.layers import Dense, Dropout, GCN2Conv
from abkd_jax.layers.output import precise
from abkd_jax.models.stack import Norm, Part, Stage, classify, normalised, scanned, slice_of
from abkd_jax.types import GNNOutput

__all__ = ["GCNII"]


class GCNII(nn.Module):
    """GCNII (Chen et al., arXiv 2007.02133): deep graph convolutions with initial residual and identity mapping.

    `h0 = ReLU(Linear(dropout(x)))`, then `layers` times dropout, convolution, ReLU, then `Linear(dropout(h))`. The
    weight of layer `l` (from 1) in the identity mapping is `theta_l = ln(lam / l + 1)`. The equal layers run under a
    scan, so 64 of them compile as fast as 4; their kernels are one `[layers, hidden, hidden]` parameter,
    `blocks/conv/kernel`; the linear layers are `input` and `output`.

    With `repeated` it is the student of MustaD (Kim, Jung and Kang, PLoS ONE 16(8), 2021, e0256187): one convolution
    applied `layers` times, so that it reaches as far as its teacher. `theta_l` still varies; the kernel is `[hidden,
    hidden]`.

    Attributes:
        hidden: width of every layer.
        layers: number of convolutions.
        classes: width of the logits.
        alpha: share of the initial residual.
        lam: lambda of the identity mapping.
        dropout: rate before every layer.
        input_dropout: rate before the first linear layer; None takes `dropout`.
        variant: whether the initial residual has its own kernel, GCNII* (section 5 there).
        norm: `"batch"`, `"layer"` or `"none"`, of every convolution, before its activation.
        residual: `"identity"` adds the input of a layer, before dropout, to its convolution, beside the initial one.
        repeated: whether all layers have the parameters of one.
        readout: `"sum"`, `"mean"` or `"max"` of the nodes of a graph before `output`: logits `[graphs, classes]`.
        activation: of the input layer and of every convolution.
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
    repeated: bool = False
    readout: Readout | None = None
    activation: Callable[[Array], Array] = nn.relu
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
        h0 = self._initial(graph, drop_input)
        inputs = (0, nn.broadcast, nn.broadcast)
        scan = scanned(_Block, self.layers, remat=self.remat, per_layer=inputs, repeated=self.repeated)
        h, stacked = scan(self._layer(train), name="blocks")(h0, self._thetas(precise(h0).dtype), graph, h0)
        return GNNOutput(classify(self.classes, graph, h, self.readout, drop, self.dtype), tuple(stacked))

    @nn.nowrap
    def stages(self) -> tuple[Stage, ...]:
        """Splits the model in evaluation mode after every layer; see `Stack.stages`."""
        middle = _LayerStage(self._layer(False))

        def start(graph: jraph.GraphsTuple, _: Sequence[Array]) -> Array:
            return self._initial(graph, lambda x: receiving(graph, x))

        def logits(graph: jraph.GraphsTuple, hiddens: Sequence[Array]) -> Array:
            return classify(self.classes, graph, hiddens[-1], None, lambda x: receiving(graph, x), self.dtype)

        def variables_of(number: int, variables: Any) -> Any:
            own = {name: tree for name, tree in variables.items() if not (self.repeated and name == "params")}
            shared = {"params": variables["params"]["blocks"]} if self.repeated else {}
            theta = self._thetas(jnp.float32)[number - 1]
            return slice_of(number, own) | shared | {"schedule": {"theta": theta}}

        return (
            Stage(Part(start, self.dtype), lambda variables: variables, reads=(), edges=False),
            *(Stage(middle, functools.partial(variables_of, n), reads=(n - 1, 0)) for n in range(1, self.layers + 1)),
            Stage(Part(logits, self.dtype), lambda variables: variables, reads=(self.layers,), edges=False),
        )

    @nn.nowrap
    def _initial(self, graph: jraph.GraphsTuple, drop: Callable[[Any], Any]) -> Array:
        """Computes `h0`, with parameters in the calling module."""
        read = Dense(self.hidden, dtype=self.dtype, name="input")
        return self.activation(read(drop(node_features(graph, self.dtype))))

    @nn.nowrap
    def _layer(self, train: bool) -> "_Layer":
        own = self.activation, self.dropout, self.norm, self.residual, self.dtype
        return _Layer(self.alpha, self.variant, *own, train)

    @nn.nowrap
    def _thetas(self, dtype: DTypeLike) -> Float[Array, " layers"]:
        return jnp.log1p(self.lam / jnp.arange(1, self.layers + 1, dtype=dtype))


class _Layer(NamedTuple):
    """Dropout, convolution and activation; the attributes are those of `GCNII`.

    A named tuple, so that its modules belong to whichever module calls it: a scanned block or a stage.
    """

    alpha: float
    variant: bool
    activation: Callable[[Array], Array]
    dropout: float
    norm: Norm
    residual: str
    dtype: DTypeLike | None
    train: bool

    def __call__(
        self, graph: jraph.GraphsTuple, h: Float[Array, "n d"], h0: Float[Array, "n d"], theta: Float[Array, ""]
    ) -> Float[Array, "_ d"]:
        """Computes the layer for the nodes that edges enter, with parameters in the calling module."""
        dropped = Dropout(self.dropout)(h, deterministic=not self.train)
        out = GCN2Conv(self.alpha, self.variant, self.dtype, name="conv")(graph, dropped, h0, theta)
        if self.residual == "identity":
            out = out + receiving(graph, h)
        return self.activation(normalised(self.norm, graph, out, "norm", train=self.train, dtype=self.dtype))


class _Block(nn.Module):
    """One of the equal layers: the step of the scan."""

    layer: _Layer

    @nn.compact
    def __call__(
        self, h: Float[Array, "n d"], theta: Float[Array, ""], graph: jraph.GraphsTuple, h0: Float[Array, "n d"]
    ) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
        h = self.layer(graph, h, h0, theta)
        return h, h


class _LayerStage(nn.Module):
    """One of the equal layers as a stage, which reads the layer before it and the initial features.

    Its `theta` is a variable of the collection `schedule`, so that all layers are one program.
    """

    layer: _Layer

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, hiddens: Sequence[Array]) -> Float[Array, "_ d"]:
        h, h0 = (jnp.asarray(hidden, self.layer.dtype) for hidden in hiddens)
        return self.layer(graph, h, h0, self.get_variable("schedule", "theta"))
