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


def count_degrees(senders: np.ndarray, receivers: np.ndarray, size: int) -> Degrees:
    """Counts the edges at each node, on the host.

    Args:
        senders: `[e]`.
        receivers: `[e]`.
        size: number of nodes.

    Examples:
        >>> degrees = count_degrees(np.array([0, 0, 2]), np.array([0, 1, 1]), 3)
        >>> degrees.leaving.tolist(), degrees.entering.tolist(), degrees.loops.tolist()
        ([2, 0, 1], [1, 2, 0], [1, 0, 0])
    """
    ends = senders, receivers, receivers[senders == receivers]
    return Degrees(*(np.bincount(nodes, minlength=size).astype(np.int32) for nodes in ends))
