"""Graph attention layers: GAT and GATv2."""

import flax.linen as nn
import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from abkd_jax.aggregate import (
    Features,
    attention_sum,
    receiver_sums,
    receiver_values,
    receiving,
    sender_sums,
    sender_values,
)
from abkd_jax.aggregate.heads import join_heads, split_heads
from abkd_jax.graph import layout_of, num_edges
from abkd_jax.graph.input_checks import check_rows
from abkd_jax.layers.dense import Dense, Dropout, cast
from abkd_jax.layers.edge_logits import leaky_relu, pair_logits
from abkd_jax.types import InputError

__all__ = ["GATConv", "GATv2Conv"]

_GLOROT = nn.initializers.glorot_uniform()


class _AttentionConv(nn.Module):
    """Base of both layers; see `GATConv` for the attributes."""

    features: int
    heads: int = 1
    concat: bool = True
    negative_slope: float = 0.2
    dropout: float = 0.0
    self_loops: bool = True
    use_bias: bool = True
    residual: bool = False
    dtype: DTypeLike | None = None

    def _transformed(self, name: str, x: Features, use_bias: bool) -> Float[Array, "n {self.heads} {self.features}"]:
        flat = Dense(self.heads * self.features, use_bias, _GLOROT, self.dtype, name=name)(x)
        return split_heads(flat, self.heads)

    def _attention_vector(self, name: str) -> Float[Array, "{self.heads} {self.features}"]:
        return cast(self.param(name, _GLOROT, (self.heads, self.features)), self.dtype)

    def _attend(
        self,
        graph: jraph.GraphsTuple,
        logits: Float[Array, "e h"],
        self_logits: Float[Array, "r h"],
        sent: Float[Array, "n h d"],
        deterministic: bool,
        edge_mask: Bool[Array, " e"] | None,
    ) -> Float[Array, "r h d"]:
        """Sums over the neighbours, and with `self_loops` over one loop per node that replaces those of the graph."""
        keep = self_keep = None
        if self.dropout > 0.0 and not deterministic:
            drop = Dropout(self.dropout)
            keep = drop(jnp.ones_like(logits), deterministic=False)
            self_keep = drop(jnp.ones_like(self_logits), deterministic=False) if self.self_loops else None
        if edge_mask is not None and edge_mask.shape != (num_edges(graph),):
            raise InputError(f"edge mask is {edge_mask.shape}, expected ({num_edges(graph)},): one boolean an edge")
        if not self.self_loops:
            return attention_sum(graph, logits, sent, keep=keep, mask=edge_mask)
        others = jnp.asarray(graph.senders) != jnp.asarray(graph.receivers)
        edge_mask = others if edge_mask is None else edge_mask & others
        return attention_sum(
            graph, logits, sent, keep=keep, mask=edge_mask, self_logits=self_logits, self_keep=self_keep
        )

    def _finished(self, out: Float[Array, "n h d"], x: Features) -> Float[Array, "n _"]:
        """Concatenates or averages the heads, and adds residual and bias."""
        out = join_heads(out) if self.concat else jnp.mean(out, axis=1)
        if self.residual:
            out = out + Dense(out.shape[1], False, _GLOROT, self.dtype, name="residual")(x)
        if self.use_bias:
            out = out + cast(self.param("bias", nn.initializers.zeros, (out.shape[1],)), self.dtype)[None]
        return out


class GATConv(_AttentionConv):
    """Graph attention layer (Velickovic et al., arXiv 1710.10903, equations 1 to 6).

        out_v = sum over u -> v of alpha_uv W x_u,  alpha_uv = softmax over u of LeakyReLU(a_s . W x_u + a_r . W x_v)

    per head. Nothing of size `[e, heads, features]` is kept. Parameters: `linear/kernel`, `attention_sender` and
    `attention_receiver` `[heads, features]`, `residual/kernel`, `bias`; initialised by Glorot & Bengio's uniform
    distribution, the bias with zeros.

    `destination_term=False, symmetric_norm=True, residual=True` is the layer of the OGB teacher (Wang et al., arXiv
    2103.13355): there the features are divided by the root of the sender's degree before the attention and
    the sum is multiplied by the root of the receiver's. Degrees count all edges, whatever the mask, and the loops.

    With features of edges the logits have `a_e . W_e e_uv` more, as PyTorch Geometric's layer with `edge_dim`
    (`edge/kernel`, `attention_edge`); a self loop has the mean of those of the edges that enter its node.

    Attributes:
        features: width of a head.
        heads: number of heads.
        concat: concatenates the heads, `[n, heads * features]`; False takes their mean, `[n, features]`.
        negative_slope: of the LeakyReLU.
        dropout: rate on the attention weights.
        self_loops: one loop at every node, instead of those the graph has.
        use_bias: whether there is a bias, after the heads.
        residual: adds a linear map of `x`, as wide as the output and without a bias.
        dtype: type to compute in; None is that of the input and the parameters.
        destination_term: whether the logits have `a_r . W x_v`.
        symmetric_norm: whether degrees scale the messages, see above.

    Examples:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> layer, x = GATConv(4, heads=2), jnp.ones((3, 5))
        >>> graph = from_edges(np.array([0, 1]), np.array([1, 2]), num_nodes=3, nodes=x, undirected=True)
        >>> variables = jax.eval_shape(layer.init, jax.random.key(0), graph, x)  # shapes alone: compiles nothing
        >>> jax.eval_shape(layer.apply, variables, graph, x).shape
        (3, 8)
    """

    destination_term: bool = True
    symmetric_norm: bool = False

    @nn.compact
    def __call__(
        self,
        graph: jraph.GraphsTuple,
        x: Features,
        *,
        deterministic: bool = True,
        edge_mask: Bool[Array, " e"] | None = None,
        edges: Float[Array, "e _"] | None = None,
    ) -> Float[Array, "_ _"]:
        """Computes the layer on the edges in `edge_mask` `[e]` (edge dropout); None takes all.

        `edges` are `[e, k]` edge features in the order of `graph.senders`. Dropout takes keys of the stream
        `"dropout"`.

        Raises:
            InputError: the mask is not one boolean, or the features not one row, per edge.
        """
        x = cast(x, self.dtype)
        h = sent = self._transformed("linear", x, use_bias=False)
        out_degrees = scale = None
        if self.symmetric_norm:
            out_degrees, in_degrees = (
                jnp.sqrt(degrees).astype(h.dtype)[:, None] for degrees in _degrees(graph, h.shape[0], self.self_loops)
            )
            sent, scale = h / out_degrees[:, :, None], in_degrees[:, :, None]
        names = ("attention_sender", "attention_receiver") if self.destination_term else ("attention_sender",)
        logits = _head_dots(h, jnp.stack([self._attention_vector(name) for name in names]))
        sender_logits = logits[0] if out_degrees is None else logits[0] / out_degrees
        edge_logits, self_logits = sender_values(graph, sender_logits), receiving(graph, sender_logits)
        if self.destination_term:
            edge_logits, self_logits = (
                edge_logits + receiver_values(graph, receiving(graph, logits[1])),
                self_logits + receiving(graph, logits[1]),
            )
        if edges is not None:
            of_edges, of_loops = self._logits_of_features(graph, cast(edges, self.dtype))
            edge_logits, self_logits = edge_logits + of_edges, self_logits + of_loops
        edge_logits, self_logits = (leaky_relu(a, self.negative_slope) for a in (edge_logits, self_logits))
        out = self._attend(graph, edge_logits, self_logits, sent, deterministic, edge_mask)
        return self._finished(out if scale is None else out * scale, receiving(graph, x))

    def _logits_of_features(
        self, graph: jraph.GraphsTuple, edges: Float[Array, "e k"]
    ) -> tuple[Float[Array, "e {self.heads}"], Float[Array, "r {self.heads}"]]:
        """Computes what features of edges add to the logits of the edges and of the self loops."""
        check_rows("edge", edges, num_edges(graph))
        # The two maps are one [k, heads] matrix: nothing of size [e, heads, features] is built.
        maps = self._transformed("edge", jnp.eye(edges.shape[1], dtype=edges.dtype), use_bias=False)
        vectors = _head_dots(maps, self._attention_vector("attention_edge")[None])[0]
        others = jnp.where(jnp.asarray(graph.senders) != jnp.asarray(graph.receivers), 1.0, 0.0).astype(edges.dtype)
        counts = receiver_sums(graph, others[:, None])
        means = receiver_sums(graph, others[:, None] * edges) / jnp.maximum(counts, 1.0)
        return edges @ vectors, means @ vectors


class GATv2Conv(_AttentionConv):
    """Dynamic graph attention layer, GATv2 (Brody et al., arXiv 2105.14491, equation 7).

        out_v = sum over u -> v of alpha_uv W_s x_u,  alpha_uv = softmax over u of a . LeakyReLU(W_s x_u + W_r x_v)

    The logits cost `e * heads * features` operations, and no algebra moves them to the nodes; where they are many both
    passes run in chunks of edges (`edge_logits.pair_logits`). Parameters: `sender/kernel` and `receiver/kernel` with a
    `bias` each (as PyTorch's Linear), `attention` `[heads, features]`, `residual/kernel`, `bias` (zeros); kernels and
    vectors are initialised by Glorot & Bengio's uniform distribution.

    Attributes:
        share_weights: one map for senders and receivers; the other attributes are those of `GATConv`.
    """

    share_weights: bool = False

    @nn.compact
    def __call__(
        self,
        graph: jraph.GraphsTuple,
        x: Features,
        *,
        deterministic: bool = True,
        edge_mask: Bool[Array, " e"] | None = None,
    ) -> Float[Array, "_ _"]:
        """Computes the layer; arguments as `GATConv`."""
        x = cast(x, self.dtype)
        sent = self._transformed("sender", x, self.use_bias)
        x_received, loop_sent = receiving(graph, x), receiving(graph, sent)
        received = loop_sent if self.share_weights else self._transformed("receiver", x_received, self.use_bias)
        attention = self._attention_vector("attention")
        logits = pair_logits(graph, sent, received, attention, self.negative_slope)
        self_logits = _head_dots(leaky_relu(loop_sent + received, self.negative_slope), attention[None])[0]
        return self._finished(self._attend(graph, logits, self_logits, sent, deterministic, edge_mask), x_received)


def _head_dots(h: Float[Array, "n h d"], vectors: Float[Array, "k h d"]) -> Float[Array, "k n h"]:
    """Computes each head's dot product with its part of each vector.

    As one product with a block-diagonal matrix, which is faster on CPUs than short sums.
    """
    count, heads, width = vectors.shape
    blocks = jnp.moveaxis(vectors, 0, 2)[..., None] * jnp.eye(heads, dtype=vectors.dtype)[:, None, None]  # [h, d, k, h]
    products = join_heads(h) @ blocks.reshape(heads * width, count * heads)
    return jnp.moveaxis(products.reshape(-1, count, heads), 1, 0)


def _degrees(graph: jraph.GraphsTuple, nodes: int, self_loops: bool) -> tuple[Array, Array]:
    """Counts the edges that leave each node, `[n]` float32, and that enter it, `[r]`, at least 1.

    With `self_loops` one loop per node is counted instead of those of the graph. In blocks of a minibatch, which have
    not all edges that leave a node, they are those of the batch.
    """
    layout = layout_of(graph)
    if layout is not None and layout.degrees is not None:
        leaving, entering, loops = (jnp.asarray(counts, jnp.float32) for counts in layout.degrees)
        replaced = loops if self_loops else 0.0
        leaving, entering = leaving - replaced, receiving(graph, entering - replaced)
    else:
        senders, receivers = jnp.asarray(graph.senders), jnp.asarray(graph.receivers)
        counts = jnp.where((senders != receivers) | (not self_loops), 1.0, 0.0)[:, None]
        leaving, entering = sender_sums(graph, counts, nodes)[:, 0], receiver_sums(graph, counts)[:, 0]
    if self_loops:
        return leaving + 1.0, entering + 1.0
    return jnp.maximum(leaving, 1.0), jnp.maximum(entering, 1.0)
