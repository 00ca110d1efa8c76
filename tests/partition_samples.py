"""Graphs cut into blocks on the fake devices of these tests."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from abkd_jax.graph import partition, place

PARTS = 4
needs_devices = pytest.mark.skipif(
    jax.device_count() < PARTS, reason=f"needs {PARTS} devices, tests/conftest.py fakes them"
)


def mesh_of(parts=PARTS):
    return jax.make_mesh((parts,), ("nodes",), axis_types=(AxisType.Auto,), devices=jax.devices()[:parts])


def spread(graph, parts=PARTS, **options):
    """The graph on as many devices as it has parts."""
    return place(partition(graph, parts, **options), mesh_of(parts))


def real_edges(graph):
    """Positions of the edges that are no padding."""
    return np.flatnonzero(np.asarray(graph.senders) != graph.edges.info.nodes - 1)
