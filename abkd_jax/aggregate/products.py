"""Weighted sums over the neighbours (SpMM), products with sparse features, and sampled products (SDDMM)."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jraph
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate import native
from abkd_jax.aggregate.backends import NARROW_HEAD, gather_rows, row_sums, segment_sums
from abkd_jax.aggregate.chunks import CHUNK_BYTES, chunk_size, in_chunks
from abkd_jax.aggregate.constant import constant_matmul
from abkd_jax.aggregate.edges import checked_layout, first_rows
from abkd_jax.aggregate.entries import by_column, by_row
from abkd_jax.aggregate.partitioned import by_blocks
from abkd_jax.graph import SparseFeatures, normalised_edges, num_edges, num_nodes
from abkd_jax.graph.layout import CSR, Backend, PreparedEdges
from abkd_jax.graph.precision import floats, widened
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

TPU_CHUNKS = 64  # of a CPU in one of a TPU: 32 MiB of messages, a quarter of the vector memory of a v5e


@by_blocks(sent="x", edges="weights")
def weighted_sum(
    graph: jraph.GraphsTuple, x: Float[Array, "n f"], weights: Float[Array, " e"] | None, backend: Backend | None = None
) -> Float[Array, "r f"]:
    """Sums `weights[e] * x[sender of e]` over the edges that enter each node.

    Args:
        graph: plain or prepared.
        x: `[n, f]` node features.
        weights: `[e]`, in the order of `graph.senders`; differentiable. None where all are 1.
        backend: as `aggregate.backends` lists them; None takes that of the graph. Only for prepared graphs.

    Returns:
        `[n, f]`; zero for a node without incoming edges. For a block of a graph `[num_receivers, f]`, as in all sums.
        Float32 inside and in the type of `x` (integers give float32), as all sums.

    Raises:
        InputError: rows of `x` or weights are more or fewer than nodes or edges.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> star = from_edges(np.array([1, 2]), np.array([0, 0]), num_nodes=3)
        >>> weighted_sum(star, jnp.array([[9.0], [2.0], [1.0]]), jnp.array([10.0, 1.0]))[:, 0].tolist()
        [21.0, 0.0, 0.0]
    """
    layout, x = checked_layout(graph, sent=x, edges=weights), floats(x)
    if weights is None:
        return _neighbour_sum(graph, layout, x, backend).astype(x.dtype)
    weights = floats(weights)
    if weights.ndim != 1:
        raise InputError(f"weighted_sum: weights have shape {weights.shape}, expected one weight an edge")
    return _weighted_sum(graph, layout, widened(x), weights, backend).astype(x.dtype)


@by_blocks(sent="x")
def mean(graph: jraph.GraphsTuple, x: Float[Array, "n f"], backend: Backend | None = None) -> Float[Array, "r f"]:
    """Computes the mean of `x` over the edges that enter each node; zero for a node without incoming edges.

    Args:
        graph: plain or prepared.
        x: `[n, f]`; integers give float32.
        backend: as in `weighted_sum`.

    Raises:
        InputError: another number of rows than of nodes.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> star = from_edges(np.array([1, 2]), np.array([0, 0]), num_nodes=3)
        >>> mean(star, jnp.array([[9.0], [2.0], [1.0]]))[:, 0].tolist()
        [1.5, 0.0, 0.0]
    """
    layout, x = checked_layout(graph, sent=x), floats(x)
    # Float32 until the division: the sum over a hub need not fit 16 bits.
    total = _neighbour_sum(graph, layout, x, backend)
    return (total / jnp.maximum(_in_degrees(graph, layout, total.dtype), 1)[:, None]).astype(x.dtype)


@by_blocks()
def in_degrees(graph: jraph.GraphsTuple, dtype: DTypeLike) -> Float[Array, " n"]:
    """Counts the edges that enter each node, exactly, and converts the numbers to `dtype`.

    Examples:
        >>> import numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> in_degrees(from_edges(np.array([1, 2]), np.array([0, 0]), num_nodes=3), np.float32).tolist()
        [2.0, 0.0, 0.0]
    """
    return _in_degrees(graph, checked_layout(graph), dtype)


@by_blocks(sent="x")
def propagate(graph: jraph.GraphsTuple, x: Float[Array, "n f"], backend: Backend | None = None) -> Float[Array, "r f"]:
    """Computes `D^-1/2 (A + I) D^-1/2 x` (Kipf & Welling, arXiv 1609.02907, equation 2); missing self loops are added.

    Args:
        graph: plain, normalised or prepared.
        x: `[n, f]`; integers give float32.
        backend: as in `weighted_sum`.

    Raises:
        InputError: another number of rows than of nodes.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> pair = from_edges(np.array([0]), np.array([1]), num_nodes=2, undirected=True)
        >>> [round(value, 3) for value in propagate(pair, jnp.array([[2.0], [4.0]]))[:, 0].tolist()]
        [3.0, 3.0]
    """
    layout, x = checked_layout(graph, sent=x), floats(x)
    edges = normalised_edges(graph) if layout is None else layout
    wide = widened(x)
    coefficients = jnp.asarray(edges.coefficients, wide.dtype)
    if layout is None or layout.constants is None:
        neighbours = _weighted_sum(graph, layout, wide, coefficients, backend)
    else:
        scale, ones, weights = layout.constants
        chosen, half = backend or layout.info.backend, x.dtype.itemsize < 4
        neighbours = constant_matmul(layout.pattern, coefficients, scale, weights or ones, wide, chosen, half=half)
    loops = jnp.asarray(edges.self_coefficients, wide.dtype)
    return (neighbours + loops[:, None] * first_rows(wide, loops.shape[0])).astype(x.dtype)


def _neighbour_sum(graph: jraph.GraphsTuple, layout: PreparedEdges | None, x: Array, backend: Backend | None) -> Array:
    """Sums the features of the neighbours, float32 or wider."""
    wide = widened(x)
    if layout is None or layout.constants is None:
        return _weighted_sum(graph, layout, wide, jnp.ones(num_edges(graph), wide.dtype), backend)
    chosen, half = backend or layout.info.backend, x.dtype.itemsize < 4
    return constant_matmul(layout.pattern, None, None, layout.constants.ones, wide, chosen, half=half)


def _weighted_sum(
    graph: jraph.GraphsTuple, layout: PreparedEdges | None, x: Array, weights: Array, backend: Backend | None
) -> Array:
    """Sums over the edges of a graph whose layout is known; `x` is float32 or wider."""
    if layout is not None:
        return sparse_matmul(layout.pattern, weights, x, backend or layout.info.backend)
    messages = weights.astype(x.dtype)[:, None] * gather_rows(x, jnp.asarray(graph.senders))
    return segment_sums(messages, jnp.asarray(graph.receivers), num_nodes(graph))


def _in_degrees(graph: jraph.GraphsTuple, layout: PreparedEdges | None, dtype: DTypeLike) -> Array:
    if layout is not None:
        return jnp.diff(jnp.asarray(layout.pattern.row_ptr)).astype(dtype)
    return segment_sums(jnp.ones(num_edges(graph), dtype), jnp.asarray(graph.receivers), num_nodes(graph))


def feature_matmul(x: Features, kernel: Float[Array, "f d"]) -> Float[Array, "n d"]:
    """Computes `x @ kernel` for dense or sparse node features."""
    if isinstance(x, SparseFeatures):
        return sparse_matmul(x.pattern, jnp.asarray(x.values, kernel.dtype), kernel)
    return x @ kernel


def sparse_matmul(
    pattern: CSR, values: Float[Array, " nnz"], x: Float[Array, "m f"], backend: Backend = "auto"
) -> Float[Array, "n f"]:
    """Computes the product of a sparse `[n, m]` matrix with a dense `[m, f]` one; differentiable in `values` and `x`.

    The backward pass is the same product with the precomputed transpose, and a sampled one (SDDMM) for the values.

    Args:
        pattern: positions of the entries.
        values: `[nnz]`, in row order.
        x: `[m, f]`.
        backend: as `aggregate.backends` lists them.

    Raises:
        InputError: another number of values than the pattern has entries, or of rows than it has columns.

    Examples:
        >>> import jax.numpy as jnp, scipy.sparse as sp
        >>> from abkd_jax.graph import sparse_features
        >>> matrix = sparse_features(sp.csr_matrix([[0.0, 2.0], [3.0, 0.0]]))
        >>> sparse_matmul(matrix.pattern, jnp.asarray(matrix.values), jnp.eye(2)).tolist()
        [[0.0, 2.0], [3.0, 0.0]]
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
    grad_x = row_sums(by_column(pattern), values[:, None], cotangent[:, None], backend)[:, 0]
    grad_values = edge_dots(pattern.rows, pattern.cols, cotangent, x)  # dropped by XLA where unused
    return None, grad_values.astype(values.dtype), grad_x.astype(x.dtype)


_sparse_matmul.defvjp(_forward, _backward)


def edge_dots(
    rows: Int[Array, " e"], cols: Int[Array, " e"], a: Float[Array, "n *h f"], b: Float[Array, "m *h f"]
) -> Float[Array, "e *h"]:
    """Computes `<a[rows[e]], b[cols[e]]>` over the last axis (SDDMM): the gradient of the weights of a sum.

    On a CPU, and where they are many on a TPU, entries run in chunks, so that no `[e, f]` is built.

    Args:
        rows: `[e]` int32.
        cols: `[e]` int32.
        a: `[n, ..., f]`.
        b: `[m, ..., f]`.

    Returns:
        `[e, ...]`, float32 or wider.
    """

    def direct(rows: Array, cols: Array, a: Array, b: Array) -> Array:
        return last_axis_sum(widened(a[rows]) * widened(b[cols]))

    def chunked(size: int) -> Callable[..., Array]:
        def dots(rows: Array, cols: Array, a: Array, b: Array) -> Array:
            ids = in_chunks(rows, size), in_chunks(cols, size)
            out = jax.lax.map(lambda pair: direct(pair[0], pair[1], a, b), ids)
            return out.reshape(-1, *out.shape[2:])[: rows.shape[0]]

        return dots if rows.shape[0] > size else direct

    def of_heads(rows: Array, cols: Array, a: Array, b: Array) -> Array:
        heads = a.shape[1:-1]
        wide = [x.reshape(x.shape[0], math.prod(heads), x.shape[-1]) for x in (a, b)]
        return native.edge_dots(rows, cols, *wide).reshape(rows.shape[0], *heads)

    size = chunk_size(a)
    on_cpu = of_heads if native.reads(a, b) else chunked(size)  # which is `direct` for few entries
    return jax.lax.platform_dependent(rows, cols, a, b, cpu=on_cpu, tpu=chunked(size * TPU_CHUNKS), default=direct)


def last_axis_sum(x: Float[Array, "n *h f"]) -> Float[Array, "n *h"]:
    """Computes the sum over the last axis; on a CPU as a product with ones: XLA's own loops take up to thrice as long.

    Not where the axis is long and `x` large: the product would materialise it first.
    """
    if x.shape[-1] >= NARROW_HEAD and x.size * x.dtype.itemsize > CHUNK_BYTES:
        return jnp.sum(x, axis=-1)

    def product(x: Array) -> Array:
        heads, width = math.prod(x.shape[1:-1]), x.shape[-1]
        ones = jnp.repeat(jnp.eye(heads, dtype=x.dtype), width, axis=0)
        total = jnp.matmul(x.reshape(x.shape[0], heads * width), ones, precision="highest")
        return total.reshape(x.shape[:-1])

    return jax.lax.platform_dependent(x, cpu=product, default=lambda x: jnp.sum(x, axis=-1))
