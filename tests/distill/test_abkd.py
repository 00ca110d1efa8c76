"""ABKD against an independent float64 evaluation of its equations, and its metrics and messages."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import EDGELESS, given_map, make_output, random_params
from numpy.testing import assert_allclose

from abkd_jax.distill import (
    abkd,
    abkd_closed_form,
    abkd_paper,
    last_layer,
    layer_attention,
    learned,
    stride,
    trained_heads,
    uniform,
)
from abkd_jax.types import GNNOutput, InputError

TEACHER_LAYERS, STUDENT_LAYERS = 3, 2
KEY = jax.random.key(0)


@pytest.fixture(params=["float64", "float32"])
def golden(request, golden_root: Path):
    """`(file, teacher, student, params, rtol)` of the reference values, in double and in single precision."""
    with np.load(golden_root / "derived_abkd.npz") as file:
        arrays = dict(file)
    with jax.enable_x64(request.param == "float64"):
        cast = functools.partial(jnp.asarray, dtype=request.param)
        outputs = [
            GNNOutput(cast(np.zeros((60, 2))), tuple(cast(arrays[f"in_{side}{i}"]) for i in range(layers)))
            for side, layers in (("t", TEACHER_LAYERS), ("s", STUDENT_LAYERS))
        ]
        yield (
            arrays,
            *outputs,
            jax.tree.map(cast, golden_params(arrays)),
            {"float64": 1e-6, "float32": 2e-5}[request.param],
        )


def golden_params(arrays: dict[str, np.ndarray]) -> dict:
    def heads(kind: str, side: str, layers: int) -> dict[str, np.ndarray]:
        kernels = [arrays[f"in_{kind}_{side}W{i}"] for i in range(layers)]
        widest = max(len(kernel) for kernel in kernels)
        return {
            "kernel": np.stack([np.pad(kernel, ((0, widest - len(kernel)), (0, 0))) for kernel in kernels]),
            "bias": np.stack([arrays[f"in_{kind}_{side}b{i}"] for i in range(layers)]),
        }

    sides = (("teacher", "t", TEACHER_LAYERS), ("student", "s", STUDENT_LAYERS))
    return {
        "attention": {side: heads("att", letter, layers) for side, letter, layers in sides},
        "dissimilarity": {side: heads("dis", letter, layers) for side, letter, layers in sides}
        | {"projection": arrays["in_P"]},
    }


def forward(objective, params, student, teacher):
    mask = jnp.ones(len(student.logits), bool)
    targets = objective.targets(teacher, graph=EDGELESS, mask=mask)
    return objective.apply(params, targets, student, graph=EDGELESS, mask=mask, key=None)


def value_and_grad(objective, params, teacher, student):
    """`((loss, metrics), (to_params, to_student))` over all nodes."""
    loss = functools.partial(forward, objective)
    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    return compiled(params, student, teacher)


def test_paper_form_equals_the_reference_values(golden):
    arrays, teacher, student, params, rtol = golden
    (loss, metrics), _ = value_and_grad(abkd_paper(8), params, teacher, student)
    assert_allclose(metrics["attention"], arrays["derived_A"], rtol=rtol)
    assert_allclose(metrics["dissimilarity"], arrays["derived_D_node"], rtol=rtol)
    assert_allclose(loss, arrays["derived_loss_node_rowsum_mean"], rtol=rtol)


def test_attention_map_equals_the_reference_values(golden):
    arrays, teacher, student, params, rtol = golden
    mask = jnp.ones(60, bool)
    targets = learned(8).targets(teacher, graph=EDGELESS, mask=mask)
    assert_allclose(layer_attention(params["attention"], targets, student, mask=mask), arrays["derived_A"], rtol=rtol)


@pytest.mark.parametrize("projection", [True, False])
@pytest.mark.parametrize("reduce", ["per_node", "pooled"])
def test_every_reading_equals_the_equations(golden, reduce, projection):
    arrays, teacher, student, params, rtol = golden
    a, d = numpy_maps(arrays, reduce, projection)
    objective = abkd(learned(8), trained_heads(8, projection=projection, reduce=reduce), "sum")
    given = params if projection else without_projection(params)
    (loss, metrics), _ = value_and_grad(objective, given, teacher, student)
    assert_allclose(metrics["dissimilarity"], d, rtol=rtol)
    assert_allclose(loss, (a * d).sum(), rtol=rtol)
    form = {"per_node": "node", "pooled": "pooled"}[reduce] + ("" if projection else "_noP")
    for name, ours in ((f"derived_D_{form}", metrics["dissimilarity"]), (f"derived_loss_{form}_sum", loss)):
        if name in arrays:  # the file holds a selection of the cases
            assert_allclose(ours, arrays[name], rtol=rtol)


def without_projection(params: dict) -> dict:
    heads = {name: value for name, value in params["dissimilarity"].items() if name != "projection"}
    return params | {"dissimilarity": heads}


def numpy_maps(arrays: dict[str, np.ndarray], reduce: str, projection: bool) -> tuple[np.ndarray, np.ndarray]:
    """A and D written out pair by pair in float64."""
    x = {name.removeprefix("in_"): value.astype(np.float64) for name, value in arrays.items()}
    p = x["P"] if projection else np.eye(8)
    scores, d = np.zeros((3, 2)), np.zeros((3, 2))
    for i in range(TEACHER_LAYERS):
        for j in range(STUDENT_LAYERS):
            query = x[f"t{i}"].mean(0) @ x[f"att_tW{i}"] + x[f"att_tb{i}"]
            scores[i, j] = query @ (x[f"s{j}"].mean(0) @ x[f"att_sW{j}"] + x[f"att_sb{j}"]) / math.sqrt(8)
            ours = x[f"s{j}"] @ x[f"dis_sW{j}"] + x[f"dis_sb{j}"]
            gap = (x[f"t{i}"] @ x[f"dis_tW{i}"] + x[f"dis_tb{i}"] - ours) @ p
            d[i, j] = (gap**2).sum(axis=1).mean() if reduce == "per_node" else (gap.mean(axis=0) ** 2).sum()
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), d


@pytest.mark.parametrize("reduce", ["per_node", "pooled"])
def test_gradients_equal_the_reference_values(golden, reduce):
    arrays, teacher, student, params, rtol = golden
    objective = abkd(learned(8), trained_heads(8, reduce=reduce), "sum")
    (_, _), (g, to_student) = value_and_grad(objective, params, teacher, student)
    ours = {
        "s0": to_student.hiddens[0],
        "s1": to_student.hiddens[1],
        "P": g["dissimilarity"]["projection"],
        "att_tW0": g["attention"]["teacher"]["kernel"][0, :12],
        "att_sW1": g["attention"]["student"]["kernel"][1],
        "dis_tW2": g["dissimilarity"]["teacher"]["kernel"][2],
        "dis_sW0": g["dissimilarity"]["student"]["kernel"][0],
    }
    prefix = f"derived_loss_{ {'per_node': 'node', 'pooled': 'pooled'}[reduce] }_sum_grad_"
    given = [name for name in arrays if name.startswith(prefix)]
    assert given or reduce == "pooled"
    for name in given:
        expected = arrays[name]
        assert_allclose(ours[name.removeprefix(prefix)], expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("reduce", ["per_node", "pooled"])
def test_gradients_equal_differences_of_the_loss(x64, reduce):
    double = lambda x: jnp.asarray(np.asarray(x), "float64")  # noqa: E731
    teacher, student = jax.tree.map(double, (make_output(0, (5, 3)), make_output(1, (4, 2))))
    objective = abkd_paper(3, reduce)
    params = random_params(objective, teacher, student)
    directions = jax.tree.map(
        lambda x: jnp.asarray(np.random.default_rng(x.size).normal(size=x.shape)), (params, student)
    )
    (_, _), gradients = value_and_grad(objective, params, teacher, student)
    step = 1e-6
    up, down = (
        value_and_grad(objective, moved[0], teacher, moved[1])[0][0]
        for moved in (jax.tree.map(lambda x, d, h=h: x + h * d, (params, student), directions) for h in (step, -step))
    )
    slope = sum(np.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradients, directions)), strict=True))
    assert_allclose(slope, (up - down) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize(("normalisation", "expected"), [("sum", 9.5), ("rows_mean", 4.75), ("mean", 2.375)])
def test_loss_and_metrics_by_hand(normalisation, expected):
    objective = abkd(
        given_map([[0.5, 0.5], [1.0, 0.0]]), given_map([[1.0, 2.0], [8.0, 5.0]], [4.0, 0.0]), normalisation
    )
    teacher, student = make_output(0, (2, 2)), make_output(1, (2, 2))
    (loss, metrics), _ = value_and_grad(objective, random_params(objective, teacher, student), teacher, student)
    assert_allclose(loss, expected)  # .5 * 1 + .5 * 2 + 1 * 8
    assert_allclose(metrics["unexplained"], [[0.25, 0.5], [1.0, 1.0]])
    assert_allclose(metrics["variance"], [4.0, 0.0])
    assert_allclose(metrics["row_entropy"], 0.5, rtol=1e-6)  # rows: log 2 and 0
    assert_allclose(metrics["attended_dissimilarity"], 9.5 / 2)  # the mass of A is 2
    assert_allclose(metrics["attended_unexplained"], (0.5 * 0.25 + 0.5 * 0.5 + 1.0) / 2)
    assert_allclose(metrics["attended_variance"], (0.5 * 4 + 0.5 * 4) / 2)


@pytest.mark.parametrize(
    ("attention", "expected"),
    [([[0.25] * 4] * 3, 1.0), ([[0.0, 3.0], [0.0, 0.0]], 0.0), ([[1.0], [1.0]], 0.0), ([[2.0, 2.0], [1.0, 1.0]], 1.0)],
)
def test_row_entropy_runs_from_one_hot_to_uniform(attention, expected):
    objective = abkd(given_map(attention), given_map(np.ones_like(attention)))
    teacher, student = make_output(0, (2,)), make_output(1, (2,))
    (_, metrics), _ = value_and_grad(objective, {"attention": {}, "dissimilarity": {}}, teacher, student)
    assert_allclose(metrics["row_entropy"], expected, atol=1e-6)


@pytest.mark.parametrize(
    "attention", [uniform, last_layer, lambda: learned(4, over="teacher"), lambda: learned(4, over="pairs")]
)
def test_equal_dissimilarities_give_the_same_loss_whatever_the_attention(attention):
    objective = abkd(attention(), given_map(np.full((3, 2), 0.7)))
    teacher, student = make_output(0, (2, 3, 2)), make_output(1, (2, 2))
    (loss, _), _ = value_and_grad(objective, random_params(objective, teacher, student), teacher, student)
    assert_allclose(loss, 0.7, rtol=1e-6)


def test_closed_form_leaves_nothing_unexplained_when_the_student_holds_the_teacher():
    teacher = make_output(0, (3, 3), n=40)
    objective = abkd_closed_form(3)
    params = random_params(objective, teacher, teacher)
    assert params["dissimilarity"] == {}
    (loss, metrics), _ = value_and_grad(objective, params, teacher, teacher)
    assert np.all(np.diag(metrics["dissimilarity"]) < 5e-3)  # the ridge leaves 1e-3 of a mean axis
    assert metrics["dissimilarity"][0, 1] > 0.3
    assert 0.0 < loss < 1.0


@pytest.mark.parametrize("factory", [abkd_paper, abkd_closed_form, stride])
def test_models_without_hidden_layers_are_refused(factory):
    full, empty = make_output(0, (3,)), make_output(1, ())
    with pytest.raises(InputError, match="teacher returns no hidden layers"):
        factory().init(KEY, empty, full)
    with pytest.raises(InputError, match="student returns no hidden layers"):
        factory().init(KEY, full, empty)
    with pytest.raises(InputError, match="teacher returns no hidden layers"):
        factory().targets(empty, graph=EDGELESS, mask=jnp.ones(12, bool))


def test_unknown_normalisation_is_refused(unchecked):
    with pytest.raises(InputError, match="abkd: normalisation is 'rows', expected one of rows_mean, mean, sum"):
        abkd(uniform(), trained_heads(), "rows")  # pyright: ignore[reportArgumentType]
