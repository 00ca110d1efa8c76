"""Losses over all pairs of nodes: nodes drawn for a step, blocks of rows, memory, rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import EDGELESS, make_output, random_params
from numpy.testing import assert_allclose, assert_array_equal
from relation_samples import MASK, evaluate, features, gram, small

from abkd_jax.distill import gcrd, geometric, geometric_parametric, gsp
from abkd_jax.distill.ops import pairwise_kernels
from abkd_jax.distill.ops.pairwise_kernels import draw_nodes, sum_over_blocks
from abkd_jax.types import GNNOutput, InputError

KEY = jax.random.key(0)


def test_distances_survive_a_large_common_offset():
    teacher, student, _, s = small("float32")
    near, _ = evaluate(gsp("l2"), teacher, student)
    shifted, _ = evaluate(gsp("l2"), teacher, features(s + 512.0))  # float32 keeps 3e-5 of a feature there
    assert_allclose(shifted, near, rtol=1e-3)


@pytest.mark.parametrize("make", [lambda m: gsp("rbf", m), lambda m: gcrd(max_nodes=m, head="linear", dim=3)])
def test_draw_comes_from_the_key(make):
    teacher, student = make_output(0, (4,), 30), make_output(1, (3,), 30)
    mask = jnp.arange(30) < 25
    params = random_params(make(8), teacher, student)

    def loss(objective, key):
        targets = objective.targets(teacher, graph=EDGELESS, mask=mask)
        return objective.apply(params, targets, student, graph=EDGELESS, mask=mask, key=key)[0]

    drawing, everything, plain = (jax.jit(functools.partial(loss, make(m))) for m in (8, 30, None))
    one, same, other = (drawing(jax.random.key(seed)) for seed in (1, 1, 2))
    assert_array_equal(one, same)
    assert one != other
    assert_allclose(everything(None), plain(None), rtol=1e-6)
    with pytest.raises(InputError, match="no key was given, expected one to draw 8 of 30 nodes"):
        drawing(None)


def test_drawn_nodes_are_different_masked_and_equally_likely():
    mask = jnp.arange(12) % 4 != 0  # 9 of 12
    drawn = np.asarray(jax.vmap(lambda key: draw_nodes(key, mask, 3))(jax.random.split(KEY, 3000)))
    assert all(len(set(row)) == 3 for row in drawn)
    counts = np.bincount(drawn.ravel(), minlength=12)
    assert_array_equal(counts[::4], 0)
    assert_allclose(counts[np.asarray(mask)], 1000.0, atol=130.0)  # five standard deviations
    all_of_them = np.asarray(draw_nodes(KEY, mask, 10))
    assert set(np.flatnonzero(mask)) <= set(all_of_them.tolist())


def test_drawn_pairs_of_different_nodes_average_to_all_of_them():
    teacher, student = make_output(0, (4,), 20), make_output(1, (3,), 20)
    mask = jnp.arange(20) < 16
    gap = (gram("rbf", np.asarray(teacher.hiddens[0][:16])) - gram("rbf", np.asarray(student.hiddens[0][:16]))) ** 2
    objective = gsp("rbf", max_nodes=6)
    targets = objective.targets(teacher, graph=EDGELESS, mask=mask)
    params = random_params(objective, teacher, student)
    losses = jax.jit(
        jax.vmap(lambda key: objective.apply(params, targets, student, graph=EDGELESS, mask=mask, key=key)[0]),
    )(jax.random.split(KEY, 2000))
    between = gap.sum() / (16 * 15)  # the diagonal is zero
    assert_allclose(np.mean(losses) * 6 / 5, between, rtol=0.03)


@pytest.mark.parametrize(("most", "sizes"), [(1, 1), (6, 4), (1024, 7)])
def test_blocks_add_up_to_the_whole(monkeypatch, most, sizes):
    monkeypatch.setattr(pairwise_kernels, "_BLOCK_ROWS", most)
    seen = set()

    def term(rows):
        seen.add(len(rows[0]))
        return jnp.sum(rows[0] * rows[1][:, None] ** 2)

    x = np.arange(14.0, dtype=np.float32).reshape(7, 2)
    total = jax.jit(jax.value_and_grad(lambda x: sum_over_blocks(term, (x, x[:, 0]))))
    summed, gradient = total(x)
    first, second = x.T
    assert seen == {sizes}
    assert_allclose(summed, (first**3 + second * first**2).sum())
    assert_allclose(gradient, np.stack([3.0 * first**2 + 2.0 * first * second, first**2], axis=1))


@pytest.mark.parametrize("name", ["contrast", "gsp"])
def test_values_do_not_depend_on_the_blocks(name, monkeypatch):
    teacher, student, *_ = small("float32")
    objective = {"contrast": gcrd(head="linear", dim=4), "gsp": gsp("l2")}[name]
    whole = evaluate(objective, teacher, student, mask=MASK)
    monkeypatch.setattr(pairwise_kernels, "_BLOCK_ROWS", 4)
    blocks = evaluate(objective, teacher, student, mask=MASK)
    jax.tree.map(functools.partial(assert_allclose, rtol=1e-5, atol=1e-6), blocks, whole)


PAIRS = {
    "gcrd": gcrd(),
    "gsp-cosine": gsp(),
    "gsp-l2": gsp("l2"),
    "geometric-sigmoid": geometric(),
    "geometric-gaussian": geometric("gaussian"),
    "geometric-parametric": geometric_parametric(),
}


@pytest.mark.parametrize("name", PAIRS)
def test_loss_and_gradient_at_90_000_nodes_need_less_than_a_gibibyte(name):
    """All pairs would be 30 GiB; compiled from the shapes alone, and not run."""
    n, objective = 90_000, PAIRS[name]
    shape = jax.ShapeDtypeStruct
    widths = (64, 64) if name == "geometric-parametric" else (128, 64)
    teacher, student = (GNNOutput(shape((n, 40), "float32"), (shape((n, d), "float32"),)) for d in widths)
    params = jax.eval_shape(objective.init, KEY, teacher, student)

    def loss(params, student, teacher, mask):
        targets = objective.targets(teacher, graph=EDGELESS, mask=mask)
        return objective.apply(params, targets, student, graph=EDGELESS, mask=mask, key=None)[0]

    lowered = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(params, student, teacher, shape((n,), "bool"))
    assert 0 < lowered.compile().memory_analysis().temp_size_in_bytes < 2**30
