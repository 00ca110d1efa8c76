"""Products of the nodes of each type with weights of their own, in batches whose nodes are sorted by type.

    out_v = W_type(v) x_v + b_type(v)

On a TPU one loop runs over tiles of rows of all types, so that one product is compiled: one per type and direction took
a quarter of the time to compile a step of ogbn-mag.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from abkd_jax.aggregate.typed_sums import join_types, split_types
from abkd_jax.graph.type_blocks import TypedLayout

__all__ = ["typed_product"]

ROWS = 4096  # of a tile


class _Inputs(NamedTuple):
    """What the product is differentiable in; see `typed_product`."""

    x: Float[Array, "n f"]
    kernel: Float[Array, "t f d"]
    bias: Float[Array, "t d"]


def typed_product(
    layout: TypedLayout, x: Float[Array, "n f"], kernel: Float[Array, "t f d"], bias: Float[Array, "t d"]
) -> Float[Array, "n d"]:
    """Computes the map at the head of this file; zeros at padding nodes.

    Args:
        layout: of the batch.
        x: `[n, f]`.
        kernel: `[types, f, d]`.
        bias: `[types, d]`.
    """
    return _product(jax.tree.map(jnp.asarray, layout), _Inputs(x, kernel, bias))


@jax.custom_vjp
def _product(layout: TypedLayout, inputs: _Inputs) -> Array:
    return jax.lax.platform_dependent(layout, inputs, tpu=_in_tiles, default=_by_type)


def _slopes(saved: tuple[TypedLayout, _Inputs], slope: Array) -> tuple[None, _Inputs]:
    layout, inputs = saved

    def by_type(layout: TypedLayout, inputs: _Inputs, slope: Array) -> _Inputs:
        return jax.vjp(functools.partial(_by_type, layout), inputs)[1](slope)[0]

    return None, jax.lax.platform_dependent(layout, inputs, slope, tpu=_slopes_in_tiles, default=by_type)


_product.defvjp(lambda layout, inputs: (_product(layout, inputs), (layout, inputs)), _slopes)


def _by_type(layout: TypedLayout, inputs: _Inputs) -> Array:
    x, kernel, bias = inputs
    rows = enumerate(split_types(layout, x))
    return join_types(layout, [block @ kernel[t] + bias[t][None] for t, block in rows], x.shape[0])


def _in_tiles(layout: TypedLayout, inputs: _Inputs) -> Array:
    x, kernel, bias = inputs

    def add(tile: "_Tile", out: Array) -> Array:
        return tile.put(out, tile.rows(x) @ kernel[tile.type] + bias[tile.type][None])

    return _over_tiles(layout, x.shape[0], add, jnp.zeros((x.shape[0], kernel.shape[2]), x.dtype))


def _slopes_in_tiles(layout: TypedLayout, inputs: _Inputs, slope: Array) -> _Inputs:
    x, kernel, bias = inputs

    def add(tile: "_Tile", sums: _Inputs) -> _Inputs:
        rows, given = tile.rows(x), tile.rows(slope)
        to_kernel = jnp.matmul(rows.T, given, preferred_element_type=sums.kernel.dtype)
        to_bias = jnp.sum(given, axis=0, dtype=sums.bias.dtype)
        return _Inputs(
            tile.put(sums.x, given @ kernel[tile.type].T),
            sums.kernel.at[tile.type].add(to_kernel),
            sums.bias.at[tile.type].add(to_bias),
        )

    wide = [jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in (kernel, bias)]
    sums = _over_tiles(layout, x.shape[0], add, _Inputs(jnp.zeros_like(x), *wide))
    return jax.tree.map(lambda total, leaf: total.astype(leaf.dtype), sums, inputs)


class _Tile(NamedTuple):
    """A few rows in succession, and those among them that are nodes of one type."""

    type: Array
    start: Array
    real: Array

    def rows(self, x: Float[Array, "n f"]) -> Float[Array, "r f"]:
        """Returns the rows of its nodes, and zeros between them."""
        return jnp.where(self.real, jax.lax.dynamic_slice_in_dim(x, self.start, self.real.shape[0]), 0)

    def put(self, x: Float[Array, "n f"], rows: Float[Array, "r f"]) -> Float[Array, "n f"]:
        """Writes the rows of its nodes, and no others."""
        there = jax.lax.dynamic_slice_in_dim(x, self.start, self.real.shape[0])
        return jax.lax.dynamic_update_slice_in_dim(x, jnp.where(self.real, rows, there), self.start, 0)


def _over_tiles(layout: TypedLayout, size: int, add: Callable[[_Tile, Any], Any], carry: Any) -> Any:
    rows, capacities = min(ROWS, size), layout.blocks.capacities
    counts = [-(-capacity // rows) for capacity in capacities]
    types = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    offsets = np.concatenate([np.arange(count, dtype=np.int32) * rows for count in counts])
    begins = jnp.asarray(layout.starts)[types] + jnp.asarray(offsets)
    bounds = jnp.asarray(layout.bounds)[types]

    def turn(i: Array, carry: Any) -> Any:
        start = jnp.minimum(begins[i], size - rows)  # the last tile may overlap the one before
        nodes = start + jnp.arange(rows, dtype=start.dtype)
        # The rows before the first of this tile are of the tile before, which wrote them and counted them.
        real = (nodes >= jnp.maximum(bounds[i, 0], begins[i])) & (nodes < bounds[i, 1])
        return add(_Tile(jnp.asarray(types)[i], start, real[:, None]), carry)

    return jax.lax.fori_loop(0, len(types), turn, carry)
