"""Distillation of relations between nodes: along the edges (LSP), and between all pairs (GSP).

The kernels of teacher and student are compared, never their features: no widths need to agree.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.ops.checks import (
    require_choice,
    require_optional_count,
    require_rows,
)
from abkd_jax.distill.ops.moments import node_count
from abkd_jax.distill.ops.numerics import masked_rows
from abkd_jax.distill.ops.outputs import Inputs, Layer, masked_layer, of_last_hidden
from abkd_jax.distill.ops.pairwise_kernels import (
    KERNELS,
    Kernel,
    projected_sides,
    rowwise,
    squared_difference,
)
from abkd_jax.distill.ops.projections import HEADS, Head, init_sides
from abkd_jax.distill.ops.soft_targets import counted_edges
from abkd_jax.graph.precision import masked_mean
from abkd_jax.types import Mask, Objective, PRNGKey, Pytree

__all__ = ["gsp", "lsp"]

_SOFTMAX_FLOOR = 1e-16  # of torch_geometric.utils.softmax


def lsp(
    kernel: Literal["cosine", "poly", "l2", "rbf"] = "cosine", divergence: Literal["kl", "mse"] = "kl"
) -> Objective:
    """Builds the comparison of edge similarities: local structure preserving (LSP, Yang et al., arXiv 2003.10477).

        q_uv = exp k(x_u, x_v) / sum_w exp k(x_w, x_v)        over the edges u -> v, w -> v with one receiver v
        kl:   1/E sum_uv q^t_uv (log q^t_uv - log q^s_uv)
        mse:  1/E sum_uv (q^s_uv - q^t_uv)^2

    `x` are the last hidden layers; an edge counts where the mask holds both of its ends, so that padding edges never
    do, once whatever its types, and `E` is the number of such edges. Without any, the loss is 0. Kernels and means are
    those of github.com/chaitjo/efficient-gnns (Joshi et al., arXiv 2111.04964): `"cosine"`; `"poly"`, its square;
    `"l2"`, the Euclidean distance, larger for nodes that differ; `"rbf"`, `exp(-distance^2 / 2)`.

    Args:
        kernel: `"cosine"`, `"poly"`, `"l2"` or `"rbf"`.
        divergence: `"kl"` or `"mse"`.

    Returns:
        An objective without parameters; the targets are `log q^t` `[e]`, 0 on edges that do not count.

    Raises:
        InputError: a bad argument here; at `init`, `targets` and `apply`, a model without hidden layers.

    Examples:
        >>> from abkd_jax.distill import Term, weighted_sum
        >>> objective = weighted_sum(Term("lsp", 100.0, lsp("rbf")))
    """
    require_choice("lsp", "kernel", kernel, tuple(KERNELS))
    require_choice("lsp", "divergence", divergence, ("kl", "mse"))

    def init(key: PRNGKey, t: Layer, s: Layer) -> Pytree:
        return {}

    def targets(t: Float[Array, "n d_t"], inputs: Inputs) -> Float[Array, " e"]:
        return _log_weights(KERNELS[kernel], t, inputs.graph, inputs.mask)

    def loss(
        params: Pytree, targets: Float[Array, " e"], s: Float[Array, "n d_s"], inputs: Inputs
    ) -> tuple[Array, dict[str, Array]]:
        log_q = _log_weights(KERNELS[kernel], s, inputs.graph, inputs.mask)
        counted = counted_edges(inputs.graph, inputs.mask)[2]
        require_rows("lsp: targets of the teacher's edges", targets.shape[0], counted)
        p = jnp.exp(targets)
        per_edge = p * (targets - log_q) if divergence == "kl" else (jnp.exp(log_q) - p) ** 2
        return masked_mean(per_edge, counted), {}

    return of_last_hidden("lsp", init, targets, loss)


def gsp(
    kernel: Literal["cosine", "poly", "l2", "rbf"] = "cosine",
    max_nodes: int | None = None,
    head: Head = "none",
    dim: int | None = None,
) -> Objective:
    """Builds the comparison of the kernels of all pairs of nodes: global structure preserving (GSP, arXiv 2111.04964).

        loss = 1/n^2 sum_uv (k(s_u, s_v) - k(t_u, t_v))^2

    over all masked nodes, the pairs of a node with itself included; `s` and `t` are the projected last hidden layers,
    and the kernels those of `lsp`. Kernels exist for one block of rows at a time, forwards and backwards. A trained
    projection on the teacher's side can also lower the loss by discarding information about the teacher. Source: Joshi
    et al., arXiv 2111.04964, github.com/chaitjo/efficient-gnns.

    With `max_nodes`, the pairs are those among that many masked nodes, drawn anew with every key. A larger share of
    them are pairs of a node with itself, whose kernels agree (zero rows aside): the expected value is
    `(1 - 1/max_nodes) / (1 - 1/n)` of the full one.

    Args:
        kernel: `"cosine"`, `"poly"`, `"l2"` or `"rbf"`.
        max_nodes: nodes drawn per step without replacement; None takes all.
        head: `"none"`, `"linear"` or `"bnrelu"` on both sides, as in `projections.project`.
        dim: width of both projections; None is the student's last width. Without effect for the head `"none"`.

    Returns:
        An objective with parameters `{"teacher": ..., "student": ...}`, one projection each; the targets are the
        teacher's last hidden layer `[n, d]`. It needs a key where it draws nodes.

    Raises:
        InputError: a bad argument here; at `init`, `targets` and `apply`, a model without hidden layers; at `apply`,
            nodes to draw and no key.

    Examples:
        >>> from abkd_jax.distill import Term, weighted_sum
        >>> objective = weighted_sum(Term("gsp", 10.0, gsp("cosine", max_nodes=2048)))
    """
    require_choice("gsp", "kernel", kernel, tuple(KERNELS))
    require_choice("gsp", "head", head, HEADS)
    require_optional_count("gsp", max_nodes=max_nodes, dim=dim)

    def init(key: PRNGKey, t: Layer, s: Layer) -> Pytree:
        return init_sides(key, t, s, head, dim)

    def loss(
        params: Pytree, t: Float[Array, "n d_t"], s: Float[Array, "n d_s"], inputs: Inputs
    ) -> tuple[Array, dict[str, Array]]:
        t_rows, s_rows, kept = projected_sides("gsp", params, t, s, inputs, head, max_nodes)
        total = squared_difference(KERNELS[kernel], t_rows, s_rows, kept)
        return total / node_count(kept, total.dtype) ** 2, {}

    return of_last_hidden("gsp", init, masked_layer, loss)


def _log_weights(kernel: Kernel, x: Float[Array, "n d"], graph: GraphsTuple, mask: Mask) -> Float[Array, " e"]:
    """Computes the log of the softmax of the kernel over the counted edges of each receiver; 0 on all other edges."""
    senders, receivers, counted = counted_edges(graph, mask)
    rows = kernel.rows(masked_rows(x, mask), mask)
    values = rowwise(kernel, rows[senders], rows[receivers])
    values = jnp.where(counted, values, float(jnp.finfo(values.dtype).min))
    largest = jax.ops.segment_max(jax.lax.stop_gradient(values), receivers, num_segments=mask.shape[0])
    shifted = values - largest[receivers]
    sums = jax.ops.segment_sum(jnp.where(counted, jnp.exp(shifted), 0.0), receivers, num_segments=mask.shape[0])
    return jnp.where(counted, shifted - jnp.log(sums + _SOFTMAX_FLOOR)[receivers], 0.0)
