"""Options and shapes that no loss can be made of: one line that names them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery_samples import GRAPH, KEY, N, example, mask_of, objective
from distill_samples import EDGELESS, make_output

from abkd_jax import distill
from abkd_jax.distill import Part, Term
from abkd_jax.distill.ops.numerics import narrow, widen
from abkd_jax.types import InputError

FAMILIES = (
    *("uniform-per_node", "uniform-pooled", "depth-fixed", "learned-closed", "last_to_all-cka", "uniform-gcrd-drawn"),
    *(
        "stride",
        "soft_label",
        "output_error",
        "fitnet",
        "attention_transfer",
        "mustad-kl",
        "lsp-cosine",
        "gsp-l2-drawn",
    ),
    *("gcrd", "sigmoid", "gaussian", "parametric-equal", "weighted_sum"),
)
NO_NUMBERS = (-1.0, math.nan, math.inf, -math.inf, "1.0", None, True, 10**400, 1e39)


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30, *NO_NUMBERS])
def test_temperatures_are_a_thousandth_to_a_thousand(unchecked, value):
    for make, name in (
        (lambda: distill.soft_label(value), "soft_label: temperature is"),
        (lambda: distill.gcrd(value), "gcrd: temperature is"),
    ):
        with pytest.raises(InputError, match=f"^{name} [^\n]*, expected "):
            make()
    if value is not None:
        with pytest.raises(InputError, match=r"^soft_label: student_temperature is"):
            distill.soft_label(student_temperature=value)
    for allowed in (1e-3, 1e3):
        distill.soft_label(allowed)
        distill.gcrd(allowed)


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_weights_and_scales_are_finite_in_float32_and_not_negative(unchecked, value):
    loss, part = distill.soft_label(), distill.cka()
    for make, name in (
        (lambda: distill.weighted_sum(Term("kd", value, loss)), "weighted_sum: weight of the term 'kd'"),
        (
            lambda: distill.term_losses([Term("kd", value, loss)], {}, {}, graph=EDGELESS, mask=None, key=None),
            "term_losses",
        ),
        (lambda: distill.combined(Part("a", value, part)), "combined: weight of the part 'a'"),
        (lambda: distill.stride(structure_weight=value), "combined: weight of the part 'structure'"),
        (lambda: distill.geometric(delta=value), "geometric: delta"),
        (lambda: distill.geometric(scale=value), "geometric: scale"),
        (lambda: distill.closed_form(ridge=value), "closed_form: ridge"),
    ):
        with pytest.raises(InputError, match=f"^{name}[^\n]*, expected "):
            make()


def test_none_chooses_a_default_where_there_is_one_and_is_refused_elsewhere(unchecked):
    for make in (distill.gsp, distill.gcrd):
        make(max_nodes=None, dim=None)
        with pytest.raises(InputError, match="max_nodes is 0, expected a whole number of at least 1"):
            make(max_nodes=0)
    for make, name in ((distill.learned, "dim"), (distill.trained_heads, "dim"), (distill.closed_form, "k")):
        with pytest.raises(InputError, match=f"{name} is None, expected a whole number of at least 1"):
            make(**{name: None})


@pytest.mark.parametrize("ridge", [0.0, 1e-30, 1e-7, 1e30])
def test_a_ridge_leaves_something_of_itself_and_of_the_layer(ridge):
    with pytest.raises(InputError, match=r"^closed_form: ridge is [^\n]*, expected "):
        distill.closed_form(ridge=ridge)
    for allowed in (1e-6, 1e6):
        distill.closed_form(ridge=allowed)


@pytest.mark.parametrize("layers", [((0,),), ((0, 1, 2),), ((0, "1"),), ((0.0, 1),), (3,)])
def test_pairs_of_layers_are_two_numbers(unchecked, layers):
    with pytest.raises(InputError, match=r"^geometric: layers holds "):
        distill.geometric(layers=layers)


@pytest.mark.parametrize("name", FAMILIES)
def test_teacher_student_and_mask_must_be_of_the_same_nodes(unchecked, name):
    """Shapes alone: one node more, or one node alone, whose row would be repeated for all others."""
    params, student, teacher = example(name)
    loss, mask = objective(name), mask_of(name)
    graph = GRAPH._replace(nodes=jnp.zeros((N, 1)))
    targets = jax.eval_shape(lambda: loss.targets(teacher, graph=graph, mask=mask))

    def apply(targets, student, mask):
        return loss.apply(params, targets, student, graph=graph, mask=mask, key=KEY)

    for rows in (1, N + 1):
        other = jax.tree.map(lambda x: jnp.resize(x, (rows, x.shape[1])), student)  # noqa: B023
        other_mask = jax.tree.map(lambda x: jnp.resize(x, rows), mask)  # noqa: B023
        with pytest.raises(InputError, match="expected the"):
            jax.eval_shape(loss.init, KEY, teacher, other)
        with pytest.raises(InputError, match="must be of the same nodes"):
            jax.eval_shape(apply, targets, other, mask)
        if "pooled" not in name:  # means over other nodes than the student's: no row meets another
            with pytest.raises(InputError, match=r"expected the same nodes|must be of the same nodes"):
                jax.eval_shape(apply, targets, other, other_mask)


def test_a_mask_is_boolean(unchecked):
    teacher = make_output(0, (3,))
    for mask in (jnp.arange(12), jnp.ones((12, 1), bool)):
        with pytest.raises(InputError, match="expected one boolean for each node"):
            distill.fitnet("none").targets(teacher, graph=EDGELESS, mask=mask)


def test_what_a_type_cannot_hold_becomes_its_largest_number_and_only_that():
    x = jnp.array([1e9, -1e9, 3.0, jnp.inf, -jnp.inf, jnp.nan])
    np.testing.assert_array_equal(narrow(x, jnp.float16), np.array([65504, -65504, 3, np.inf, -np.inf, np.nan]))
    slope = jax.grad(lambda x: 1e9 * widen(x))(jnp.float16(1.0))
    assert (slope, slope.dtype) == (65504.0, jnp.float16)
