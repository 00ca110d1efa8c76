"""Layer dissimilarities against naive float64 NumPy over [n, T, S, d], by hand, and in their memory."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import EDGELESS, make_output, random_params
from jax.extend.core import jaxprs_in_params
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax.distill import cka, closed_form, fixed_axes, trained_heads
from abkd_jax.types import GNNOutput, InputError

KEY = jax.random.key(0)
MASK = np.arange(40) % 4 > 0
TEACHER = make_output(0, (5, 3, 6), n=40)
STUDENT = make_output(1, (4, 2), n=40)


def evaluate(dissimilarity, params, teacher: GNNOutput, student: GNNOutput, mask=None):
    """`(D, metrics)` as NumPy arrays."""

    def apply(params, teacher, student, mask):
        targets = dissimilarity.targets(teacher, graph=EDGELESS, mask=mask)
        return dissimilarity.apply(params, targets, student, graph=EDGELESS, mask=mask, key=None)

    mask = jnp.ones(len(student.logits), bool) if mask is None else jnp.asarray(mask)
    return jax.tree.map(np.asarray, jax.jit(apply)(params, teacher, student, mask))


def layers_of(*arrays) -> GNNOutput:
    hiddens = tuple(jnp.asarray(a, jnp.float32) for a in arrays)
    return GNNOutput(jnp.zeros((len(hiddens[0]), 2)), hiddens)


def masked(output: GNNOutput) -> list[np.ndarray]:
    return [np.asarray(h, np.float64)[MASK] for h in output.hiddens]


def centred(output: GNNOutput) -> list[np.ndarray]:
    return [h - h.mean(axis=0) for h in masked(output)]


def leading_axes(layer: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` leading principal axes of a centred layer as columns, and their variances."""
    _, singular, axes = np.linalg.svd(layer, full_matrices=False)
    return axes[:k].T, singular[:k] ** 2 / len(layer)


@pytest.mark.parametrize("projection", [True, False])
@pytest.mark.parametrize("per_layer", [True, False])
@pytest.mark.parametrize("reduce", ["per_node", "pooled"])
def test_trained_heads_equal_the_naive_form(reduce, per_layer, projection):
    teacher, student = (
        (TEACHER, STUDENT) if per_layer else (make_output(0, (5,) * 3, n=40), make_output(1, (4,) * 2, n=40))
    )
    member = trained_heads(7, per_layer, projection, reduce)
    params = random_params(member, teacher, student)
    assert ("projection" in params) is projection
    p = np.asarray(params["projection"], np.float64) if projection else np.eye(7)

    def project(side: str, output: GNNOutput) -> np.ndarray:
        kernel, bias = (np.asarray(params[side][name], np.float64) for name in ("kernel", "bias"))
        at = lambda i: i if per_layer else 0  # noqa: E731
        return np.stack([h @ kernel[at(i)][: h.shape[1]] + bias[at(i)] for i, h in enumerate(masked(output))], axis=1)

    theirs, ours = project("teacher", teacher), project("student", student)  # [n, T, dim], [n, S, dim]
    gap = (theirs[:, :, None] - ours[:, None]) @ p
    expected = (gap**2).sum(-1).mean(0) if reduce == "per_node" else (gap.mean(0) ** 2).sum(-1)
    d, metrics = evaluate(member, params, teacher, student, MASK)
    assert_allclose(d, expected, rtol=2e-5)
    assert_allclose(metrics["variance"], (theirs @ p).var(axis=0).sum(-1), rtol=2e-5)


def test_trained_heads_by_hand():
    teacher, student = layers_of([[0.0], [2.0]]), layers_of([[1.0, 0.0], [1.0, 0.0]])
    one = {"kernel": jnp.ones((1, 1, 1)), "bias": jnp.zeros((1, 1))}
    params = {"teacher": one, "student": {"kernel": jnp.array([[[2.0], [0.0]]]), "bias": jnp.ones((1, 1))}}
    # Teacher 0 and 2, student 2 * 1 + 1 = 3 at both nodes: gaps -3 and -1.
    d, metrics = evaluate(trained_heads(1, projection=False), params, teacher, student)
    assert_allclose(d, [[5.0]])
    assert_allclose(metrics["variance"], [1.0])
    pooled, _ = evaluate(trained_heads(1, projection=False, reduce="pooled"), params, teacher, student)
    assert_allclose(pooled, [[4.0]])


def test_shared_head_needs_equal_widths():
    with pytest.raises(InputError, match=r"the teacher's layers have widths \(5, 3, 6\), expected equal widths"):
        trained_heads(per_layer=False).init(KEY, TEACHER, STUDENT)


@pytest.mark.parametrize("k", [2, 5, 9])
def test_fixed_axes_equal_the_naive_form(k):
    member = fixed_axes(k)
    params = random_params(member, TEACHER, STUDENT)
    d, metrics = evaluate(member, params, TEACHER, STUDENT, MASK)
    kernel = np.asarray(params["kernel"], np.float64)
    assert kernel.shape == (2, 4, min(k, 6))
    for t, tau in enumerate(centred(TEACHER)):
        axes, _ = leading_axes(tau, k)
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        y = np.pad(tau @ axes, ((0, 0), (0, kernel.shape[2] - axes.shape[1])))
        for s, sigma in enumerate(centred(STUDENT)):
            z = sigma @ kernel[s, : sigma.shape[1]]
            assert_allclose(d[t, s], 2.0 - 2.0 * (y * z).sum() / math.sqrt((y**2).sum() * (z**2).sum()), rtol=1e-4)
    assert_allclose(metrics["variance"], 1.0)


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 0.0), (-1.0, 4.0)])
def test_fixed_axes_by_hand(sign, expected):
    teacher, student = layers_of([[1.0], [2.0], [6.0]]), layers_of([[10.0], [30.0], [110.0]])
    d, _ = evaluate(fixed_axes(1), {"kernel": jnp.full((1, 1, 1), sign)}, teacher, student)
    assert_allclose(d, [[expected]], atol=1e-5)


@pytest.mark.parametrize(("member", "apart"), [(fixed_axes(2), 2.0), (closed_form(2), 1.0), (cka(), 1.0)])
def test_layers_without_variance_have_nothing_in_common(member, apart):
    teacher = layers_of(TEACHER.hiddens[0], np.full((40, 3), 0.5))
    student = layers_of(STUDENT.hiddens[0], np.zeros((40, 3)))
    d, _ = evaluate(member, random_params(member, teacher, student), teacher, student)
    assert_allclose(d[1], apart, rtol=1e-6)
    assert_allclose(d[:, 1], apart, rtol=1e-6)
    assert abs(d[0, 0] - apart) > 1e-3


@pytest.mark.parametrize(("k", "ridge"), [(2, 1e-3), (4, 0.1), (9, 1e-3)])
def test_closed_form_is_what_a_ridge_regression_leaves(k, ridge):
    """Ridge regression of every whitened axis as least squares of an augmented system: its residual is what is left."""
    d, metrics = evaluate(closed_form(k, ridge), {}, TEACHER, STUDENT, MASK)
    n = MASK.sum()
    for t, tau in enumerate(centred(TEACHER)):
        axes, variance = leading_axes(tau, k)
        z = tau @ axes / np.sqrt(variance)
        for s, sigma in enumerate(centred(STUDENT)):
            penalty = math.sqrt(n * ridge * sigma.var(axis=0).mean()) * np.eye(sigma.shape[1])
            augmented, right = np.vstack([sigma, penalty]), np.vstack([z, np.zeros((len(penalty), z.shape[1]))])
            weights = np.linalg.lstsq(augmented, right, rcond=None)[0]
            assert_allclose(d[t, s], ((right - augmented @ weights) ** 2).sum() / n / z.shape[1], rtol=1e-4)
    assert ((d >= 0.0) & (d <= 1.0)).all()
    assert_allclose(metrics["variance"], 1.0)


def test_closed_form_by_hand():
    # Teacher axis z = +-1; the student carries it with weight 1 beside an unrelated unit of variance 3.
    z, other = np.array([1.0, 1.0, -1.0, -1.0]), np.sqrt(3.0) * np.array([1.0, -1.0, 1.0, -1.0])
    teacher, student = layers_of(5.0 * z[:, None]), layers_of(np.stack([z, other], axis=1))
    d, _ = evaluate(closed_form(8, 0.25), {}, teacher, student)
    assert_allclose(d, [[1.0 - 1.0 / 1.5]], rtol=1e-5)  # lambda = .25 * (1 + 3) / 2


def test_closed_form_leaves_out_axes_without_variance():
    flat = np.array(TEACHER.hiddens[0])
    repeated = np.concatenate([flat, flat[:, :2]], axis=1)  # seven columns, five axes
    d, _ = evaluate(closed_form(7), {}, layers_of(flat, np.sqrt(2.0) * flat), STUDENT)
    assert_allclose(d[0], d[1], rtol=1e-4)
    held = jax.jit(closed_form(7).targets)(layers_of(flat, repeated), graph=EDGELESS, mask=jnp.ones(40, bool))
    assert held["axes"].tolist() == [5.0, 5.0]


@pytest.mark.parametrize("member", [closed_form(3), cka()], ids=["closed", "cka"])
@pytest.mark.parametrize("change", ["scale up", "scale down", "shift", "rotation"])
def test_scale_shift_and_rotation_change_nothing(change, member):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    first = np.asarray(STUDENT.hiddens[0], np.float64)
    changed = {
        "scale up": 300.0 * first,
        "scale down": first / 300.0,
        "shift": first + np.arange(4.0),
        "rotation": first @ rotation,
    }[change]
    before, _ = evaluate(member, {}, TEACHER, STUDENT, MASK)
    after, _ = evaluate(member, {}, TEACHER, layers_of(changed, STUDENT.hiddens[1]), MASK)
    assert_allclose(after, before, rtol=1e-4)


def test_cka_equals_the_form_of_node_similarities():
    """Kornblith's Eq. 3 on the `[n, n]` matrices of inner products of centred rows."""
    d, metrics = evaluate(cka(), {}, TEACHER, STUDENT, MASK)
    for t, tau in enumerate(centred(TEACHER)):
        for s, sigma in enumerate(centred(STUDENT)):
            theirs, ours = tau @ tau.T, sigma @ sigma.T
            expected = 1.0 - (theirs * ours).sum() / math.sqrt((theirs**2).sum() * (ours**2).sum())
            assert_allclose(d[t, s], expected, rtol=2e-5)
    assert_allclose(metrics["variance"], 1.0)


def test_cka_by_hand():
    # Orthogonal axes a and b: M = 1 (a alone); N = diag(1, 4) and C = (1, 0) where the student shows a and 2 b.
    a, b = np.array([1.0, 1.0, -1.0, -1.0]), np.array([1.0, -1.0, 1.0, -1.0])
    teacher = layers_of(3.0 + a[:, None])
    # Features of 1e-7 count as silent.
    student = layers_of(np.stack([a, 2.0 * b], axis=1), -5.0 * a[:, None], b[:, None], 1e-7 * a[:, None])
    d, _ = evaluate(cka(), {}, teacher, student)
    assert_allclose(d, [[1.0 - 1.0 / math.sqrt(17.0), 0.0, 1.0, 1.0]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("rank", "loses"), [(5, False), (2, True)])
def test_cka_of_a_reduced_teacher(rank, loses):
    """Layers that repeat each other's five directions lose nothing at rank 5, and alignment below it."""
    first = np.asarray(TEACHER.hiddens[0], np.float64)
    mixing = np.random.default_rng(5).normal(size=(5, 7))
    teacher = layers_of(first, first @ mixing)
    exact, _ = evaluate(cka(), {}, teacher, STUDENT, MASK)
    reduced, _ = evaluate(cka(rank), {}, teacher, STUDENT, MASK)
    assert (reduced - exact > 1e-3).all() if loses else np.abs(reduced - exact).max() < 1e-5


@pytest.mark.parametrize(
    ("member", "apart", "level", "rounding"),
    [
        *((cka(), 1.0, level, 0.0) for level in (0.0, 0.1, 1234.567)),
        *((member, apart, 0.1, 1e-6) for member, apart in ((fixed_axes(2), 2.0), (closed_form(2), 1.0))),
    ],
)
def test_a_constant_layer_has_no_gradient(member, apart, level, rounding):
    """However the mean of equal float32 numbers is rounded, and with both sides constant too."""
    mask = jnp.asarray(MASK)
    teacher = layers_of(TEACHER.hiddens[0], np.full((40, 3), level))
    student = layers_of(np.full((40, 2), level), STUDENT.hiddens[0])
    params = random_params(member, teacher, student)
    targets = member.targets(teacher, graph=EDGELESS, mask=mask)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def total(student):
        d, _ = member.apply(params, targets, student, graph=EDGELESS, mask=mask, key=None)
        return d.sum(), d

    (_, d), gradient = total(student)
    assert_array_equal(d[:, 0], apart)
    assert_allclose(d[1], apart, rtol=rounding)
    assert abs(d[0, 1] - apart) > 1e-3
    assert d[0, 1] < 1.0 or apart == 2.0  # fixed axes may be opposite ones
    assert_array_equal(gradient.hiddens[0], 0.0)
    assert np.abs(gradient.hiddens[1]).max() > 1e-4


def test_gradient_of_cka_equals_differences(x64):
    double = lambda x: jnp.asarray(np.asarray(x), "float64")  # noqa: E731
    teacher, student = jax.tree.map(double, (TEACHER, STUDENT))
    member, mask = cka(), jnp.asarray(MASK)
    targets = member.targets(teacher, graph=EDGELESS, mask=mask)

    @jax.jit
    @jax.value_and_grad
    def total(student):
        return member.apply({}, targets, student, graph=EDGELESS, mask=mask, key=None)[0].sum()

    directions = jax.tree.map(lambda x: jnp.asarray(np.random.default_rng(x.size).normal(size=x.shape)), student)
    up, down = (total(jax.tree.map(lambda x, d, h=h: x + h * d, student, directions))[0] for h in (1e-6, -1e-6))
    slope = sum(np.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (total(student)[1], directions)), strict=True))
    assert_allclose(slope, (up - down) / 2e-6, rtol=1e-6)


def test_bad_arguments_are_refused(unchecked):
    for call, message in (
        (lambda: trained_heads(0), "trained_heads: dim is 0, expected a whole number of at least 1"),
        (lambda: trained_heads(reduce="node"), "reduce is 'node', expected one of per_node, pooled"),  # pyright: ignore
        (lambda: fixed_axes(0), "fixed_axes: k is 0, expected"),
        (lambda: closed_form(-1), "closed_form: k is -1, expected"),
        (lambda: cka(0), "cka: rank is 0, expected a whole number of at least 1"),
        (lambda: closed_form(8, 0.0), "closed_form: ridge is 0.0, expected a finite number above 0"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def sizes(jaxpr) -> list[int]:
    """The number of entries of everything that a program computes, inner programs included."""
    inner = [sub for eqn in jaxpr.eqns for sub in jaxprs_in_params(eqn.params)]
    own = [math.prod(var.aval.shape) for eqn in jaxpr.eqns for var in eqn.outvars]
    return own + [size for sub in inner for size in sizes(sub)]


@pytest.mark.parametrize(
    "member", [trained_heads(16), fixed_axes(8), closed_form(8), cka()], ids=["heads", "axes", "closed", "cka"]
)
def test_nothing_the_size_of_nodes_times_pairs_or_heads_is_built(member):
    n, teacher_layers, student_layers = 5000, 6, 4
    shape = lambda *s: jax.ShapeDtypeStruct(s, jnp.float32)  # noqa: E731
    teacher = GNNOutput(shape(n, 3), (shape(n, 8),) * teacher_layers)
    student = GNNOutput(shape(n, 3), (shape(n, 3),) * student_layers)
    mask = jax.ShapeDtypeStruct((n,), bool)
    params = jax.eval_shape(member.init, KEY, teacher, student)
    targets = jax.eval_shape(functools.partial(member.targets, graph=EDGELESS), teacher, mask=mask)

    def loss(params, targets, student, mask):
        return member.apply(params, targets, student, graph=EDGELESS, mask=mask, key=None)[0].sum()

    program = jax.make_jaxpr(jax.grad(loss, argnums=(0, 2)))(params, targets, student, mask).jaxpr
    assert max(sizes(program)) == n * student_layers * 3  # the stacked student, and nothing larger
    assert n * student_layers * 3 < min(teacher_layers * student_layers, 16) * n
