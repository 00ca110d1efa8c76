"""Readout: one vector per graph of a batch."""

from typing import Literal

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Float, Int

from abkd_jax.aggregate.memberships import interval_sums
from abkd_jax.graph import num_nodes
from abkd_jax.graph.input_checks import check_graph, check_rows
from abkd_jax.graph.precision import floats, widened
from abkd_jax.types import InputError

__all__ = ["Readout", "readout"]

Readout = Literal["sum", "mean", "max"]


def readout(graph: jraph.GraphsTuple, x: Float[Array, "n f"], how: Readout = "mean") -> Float[Array, "g f"]:
    """Computes the sum, mean or maximum of `x` over the nodes of each graph; zero for a graph without nodes.

    Args:
        graph: a batch as `jraph.batch` makes it; `n_node` says which nodes belong together.
        x: `[n, f]`; integers give float32.
        how: `"sum"`, `"mean"` or `"max"`.

    Returns:
        `[g, f]`, one row per graph.

    Raises:
        InputError: another `how`, or rows of `x` that are more or fewer than the nodes.

    Examples:
        >>> import jax.numpy as jnp, jraph, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> one = from_edges(np.array([0]), np.array([1]), num_nodes=2)
        >>> readout(jraph.batch_np([one, one]), jnp.array([[1.0], [3.0], [5.0], [7.0]]))[:, 0].tolist()
        [2.0, 6.0]
    """
    if how not in ("sum", "mean", "max"):
        raise InputError(f"readout is {how!r}, expected one of sum, mean, max")
    check_graph(graph, num_nodes(graph))
    check_rows("node", x, num_nodes(graph))
    x = floats(x)
    wide = widened(x)
    n_node = jnp.asarray(graph.n_node)
    graphs = n_node.shape[0]
    if how == "max":
        largest = jax.ops.segment_max(
            wide, _graph_of_each(n_node, x.shape[0]), num_segments=graphs, indices_are_sorted=True
        )
        return jnp.where((n_node > 0)[:, None], largest, 0.0).astype(x.dtype)
    total = interval_sums(n_node, wide, _segment_sums)
    total = total / jnp.maximum(n_node, 1).astype(wide.dtype)[:, None] if how == "mean" else total
    return total.astype(x.dtype)


def _segment_sums(n_node: Int[Array, " g"], x: Float[Array, "n f"]) -> Float[Array, "g f"]:
    ids = _graph_of_each(n_node, x.shape[0])
    return jax.ops.segment_sum(x, ids, num_segments=n_node.shape[0], indices_are_sorted=True)


def _graph_of_each(n_node: Int[Array, " g"], nodes: int) -> Int[Array, " n"]:
    return jnp.repeat(jnp.arange(n_node.shape[0]), n_node, total_repeat_length=nodes)
