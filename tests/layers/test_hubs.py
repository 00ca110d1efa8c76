"""A hub that hears more neighbours than 16 bits can count or add up, in every layer and layout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import star
from layer_samples import LAYERS, graph_of, params_of, run

from abkd_jax import aggregate
from abkd_jax.graph import normalise, prepare
from abkd_jax.layers import MaskedBatchNorm, SAGEConv

LEAVES = 3000
HALVES = pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
STAR = star(LEAVES)
X = np.random.default_rng(0).uniform(0.0, 40.0, (LEAVES + 1, 5)).astype(np.float32)  # sums are near 60,000
SMALL = {"gin": 0.01, "gcnii star": 0.1}  # of layers whose outputs are sums: they must fit float16
PLAIN = graph_of(STAR, X, np.zeros(LEAVES, np.int32))


def _held(layout):
    return PLAIN if layout == "plain" else prepare(PLAIN, backend=layout, relations=3)


@functools.cache
def _variables():
    few = graph_of(star(2), X[:3], np.zeros(2, np.int32))
    return {name: params_of(layer(), few, X[:3]) for name, layer in LAYERS.items()}


@functools.partial(jax.jit, static_argnames=("names", "dtype"))
def _outputs(names, variables, graph, x, dtype):
    """Of some layers at the hub and its first leaves."""
    return {
        name: LAYERS[name](dtype=dtype).apply(variables[name], graph, SMALL.get(name, 1.0) * x)[:3] for name in names
    }


@functools.cache
def _exact():
    return _outputs(tuple(LAYERS), _variables(), PLAIN, X, None)


EVERY, FEW = tuple(LAYERS), ("gcn", "sage", "gat")  # the forms of a sum differ where these three run them


@pytest.mark.parametrize(
    ("layout", "dtype", "names"),
    [
        *((layout, jnp.float16, EVERY) for layout in ("plain", "auto")),
        *((layout, jnp.bfloat16, FEW) for layout in ("plain", "auto")),
        *((backend, jnp.float16, FEW) for backend in aggregate.BACKENDS if backend != "auto"),
    ],
)
def test_layers_are_near_float32_at_a_hub(layout, dtype, names):
    for name, got in _outputs(names, _variables(), _held(layout), X, dtype).items():
        assert got.dtype == dtype
        exact = np.asarray(_exact()[name])
        gap = np.abs(np.asarray(got, np.float32) - exact).max()
        assert gap < (0.004 if dtype == jnp.float16 else 0.03) * np.abs(exact).max(), name


@functools.partial(jax.jit, static_argnums=0)
def _shared(function, x):
    """The value of the first row, and the gradient of the sum of all."""
    out, pullback = jax.vjp(function, x)
    return out[0, 0], pullback(jnp.ones_like(out))[0]


@HALVES
@pytest.mark.parametrize("layout", ["plain", "bucketed"])
def test_gradients_of_ties_and_means_at_a_hub(layout, dtype):
    """Of equal neighbours each has one share of the gradient, which is not 1 / 2048."""
    graph, x = _held(layout), np.full((LEAVES + 1, 1), 50.0, dtype)
    for function in (aggregate.mean, aggregate.maximum):
        value, gradient = _shared(lambda x, function=function: function(graph, x), x)
        assert float(value) == 50.0
        np.testing.assert_allclose(np.asarray(gradient, np.float32)[1:], 1 / LEAVES, rtol=0.005)


@HALVES
def test_weights_of_16_bits_are_normalised_in_32(dtype):
    weights = np.full(LEAVES, 30.0, dtype)  # the degree of the hub, 90,001, is beyond float16
    graph = PLAIN._replace(edges={"weight": weights})
    right = PLAIN._replace(edges={"weight": weights.astype(np.float32)})
    for form in (normalise, prepare):
        got, expected = form(graph).edges, form(right).edges
        for a, b in ((got.coefficients, expected.coefficients), (got.self_coefficients, expected.self_coefficients)):
            assert a.dtype == np.float32
            np.testing.assert_array_equal(a, b)


@HALVES
def test_norms_of_16_bits_are_finite(dtype):
    x = jnp.asarray(10.0 * X, dtype)  # squares beyond 65,504
    layer = SAGEConv(3, normalize=True, dtype=dtype)
    out = np.asarray(run(layer, params_of(layer, PLAIN, x), PLAIN, x), np.float32)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1.0, rtol=0.01)
    norm = MaskedBatchNorm()
    variables = jax.tree.map(lambda a: a.astype(dtype), norm.init(jax.random.key(0), x, use_running_average=True))
    out, state = norm.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
    assert {leaf.dtype for leaf in jax.tree.leaves((out, state))} == {jnp.dtype(dtype)}
    np.testing.assert_allclose(np.asarray(out, np.float32).std(axis=0), 1.0, rtol=0.01)


def _readout(how, x):
    return aggregate.readout(PLAIN, x, how)


@HALVES
def test_readouts_of_16_bits_share_ties_alike(dtype):
    x = np.full((LEAVES + 1, 1), 50.0, dtype)
    for how in ("mean", "max"):
        value, gradient = _shared(functools.partial(_readout, how), x)
        assert float(value) == 50.0
        np.testing.assert_allclose(np.asarray(gradient, np.float32), 1 / (LEAVES + 1), rtol=0.005)
