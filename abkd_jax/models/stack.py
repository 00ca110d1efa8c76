"""Stacks of message-passing layers: hidden layers, the equal ones under a scan, and the classifier."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.aggregate import Features, readout, receiving
from abkd_jax.aggregate.edges import first_rows
from abkd_jax.aggregate.readout import Readout
from abkd_jax.graph import layout_of, node_features, node_mask, num_nodes
from abkd_jax.graph.hops import hop_blocks
from abkd_jax.graph.input_checks import check_graph
from abkd_jax.layers import Dense, Dropout, MaskedBatchNorm, jumping_knowledge
from abkd_jax.layers.output import finished
from abkd_jax.types import GNNOutput

__all__ = [
    "Convolution",
    "Jumping",
    "Norm",
    "Part",
    "Residual",
    "Stack",
    "Stage",
    "classify",
    "normalised",
    "scanned",
    "slice_of",
]

Norm = Literal["none", "batch", "layer"]
Residual = Literal["none", "identity", "linear"]
Jumping = Literal["last", "cat", "max"]
# (width, whether it gives the logits, suffix of its name) -> layer, which takes the graph and its node features
Convolution = Callable[[int, bool, str], Callable[[jraph.GraphsTuple, Any], Array]]

# Equal layers up to which a stack is written out; more run under a scan, which compiles as one layer. Four layers of
# GIN or GCN compile no faster under a scan for a TPU, and take 10 to 32 % more cycles: see aggregate/README.md.
UNROLLED = 4


class _Layer(NamedTuple):
    """Hidden layer of a stack; the attributes are those of `Stack`.

    A named tuple and not a module, so that the modules it creates belong to whichever module calls it: `Stack` itself,
    a scanned block or a stage. The paths of the parameters depend on this.
    """

    convolution: Convolution
    hidden: int
    activation: Callable[[Array], Array]
    dropout: float
    norm: Norm
    residual: Residual
    dtype: DTypeLike | None
    train: bool

    def __call__(self, graph: jraph.GraphsTuple, h: Any, suffix: str) -> Array:
        """Computes `activation(norm(conv(dropout(h)) + residual))`, with parameters in the calling module."""
        dropped = Dropout(self.dropout)(h, deterministic=not self.train)
        out = self.convolution(self.hidden, False, suffix)(graph, dropped)
        if self.residual == "identity":
            out = out + receiving(graph, h)
        elif self.residual == "linear":
            out = out + _linear(out.shape[1], receiving(graph, dropped), suffix, self.dtype)
        return self.activation(normalised(self.norm, graph, out, f"norm{suffix}", train=self.train, dtype=self.dtype))


class _Block(nn.Module):
    """One of the equal layers: the step of the scan."""

    layer: _Layer

    @nn.compact
    def __call__(self, h: Float[Array, "n d"], graph: jraph.GraphsTuple) -> tuple[Array, Array]:
        h = self.layer(graph, h, "")
        return h, h


class Stage(NamedTuple):
    """Part of a stack that runs by itself.

    Attributes:
        module: `(graph, hiddens) -> [r, width]` for the nodes of the graph that edges enter (`num_receivers`), under
            `apply`; the stages of equal layers share one.
        variables: picks its variables from those of the stack.
        reads: numbers of the stages whose outputs are its `hiddens`, `[n, width]` each; `()` reads the inputs.
        edges: whether it reads the edges.
    """

    module: nn.Module
    variables: Callable[[Any], Any]
    reads: tuple[int, ...]
    edges: bool = True


class Part(nn.Module):
    """Wraps a function that creates layers as a module."""

    run: Callable[[jraph.GraphsTuple, Sequence[Array]], Array]
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, hiddens: Sequence[Array]) -> Array:
        return self.run(graph, [jnp.asarray(h, self.dtype) for h in hiddens])


def _part_of(number: int, variables: Any) -> Any:
    """Returns the variables of one layer, without its number in their names."""
    end = f"_{number}"
    return {
        collection: {name.removesuffix(end): part for name, part in tree.items() if name.endswith(end)}
        for collection, tree in variables.items()
    }


def slice_of(number: int, variables: Any) -> Any:
    """Returns the variables of one layer under the scan."""
    blocks = {name: tree["blocks"] for name, tree in variables.items() if "blocks" in tree}
    return jax.tree.map(lambda leaf: leaf[number - 1], blocks)


class Stack(nn.Module):
    """Sequence of message-passing layers; a model defines them by `convolution`.

    A hidden layer is `activation(norm(conv(dropout(h)) + residual))`. Either the last convolution gives the logits, or,
    with `jumping` or `readout`, all convolutions are hidden layers and a linear classifier reads them.

    Parameters: `conv_0`, `norm_0`, `residual_0`, ... per layer, and `output` for the classifier. More than 4 equal
    hidden layers (the second to the last) run under a scan: their parameters are stacked along a first axis in
    `blocks/conv`, `blocks/norm`, `blocks/residual`. Parameters with "conv" in their path have the weight decay of
    convolutions.

    In a minibatch that has hops (`sampling.neighbour_batches` with `layers`) every layer computes the rows alone that
    the roots depend on, where it `trims`: outputs then have zeros below these rows, rows of the roots and their
    gradients are those of all rows, and batch normalisation counts the nodes that its layer has to compute.

    Attributes:
        hidden: width of the hidden layers.
        layers: number of convolutions, the last included.
        classes: width of the logits.
        dropout: rate before every convolution but the first, and before the classifier.
        input_dropout: rate before the first convolution; None takes `dropout`.
        norm: `"batch"` (over the nodes without padding; statistics in `batch_stats`), `"layer"` or `"none"`.
        residual: `"identity"` adds the input of every hidden layer but the first, before dropout; `"linear"` a linear
            map without bias of the input of the convolution, in every layer, the last included.
        jumping: `"last"`, `"cat"` or `"max"` of the hidden layers for the classifier (Xu et al., arXiv 1806.03536).
        readout: `"sum"`, `"mean"` or `"max"` of the nodes of a graph for the classifier: logits `[graphs, classes]`.
        activation: of the hidden layers.
        remat: whether the scanned layers are recomputed in the backward pass.
        dtype: type to compute in; None takes that of the features and parameters. Logits are float32 at least.
    """

    hidden: int
    layers: int
    classes: int
    dropout: float = 0.0
    input_dropout: float | None = None
    norm: Norm = "none"
    residual: Residual = "none"
    jumping: Jumping | None = None
    readout: Readout | None = None
    activation: Callable[[Array], Array] = nn.relu
    remat: bool = False
    dtype: DTypeLike | None = None

    def convolution(self, train: bool) -> Convolution:
        """Returns the layers of this model, by width, place and name."""
        raise NotImplementedError

    def graph(self, graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
        """Prepares the graph for the layers: what all of them need is computed once."""
        return graph

    @nn.nowrap  # so that its parameters belong to whichever module calls it
    def inputs(self, graph: jraph.GraphsTuple) -> Any:
        """Returns the input of the first layer, `[n, f]` or sparse."""
        return node_features(graph, self.dtype)

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, train: bool = False) -> GNNOutput:
        """Computes logits and hidden layers; see `abkd_jax.models`."""
        if layout_of(graph) is None:
            check_graph(graph, num_nodes(graph))
        graph = self.graph(graph)
        drop = functools.partial(Dropout(self.dropout), deterministic=not train)
        first, layer, count = self._layers(train)
        blocks = self._blocks(graph)
        hiddens = [first(blocks[0], self.inputs(blocks[0]), "_0")]
        if self._scans:
            _, stacked = scanned(_Block, count - 1, remat=self.remat)(layer, name="blocks")(hiddens[0], graph)
            hiddens += list(stacked)
        for number in range(len(hiddens), count):
            hiddens.append(layer(blocks[number], _sent(blocks[number], graph, hiddens[-1]), f"_{number}"))
        if blocks[-1] is graph:
            return GNNOutput(self._logits(graph, hiddens, layer.convolution, drop), tuple(hiddens))
        rows = hiddens[-1].shape[0] if self._classifies else num_nodes(blocks[-1])
        logits = self._logits(blocks[-1], [first_rows(h, rows) for h in hiddens], layer.convolution, drop)
        return jax.tree.map(functools.partial(_with_rows, num_nodes(graph)), GNNOutput(logits, tuple(hiddens)))

    @nn.nowrap
    def stages(self) -> tuple[Stage, ...]:
        """Splits the stack in evaluation mode after every layer, to run on blocks of a graph one layer at a time.

        `nodes` of the blocks hold what the layers read there: all entries in the first stage, types in later ones.
        """
        first, layer, count = self._layers(False)

        def hidden(graph: jraph.GraphsTuple, hiddens: Sequence[Array]) -> Array:
            return layer(self.graph(graph), hiddens[-1], "")

        def logits(graph: jraph.GraphsTuple, hiddens: Sequence[Array]) -> Array:
            return self._logits(self.graph(graph), hiddens, layer.convolution, lambda x: x)

        start = Part(lambda graph, _: first(self.graph(graph), self.inputs(graph), "_0"), self.dtype)
        middle = Part(hidden, self.dtype)
        variables_of = slice_of if self._scans else _part_of
        return (
            Stage(start, lambda variables: variables, reads=()),
            *(Stage(middle, functools.partial(variables_of, n), reads=(n - 1,)) for n in range(1, count)),
            Stage(
                Part(logits, self.dtype),
                lambda variables: variables,
                reads=tuple(range(count)) if self.jumping in ("cat", "max") else (count - 1,),
                edges=not self._classifies,
            ),
        )

    @property
    def trims(self) -> bool:
        """Returns whether layers of a minibatch compute no more rows than the roots need (`graph.hops`).

        Not under a scan, which has layers of one shape, and not where the readout reads all nodes.
        """
        return self.readout is None and not self._scans

    @nn.nowrap
    def _blocks(self, graph: jraph.GraphsTuple) -> list[jraph.GraphsTuple]:
        """Returns what each convolution reads: the block of its hop in a minibatch, else the graph itself."""
        blocks = hop_blocks(graph) if self.trims else ()
        return [blocks[hop] if hop < len(blocks) else graph for hop in reversed(range(self.layers))]

    @property
    def _classifies(self) -> bool:
        return self.jumping is not None or self.readout is not None

    @property
    def _scans(self) -> bool:
        return self.layers - (not self._classifies) - 1 > UNROLLED

    @nn.nowrap
    def _layers(self, train: bool) -> tuple[_Layer, _Layer, int]:
        """Returns the first hidden layer, the others, and the number of all of them."""
        make = self.convolution(train)
        layer = _Layer(make, self.hidden, self.activation, self.dropout, self.norm, self.residual, self.dtype, train)
        first = layer._replace(
            dropout=self.dropout if self.input_dropout is None else self.input_dropout,
            residual="linear" if self.residual == "linear" else "none",
        )
        return first, layer, self.layers - (not self._classifies)

    @nn.nowrap
    def _logits(
        self, graph: jraph.GraphsTuple, hiddens: Sequence[Array], make: Convolution, drop: Callable[[Array], Any]
    ) -> Array:
        if self._classifies:
            joined = jumping_knowledge(hiddens, self.jumping or "last")
            return classify(self.classes, graph, joined, self.readout, drop, self.dtype)
        suffix, dropped = f"_{self.layers - 1}", drop(hiddens[-1])
        logits = make(self.classes, True, suffix)(graph, dropped)
        if self.residual == "linear":
            logits = logits + _linear(self.classes, receiving(graph, dropped), suffix, self.dtype)
        return finished(logits)


def normalised(
    norm: Norm, graph: jraph.GraphsTuple, x: Float[Array, "n d"], name: str, *, train: bool, dtype: DTypeLike | None
) -> Float[Array, "n d"]:
    """Applies the normalisation that a stack names, without padding nodes in the statistics."""
    if norm == "batch":
        mask = receiving(graph, node_mask(graph)) if train else None
        return MaskedBatchNorm(dtype=dtype, name=name)(x, use_running_average=not train, mask=mask)
    if norm == "layer":
        with jax.numpy_dtype_promotion("standard"):  # flax raises 16 bits to float32 for the statistics
            return nn.LayerNorm(epsilon=1e-5, name=name, dtype=dtype)(x)
    return x


def scanned(
    block: type[nn.Module],
    length: int,
    *,
    remat: bool,
    per_layer: Sequence[Any] = (nn.broadcast,),
    repeated: bool = False,
) -> Any:
    """Returns the module class of a scan over layers, each with its own parameters and statistics.

    Args:
        block: module class of one layer, whose call is `(h, *inputs) -> (h, h)`.
        length: number of layers.
        remat: whether each is recomputed in the backward pass.
        per_layer: for each of the inputs 0 where it is stacked, one per layer, else `nn.broadcast`.
        repeated: whether all layers have the parameters of one; statistics stay their own.
    """
    return nn.scan(
        nn.remat(block, prevent_cse=False) if remat else block,
        variable_axes={"batch_stats": 0} if repeated else {"params": 0, "batch_stats": 0},
        variable_broadcast="params" if repeated else False,
        split_rngs={"params": not repeated, "dropout": True},
        in_axes=tuple(per_layer),  # type: ignore[arg-type]  # flax annotates one int
        length=length,
    )


def classify(
    classes: int,
    graph: jraph.GraphsTuple,
    h: Float[Array, "n d"],
    how: Readout | None,
    drop: Callable[[Array], Any],
    dtype: DTypeLike | None,
) -> Float[Array, "_ c"]:
    """Computes the logits: readout over the nodes of a graph if there is one, dropout, the linear layer `output`."""
    return finished(Dense(classes, name="output", dtype=dtype)(drop(h if how is None else readout(graph, h, how))))


def _sent(block: jraph.GraphsTuple, graph: jraph.GraphsTuple, h: Float[Array, "n d"]) -> Float[Array, "m d"]:
    """Returns the rows of the nodes of a block."""
    return h if block is graph else first_rows(h, num_nodes(block))


def _with_rows(count: int, x: Float[Array, "r d"]) -> Float[Array, "{count} d"]:
    """Appends rows of zeros."""
    return jnp.pad(x, ((0, count - x.shape[0]), (0, 0)))


def _linear(width: int, x: Features, suffix: str, dtype: DTypeLike | None) -> Array:
    return Dense(width, use_bias=False, name=f"residual{suffix}", dtype=dtype)(x)
