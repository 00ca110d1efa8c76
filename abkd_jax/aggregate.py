"""The one place where messages are summed.

On CPUs the sum runs as one native sparse product over the prepared layout, with the precomputed transpose as its
backward pass: nothing of size `[e, f]` is ever built. Elsewhere, and for graphs that were never prepared, it is a
`segment_sum`. Same numbers either way.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jraph
from jax.experimental.sparse import BCSR
from jaxtyping import Array, Float, Int

from abkd_jax.graph import CSR, PreparedEdges, SparseFeatures, normalise, num_nodes

__all__ = ["Features", "feature_matmul", "propagate", "sparse_matmul", "weighted_sum"]

Features = Float[Array, "n f"] | SparseFeatures


def weighted_sum(graph: jraph.GraphsTuple, x: Float[Array, "n f"], weights: Float[Array, " e"]) -> Float[Array, "n f"]:
    """Sums `weights[e] * x[sender of e]` over the edges that enter each node.

    Args:
        graph: plain or prepared.
        x: `[n, f]` node features.
        weights: `[e]`, in the order of `graph.senders`; differentiable.

    Returns:
        `[n, f]`; zero for a node without incoming edges.
    """
    if isinstance(graph.edges, PreparedEdges) and graph.edges.pattern is not None:
        return sparse_matmul(graph.edges.pattern, weights, x)
    messages = weights[:, None] * x[graph.senders]
    return jax.ops.segment_sum(messages, jnp.asarray(graph.receivers), num_segments=num_nodes(graph))


def propagate(graph: jraph.GraphsTuple, x: Float[Array, "n f"]) -> Float[Array, "n f"]:
    """`D^-1/2 (A + I) D^-1/2 x` (Kipf & Welling, arXiv 1609.02907, equation 2); self loops are added where missing."""
    graph = normalise(graph)
    edges: Any = graph.edges
    neighbours = weighted_sum(graph, x, jnp.asarray(edges.coefficients, x.dtype))
    return neighbours + jnp.asarray(edges.self_coefficients, x.dtype)[:, None] * x


def feature_matmul(x: Features, kernel: Float[Array, "f d"]) -> Float[Array, "n d"]:
    """`x @ kernel` for dense or sparse node features."""
    return sparse_matmul(x.pattern, x.values, kernel) if isinstance(x, SparseFeatures) else x @ kernel


@jax.custom_vjp
def sparse_matmul(pattern: CSR, values: Float[Array, " nnz"], x: Float[Array, "m f"]) -> Float[Array, "n f"]:
    """The product of a sparse `[n, m]` matrix with a dense `[m, f]` one; differentiable in `values` and `x`."""
    return _product(values, pattern.rows, pattern.cols, pattern.row_ptr, x)


def _forward(pattern: CSR, values: Array, x: Array) -> tuple[Array, tuple[CSR, Array, Array]]:
    return sparse_matmul(pattern, values, x), (pattern, values, x)


def _backward(saved: tuple[CSR, Array, Array], cotangent: Array) -> tuple[None, Array, Array]:
    pattern, values, x = saved
    cols_t = pattern.cols[pattern.order_t]
    grad_x = _product(values[pattern.order_t], cols_t, pattern.rows_t, pattern.col_ptr, cotangent)
    grad_values = jnp.einsum("ef,ef->e", cotangent[pattern.rows], x[pattern.cols])  # dropped by XLA where unused
    return None, grad_values, grad_x


sparse_matmul.defvjp(_forward, _backward)


@jax.custom_batching.custom_vmap
def _product(values: Array, rows: Array, cols: Array, row_ptr: Array, x: Array) -> Array:
    """`out[i] = sum over entries e of row i of values[e] * x[cols[e]]`, by the kernel that suits the platform."""
    if values.dtype not in (jnp.float32, jnp.float64) or values.dtype != x.dtype:
        return _segment_product(values, rows, cols, row_ptr, x)
    return jax.lax.platform_dependent(values, rows, cols, row_ptr, x, cpu=_native_product, default=_segment_product)


def _native_product(values: Array, rows: Array, cols: Array, row_ptr: Array, x: Array) -> Array:
    del rows
    matrix = BCSR((values, cols, row_ptr), shape=(row_ptr.shape[0] - 1, x.shape[0]))
    return matrix @ x


def _segment_product(values: Array, rows: Array, cols: Array, row_ptr: Int[Array, " p"], x: Array) -> Array:
    messages = values[:, None] * x[cols]
    return jax.ops.segment_sum(messages, rows, num_segments=row_ptr.shape[0] - 1, indices_are_sorted=True)


@_product.def_vmap
def _product_over_seeds(
    axis_size: int, in_batched: list[bool], values: Array, rows: Array, cols: Array, row_ptr: Array, x: Array
) -> tuple[Array, bool]:
    """Shared values fold the seeds into the features, `[s, m, f] -> [m, s f]`; otherwise one product a seed."""
    if in_batched == [False, False, False, False, True]:
        folded = jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1)
        out = _product(values, rows, cols, row_ptr, folded)
        return jnp.moveaxis(out.reshape(out.shape[0], axis_size, x.shape[2]), 1, 0), True
    arguments = (values, rows, cols, row_ptr, x)

    def one(i: Array) -> Array:
        return _product(*(a[i] if batched else a for a, batched in zip(arguments, in_batched, strict=True)))

    return jax.lax.map(one, jnp.arange(axis_size)), True
