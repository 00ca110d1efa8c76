"""Relational graph convolution: one weight matrix per edge type."""

import flax.linen as nn
import jax.numpy as jnp
import jraph
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from abkd_jax.aggregate import (
    Features,
    feature_matmul,
    join_types,
    num_receivers,
    receiving,
    relation_means,
    relation_sum,
    split_types,
    typed_layout_of,
    typed_means,
    typed_sum,
)
from abkd_jax.graph import SparseFeatures, layout_of
from abkd_jax.graph.type_blocks import TypedLayout
from abkd_jax.layers.dense import Dense, cast, dense_features
from abkd_jax.types import InputError

__all__ = ["RGCNConv"]

_GLOROT = nn.initializers.glorot_uniform()
_GLOROT_OF_MANY = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform", batch_axis=(0,))
_GLOROT_OF_BLOCKS = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform", batch_axis=(0, 1))


class RGCNConv(nn.Module):
    """`sum over types r of W_r mean_j x_j + W_0 x + b` (Schlichtkrull et al., arXiv 1703.06103, equation 2).

    The mean is over the edges of type `r` that enter a node (`c_{i,r} = |N_i^r|`), zero without any. It runs on the
    narrower side of the weights; either holds `[n, relations, width]`. Parameters: `kernel` `[relations, in, out]`,
    `root/kernel`, `bias`; with bases `kernel` is `[bases, in, out]` and `coefficients` `[relations, bases]` (equation
    3); with blocks `kernel` is `[relations, blocks, in / blocks, out / blocks]` (equation 4). Every matrix is
    initialised by Glorot & Bengio's uniform distribution of its own size, the bias with zeros.

    Attributes:
        features: output width.
        relations: number of edge types.
        bases: number of basis matrices, whose combinations are those of the relations.
        blocks: number of diagonal blocks of the matrices.
        root_weight: whether there is a `W_0`.
        use_bias: whether there is a `b`.
        dtype: type to compute in; None is that of the input and the parameters.
    """

    features: int
    relations: int
    bases: int | None = None
    blocks: int | None = None
    root_weight: bool = True
    use_bias: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, graph: jraph.GraphsTuple, x: Features) -> Float[Array, "_ {self.features}"]:
        """Computes the layer on a graph with one type per edge, see `graph.edge_relations`.

        Raises:
            InputError: both bases and blocks; widths that blocks do not divide; edges without types.
        """
        x = cast(x, self.dtype)
        out = self._whole(graph, x) if self.blocks is None else self._blockwise(graph, x, self.blocks)
        if self.root_weight:
            out = out + Dense(self.features, False, _GLOROT, self.dtype, name="root")(receiving(graph, x))
        if self.use_bias:
            out = out + cast(self.param("bias", nn.initializers.zeros, (self.features,)), self.dtype)[None]
        return out

    def _whole(self, graph: jraph.GraphsTuple, x: Features) -> Array:
        width = x.shape[1]
        kernel = self.param("kernel", _GLOROT_OF_MANY, (self.bases or self.relations, width, self.features))
        kernel = cast(kernel, self.dtype)
        if self.bases is not None:
            mix = self.param("coefficients", _GLOROT, (self.relations, self.bases))
            kernel = jnp.einsum("rb,bfd->rfd", cast(mix, self.dtype), kernel)
        by_type = typed_layout_of(graph)
        if by_type is not None:
            return _by_type(by_type, x, kernel)
        kernel = _of_present(graph, kernel)
        relations = kernel.shape[0]
        whole = num_receivers(graph) == x.shape[0]  # not a block, whose many senders are better not transformed
        if isinstance(x, SparseFeatures) or (whole and width > self.features):
            flat = jnp.moveaxis(kernel, 0, 1).reshape(width, relations * self.features)
            return relation_sum(graph, feature_matmul(x, flat).reshape(-1, relations, self.features))
        means = relation_means(graph, x, relations)
        return means.reshape(-1, relations * width) @ kernel.reshape(relations * width, self.features)

    def _blockwise(self, graph: jraph.GraphsTuple, x: Features, blocks: int) -> Array:
        if self.bases is not None:
            raise InputError(f"RGCNConv: {self.bases} bases and {blocks} blocks, expected only one of them")
        if x.shape[1] % blocks or self.features % blocks:
            raise InputError(
                f"RGCNConv: {blocks} blocks, expected a divisor of widths {x.shape[1]} and {self.features}"
            )
        if isinstance(x, SparseFeatures):
            raise InputError("RGCNConv: blocks of sparse features, expected dense ones")
        shape = (self.relations, blocks, x.shape[1] // blocks, self.features // blocks)
        kernel = _of_present(graph, cast(self.param("kernel", _GLOROT_OF_BLOCKS, shape), self.dtype))
        relations = kernel.shape[0]
        if x.shape[1] > self.features:
            parts = x.reshape(-1, blocks, shape[2])
            sent = jnp.einsum("nbf,rbfd->nrbd", parts, kernel).reshape(-1, relations, self.features)
            return relation_sum(graph, sent)
        parts = relation_means(graph, x, relations).reshape(-1, relations, blocks, shape[2])
        return jnp.einsum("nrbf,rbfd->nbd", parts, kernel).reshape(-1, self.features)


def _by_type(layout: TypedLayout, x: Features, kernel: Float[Array, "r f d"]) -> Float[Array, "n d"]:
    """Multiplies the nodes of each type by the weights of its own relations, on the narrower side."""
    x, (_, width, out) = dense_features(x), kernel.shape
    entering, leaving = layout.blocks.relations
    if width > out:
        flat = (jnp.moveaxis(kernel[np.array(some, int)], 0, 1).reshape(width, -1) for some in leaving)
        rows = zip(split_types(layout, x), flat, strict=True)
        return typed_sum(layout, [block @ matrix for block, matrix in rows], out)
    flat = (kernel[np.array(some, int)].reshape(-1, out) for some in entering)
    rows = zip(typed_means(layout, x), flat, strict=True)
    return join_types(layout, [block @ matrix for block, matrix in rows], x.shape[0])


def _of_present(graph: jraph.GraphsTuple, kernel: Array) -> Array:
    """Selects the weights of the relations that a block of a graph holds, see `LayoutInfo`; of other graphs all."""
    layout = layout_of(graph)
    present = None if layout is None else layout.info.relations
    return kernel if present is None else kernel[np.array(present)]
