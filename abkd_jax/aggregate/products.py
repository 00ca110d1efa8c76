"""Weighted sums over the neighbours, and products with sparse features."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate.backends import CHUNK_BYTES, NARROW_HEAD, Backend, chunk_size, gathered, row_sums, segment_sums
from abkd_jax.aggregate.edges import by_column, by_row, checked_layout, receiving
from abkd_jax.graph.build import SparseFeatures, normalise, num_edges, num_nodes
from abkd_jax.graph.layout import CSR
from abkd_jax.graph.precision import accumulation_dtype, floats, widened
from abkd_jax.types import InputError

__all__ = [
    "Features",
    "edge_dots",
    "feature_matmul",
    "in_degrees",
    "last_axis_sum",
    "mean",
    "propagate",
    "sparse_matmul",
    "weighted_sum",
]

Features = Float[Array, "n f"] | SparseFeatures


def weighted_sum(
    graph: jraph.GraphsTuple, x: Float[Array, "n f"], weights: Float[Array, " e"], backend: Backend | None = None
) -> Float[Array, "r f"]:
    """Sums `weights[e] * x[sender of e]` over the edges that enter each node.

    Args:
        graph: plain or prepared.
        x: `[n, f]` node features.
        weights: `[e]`, in the order of `graph.senders`; differentiable.
        backend: as `aggregate.backends` lists them; None is the graph's own choice. Only for prepared graphs.

    Returns:
        `[n, f]`; zero for a node without incoming edges. Of a piece of a graph `[num_receivers, f]`, as in all sums.
        Float32 inside and in the type of `x` (integers give float32), as all sums.

    Raises:
        InputError: rows of `x` or weights are more or fewer than nodes or edges.
    """
    layout, x, weights = checked_layout(graph, sent=x, edges=weights), floats(x), floats(weights)
    if weights.ndim != 1:
        raise InputError(f"weighted_sum: weights have shape {weights.shape}, expected one weight an edge")
    wide = x.astype(accumulation_dtype(x.dtype))
    if layout is not None:
        return sparse_matmul(layout.pattern, weights, wide, backend or layout.facts.backend).astype(x.dtype)
    messages = weights.astype(wide.dtype)[:, None] * gathered(wide, jnp.asarray(graph.senders))
    return segment_sums(messages, jnp.asarray(graph.receivers), num_nodes(graph)).astype(x.dtype)


def mean(graph: jraph.GraphsTuple, x: Float[Array, "n f"], backend: Backend | None = None) -> Float[Array, "r f"]:
    """The mean of `x` over the edges that enter each node; zero for a node without incoming edges."""
    x = floats(x)
    wide = widened(x)  # until the division: the sum over a hub need not fit 16 bits
    ones = jnp.ones(num_edges(graph), wide.dtype)
    degrees = in_degrees(graph, wide.dtype)
    return (weighted_sum(graph, wide, ones, backend) / jnp.maximum(degrees, 1)[:, None]).astype(x.dtype)


def in_degrees(graph: jraph.GraphsTuple, dtype: Any) -> Float[Array, " n"]:
    """The number of edges that enter each node; counted exactly, then brought to `dtype`."""
    layout = checked_layout(graph)
    if layout is not None:
        return jnp.diff(jnp.asarray(layout.pattern.row_ptr)).astype(dtype)
    return segment_sums(jnp.ones(num_edges(graph), dtype), jnp.asarray(graph.receivers), num_nodes(graph))


def propagate(graph: jraph.GraphsTuple, x: Float[Array, "n f"], backend: Backend | None = None) -> Float[Array, "r f"]:
    """`D^-1/2 (A + I) D^-1/2 x` (Kipf & Welling, arXiv 1609.02907, equation 2); self loops are added where missing."""
    graph = normalise(graph)
    edges: Any = graph.edges
    x = floats(x)
    wide = widened(x)
    neighbours = weighted_sum(graph, wide, jnp.asarray(edges.coefficients, wide.dtype), backend)
    own = jnp.asarray(edges.self_coefficients, wide.dtype)[:, None] * receiving(graph, wide)
    return (neighbours + own).astype(x.dtype)


def feature_matmul(x: Features, kernel: Float[Array, "f d"]) -> Float[Array, "n d"]:
    """`x @ kernel` for dense or sparse node features."""
    if isinstance(x, SparseFeatures):
        return sparse_matmul(x.pattern, jnp.asarray(x.values, kernel.dtype), kernel)
    return x @ kernel


def sparse_matmul(
    pattern: CSR, values: Float[Array, " nnz"], x: Float[Array, "m f"], backend: Backend = "auto"
) -> Float[Array, "n f"]:
    """The product of a sparse `[n, m]` matrix with a dense `[m, f]` one; differentiable in `values` and `x`.

    The backward pass is the same sum over the precomputed transpose, and sampled products for the values.

    Raises:
        InputError: another number of values than the pattern has entries, or of rows than it has columns.
    """
    if values.shape != pattern.cols.shape or x.shape[0] != pattern.shape[1]:
        raise InputError(
            f"sparse_matmul: values {values.shape} and {x.shape[0]} rows, expected {pattern.cols.shape} and "
            f"{pattern.shape[1]}"
        )
    return _sparse_matmul(jax.tree.map(jnp.asarray, pattern), values, x, backend)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _sparse_matmul(pattern: CSR, values: Array, x: Array, backend: Backend) -> Array:
    return row_sums(by_row(pattern), values[:, None], x[:, None], backend)[:, 0]


def _forward(pattern: CSR, values: Array, x: Array, backend: Backend) -> tuple[Array, tuple[CSR, Array, Array]]:
    return _sparse_matmul(pattern, values, x, backend), (pattern, values, x)


def _backward(backend: Backend, saved: tuple[CSR, Array, Array], cotangent: Array) -> tuple[None, Array, Array]:
    pattern, values, x = saved
    grad_x = row_sums(by_column(pattern), values[pattern.order_t][:, None], cotangent[:, None], backend)[:, 0]
    grad_values = edge_dots(pattern.rows, pattern.cols, cotangent, x)  # dropped by XLA where unused
    return None, grad_values.astype(values.dtype), grad_x.astype(x.dtype)


_sparse_matmul.defvjp(_forward, _backward)


def edge_dots(
    rows: Int[Array, " e"], cols: Int[Array, " e"], a: Float[Array, "n *h f"], b: Float[Array, "m *h f"]
) -> Float[Array, "e *h"]:
    """`<a[rows[e]], b[cols[e]]>` over the last axis: the sampled product, the gradient of the weights of a sum.

    Float32 or wider.

    On a CPU many run in chunks of edges, so that no `[e, f]` is built.
    """

    def direct(rows: Array, cols: Array, a: Array, b: Array) -> Array:
        return last_axis_sum(widened(a[rows]) * widened(b[cols]))

    def chunked(rows: Array, cols: Array, a: Array, b: Array) -> Array:
        chunks = -(-rows.shape[0] // size)
        ids = [jnp.pad(i, (0, chunks * size - i.shape[0])).reshape(chunks, size) for i in (rows, cols)]
        out = jax.lax.map(lambda pair: direct(pair[0], pair[1], a, b), tuple(ids))
        return out.reshape(-1, *out.shape[2:])[: rows.shape[0]]

    size = chunk_size(a)
    if rows.shape[0] <= size:
        return direct(rows, cols, a, b)
    return jax.lax.platform_dependent(rows, cols, a, b, cpu=chunked, default=direct)


def last_axis_sum(x: Float[Array, "n *h f"]) -> Float[Array, "n *h"]:
    """The sum over the last axis; on a CPU as a product with ones: XLA's own loops take up to thrice as long.

    Not where the axis is long and `x` large: the product would have it written out first.
    """
    if x.shape[-1] >= NARROW_HEAD and x.size * x.dtype.itemsize > CHUNK_BYTES:
        return jnp.sum(x, axis=-1)

    def product(x: Array) -> Array:
        heads, width = math.prod(x.shape[1:-1]), x.shape[-1]
        ones = jnp.repeat(jnp.eye(heads, dtype=x.dtype), width, axis=0)
        total = jnp.matmul(x.reshape(x.shape[0], heads * width), ones, precision="highest")
        return total.reshape(x.shape[:-1])

    return jax.lax.platform_dependent(x, cpu=product, default=lambda x: jnp.sum(x, axis=-1))
