"""Label propagation: a baseline without parameters."""

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Bool, Float, Int

from abkd_jax.aggregate import receiver_sums, weighted_sum
from abkd_jax.graph import edge_weights, num_nodes
from abkd_jax.graph.input_checks import check_rows
from abkd_jax.graph.precision import widened
from abkd_jax.types import InputError

__all__ = ["label_propagation"]


def label_propagation(
    graph: jraph.GraphsTuple,
    labels: Int[Array, " n"],
    train_mask: Bool[Array, " n"],
    classes: int,
    *,
    alpha: float,
    steps: int,
) -> Float[Array, "n {classes}"]:
    """Propagates labels along the edges (Zhu & Ghahramani, CMU-CALD-02-107; normalised as by Zhou et al., NIPS 2003).

        y <- clip(alpha D^-1/2 A D^-1/2 y + (1 - alpha) y_0, 0, 1), `steps` times from y_0

    `y_0` is 1 at the labels of the training nodes and 0 elsewhere; `D` holds the sums of the weights of the incoming
    edges. No self loops are added.

    Args:
        graph: plain or prepared, with weights or not (`graph.edge_weights`).
        labels: `[n]`, negative where unlabelled; entries outside the mask are ignored. A label in the mask that is no
            class spreads NaN.
        train_mask: `[n]`, nodes whose labels are known.
        classes: number of classes.
        alpha: share of the neighbours, in [0, 1].
        steps: number of steps, the distance that labels travel.

    Returns:
        `[n, classes]` in [0, 1]; zero where no label arrives.

    Raises:
        InputError: `alpha` is not in [0, 1], `steps` is negative, or there is not one label and mask entry per node.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from abkd_jax.graph import from_edges
        >>> path = from_edges(np.array([0, 1]), np.array([1, 2]), num_nodes=4, undirected=True)
        >>> labels, known = jnp.array([0, 1, 1, 1]), jnp.array([True, False, False, False])
        >>> (label_propagation(path, labels, known, 2, alpha=0.9, steps=2) > 0).tolist()
        [[True, False], [True, False], [True, False], [False, False]]
    """
    if not 0.0 <= alpha <= 1.0 or steps < 0:
        raise InputError(f"label_propagation: alpha {alpha} and {steps} steps, expected 0 to 1 and at least 0")
    check_rows("node", (labels, train_mask), num_nodes(graph))
    weights = widened(edge_weights(graph))
    degrees = receiver_sums(graph, weights[:, None])[:, 0]
    scale = jnp.where(degrees > 0.0, jax.lax.rsqrt(jnp.where(degrees > 0.0, degrees, 1.0)), 0.0)
    coefficients = weights * scale[graph.senders] * scale[graph.receivers]
    known = jax.nn.one_hot(jnp.where(train_mask, labels, -1), classes, dtype=weights.dtype)
    known = jnp.where((train_mask & (labels >= classes))[:, None], jnp.nan, known)  # one_hot has a row of zeros for it

    def step(_: Array, y: Array) -> Array:
        return jnp.clip(alpha * weighted_sum(graph, y, coefficients) + (1.0 - alpha) * known, 0.0, 1.0)

    return jax.lax.fori_loop(0, steps, step, known)
