"""LSP, GSP, G-CRD and GeometricKD against the values and gradients of the published criteria."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import EDGELESS
from numpy.testing import assert_allclose
from relation_samples import edge_graph, evaluate, features

from abkd_jax.distill import gcrd, geometric, gsp, lsp
from abkd_jax.types import Objective

KEY = jax.random.key(0)
PRECISIONS = pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-6), ("float32", 2e-5)])
SIDES = (("teacher", "32"), ("student", ""))


@pytest.fixture
def arrays(golden_root: Path) -> dict[str, np.ndarray]:
    with np.load(golden_root / "golden_losses.npz") as file:
        return dict(file)


class Case(NamedTuple):
    """A reference value of the file: its objective, its features and its nodes."""

    name: str
    objective: Objective
    teacher: str
    edges: str | None = None
    sample: bool = False


RELU = "teacher_relu"
CASES = [
    Case("lsp_cosine_raw_16_sym", lsp("cosine"), "teacher_feat16", "sym"),
    Case("lsp_cosine_raw_16_dir", lsp("cosine"), "teacher_feat16", "dir"),
    Case("lsp_cosine_relu_16_self", lsp("cosine"), RELU, "self"),
    Case("lsp_l2_raw_16_sym", lsp("l2"), "teacher_feat16", "sym"),
    Case("lsp_rbf_raw_16_sym", lsp("rbf"), "teacher_feat16", "sym"),
    Case("gsp_cosine_raw_16", gsp("cosine"), "teacher_feat16"),
    Case("gsp_l2_raw_16", gsp("l2"), "teacher_feat16"),
    Case("gsp_rbf_raw_16", gsp("rbf"), "teacher_feat16"),
    Case("gspsub24_cosine_raw_32", gsp("cosine"), "teacher_feat32", sample=True),
    Case("gspsub24_cosine_raw_32", gsp("cosine", max_nodes=30), "teacher_feat32", sample=True),
    Case("nce_T0.1_raw_16", gcrd(0.1, head="none"), "teacher_feat16"),
    Case("ncesub24_T0.075_raw_16", gcrd(head="none"), "teacher_feat16", sample=True),
    Case("ncesub24_T0.075_raw_16", gcrd(head="none", max_nodes=30), "teacher_feat16", sample=True),
    Case("gkd_sigmoid", geometric(), "teacher_feat16"),
    Case("gkd_sigmoid_delta0.1", geometric(delta=0.1), "teacher_feat16", "self"),
]


@PRECISIONS
@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}-{i}" for i, case in enumerate(CASES)])
def test_value_and_gradient_equal_the_reference(arrays, case, dtype, rtol):
    """With 30 nodes to draw and 24 to draw from, all 24 are drawn, and the others do not count."""
    ours = arrays["in_student_relu" if case.teacher == RELU else "in_student_feat"]
    graph = EDGELESS if case.edges is None else edge_graph(arrays[f"in_edge_{case.edges}"], 60)
    mask = np.isin(np.arange(60), arrays["in_sample_idx24"]) if case.sample else None
    with jax.enable_x64(dtype == "float64"):
        teacher, student = features(arrays[f"in_{case.teacher}"], dtype=dtype), features(ours, dtype=dtype)
        loss, (_, gradient) = evaluate(case.objective, teacher, student, graph=graph, mask=mask, key=KEY)
    assert_allclose(loss, arrays[case.name], rtol=rtol)
    expected = arrays[f"{case.name}_grad_student_feat"]
    nonzero = np.abs(ours).max(axis=1) > 0.0  # the published code divides zero rows by 1e-8
    assert_allclose(gradient[nonzero], expected[nonzero], rtol=rtol, atol=rtol * np.abs(expected[nonzero]).max())
    assert np.isfinite(gradient).all()


@PRECISIONS
@pytest.mark.parametrize("edges", ["sym", "self", "dir"])
def test_shares_of_the_edges_equal_the_reference(arrays, edges, dtype, rtol):
    graph = edge_graph(arrays[f"in_edge_{edges}"], 60)
    with jax.enable_x64(dtype == "float64"):
        output = features(arrays["in_student_feat"], dtype=dtype)
        log_shares = jax.jit(functools.partial(lsp("cosine").targets, graph=graph))(output, mask=jnp.ones(60, bool))
        assert_allclose(np.exp(log_shares), arrays[f"mid_lsp_cosine_student_softmax_{edges}"], rtol=rtol)


@PRECISIONS
def test_contrast_behind_trained_heads_equals_the_reference(arrays, dtype, rtol):
    def head(name):
        weights = {"kernel": arrays[f"in_proj_{name}_W"].T, "bias": arrays[f"in_proj_{name}_b"]}
        return weights | {"scale": np.ones(8), "shift": np.zeros(8)}

    with jax.enable_x64(dtype == "float64"):
        cast = functools.partial(jnp.asarray, dtype=dtype)
        params = jax.tree.map(cast, {"teacher": head("t32"), "student": head("s")})
        teacher, student = (features(arrays[f"in_{name}_feat{d}"], dtype=dtype) for name, d in SIDES)
        loss, (to_params, to_student) = evaluate(gcrd(dim=8), teacher, student, params=params)
    name = "nce_T0.075_bnrelu_32"
    assert_allclose(loss, arrays[name], rtol=rtol)
    ours = {
        "student_feat": to_student,
        "proj_s_W": to_params["student"]["kernel"].T,
        "proj_t_W": to_params["teacher"]["kernel"].T,
    }
    for part, gradient in ours.items():
        expected = arrays[f"{name}_grad_{part}"]
        assert_allclose(gradient, expected, rtol=rtol, atol=rtol * np.abs(expected).max())
