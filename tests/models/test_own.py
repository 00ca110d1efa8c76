"""Models from outside the package, built by name."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import own_model_samples
import pytest

from abkd_jax import datasets, graph, models
from abkd_jax.configs.options import ModelConfig
from abkd_jax.layers.output import Units, variables_of
from abkd_jax.models.own import Own
from abkd_jax.types import InputError

GRAPH = graph.from_dataset(datasets.load("synthetic"))


def config(name, **settings):
    return ModelConfig(f"own_model_samples:{name}", **{"layers": 2, "hidden": 4, **settings})


@pytest.mark.parametrize("name", ["tiny", "of_nnx"])
def test_outputs_and_parameters_are_those_of_the_module(name):
    model = models.build(config(name), 3)
    inner = getattr(own_model_samples, name)(config(name), 3)
    variables = jax.jit(model.init)(jax.random.key(0), GRAPH)
    assert jax.tree.structure(dict(variables)) == jax.tree.structure(dict(inner.init(jax.random.key(0), GRAPH)))
    found, expected = model.apply(variables, GRAPH), inner.apply(variables, GRAPH)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert hash(model) == hash(models.build(config(name), 3))


def test_dropout_of_nnx_is_drawn_from_its_stream_in_training_alone():
    model = models.build(config("of_nnx_with_dropout"), 3)

    @jax.jit
    def run(key, other):
        variables = model.init(key, GRAPH)
        trained = [model.apply(variables, GRAPH, train=True, rngs={"dropout": k}).hiddens[0] for k in (key, other)]
        return trained, [model.apply(variables, GRAPH, rngs={"dropout": k}).hiddens[0] for k in (key, other)]

    trained, evaluated = run(jax.random.key(0), jax.random.key(1))
    assert not np.array_equal(*trained)
    for hidden in evaluated:
        np.testing.assert_array_equal(hidden, GRAPH.nodes)


def test_real_targets_have_their_units_and_logits_float32():
    model, units = models.build(config("tiny"), 3), Units(jnp.full(3, 2.0), jnp.arange(3.0))
    variables = jax.jit(model.init)(jax.random.key(0), GRAPH)
    plain = model.apply(variables, GRAPH).logits
    scaled = model.apply({**variables, **variables_of(units)}, GRAPH).logits
    np.testing.assert_allclose(scaled, 2.0 * plain + np.arange(3.0, dtype=np.float32)[None], rtol=1e-6)
    half = Own(own_model_samples.Returns(3, lambda x: own_model_samples.GNNOutput(x.astype(jnp.bfloat16), ())))
    assert half.apply(half.init(jax.random.key(0), GRAPH), GRAPH).logits.dtype == jnp.float32


def test_functions_are_given_the_facts_that_they_take():
    model = models.build(config("with_facts"), 3, relations=7, node_types=2, edge_features=1)
    assert (model.module.width, model.module.layers) == (7, 1)


def test_a_model_of_the_package_is_that_one():
    assert models.build(config("of_the_package"), 3) == models.GCN(4, 2, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", "own_model_samples:fails: the call for 3 classes failed with ValueError: no such size"),
        ("a_number", "own_model_samples:a_number: it returns int, expected a flax.linen.Module"),
        ("an_nnx_module", "it returns Net, expected a flax.linen.Module; flax.nnx.bridge.to_linen makes one of an NNX"),
        ("a_list", "own_model_samples:a_list: the call for 3 classes failed with TypeError: Failed to hash"),
        ("other", "own_model_samples has no other, expected a function that returns a flax.linen.Module"),
        ("", "'own_model_samples:' names no model, expected module:function, as in my_models:tiny"),
    ],
)
def test_what_is_no_model_is_one_line(name, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        models.build(config(name), 3)
    assert "\n" not in str(caught.value)
