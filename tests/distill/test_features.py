"""Losses on the last hidden layers, their heads, and the newer soft labels: published values, and NumPy formulas."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import EDGELESS, make_output, random_params
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax.distill import Term, attention_transfer, fitnet, mustad, soft_label, soft_label_multilabel, weighted_sum
from abkd_jax.distill.ops.numerics import safe_norm, unit_rows
from abkd_jax.distill.ops.projections import init_projection, project
from abkd_jax.types import GNNOutput, InputError, NodeMasks, Objective

KEY = jax.random.key(0)
MASK = np.arange(12) % 4 > 0
RTOL = {"float64": 1e-6, "float32": 2e-5}

every_precision = pytest.mark.parametrize("dtype", ["float64", "float32"])


@pytest.fixture(scope="module")
def golden(golden_root: Path) -> dict[str, np.ndarray]:
    with np.load(golden_root / "golden_losses.npz") as file:
        return dict(file)


def output(features, logits=None) -> GNNOutput:
    """A model output; without logits given, they are zeros for two classes."""
    return GNNOutput(jnp.zeros((len(features), 2), features.dtype) if logits is None else logits, (features,))


def evaluate(objective: Objective, params, teacher: GNNOutput, student: GNNOutput, mask=None):
    """`(loss, (to_params, to_student))` over the masked nodes, or all."""

    def loss(params, student, teacher, mask):
        targets = objective.targets(teacher, graph=EDGELESS, mask=mask)
        return objective.apply(params, targets, student, graph=EDGELESS, mask=mask, key=None)[0]

    mask = jnp.ones(len(student.logits), bool) if mask is None else jax.tree.map(jnp.asarray, mask)
    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    return compiled(params, student, teacher, mask)


def torch_head(arrays: dict[str, np.ndarray], name: str, head: str, dtype: str) -> dict[str, jax.Array]:
    """A head of the reference file, whose matrices are transposed; its batch norm starts as the identity."""
    if head == "none":
        return {}
    given = {"kernel": arrays[f"in_proj_{name}_W"].T, "bias": arrays[f"in_proj_{name}_b"]}
    norm = {"scale": np.ones(8), "shift": np.zeros(8)} if head == "bnrelu" else {}
    return {key: jnp.asarray(value, dtype) for key, value in (given | norm).items()}


def assert_gradient(actual, expected: np.ndarray, rtol: float) -> None:
    assert_allclose(actual, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


FITNETS = [("raw", "none", 16), ("linear", "linear", 32), ("bnrelu", "bnrelu", 16)]


@every_precision
@pytest.mark.parametrize(("mode", "head", "width"), FITNETS)
def test_fitnet_equals_the_reference_values(golden, mode, head, width, dtype):
    case, rtol = f"fitnet_{mode}_{width}", RTOL[dtype]
    with jax.enable_x64(dtype == "float64"):
        student, teacher = (jnp.asarray(golden[f"in_{x}"], dtype) for x in ("student_feat", f"teacher_feat{width}"))
        heads = {side: torch_head(golden, n, head, dtype) for side, n in (("student", "s"), ("teacher", f"t{width}"))}
        loss, (to_heads, to_student) = evaluate(fitnet(head), heads, output(teacher), output(student))
        assert_allclose(loss, golden[case], rtol=rtol)
        assert_gradient(to_student.hiddens[0], golden[f"{case}_grad_student_feat"], rtol)
        for side, name in () if head == "none" else (("student", "s"), ("teacher", "t")):
            assert_gradient(to_heads[side]["kernel"].T, golden[f"{case}_grad_proj_{name}_W"], rtol)


@every_precision
@pytest.mark.parametrize("name", ["student", "teacher16", "teacher32"])
def test_projected_features_equal_the_reference_values(golden, name, dtype):
    features = {"student": "in_student_feat"}.get(name, f"in_teacher_feat{name[-2:]}")
    head = {"student": "s"}.get(name, f"t{name[-2:]}")
    with jax.enable_x64(dtype == "float64"):
        x, params = jnp.asarray(golden[features], dtype), torch_head(golden, head, "bnrelu", dtype)
        projected = project(params, x, jnp.ones(60, bool), "bnrelu")
        assert_gradient(projected, golden[f"mid_head_{name}_bnrelu"], RTOL[dtype])


@every_precision
@pytest.mark.parametrize("width", [16, 32])
def test_attention_transfer_equals_the_reference_values(golden, width, dtype):
    with jax.enable_x64(dtype == "float64"):
        student, teacher = (jnp.asarray(golden[f"in_{x}"], dtype) for x in ("student_feat", f"teacher_feat{width}"))
        loss, (_, to_student) = evaluate(attention_transfer(), {}, output(teacher), output(student))
        assert_allclose(loss, golden[f"at_raw_{width}"], rtol=RTOL[dtype])
        assert_gradient(to_student.hiddens[0], golden[f"at_raw_{width}_grad_student_feat"], RTOL[dtype])


@every_precision
def test_mustad_equals_the_reference_values(golden, dtype):
    with jax.enable_x64(dtype == "float64"):
        student, teacher = (
            output(*(jnp.asarray(golden[f"in_{x}"], dtype) for x in names))
            for names in (("student_feat", "student_logits"), ("teacher_feat16", "teacher_logits"))
        )
        hidden, (_, to_student) = evaluate(mustad("kl"), {}, teacher, student)
        assert_allclose(hidden, golden["mustad_hidden_kl"], rtol=RTOL[dtype])
        assert_gradient(to_student.hiddens[0], golden["mustad_hidden_kl_grad_student_feat"], RTOL[dtype])
        one_sided = soft_label(2.0, scale="none", student_temperature=1.0)
        prediction, (_, to_student) = evaluate(one_sided, {}, teacher, student)
        assert_allclose(prediction, golden["mustad_pred_T2"], rtol=RTOL[dtype])
        assert_gradient(to_student.logits, golden["mustad_pred_T2_grad_logits"], RTOL[dtype])


@every_precision
def test_multilabel_soft_labels_equal_the_reference_values(golden, dtype):
    z, labels = (golden[f"in_{x}"].astype(np.float64) for x in ("student_logits", "labels_multi"))
    with jax.enable_x64(dtype == "float64"):
        teacher, student = (
            GNNOutput(jnp.asarray(golden[f"in_{x}"], dtype), ()) for x in ("teacher_logits", "student_logits")
        )
        soft, (_, to_student) = evaluate(soft_label_multilabel(), {}, teacher, student)
        hard = (np.logaddexp(z, 0.0) - labels * z).mean()
        to_hard = (1.0 / (1.0 + np.exp(-z)) - labels) / z.size
        assert_allclose(soft, golden["kdbce_a0.5_kl"], rtol=RTOL[dtype])
        assert_allclose(hard, golden["kdbce_a0.5_cls"], rtol=RTOL[dtype])
        assert_allclose(0.5 * np.asarray(soft) + 0.5 * hard, golden["kdbce_a0.5_total"], rtol=RTOL[dtype])
        gradient = 0.5 * np.asarray(to_student.logits) + 0.5 * to_hard
        assert_gradient(gradient, golden["kdbce_a0.5_grad_logits"], RTOL[dtype])


@every_precision
def test_fitnet_beside_the_labels_equals_the_reference_values(golden, dtype):
    z, labels = golden["in_student_logits"].astype(np.float64), golden["in_labels"]
    cross_entropy = (np.log(np.exp(z).sum(axis=1)) - z[np.arange(60), labels]).mean()
    objective = weighted_sum(Term("fitnet", 1000.0, fitnet("none")))
    with jax.enable_x64(dtype == "float64"):
        student, teacher = (output(jnp.asarray(golden[f"in_{x}"], dtype)) for x in ("student_feat", "teacher_feat16"))
        masks = NodeMasks(jnp.ones(60, bool), jnp.ones(60, bool))
        heads = {"fitnet": {"teacher": {}, "student": {}}}
        weighted, _ = evaluate(objective, heads, teacher, student, masks)
        total = cross_entropy + np.asarray(weighted)
        assert_allclose(total, golden["total_cls_plus_1000fitnet_raw_16"], rtol=RTOL[dtype])


def numpy_project(params, x: np.ndarray, head: str) -> np.ndarray:
    if head == "none":
        return x
    p = {name: np.asarray(value, np.float64) for name, value in params.items()}
    y = x @ p["kernel"] + p["bias"]
    if head == "linear":
        return y
    return np.maximum(p["scale"] * (y - y.mean(axis=0)) / np.sqrt(y.var(axis=0) + 1e-5) + p["shift"], 0.0)


def numpy_unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def numpy_fitnet(head, params, t, s):
    gap = numpy_unit(numpy_project(params["student"], s, head)) - numpy_unit(numpy_project(params["teacher"], t, head))
    return (gap**2).mean()


def numpy_at(params, t, s):
    return ((numpy_unit((s**2).sum(axis=1)) - numpy_unit((t**2).sum(axis=1))) ** 2).mean()


def numpy_mustad(kernel, params, t, s):
    s = numpy_project(params, s, "linear" if params else "none")
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (t, s))
    dot, distance = (t * s).sum(axis=1), np.linalg.norm(t - s, axis=1)
    per_node = {
        "kl": (p * np.log(p / q)).sum(axis=1),
        "lin": dot,
        "poly": dot**2,
        "dist": distance,
        "rbf": np.exp(-distance / 2),
    }
    return per_node[kernel].mean()


FORMULAS = {
    **{f"fitnet-{h}": (fitnet(h), functools.partial(numpy_fitnet, h)) for h in ("none", "linear", "bnrelu")},
    "fitnet-narrow": (fitnet("bnrelu", 3), functools.partial(numpy_fitnet, "bnrelu")),
    "attention_transfer": (attention_transfer(), numpy_at),
    **{f"mustad-{k}": (mustad(k), functools.partial(numpy_mustad, k)) for k in ("kl", "lin", "poly", "dist", "rbf")},
}


# (objective, student's width), beside a teacher of width 6
CASES = [(name, width) for name in FORMULAS for width in (6, 4) if (name, width) != ("fitnet-none", 4)]


@pytest.mark.parametrize(("name", "width"), CASES)
def test_masked_values_and_gradients_equal_the_formulas(name, width, x64):
    """Rectified rows, one of them zero on both sides; nodes outside the mask hold NaN."""
    objective, formula = FORMULAS[name]
    spoil = lambda x: np.where(MASK[:, None], np.asarray(x, np.float64), np.nan)  # noqa: E731
    t, s = (spoil(make_output(seed, (w,)).hiddens[0]) for seed, w in ((0, 6), (1, width)))
    t[5], s[5] = 0.0, 0.0
    teacher, student = (output(jnp.asarray(x)) for x in (t, s))
    params = random_params(objective, teacher, student)
    loss, (to_params, to_student) = evaluate(objective, params, teacher, student, MASK)
    value = lambda params, s: formula(params, t[MASK], s[MASK])  # noqa: E731
    assert_allclose(loss, value(params, s), rtol=1e-6)
    rng = np.random.default_rng(3)
    moves = jax.tree.map(lambda x: rng.normal(size=x.shape), params)
    d = rng.normal(size=s.shape) * (s != 0.0)  # a zero row has no slope
    step = 1e-6
    up, down = (value(jax.tree.map(lambda p, m, h=h: p + h * m, params, moves), s + h * d) for h in (step, -step))
    slope = np.vdot(to_student.hiddens[0], np.where(MASK[:, None], d, 0.0))
    slope += sum(np.vdot(g, m) for g, m in zip(*map(jax.tree.leaves, (to_params, moves)), strict=True))
    assert_allclose(slope, (up - down) / (2 * step), rtol=1e-6, atol=1e-8)
    assert_array_equal(to_student.hiddens[0][~MASK], 0.0)


@pytest.mark.parametrize("objective", [fitnet("none"), attention_transfer(), mustad("dist"), mustad("kl")])
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(objective):
    teacher = make_output(0, (5, 4))
    teacher = teacher._replace(hiddens=(teacher.hiddens[0], teacher.hiddens[1].at[3].set(0.0)))
    params = random_params(objective, teacher, teacher)
    loss, (_, to_student) = evaluate(objective, params, teacher, teacher)
    assert_allclose(loss, 0.0, atol=1e-7)
    for gradient in jax.tree.leaves(to_student):
        assert_allclose(gradient, 0.0, atol=1e-7)


def test_only_the_last_hidden_layers_count():
    teacher, student = make_output(0, (5, 4)), make_output(1, (3, 4))
    for objective in (fitnet(), attention_transfer(), mustad()):
        params = random_params(objective, teacher, student)
        _, (_, to_student) = evaluate(objective, params, teacher, student)
        assert_array_equal(to_student.hiddens[0], 0.0)
        assert_array_equal(to_student.logits, 0.0)
        assert np.abs(to_student.hiddens[1]).max() > 0.0


def test_values_by_hand():
    """Unit rows (3/5, 4/5) and (1, 0) twice over; attentions (25, 4) and (1, 4)."""
    student, teacher = output(jnp.array([[3.0, 4.0], [2.0, 0.0]])), output(jnp.array([[1.0, 0.0], [2.0, 0.0]]))
    heads = {"teacher": {}, "student": {}}
    assert_allclose(evaluate(fitnet("none"), heads, teacher, student)[0], (0.16 + 0.64) / 4, rtol=1e-6)
    ours, theirs = np.array([25.0, 4.0]) / math.sqrt(641.0), np.array([1.0, 4.0]) / math.sqrt(17.0)
    expected = ((ours[0] - theirs[0]) ** 2 + (ours[1] - theirs[1]) ** 2) / 2
    assert_allclose(evaluate(attention_transfer(), {}, teacher, student)[0], expected, rtol=1e-6)
    assert_allclose(evaluate(mustad("lin"), {}, teacher, student)[0], (3.0 + 4.0) / 2)
    assert_allclose(evaluate(mustad("poly"), {}, teacher, student)[0], (9.0 + 16.0) / 2)
    assert_allclose(evaluate(mustad("dist"), {}, teacher, student)[0], math.sqrt(20.0) / 2, rtol=1e-6)
    assert_allclose(evaluate(mustad("rbf"), {}, teacher, student)[0], (math.exp(-math.sqrt(5.0)) + 1) / 2, rtol=1e-6)


def test_multilabel_value_by_hand():
    """Teacher 1/2 and 1/4, student 1/2 and 3/4: cross-entropies log 2 and -1/4 log(3/4) - 3/4 log(1/4)."""
    teacher, student = (GNNOutput(jnp.array([[0.0, x], [9.0, 9.0]]), ()) for x in (-math.log(3.0), math.log(3.0)))
    loss, (_, to_student) = evaluate(soft_label_multilabel(), {}, teacher, student, np.array([True, False]))
    expected = (math.log(2.0) + 0.25 * math.log(4 / 3) + 0.75 * math.log(4.0)) / 2
    assert_allclose(loss, expected, rtol=1e-6)
    assert_allclose(to_student.logits, [[0.0, 0.25], [0.0, 0.0]], atol=1e-7)  # (3/4 - 1/4) / 2


def test_heads_start_as_torch_starts_them():
    params = jax.jit(lambda key: init_projection(key, 100, 50, "bnrelu", jnp.float32))(KEY)
    assert params["kernel"].shape == (100, 50)
    for name, count in (("kernel", 5000), ("bias", 50)):  # U(-1/10, 1/10)
        assert np.abs(params[name]).max() <= 0.1
        assert_allclose(np.std(params[name]), 0.1 / math.sqrt(3.0), rtol=3.0 / math.sqrt(count))
    assert_array_equal(params["scale"], 1.0)
    assert_array_equal(params["shift"], 0.0)
    shapes = lambda head: jax.eval_shape(lambda key: init_projection(key, 4, 2, head, jnp.float32), KEY)  # noqa: E731
    assert {name: x.shape for name, x in shapes("linear").items()} == {"kernel": (4, 2), "bias": (2,)}
    assert shapes("none") == {}


def test_width_of_the_heads():
    teacher, student = make_output(0, (7, 6)), make_output(1, (4, 3))
    shapes = lambda objective, *outputs: jax.tree.map(  # noqa: E731
        lambda x: x.shape, jax.eval_shape(objective.init, KEY, *outputs)
    )
    assert shapes(fitnet("linear"), teacher, student) == {
        "teacher": {"kernel": (6, 3), "bias": (3,)},
        "student": {"kernel": (3, 3), "bias": (3,)},
    }
    assert shapes(fitnet("linear", 8), teacher, student)["teacher"] == {"kernel": (6, 8), "bias": (8,)}
    assert shapes(mustad(), teacher, student) == {"kernel": (3, 6), "bias": (6,)}
    assert shapes(mustad(), teacher, make_output(1, (6,))) == {}


def test_each_side_draws_its_own_head():
    init = jax.jit(fitnet("linear").init)
    heads = init(KEY, make_output(0, (4,)), make_output(1, (4,)))
    assert np.abs(heads["teacher"]["kernel"] - heads["student"]["kernel"]).max() > 0.1


@pytest.mark.parametrize("head", ["none", "linear", "bnrelu"])
def test_rows_outside_the_mask_come_back_as_zeros(head):
    rng = np.random.default_rng(0)
    shapes = {"kernel": (4, 3), "bias": (3,), "scale": (3,), "shift": (3,)}
    params = {name: jnp.asarray(rng.uniform(0.5, 1.0, shape), jnp.float32) for name, shape in shapes.items()}
    x = jnp.where(MASK[:, None], make_output(0, (4,)).hiddens[0], jnp.nan)
    rows = np.asarray(jax.jit(project, static_argnums=3)(params, x, jnp.asarray(MASK), head))
    assert_array_equal(rows[~MASK], 0.0)
    assert_allclose(rows[MASK], numpy_project(params, np.asarray(x, np.float64)[MASK], head), rtol=1e-5, atol=1e-6)


def test_norms_at_zero_have_no_gradient_and_tiny_rows_count_as_zero():
    x = jnp.array([[0.0, 0.0], [3.0, 4.0], [1e-13, 0.0]])
    assert_allclose(safe_norm(x), [0.0, 5.0, 1e-13], rtol=1e-6)
    assert_allclose(jax.grad(lambda x: safe_norm(x).sum())(x), [[0.0, 0.0], [0.6, 0.8], [1.0, 0.0]], rtol=1e-6)
    assert_allclose(unit_rows(x), [[0.0, 0.0], [0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    # d(x / |x|)_1 = (1 - 0.36, -0.48) / 5
    gradient = jax.grad(lambda x: unit_rows(x)[:, 0].sum())(x)
    assert_allclose(gradient, [[0.0, 0.0], [0.128, -0.096], [0.0, 0.0]], rtol=1e-6)


def test_bad_arguments_are_refused(unchecked):
    for call, message in (
        (lambda: fitnet("relu"), "fitnet: head is 'relu', expected one of none, linear, bnrelu"),  # pyright: ignore
        (lambda: fitnet(dim=0), "fitnet: dim is 0, expected a whole number of at least 1"),
        (lambda: mustad("RBF"), "mustad: kernel is 'RBF', expected one of kl, lin, poly, dist, rbf"),  # pyright: ignore
        (lambda: soft_label(student_temperature=0.0), "student_temperature is 0.0, expected a finite number above 0"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_models_that_do_not_fit_are_refused():
    full, empty, narrow = make_output(0, (5,)), make_output(1, ()), make_output(1, (3,), classes=2)
    for name, factory in (("fitnet", fitnet), ("attention_transfer", attention_transfer), ("mustad", mustad)):
        with pytest.raises(InputError, match=f"{name}: the student returns no hidden layers"):
            factory().init(KEY, full, empty)
        with pytest.raises(InputError, match=f"{name}: the teacher returns no hidden layers"):
            factory().targets(empty, graph=EDGELESS, mask=jnp.ones(12, bool))
    with pytest.raises(InputError, match="student's last hidden layer has width 3, expected the teacher's 5"):
        fitnet("none").init(KEY, full, narrow)
    with pytest.raises(InputError, match="soft_label_multilabel: the student has 2 classes, expected the teacher's 3"):
        soft_label_multilabel().init(KEY, full, narrow)
