import re

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from graphs import random_edges, raw_graph

from abkd_jax.aggregate import readout
from abkd_jax.graph import pad_to_bucket, prepare
from abkd_jax.types import InputError

SIZES = (4, 0, 1, 3)


def _batch():
    return jraph.batch_np([raw_graph(random_edges(n, n, 2 * n), np.zeros((n, 1), np.float32)) for n in SIZES])


def _model(x, cotangent, how):
    """Value and gradient, graph by graph; ties share."""
    out, grad, begin = np.zeros((len(SIZES), x.shape[1])), np.zeros(x.shape), 0
    for i, size in enumerate(SIZES):
        own = x[begin : begin + size]
        if size:
            out[i] = {"sum": own.sum(0), "mean": own.mean(0), "max": own.max(0)}[how]
            shares = {
                "sum": np.ones_like(own),
                "mean": np.full_like(own, 1 / size),
                "max": (own == own.max(0)).astype(float),
            }
            share = shares[how] / (shares[how].sum(0) if how == "max" else 1.0)
            grad[begin : begin + size] = share * cotangent[i]
        begin += size
    return out, grad


@pytest.mark.parametrize("arrange", [lambda graph: graph, prepare], ids=["plain", "prepared"])
@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_values_and_gradients_are_those_of_the_model(how, arrange):
    x = np.random.default_rng(0).integers(-3, 3, (8, 5)).astype(float)  # with ties
    cotangent = np.random.default_rng(1).normal(size=(4, 5))
    with jax.enable_x64(True):
        graph = arrange(_batch())

        @jax.jit
        def both(x, cotangent):
            out, pullback = jax.vjp(lambda x: readout(graph, x, how), x)
            return out, pullback(cotangent)[0]

        got = both(jnp.asarray(x), jnp.asarray(cotangent))
        expected = _model(x, cotangent, how)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), got, expected)


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_padding_stands_in_graphs_of_its_own(how):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32))
    padded = pad_to_bucket(_batch())
    wide = jnp.concatenate([x, jnp.full((padded.nodes.shape[0] - 8, 5), 1e9)])
    got = jax.jit(lambda graph, x: readout(graph, x, how))(prepare(padded), wide)
    np.testing.assert_allclose(got[:4], jax.jit(lambda x: readout(_batch(), x, how))(x), rtol=1e-6)


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_sums_of_16_bits_accumulate_in_32(how):
    """In bfloat16 alone, 1 + 1 + ... stops at 256."""
    graph = raw_graph(random_edges(0, 512, 0), np.zeros((512, 1), np.float32))
    out = readout(graph, jnp.ones((512, 1), jnp.bfloat16), how)
    assert out.dtype == jnp.bfloat16
    assert float(out[0, 0]) == {"sum": 512, "mean": 1}[how]


def test_vmap_is_a_loop():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 2)).astype(np.float32))
    for how in ("sum", "mean", "max"):
        got = jax.jit(jax.vmap(lambda x, how=how: readout(_batch(), x, how)))(x)
        np.testing.assert_allclose(
            got, np.stack([_model(np.asarray(v, float), np.zeros((4, 2)), how)[0] for v in x]), rtol=1e-5, atol=1e-6
        )


def test_another_readout_is_refused():
    """Type checkers see it first, where they are active."""
    function = getattr(readout, "__wrapped__", readout)
    with pytest.raises(InputError, match=re.escape("readout is 'median', expected one of sum, mean, max")):
        function(_batch(), jnp.ones((8, 1)), "median")
