"""The loss outside the package: the rules of every objective, and its value from least squares in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from abkd_jax import GNNOutput
from abkd_jax.distill import check_objective
from experiments.class_relevant import class_relevant


def test_the_rules_of_every_objective():
    check_objective(class_relevant(), "class_relevant", student_widths=(4, 2))


def explained(x, y):
    """What least squares explains of y: both centred, without a ridge."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return x @ np.linalg.lstsq(x, y, rcond=None)[0]


def test_value_is_the_share_that_least_squares_leaves():
    rng = np.random.default_rng(0)
    n = 60
    logits, noise = rng.normal(size=(n, 3)), rng.normal(size=(n, 3))
    hidden, of_student = np.tanh(logits) + 0.3 * noise, logits[:, :2] + noise[:, 1:]
    teacher, student = (
        GNNOutput(jnp.asarray(logits, jnp.float32), (jnp.asarray(h, jnp.float32),)) for h in (hidden, of_student)
    )
    mask = jnp.ones(n, bool)
    objective = class_relevant(temperature=1.0, ridge=1e-7)
    value, _ = objective.apply(
        {}, objective.targets(teacher, graph=None, mask=mask), student, graph=None, mask=mask, key=None
    )

    u, _, _ = np.linalg.svd(hidden - hidden.mean(axis=0), full_matrices=False)
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    z = explained(soft, u)
    x = of_student - of_student.mean(axis=0)
    x = 3.0 * np.tanh(x / (3.0 * x.std()))
    columns = [
        np.prod(x[:, list(c)], axis=1) for d in (1, 2, 3) for c in itertools.combinations_with_replacement((0, 1), d)
    ]
    share = np.sum(explained(np.stack(columns, axis=1), z) ** 2) / np.sum(z**2)
    assert 0.2 < share < 0.8
    assert_allclose(value, 1.0 - share, rtol=2e-2)


@pytest.mark.parametrize(("width", "count"), [(2, 9), (8, 8)])
def test_no_more_monomials_than_twenty(width, count):
    from experiments.class_relevant import _monomials

    x = jax.random.normal(jax.random.key(0), (30, width))
    assert _monomials(x, jnp.ones(30, bool)).shape == (30, count)
