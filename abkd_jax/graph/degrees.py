"""Degrees of the nodes of a minibatch, which its blocks keep: these have not all edges that leave a node."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from abkd_jax.types import HostOrDevice

__all__ = ["Degrees", "count_degrees"]


class Degrees(NamedTuple):
    """Numbers of edges at each node.

    Attributes:
        leaving: `[n]` int32, of those that leave it.
        entering: `[n]` int32, of those that enter it.
        loops: `[n]` int32, of those that do both.
    """

    leaving: Int[HostOrDevice, " n"]
    entering: Int[HostOrDevice, " n"]
    loops: Int[HostOrDevice, " n"]


def count_degrees(row_ptr: np.ndarray, col_ptr: np.ndarray, loops: np.ndarray) -> Degrees:
    """Counts the edges at each node, on the host.

    Args:
        row_ptr: `[n + 1]` int32, where the edges begin that enter each node.
        col_ptr: `[n + 1]` int32, likewise of those that leave it.
        loops: the node of each loop.

    Examples:
        >>> degrees = count_degrees(np.array([0, 1, 3, 3]), np.array([0, 2, 2, 3]), np.array([0]))
        >>> degrees.leaving.tolist(), degrees.entering.tolist(), degrees.loops.tolist()
        ([2, 0, 1], [1, 2, 0], [1, 0, 0])
    """
    counted = np.bincount(loops, minlength=row_ptr.shape[0] - 1).astype(np.int32)
    return Degrees(np.diff(col_ptr), np.diff(row_ptr), counted)
