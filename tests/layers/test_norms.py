import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_samples import X

from abkd_jax.layers import MaskedBatchNorm, jumping_knowledge
from abkd_jax.types import InputError

MASK = np.arange(9) < 7
VARIABLES = {
    "params": {"scale": jnp.arange(1.0, 6.0), "bias": jnp.arange(5.0)},
    "batch_stats": {"mean": jnp.full(5, 2.0), "var": jnp.full(5, 3.0)},
}


def _train(x, mask=MASK, dtype=None):
    norm = MaskedBatchNorm(dtype=dtype)
    apply = jax.jit(
        lambda x, mask: norm.apply(VARIABLES, x, use_running_average=False, mask=mask, mutable=["batch_stats"])
    )
    return apply(jnp.asarray(x), None if mask is None else jnp.asarray(mask))


def test_batch_norm_is_its_formula():
    seen = X[:7].astype(np.float64)
    expected = (seen - seen.mean(axis=0)) / np.sqrt(seen.var(axis=0) + 1e-5) * np.arange(1.0, 6.0) + np.arange(5.0)
    for out, new in (_train(X), _train(X[:7], None)):
        np.testing.assert_allclose(out[:7], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(new["batch_stats"]["mean"], 1.8 + 0.1 * seen.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(new["batch_stats"]["var"], 2.7 + 0.1 * seen.var(axis=0, ddof=1), rtol=1e-6)


def test_running_statistics_normalise_where_asked():
    out = jax.jit(lambda x: MaskedBatchNorm().apply(VARIABLES, x, use_running_average=True))(jnp.asarray(X))
    expected = (X - 2.0) / np.sqrt(3.0 + 1e-5) * np.arange(1.0, 6.0) + np.arange(5.0)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def test_padding_changes_neither_statistics_nor_gradients():
    wild = np.where(MASK[:, None], X, 1e6).astype(np.float32)

    def loss(x, params):
        out, new = MaskedBatchNorm().apply(
            VARIABLES | {"params": params},
            x,
            use_running_average=False,
            mask=jnp.asarray(MASK),
            mutable=["batch_stats"],
        )
        return jnp.sum(jnp.sin(jnp.where(MASK[:, None], out, 0.0))), new

    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    tame, wilder = (both(jnp.asarray(x), VARIABLES["params"]) for x in (X, wild))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), tame, wilder)
    np.testing.assert_array_equal(tame[1][0][7:], np.zeros((2, 5)))


@pytest.mark.parametrize("count", [0, 1])
def test_no_node_or_one_gives_no_nan(count):
    out, new = _train(X, np.arange(9) < count)
    assert np.isfinite(out).all()
    stats = new["batch_stats"]
    assert np.isfinite(stats["mean"]).all()
    if count == 0:
        jax.tree.map(np.testing.assert_array_equal, stats, VARIABLES["batch_stats"])


def test_initialisation_leaves_the_running_statistics():
    variables = MaskedBatchNorm().init(jax.random.key(0), jnp.asarray(X), use_running_average=False)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(5))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(5))
    np.testing.assert_array_equal(variables["params"]["scale"], np.ones(5))


def test_bfloat16_keeps_its_statistics_wide():
    out, new = _train(X.astype(jnp.bfloat16))
    assert out.dtype == jnp.bfloat16
    assert new["batch_stats"]["mean"].dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(out, np.float32), _train(X)[0], rtol=0.05, atol=0.1)


def test_jumping_knowledge():
    first, second = jnp.asarray(X), -2.0 * jnp.asarray(X)
    np.testing.assert_array_equal(jumping_knowledge([first, second], "last"), -2 * X)
    np.testing.assert_array_equal(jumping_knowledge([first, second], "cat"), np.concatenate([X, -2 * X], axis=1))
    np.testing.assert_array_equal(jumping_knowledge((first, second), "max"), np.maximum(X, -2 * X))
    with pytest.raises(InputError, match=r"widths \[4, 5\], expected one width"):
        jumping_knowledge([first, second[:, :4]], "max")
    with pytest.raises(InputError, match="of 0 layers"):
        jumping_knowledge([], "cat")
