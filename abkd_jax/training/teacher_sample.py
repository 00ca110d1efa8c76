"""A sample of the frozen teacher's outputs over some minibatches, from which `distill.teacher_basis` is computed."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from abkd_jax.sampling import padded
from abkd_jax.types import Batch, GNNOutput, InputError, NodeMasks, Pytree

__all__ = ["make_sample_outputs"]

BATCHES = 4
ROWS = 2**14  # of all batches together: 32 times as many as a layer of 512 units is wide


def make_sample_outputs(
    teacher: Callable[[Pytree, Any], GNNOutput] | None, rows: int = ROWS
) -> Callable[[Pytree, Iterable[Batch]], tuple[GNNOutput, NodeMasks]]:
    """Makes `(variables, batches) -> (outputs, masks)`: rows of the teacher's outputs on the first four minibatches.

    They are rows of nodes that losses may use, spread evenly over each batch; the same batches and variables give the
    same ones. All are NumPy arrays. Without a batch the function raises `InputError`.

    Args:
        teacher: `(variables, graph) -> GNNOutput` in evaluation mode; None where `batch.targets` holds its outputs.
        rows: most nodes that are kept; logits of graphs are kept as they are.

    Examples:
        >>> mask, x = np.array([True, False, True]), np.arange(3.0, dtype=np.float32)[:, None]
        >>> batch = Batch(None, None, NodeMasks(mask, mask), targets=GNNOutput(x, (x,)))
        >>> out, masks = make_sample_outputs(None)({}, [batch, batch])
        >>> out.hiddens[0].ravel().tolist(), int(masks.train.sum())
        ([0.0, 2.0, 0.0, 2.0], 4)
    """
    share = -(-rows // BATCHES)

    @jax.jit
    def rows_of(variables: Pytree, batch: Batch, chosen: Int[Array, " k"]) -> GNNOutput:
        out = batch.targets if teacher is None else teacher(variables, batch.graph)
        logits = out.logits if batch.masks.graphs is not None else out.logits[chosen]
        return GNNOutput(logits, tuple(hidden[chosen] for hidden in out.hiddens))

    def of_batch(variables: Pytree, batch: Batch) -> tuple[GNNOutput, NodeMasks]:
        nodes = np.flatnonzero(np.asarray(batch.masks.all))
        count = min(share, nodes.shape[0])
        chosen = nodes[np.linspace(0, max(nodes.shape[0] - 1, 0), count).astype(int)]
        ids = padded(chosen, min(share, batch.masks.all.shape[0]), 0, np.int32)
        logits, hiddens = jax.device_get(rows_of(variables, *jax.device_put((batch, ids))))
        logits = logits if batch.masks.graphs is not None else logits[:count]
        masks = batch.masks._replace(all=batch.masks.all[chosen], train=batch.masks.train[chosen])
        return GNNOutput(logits, tuple(hidden[:count] for hidden in hiddens)), masks

    def sample(variables: Pytree, batches: Iterable[Batch]) -> tuple[GNNOutput, NodeMasks]:
        parts = [of_batch(variables, batch) for batch in itertools.islice(batches, BATCHES)]
        if not parts:
            raise InputError("a sample of the teacher's outputs over no minibatch, expected at least one")
        joined: Any = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        return joined

    return sample
