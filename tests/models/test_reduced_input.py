"""A student that reads its input through a fixed map, and the plain student that it becomes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_samples import CLASSES, HIDDEN, NAMES, NODES, WIDTH, assert_close, make, typed_graph

from abkd_jax import models
from abkd_jax.models.external import Applied
from abkd_jax.models.reduced_input import ReducedInput, input_kernel, reduced, with_identity
from abkd_jax.types import InputError

MAP = jnp.asarray(np.random.default_rng(3).normal(size=(WIDTH, 2)), jnp.float32)
READING_FEATURES = [name for name in NAMES if name != "sign"]  # SIGN reads powers that were computed before


def drawn(name):
    model = make(name)
    through = ReducedInput(model, MAP)
    return model, through, jax.jit(through.init)(jax.random.key(1), typed_graph())


def assert_plain(through, model, variables, plain):
    found, expected = jax.jit(through.apply)(variables, typed_graph()), jax.jit(model.apply)(plain, typed_graph())
    assert_close(found, expected)


@pytest.mark.parametrize("name", READING_FEATURES)
def test_the_plain_student_computes_the_same(name):
    model, through, variables = drawn(name)
    plain = jax.jit(through.plain)(variables, typed_graph())
    shapes = jax.eval_shape(model.init, jax.random.key(0), typed_graph())
    assert jax.tree.map(jnp.shape, plain) == jax.tree.map(jnp.shape, shapes)
    assert_plain(through, model, variables, plain)


def test_a_map_as_wide_as_the_features_is_folded_too():
    # The width of the map then tells nothing of which kernels read the input.
    model = models.GCNII(WIDTH, 2, WIDTH)
    through = ReducedInput(model, jnp.asarray(np.random.default_rng(4).normal(size=(WIDTH, WIDTH)), jnp.float32))
    variables = jax.jit(through.init)(jax.random.key(1), typed_graph())
    plain = jax.jit(through.plain)(variables, typed_graph())
    assert_plain(through, model, variables, plain)
    assert_close(plain["params"]["output"], variables["params"]["output"])


def test_statistics_are_returned_and_the_map_stays():
    _, through, variables = drawn("gcn")
    rest = {name: part for name, part in variables.items() if name != "params"}
    out, state = through.apply(variables, typed_graph(), train=True, mutable=list(rest))
    assert out.logits.shape == (NODES, CLASSES)
    assert set(state) == {"batch_stats", "input_map"}
    assert state["input_map"]["kernel"] is variables["input_map"]["kernel"]
    np.testing.assert_array_equal(state["input_map"]["kernel"], MAP)


def test_several_input_kernels_stand_side_by_side():
    teacher = models.GraphSAGE(HIDDEN, 2, CLASSES)
    params = teacher.init(jax.random.key(0), typed_graph())["params"]
    kernel = input_kernel(teacher, params, typed_graph())
    assert kernel.shape == (WIDTH, 2 * HIDDEN)
    with pytest.raises(InputError, match="several input kernels"):
        with_identity(teacher, params, typed_graph())


def test_the_teacher_on_reduced_features_is_the_teacher():
    teacher = models.GCNII(HIDDEN, 2, CLASSES)
    variables = teacher.init(jax.random.key(0), typed_graph())
    kernel = input_kernel(teacher, variables["params"], typed_graph())
    params = with_identity(teacher, variables["params"], typed_graph())
    assert_close(
        teacher.apply({"params": params}, reduced(typed_graph(), kernel)), teacher.apply(variables, typed_graph())
    )


def test_a_function_has_no_input_kernel():
    with pytest.raises(InputError, match="multiplies no kernel with the node features"):
        input_kernel(Applied(lambda variables, graph: graph.nodes), {}, typed_graph())
