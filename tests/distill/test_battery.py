"""What every distillation loss must satisfy, whatever it computes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery_samples import (
    GRAPH,
    KEY,
    OBJECTIVES,
    RING,
    N,
    assert_close,
    assert_finite,
    compiled,
    example,
    forward,
    mask_of,
    objective,
)
from distill_samples import QUICK, random_params
from jax.extend.core import jaxprs_in_params
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax.graph.build import from_edges
from abkd_jax.types import NodeMasks

IN_FLOAT16 = (
    *("uniform-per_node", "depth-fixed", "uniform-closed", "uniform-cka", "soft_label", "soft_label_multilabel"),
    *("output_error", "fitnet", "attention_transfer", "mustad-poly", "lsp-l2", "gsp-poly", "gcrd", "sigmoid"),
    "parametric-equal",
)
IN_BFLOAT16 = "uniform-closed", "soft_label", "fitnet", "mustad-poly", "gcrd"  # nothing depends on which of the two
every_objective = pytest.mark.parametrize("name", OBJECTIVES)


@every_objective
def test_is_finite_and_moves_the_student_but_not_the_teacher(name):
    result = compiled(name)(*example(name), mask_of(name))
    assert_finite(result)
    (loss, _), (_, to_student, to_teacher) = result
    assert loss.shape == ()
    assert loss > 0
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(to_student)) > 1e-6
    jax.tree.map(lambda g: assert_array_equal(g, 0.0), to_teacher)


@every_objective
def test_order_of_the_nodes_does_not_matter(name):
    params, student, teacher = example(name)
    order = np.random.default_rng(3).permutation(N)
    shuffled = jax.tree.map(lambda x: x[order], (student, teacher, mask_of(name)))
    graph = from_edges(*np.argsort(order)[np.stack(RING)], N, undirected=True)  # as many edges, among the new numbers
    (loss, (metrics, _)), (to_params, to_student, _) = compiled(name)(params, student, teacher, mask_of(name))
    (loss2, (metrics2, _)), (to_params2, to_student2, _) = compiled(name)(params, *shuffled, graph)
    assert_close((loss2, metrics2, to_params2), (loss, metrics, to_params))
    assert_close(to_student2, jax.tree.map(lambda x: x[order], to_student))


@every_objective
@pytest.mark.parametrize("garbage", [1e6, np.nan])
def test_padded_nodes_change_nothing(name, garbage):
    params, student, teacher = example(name)
    spoil = lambda x: x.at[9:].set(garbage)  # noqa: E731
    (loss, (metrics, _)), (to_params, to_student, _) = compiled(name)(params, student, teacher, mask_of(name))
    spoiled = jax.tree.map(spoil, (student, teacher))
    (loss2, (metrics2, _)), (to_params2, to_student2, _) = compiled(name)(params, *spoiled, mask_of(name))
    jax.tree.map(assert_array_equal, (loss2, metrics2, to_params2, to_student2), (loss, metrics, to_params, to_student))
    for gradient in jax.tree.leaves(to_student):
        assert_array_equal(gradient[9:], 0.0)


@every_objective
def test_seeds_side_by_side_equal_seeds_one_by_one(name):
    params, student, teacher = example(name)
    other = jax.tree.map(lambda x: 0.5 * x[::-1], student)
    other_params = random_params(objective(name), teacher, student, seed=1)
    stack = functools.partial(jax.tree.map, lambda *xs: jnp.stack(xs))
    seeds = jax.jit(jax.vmap(functools.partial(forward, name), in_axes=(0, 0, None, None)), compiler_options=QUICK)
    together = seeds(stack(params, other_params), stack(student, other), teacher, mask_of(name))
    alone = [compiled(name)(*pair, teacher, mask_of(name))[0] for pair in ((params, student), (other_params, other))]
    assert_close(together, stack(*alone))


@every_objective
def test_compiled_equals_step_by_step(name):
    params, student, teacher = example(name)
    assert_close(
        forward(name, params, student, teacher, mask_of(name)), compiled(name)(*example(name), mask_of(name))[0]
    )


@pytest.mark.parametrize(
    "name",
    [
        "learned-per_node",
        "learned-fixed",
        "uniform-shared_heads",
        "weighted_sum",
        "fitnet",
        "fitnet-linear",
        "mustad-kl",
        "gsp-rbf-linear",
        "gcrd",
        "uniform-gsp-heads",
        "stride",
        "logits-closed",
    ],
)
def test_init_needs_shapes_alone(name):
    _, student, teacher = example(name)
    shapes = jax.eval_shape(objective(name).init, KEY, teacher, student)
    params = jax.jit(objective(name).init, compiler_options=QUICK)(KEY, teacher, student)
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, params)
    assert_finite(params)


@every_objective
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_type_follows_the_inputs_from_float32_up(name, dtype, x64):
    _, student, teacher = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), example(name))

    def everything(teacher, student, mask):
        params = objective(name).init(jax.random.key(0), teacher, student)
        targets = objective(name).targets(teacher, graph=GRAPH, mask=mask)
        loss, metrics = objective(name).apply(params, targets, student, graph=GRAPH, mask=mask, key=KEY)
        return params, targets, loss, metrics

    for leaf in jax.tree.leaves(jax.eval_shape(everything, teacher, student, mask_of(name))):
        assert leaf.dtype == dtype


@every_objective
def test_degenerate_inputs_stay_finite(name):
    params, student, teacher = example(name)
    with_zero_rows = jax.tree.map(lambda x: x.at[2:5].set(0.0), (student, teacher))
    dead = student._replace(hiddens=(student.hiddens[0], 0.0 * student.hiddens[1]))
    dead_teacher = teacher._replace(hiddens=(0.0 * teacher.hiddens[0], *teacher.hiddens[1:]))
    one = NodeMasks(jnp.arange(N) == 3, jnp.arange(N) == 3)
    none = NodeMasks(jnp.zeros(N, bool), jnp.zeros(N, bool))
    assert_finite(compiled(name)(params, *with_zero_rows, mask_of(name)))
    assert_finite(compiled(name)(params, dead, teacher, mask_of(name)))
    assert_finite(compiled(name)(params, student, dead_teacher, mask_of(name)))
    assert_finite(compiled(name)(params, student, teacher, mask_of(name, one)))
    assert_finite(compiled(name)(params, student, teacher, mask_of(name, none)))


MOVES = {  # operations that move, choose or convert numbers and do not compute any
    *("convert_element_type", "select_n", "pad", "slice", "dynamic_slice", "dynamic_update_slice", "gather", "copy"),
    *("reshape", "transpose", "squeeze", "broadcast_in_dim", "concatenate", "stop_gradient"),
}


def computed_in_16_bits(jaxpr) -> set[str]:
    """Operations on 16-bit numbers, in all programs inside; sums of the gradients of two terms aside."""
    found = set()
    for equation in jaxpr.eqns:
        inside = list(jaxprs_in_params(equation.params))
        found |= {name for program in inside for name in computed_in_16_bits(program)}
        if not inside and any(getattr(x.aval, "dtype", None) == jnp.float16 for x in equation.invars):
            found.add(equation.primitive.name)
    return found - MOVES - {"add_any"}


@every_objective
def test_nothing_is_computed_in_16_bits(name):
    """Parameters, the outputs of both models and all gradients are float16; what is between them is not."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float16), example(name))
    both = jax.value_and_grad(lambda *x: forward(name, *x, mask_of(name)), argnums=(0, 1), has_aux=True)
    program, (values, gradients) = jax.make_jaxpr(both, return_shape=True)(*shapes)
    assert computed_in_16_bits(program.jaxpr) == set()
    assert {x.dtype for x in jax.tree.leaves(gradients)} == {jnp.dtype("float16")}
    params = jax.eval_shape(objective(name).init, KEY, *shapes[:0:-1])
    assert {x.dtype for x in jax.tree.leaves((values, params))} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("name", "dtype"), [*((x, jnp.float16) for x in IN_FLOAT16), *((x, jnp.bfloat16) for x in IN_BFLOAT16)]
)
def test_loss_of_16_bit_outputs_is_that_of_the_same_numbers_in_float32(name, dtype):
    params, *outputs = example(name)
    for scale in (200.0, 1e-4):  # squares overflow, and vanish, in float16
        short = jax.tree.map(lambda x: x.astype(dtype), (params, *jax.tree.map(lambda x: scale * x, outputs)))  # noqa: B023
        spoiled = short[0], *jax.tree.map(lambda x: x.at[9:].set(jnp.nan), short[1:])
        exact = jax.tree.map(lambda x: x.astype(jnp.float32), short)
        (expected, _), slopes = compiled(name)(*exact, mask_of(name))
        for inputs in (short, spoiled):
            (loss, _), found = compiled(name)(*inputs, mask_of(name))
            assert loss.dtype == jnp.float32
            assert_allclose(loss, expected, rtol=1e-5)
            for gradient, slope in zip(*map(jax.tree.leaves, (found, slopes)), strict=True):
                assert gradient.dtype == dtype
                limit = float(jnp.finfo(dtype).max)  # what does not fit becomes the largest number
                slope = np.clip(slope, -limit, limit)
                assert np.isfinite(gradient).all()
                assert_allclose(gradient.astype(jnp.float32), slope, rtol=0.02, atol=0.01 * np.abs(slope).max() + 1e-7)


@pytest.mark.parametrize("name", ["soft_label", "fitnet", "uniform-closed", "attention_transfer"])
def test_3000_nodes_are_counted_and_summed_in_float32(name):
    """Node by node the mean is that of 12 nodes repeated, though float16 counts to 2,048 and sums to 65,504."""
    params, student, teacher = example(name)
    many = jax.tree.map(lambda x: jnp.tile(x.astype(jnp.float16), (250, 1)), (student, teacher))
    few = jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), (student, teacher))
    mask = jnp.ones(N, bool)
    (expected, _), _ = compiled(name)(params, *few, mask)
    (loss, _), _ = compiled(name)(params, *many, jnp.tile(mask, 250))
    assert_allclose(loss, expected / (250 if name == "attention_transfer" else 1), rtol=1e-4)  # of order 1 / n there
