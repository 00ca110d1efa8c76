"""Outputs of a model for a graph, or for all graphs of a large data set, some of them at a time."""

from typing import Any

import jax
import jraph

from abkd_jax.sampling import GraphParts
from abkd_jax.types import GNNOutput, Pytree

__all__ = ["MAX_NODES_AT_ONCE", "apply_to"]

# Graphs of a data set with more nodes are computed part by part: GINs of 128 units hold 16 kB per atom and its bonds.
MAX_NODES_AT_ONCE = 2**17


def apply_to(model: Any, variables: Pytree, graph: jraph.GraphsTuple | GraphParts) -> GNNOutput:
    """Computes the outputs of a model, of parts one after the other, for use under `jax.jit`.

    Args:
        model: with an `apply`.
        variables: of the model.
        graph: a graph, or graphs in parts; then the model must read each graph by itself.

    Returns:
        The outputs in the order of the data set, whichever it is: of parts with the last hidden layer alone.
    """
    if not isinstance(graph, GraphParts):
        return model.apply(variables, graph)

    def of_part(part: jraph.GraphsTuple) -> tuple[Any, Any]:
        out = model.apply(variables, part)
        return out.logits, out.hiddens[-1:]

    logits, hiddens = jax.lax.map(of_part, graph.graphs)
    end_to_end = lambda leaf: leaf.reshape(-1, leaf.shape[-1])  # noqa: E731
    return GNNOutput(
        end_to_end(logits)[graph.graph_rows], tuple(end_to_end(hidden)[graph.node_rows] for hidden in hiddens)
    )
