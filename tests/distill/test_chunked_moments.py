"""Moments in chunks: NumPy's values, the gradients of the stacked form, and the memory they save."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax.distill.ops import chunked_moments
from abkd_jax.distill.ops.chunked_moments import student_moments
from abkd_jax.distill.ops.moments import centre, node_rows, stack_layers

N, MASK = 23, np.arange(23) % 5 != 2


@pytest.fixture(params=[1, 12, 15, 10**6], ids=lambda entries: f"{entries}_entries")
def chunked(request, monkeypatch):
    """Chunks of 1, 3 to 4, 3 to 5 (the last overlaps), and all nodes."""
    monkeypatch.setattr(chunked_moments, "_SMALL", 0)
    monkeypatch.setattr(chunked_moments, "_CHUNK", request.param)


def layers(dtype="float64"):
    rng = np.random.default_rng(0)
    draw = lambda width: np.where(MASK[:, None], rng.normal(2.0, 1.0, (N, width)), np.nan)  # noqa: E731
    return [jnp.asarray(draw(w), dtype) for w in (5, 6)], [jnp.asarray(draw(w), dtype) for w in (3, 4, 3)]


def teacher_rows(teacher, rank):
    return node_rows(centre(stack_layers(teacher), jnp.asarray(MASK))[1], jnp.asarray(MASK), rank)


@pytest.mark.parametrize("rank", [None, 12])
def test_values_are_those_of_numpy(x64, chunked, rank):
    teacher, student = layers()
    mean, spread, cross = student_moments(student, teacher_rows(teacher, rank), jnp.asarray(MASK), 2)
    assert (mean.shape, spread.shape, cross.shape) == ((3, 4), (3, 4, 4), (2, 6, 3, 4))
    for s, h in enumerate(np.asarray(x)[MASK] for x in student):
        w = h.shape[1]
        assert_allclose(mean[s, :w], h.mean(axis=0), rtol=1e-10)
        assert_allclose(spread[s, :w, :w], np.cov(h.T, bias=True), rtol=1e-10, atol=1e-12)
        for t, x in enumerate(np.asarray(x)[MASK] for x in teacher):
            expected = (x - x.mean(axis=0)).T @ (h - h.mean(axis=0)) / MASK.sum()
            assert_allclose(cross[t, : x.shape[1], s, :w], expected, rtol=1e-8, atol=1e-10)
        assert_array_equal(np.asarray(mean[s, w:]), 0.0)
        assert_array_equal(np.asarray(cross[:, :, s, w:]), 0.0)


def test_gradient_is_the_slope_of_numpy(x64, chunked):
    teacher, student = layers()
    rows, mask = teacher_rows(teacher, None), jnp.asarray(MASK)
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=shape) for shape in ((3, 4), (3, 4, 4), (2, 6, 3, 4))]

    def loss(student):
        return sum(jnp.sum(w * m) for w, m in zip(weights, student_moments(student, rows, mask, 2), strict=True))

    def numpy_loss(student):
        total = 0.0
        for s, h in enumerate(h[MASK] for h in student):
            w = h.shape[1]
            total += (weights[0][s, :w] * h.mean(axis=0)).sum() + (weights[1][s, :w, :w] * np.cov(h.T, bias=True)).sum()
            for t, x in enumerate(np.asarray(x)[MASK] for x in teacher):
                cross = (x - x.mean(axis=0)).T @ (h - h.mean(axis=0)) / MASK.sum()
                total += (weights[2][t, : x.shape[1], s, :w] * cross).sum()
        return total

    slopes = jax.jit(jax.grad(loss))(student)
    moves = [rng.normal(size=h.shape) for h in student]
    ends = [numpy_loss([np.asarray(h) + e * m for h, m in zip(student, moves, strict=True)]) for e in (1e-6, -1e-6)]
    found = sum(np.vdot(g, np.where(MASK[:, None], m, 0.0)) for g, m in zip(slopes, moves, strict=True))
    assert_allclose(found, (ends[0] - ends[1]) / 2e-6, rtol=1e-6)
    assert all(not np.any(g[~MASK]) for g in slopes)


def test_half_precision_is_summed_in_single_and_an_empty_mask_gives_zeros(chunked):
    teacher, student = layers("bfloat16")
    rows = teacher_rows(teacher, None)
    mean, *_ = student_moments(student, rows, jnp.asarray(MASK), 2)
    assert mean.dtype == jnp.float32
    assert_allclose(mean[0, :3], np.asarray(student[0], np.float32)[MASK].mean(axis=0), rtol=1e-5)
    for moment in student_moments(student, rows, jnp.zeros(N, bool), 2)[:2]:
        assert_array_equal(np.asarray(moment), 0.0)


def test_large_layers_are_never_copied():
    """169,343 nodes, three layers of 128 on either side; compiled from the shapes alone."""
    shape = jax.ShapeDtypeStruct
    n, student = 169_343, [shape((169_343, 128), "float32")] * 3
    mask = shape((n,), "bool")
    rows = jax.eval_shape(lambda c, m: node_rows(c, m), shape((3, n, 128), "float32"), mask)

    def loss(student, rows, mask):
        return sum(jnp.sum(m**2) for m in student_moments(student, rows, mask, 3))

    memory = jax.jit(jax.value_and_grad(loss)).lower(student, rows, mask).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 0.25 * 6 * n * 128 * 4  # of the hidden states of both sides
