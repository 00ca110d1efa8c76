"""Means over the edges of each relation in batches whose nodes are sorted by type: present relations alone.

`edge_types` has the same means for any graph. Here features come in one block of rows per node type.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float

from abkd_jax.aggregate.constant import constant_matmul
from abkd_jax.graph import layout_of
from abkd_jax.graph.precision import widened
from abkd_jax.graph.type_blocks import ConstantMatrix, TypedLayout

__all__ = ["join_types", "split_types", "typed_layout_of", "typed_means", "typed_sum"]


def typed_layout_of(graph: jraph.GraphsTuple) -> TypedLayout | None:
    """Returns the layout of a batch whose nodes are sorted by type; None for other graphs."""
    layout = layout_of(graph)
    held = None if layout is None else layout.relations
    return held if isinstance(held, TypedLayout) else None


def typed_means(layout: TypedLayout, x: Float[Array, "n f"]) -> list[Float[Array, "_ _"]]:
    """Computes the mean of `x` over the edges of each relation that enter each node, zero where there are none.

    Args:
        layout: of the batch.
        x: `[n, f]`.

    Returns:
        For each type `[capacity, relations * f]`, of the relations that enter it.
    """
    sums = _product(layout.rows, widened(x)).astype(x.dtype)
    blocks, begin, means = layout.blocks, 0, []
    for capacity, relations in zip(blocks.capacities, blocks.relations.entering, strict=True):
        end = begin + capacity * len(relations)
        means.append(sums[begin:end].reshape(capacity, len(relations) * x.shape[1]))
        begin = end
    return means


def typed_sum(layout: TypedLayout, sent: Sequence[Float[Array, "_ _"]], width: int) -> Float[Array, "n f"]:
    """Computes the sum over relations of the mean of what their edges bring to each node.

    Args:
        layout: of the batch.
        sent: for each type `[capacity, relations * width]`, what its nodes send over the relations that leave it.
        width: of a message.

    Returns:
        `[n, width]`.
    """
    parts = [block.reshape(-1, width) for block in sent]
    pairs = jnp.concatenate([*parts, jnp.zeros((1, width), parts[0].dtype)])  # the last is that of padding edges
    return _product(layout.columns, widened(pairs)).astype(pairs.dtype)


def split_types(layout: TypedLayout, x: Float[Array, "n f"]) -> list[Float[Array, "_ f"]]:
    """Returns the rows of the nodes of each type, `[capacity, f]`, with zeros where it has fewer nodes."""
    return _split(layout.blocks.capacities, jnp.asarray(layout.starts), jnp.asarray(layout.bounds), x)


def join_types(layout: TypedLayout, blocks: Sequence[Float[Array, "_ f"]], size: int) -> Float[Array, "n f"]:
    """Returns the rows of all types in the order of the nodes, `[size, f]`, with zeros at padding nodes."""
    return _join(size, jnp.asarray(layout.starts), jnp.asarray(layout.bounds), list(blocks))


def _product(matrix: ConstantMatrix, x: Array) -> Array:
    values = None if matrix.weights.values is None else matrix.weights.values[0]
    return constant_matmul(matrix.pattern, values, None, matrix.weights, x, "auto", half=False)


# Either of these is the transpose of the other, without the sums of zeros that JAX would make of the slices.


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _split(capacities: tuple[int, ...], starts: Array, bounds: Array, x: Array) -> list[Array]:
    rows = []
    for number, capacity in enumerate(capacities):
        block = jax.lax.dynamic_slice_in_dim(x, starts[number], capacity)
        rows.append(jnp.where(_is_real(starts, bounds, number, capacity), block, 0))
    return rows


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _join(size: int, starts: Array, bounds: Array, blocks: list[Array]) -> Array:
    out = jnp.zeros((size, blocks[0].shape[1]), blocks[0].dtype)
    for number, block in enumerate(blocks):
        there = jax.lax.dynamic_slice_in_dim(out, starts[number], block.shape[0])
        block = jnp.where(_is_real(starts, bounds, number, block.shape[0]), block, there)
        out = jax.lax.dynamic_update_slice_in_dim(out, block, starts[number], 0)
    return out


def _is_real(starts: Array, bounds: Array, number: int, capacity: int) -> Array:
    nodes = starts[number] + jnp.arange(capacity, dtype=starts.dtype)
    return ((nodes >= bounds[number, 0]) & (nodes < bounds[number, 1]))[:, None]


_split.defvjp(
    lambda capacities, starts, bounds, x: (_split(capacities, starts, bounds, x), (starts, bounds, x.shape[0])),
    lambda _, saved, slopes: (None, None, _join(saved[2], saved[0], saved[1], slopes)),
)
_join.defvjp(
    lambda size, starts, bounds, blocks: (
        _join(size, starts, bounds, blocks),
        (starts, bounds, tuple(block.shape[0] for block in blocks)),
    ),
    lambda _, saved, slope: (None, None, _split(saved[2], saved[0], saved[1], slope)),
)
