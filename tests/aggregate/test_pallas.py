"""The kernel of a TPU, interpreted: sums over rows of a table that lies in vector memory."""

import functools

import jax
import jax.experimental.pallas
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import star
from graphs import dense_normalised, edge_lists, features, raw_graph
from hypothesis import given, settings

from abkd_jax.aggregate import pallas, propagate
from abkd_jax.graph import constants, prepare
from abkd_jax.graph.slots import lay_out_slots


def described(devices=1, kind="TPU v5 lite", manual=False):
    """A scope in which programs are traced for a device that is not there."""
    device = jax.sharding.AbstractDevice(device_kind=kind, num_cores=1, platform="tpu")
    types = (jax.sharding.AxisType.Manual if manual else jax.sharding.AxisType.Auto,)
    mesh = jax.sharding.AbstractMesh((devices,), ("x",), types, abstract_device=device)
    return jax.sharding.use_abstract_mesh(mesh)


@pytest.fixture(scope="module", autouse=True)
def interpreted():
    """Kernels run on the CPU, in small tiles, so that they compile quickly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            jax.experimental.pallas,
            "pallas_call",
            functools.partial(jax.experimental.pallas.pallas_call, interpret=True),
        )
        patch.setattr(pallas, "SLOTS_A_TURN", 1)
        for module in (pallas, constants):
            patch.setattr(module, "TILE", 16)
        yield


def _check(edges, width):
    """Value and gradient are those of the dense matrix in float64."""
    matrix = dense_normalised(edges._replace(weights=np.ones_like(edges.weights)))
    x, cotangent = (features(seed, edges.size, width) for seed in range(2))
    graph = prepare(raw_graph(edges, x, weighted=False), backend="bucketed")

    @jax.jit
    def both(x, cotangent):
        out, pullback = jax.vjp(lambda x: propagate(graph, x), x)
        return out, pullback(cotangent)[0]

    with described():
        assert edges.senders.size == 0 or "table_sums" in str(jax.make_jaxpr(both)(x, cotangent))
        value, gradient = both(x, cotangent)
    np.testing.assert_allclose(value, matrix @ x.astype(np.float64), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, matrix.T @ cotangent.astype(np.float64), rtol=1e-5, atol=1e-5)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(edges=edge_lists())
def test_any_graph(edges):
    _check(edges, 3)


def test_rows_that_are_cut_and_more_columns_than_lanes():
    """One row of 1,100 entries takes three levels."""
    _check(star(1100), 130)


def _fits(rows, dtype=np.float32):
    slots = lay_out_slots(np.array([0, 2, 3]), np.array([1, 0, 1], np.int32), columns=2)
    found = []
    jax.eval_shape(lambda x: found.append(pallas.table_fits(slots, x)), jax.ShapeDtypeStruct((rows, 64), dtype))
    return found[0]


def test_it_runs_on_a_tpu_where_the_table_fits():
    assert not _fits(2)  # no TPU is in scope
    with described():
        assert _fits(2)
        assert _fits(169_343)  # ogbn-arxiv
        assert not _fits(300_000)
        assert not _fits(2, jnp.bfloat16)
    with described(kind="TPU v5p"):
        assert _fits(100_000)
        assert not _fits(169_343)


def test_xla_is_never_asked_to_split_it_over_devices():
    with described(devices=2):
        assert not _fits(2)
    with described(devices=2, manual=True):
        assert _fits(2)
