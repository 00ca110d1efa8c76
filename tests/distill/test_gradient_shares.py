"""Gradient shares by hand, and the likeness of layers against its definition over all pairs of nodes."""

import jax
import jax.numpy as jnp
import numpy as np
from distill_samples import EDGELESS, make_output
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax.distill import cka, gradient_shares, layer_cka
from abkd_jax.types import GNNOutput

MASK = np.arange(12) % 4 > 0


def test_shares_by_hand():
    losses = {
        "plane": lambda out: 3.0 * jnp.sum(out.logits),  # 3 in each of 4 entries: norm 6
        "bowl": lambda out: 0.5 * jnp.sum(out.hiddens[0] ** 2) + jnp.sum(out.hiddens[1]),  # [3, 4] and [12]: norm 13
        "flat": lambda out: 0.0 * jnp.sum(out.logits),
    }
    at = GNNOutput(jnp.ones((2, 2)), (jnp.array([[3.0], [4.0]]), jnp.zeros((1, 144))))
    shares = jax.jit(lambda at: gradient_shares(losses, at))(at)
    assert_allclose([shares["plane"], shares["bowl"], shares["flat"]], [6.0 / 19.0, 13.0 / 19.0, 0.0], rtol=1e-6)


def test_shares_of_16_bit_outputs_are_those_of_the_same_numbers_in_float32():
    """In float16 a gradient of 1e-8 is zero, and the square of one of 300 is infinite."""
    losses = {"small": lambda x: 1e-8 * jnp.sum(x), "large": lambda x: 300.0 * jnp.sum(x)}
    at = jnp.ones(4, jnp.float16)
    assert_allclose(gradient_shares({"a": losses["small"], "b": losses["small"]}, at)["a"], 0.5)
    assert_allclose(gradient_shares({"a": losses["large"], "b": losses["large"]}, at)["a"], 0.5)


def test_no_gradient_at_all_is_no_share_at_all():
    shares = gradient_shares({"a": lambda x: 0.0 * jnp.sum(x), "b": lambda x: jnp.sum(x**2)}, jnp.zeros(3))
    assert_array_equal([shares["a"], shares["b"]], [0.0, 0.0])


def test_likeness_of_layers_equals_the_definition():
    """Kornblith et al., Eq. 3: centred `n x n` kernels and their inner products."""
    teacher, student = make_output(0, (5, 3, 4)), make_output(1, (2, 4))
    student = student._replace(hiddens=(*student.hiddens, jnp.ones((12, 3))))  # a constant layer

    def kernel(x) -> np.ndarray:
        kept = np.asarray(x, np.float64)[MASK]
        kept = kept - kept.mean(axis=0)  # centres the rows and columns of the kernel; a constant layer is 0, exactly
        return kept @ kept.T

    def likeness(x, y) -> float:
        k, m = kernel(x), kernel(y)
        return (k * m).sum() / max(np.linalg.norm(k) * np.linalg.norm(m), 1e-12)

    mask = jnp.asarray(MASK)
    targets = cka().targets(teacher, graph=EDGELESS, mask=mask)
    found = jax.jit(layer_cka)(targets, student, mask=mask)
    assert_allclose(found, [[likeness(x, y) for y in student.hiddens] for x in teacher.hiddens], rtol=1e-5, atol=1e-6)
    reduced = cka(rank=11).targets(teacher, graph=EDGELESS, mask=mask)
    assert_allclose(layer_cka(reduced, student, mask=mask), found, rtol=1e-4, atol=1e-5)
