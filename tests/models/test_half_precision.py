"""Models whose parameters and features are of 16 bits, not only what they compute in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_samples import NODES, X, initialised, make, typed_graph

from abkd_jax.configs.options import OptimConfig
from abkd_jax.graph import prepare
from abkd_jax.models import RGCN
from abkd_jax.training.step import make_optimizer


def _narrow(tree, dtype):
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


@pytest.mark.parametrize("name", ["gcnii", "graphsage", "gat", "gin", "sign"])
def test_parameters_and_features_of_float16(name):
    """Sixteen times the features of the other tests: near float32, in training with batch normalisation."""
    model = make(name)
    variables = initialised(model)

    def run(variables, nodes):
        graph = prepare(typed_graph(nodes), relations=2)
        apply = jax.jit(lambda v, g: model.apply(v, g, train=True, mutable=["batch_stats"])[0])
        return apply(variables, graph)

    narrow, wide = run(_narrow(variables, jnp.float16), (16 * X).astype(np.float16)), run(variables, 16 * X)
    assert narrow.logits.dtype == jnp.float32
    assert {hidden.dtype for hidden in narrow.hiddens} == {jnp.dtype(jnp.float16)}
    for got, exact in zip((narrow.logits, *narrow.hiddens), (wide.logits, *wide.hiddens), strict=True):
        assert np.abs(np.asarray(got, np.float32) - exact).max() < 0.02 * np.abs(exact).max()


def test_layer_normalisation_of_16_bits_needs_no_promotion():
    model = make("gcn", norm="layer", dtype=jnp.bfloat16)
    assert jax.eval_shape(model.init, jax.random.key(0), typed_graph())


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_gradients_of_a_row_of_a_table_add_up_in_32(dtype):
    """3,000 nodes of one type share its bias; 16 bits alone count to 2,048 or 256."""
    nodes = 3000
    graph = typed_graph()._replace(
        nodes={"features": np.zeros((nodes, 2), np.float32), "type": np.ones(nodes, np.int32)},
        n_node=np.array([nodes]),
    )
    model = RGCN(2, 2, 2, relations=2, node_types=2, dtype=dtype)
    variables = initialised(model, graph=graph)

    def total(params):
        return jnp.sum(model.apply({"params": params}, graph).logits)

    gradient = jax.jit(jax.grad(total))(variables["params"])["conv_1"]["root"]["bias"]
    np.testing.assert_allclose(gradient, [[0.0, 0.0], [nodes, nodes]], rtol=0.004)
    assert nodes > NODES


def test_small_gradients_of_float16_parameters_train():
    """Their squares and Adam's epsilon are 0 in float16: 0 / 0 would make every parameter NaN."""
    optimizer = make_optimizer(OptimConfig(learning_rate=0.1))
    params = {"student": {"conv_0": jnp.ones(3, jnp.float16)}, "objective": {}}
    gradients = {"student": {"conv_0": jnp.asarray([1e-5, -1e-5, 0.0], jnp.float16)}, "objective": {}}
    with jax.numpy_dtype_promotion("standard"):
        updates, state = optimizer.update(gradients, optimizer.init(params), params)
    step = updates["student"]["conv_0"]
    assert step.dtype == jnp.float16
    np.testing.assert_allclose(step, [-0.1, 0.1, 0.0], rtol=0.01)  # Adam's first step is the rate
    assert {leaf.dtype for leaf in jax.tree.leaves(state) if leaf.ndim} == {jnp.dtype(jnp.float32)}
