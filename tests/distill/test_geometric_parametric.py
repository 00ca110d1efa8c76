"""The trained kernel of GeometricKD: what trains it, masks, and its messages (values: `test_criteria`)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import make_output, random_params
from numpy.testing import assert_allclose, assert_array_equal
from relation_samples import evaluate

from abkd_jax.distill import geometric_parametric
from abkd_jax.types import InputError

MASK = np.arange(12) % 4 > 0


def test_masked_nodes_equal_the_part_without_the_others(x64):
    objective = geometric_parametric(5)
    teacher, student = (jax.tree.map(lambda x: jnp.asarray(x, "float64"), make_output(seed, (3, 4))) for seed in (0, 1))
    params = random_params(objective, teacher, student)
    spoilt, part = (
        [jax.tree.map(change, side) for side in (teacher, student)]
        for change in (lambda x: jnp.where(MASK[:, None], x, jnp.nan), lambda x: x[MASK])
    )
    whole, alone = evaluate(objective, *spoilt, mask=MASK, params=params), evaluate(objective, *part, params=params)
    assert_allclose(whole[0], alone[0], rtol=1e-10)
    assert_allclose(whole[1][0]["phi"], alone[1][0]["phi"], rtol=1e-8)
    assert_allclose(whole[1][1][MASK], alone[1][1], rtol=1e-8)
    assert_array_equal(whole[1][1][~MASK], 0.0)


def test_a_student_equal_to_its_teacher_has_nothing_to_learn_but_the_kernel_has():
    objective, teacher = geometric_parametric(), make_output(0, (4,))
    params = random_params(objective, teacher, teacher)
    assert params["phi"].shape == (4, 8)
    _, (to_phi, to_student) = evaluate(objective, teacher, teacher, params=params)
    assert_array_equal(to_student, 0.0)
    assert np.abs(to_phi["phi"]).max() > 0.0


def test_constant_columns_and_an_empty_mask_stay_finite():
    objective, output = geometric_parametric(), make_output(0, (4,))
    flat = output._replace(hiddens=(output.hiddens[0].at[:, 1].set(2.0).at[:, 2].set(0.0),))
    params = random_params(objective, flat, flat)
    for mask in (MASK, np.zeros(12, bool)):
        assert all(
            np.isfinite(x).all() for x in jax.tree.leaves(evaluate(objective, flat, output, mask=mask, params=params))
        )


def test_bad_arguments_and_other_widths_are_refused():
    with pytest.raises(InputError, match="geometric_parametric: dim is 0, expected a whole number"):
        geometric_parametric(0)
    with pytest.raises(InputError, match="has width 3, expected the teacher's 4; `geometric` compares any widths"):
        random_params(geometric_parametric(), make_output(0, (4,)), make_output(1, (3,)))
    with pytest.raises(InputError, match="geometric_parametric: the student returns no hidden layers"):
        random_params(geometric_parametric(), make_output(0, (4,)), make_output(1, ()))
