"""A block of layer-wise inference at ogbn-mag's size, with random edges: its shapes are those of a real one."""

from typing import Any

import jax
import numpy as np

from abkd_jax.graph.layout import LayoutInfo, graphs_tuple
from abkd_jax.inference.blocks import block_layout

__all__ = ["rgcn_block"]

RECEIVERS, EDGES, SENDERS = 2**15, 2**18, 2**17  # most of a block, as `layerwise` cuts them by default
PAPER, ENTERING = 3, (1, 2, 3)  # type of the receivers, and three types of edges that enter it


def rgcn_block(model: Any) -> tuple[Any, tuple[Any, ...]]:
    """Returns the jitted second stage of an RGCN, and shapes of its variables, a block and the layer before.

    Args:
        model: `models.RGCN` of at least three layers.
    """
    rng, size = np.random.default_rng(0), RECEIVERS + SENDERS
    to = np.sort(rng.integers(0, RECEIVERS, EDGES)).astype(np.int32)
    by = rng.integers(RECEIVERS, size, EDGES).astype(np.int32)
    relation = rng.integers(0, len(ENTERING), EDGES).astype(np.int32)
    info = LayoutInfo(size, EDGES, relations=ENTERING, types=(PAPER,))
    block = graphs_tuple(
        nodes={"type": rng.integers(0, 4, size).astype(np.int32)},
        edges=block_layout(to, by, {"relation": relation}, np.ones(size, np.float32), RECEIVERS, info),
        senders=by,
        receivers=to,
        n_node=np.array([size], np.int32),
        n_edge=np.array([EDGES], np.int32),
    )
    stage = model.stages()[1]
    hidden = jax.ShapeDtypeStruct((size, model.hidden), np.float32)
    variables = jax.eval_shape(stage.module.init, jax.random.key(0), block, (hidden,))
    return jax.jit(stage.module.apply), (variables, block, (hidden,))
