"""Relations between nodes and contrastive distillation: the published criteria's values, NumPy formulas, sampling."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from distill_samples import QUICK, make_output, random_params
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax.distill import gcrd, geometric, gsp, lsp, node_pairs
from abkd_jax.distill.node_pairs import draw_nodes, sum_over_blocks
from abkd_jax.graph import from_edges
from abkd_jax.types import GNNOutput, InputError, Objective

KEY = jax.random.key(0)
PRECISIONS = pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-6), ("float32", 2e-5)])
KERNELS = ("cosine", "poly", "l2", "rbf")


def edge_graph(edges: np.ndarray, nodes: int) -> jraph.GraphsTuple:
    """The edge list `[2, e]` as it is, senders first: neither sorted nor merged."""
    ends = edges.astype(np.int32)
    counts = np.array([nodes], np.int32), np.array([ends.shape[1]], np.int32)
    return jraph.GraphsTuple(None, None, ends[1], ends[0], None, *counts)


def features(*hiddens, dtype="float32") -> GNNOutput:
    layers = tuple(jnp.asarray(x, dtype) for x in hiddens)
    return GNNOutput(jnp.zeros((len(layers[0]), 2), dtype), layers)


def evaluate(objective: Objective, teacher, student, *, graph=None, mask=None, params=None, key=None):
    """`(loss, (to_params, to_last_hidden))`."""
    mask = jnp.ones(len(student.logits), bool) if mask is None else jnp.asarray(mask)
    params = random_params(objective, teacher, student) if params is None else params

    @functools.partial(jax.jit, compiler_options=QUICK)
    def compiled(params, last, hiddens, teacher, mask, key):
        def loss(params, last):
            seen = student._replace(hiddens=(*hiddens, last))
            targets = objective.targets(teacher, graph=graph, mask=mask)
            return objective.apply(params, targets, seen, graph=graph, mask=mask, key=key)[0]

        return jax.value_and_grad(loss, argnums=(0, 1))(params, last)

    return compiled(params, student.hiddens[-1], student.hiddens[:-1], teacher, mask, key)


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
    graph = None if case.edges is None else edge_graph(arrays[f"in_edge_{case.edges}"], 60)
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
        log_shares = jax.jit(functools.partial(lsp("cosine").targets, graph=graph), compiler_options=QUICK)(
            output, mask=jnp.ones(60, bool)
        )
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


SIDES = (("teacher", "32"), ("student", ""))


# The same equations in NumPy, one pair of nodes after the other, for the cases that the file does not hold.


def pair(kernel: str, x: np.ndarray, y: np.ndarray, scale: float = 1.0) -> float:
    cosine = x @ y / (max(np.linalg.norm(x), 1e-12) * max(np.linalg.norm(y), 1e-12))
    distance = np.linalg.norm(x - y)
    return {
        "cosine": cosine,
        "poly": cosine**2,
        "l2": distance,
        "rbf": np.exp(-(distance**2) / 2.0),
        "sigmoid": np.tanh(x @ y),
        "gaussian": np.exp(-distance / scale),
    }[kernel]


def gram(kernel: str, x: np.ndarray, scale: float = 1.0) -> np.ndarray:
    return np.array([[pair(kernel, u, v, scale) for v in x] for u in x])


def shares(kernel: str, x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    k = np.exp([pair(kernel, x[u], x[v]) for u, v in edges.T])
    return np.array([value / k[edges[1] == v].sum() for value, v in zip(k, edges[1], strict=True)])


def small(dtype="float64") -> tuple[GNNOutput, GNNOutput, np.ndarray, np.ndarray]:
    """Rectified features of 14 nodes, one row zero and two equal on either side, and as NumPy arrays."""
    rng = np.random.default_rng(5)
    t, s = (np.maximum(rng.normal(0.3, 1.0, (14, d)), 0.0).astype(np.float32) for d in (6, 4))
    for x in (t, s):
        x[3], x[8] = 0.0, x[7]
    return features(t, dtype=dtype), features(s, dtype=dtype), t.astype(np.float64), s.astype(np.float64)


EDGES = np.random.default_rng(7).integers(0, 14, (2, 40))
EDGES = np.unique(np.concatenate([EDGES, [[7, 8, 3], [8, 7, 3]]], axis=1), axis=1)  # coincident ends, and a loop
MASK = np.arange(14) < 11


@pytest.mark.parametrize("divergence", ["kl", "mse"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_local_structure_equals_the_formula(x64, kernel, divergence):
    teacher, student, t, s = small()
    kept = EDGES[:, MASK[EDGES].all(axis=0)]
    p, q = shares(kernel, t, kept), shares(kernel, s, kept)
    expected = {"kl": np.mean(p * np.log(p / q)), "mse": np.mean((p - q) ** 2)}[divergence]
    loss, (_, gradient) = evaluate(lsp(kernel, divergence), teacher, student, graph=edge_graph(EDGES, 14), mask=MASK)
    assert_allclose(loss, expected, rtol=1e-10)
    assert np.isfinite(gradient).all()
    assert_array_equal(gradient[11:], 0.0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_global_structure_equals_the_formula(x64, kernel):
    teacher, student, t, s = small()
    expected = np.mean((gram(kernel, t[MASK]) - gram(kernel, s[MASK])) ** 2)
    loss, (_, gradient) = evaluate(gsp(kernel), teacher, student, mask=MASK)
    assert_allclose(loss, expected, rtol=1e-10)
    assert np.isfinite(gradient).all()
    assert_array_equal(gradient[11:], 0.0)


@pytest.mark.parametrize("kernel", ["sigmoid", "gaussian"])
@pytest.mark.parametrize("delta", [0.0, 0.25, 1.0])
def test_geometric_equals_the_formula(x64, kernel, delta):
    teacher, student, t, s = small()
    weights = np.full((14, 14), delta)
    weights[EDGES[0], EDGES[1]] = 1.0
    np.fill_diagonal(weights, 1.0)
    gap = (gram(kernel, t, 2.0) - gram(kernel, s, 2.0)) ** 2
    objective = geometric(kernel, delta, 2.0)
    loss, (_, gradient) = evaluate(objective, teacher, student, graph=edge_graph(EDGES, 14), mask=MASK)
    assert_allclose(loss, (weights * gap)[np.ix_(MASK, MASK)].sum(), rtol=1e-10)
    assert np.isfinite(gradient).all()
    assert_array_equal(gradient[11:], 0.0)


def test_geometric_averages_over_the_pairs_of_layers(x64):
    rng = np.random.default_rng(2)
    t, s = [rng.normal(size=(5, 3)) for _ in range(3)], [rng.normal(size=(5, 2)) for _ in range(2)]
    teacher, student = features(*t, dtype="float64"), features(*s, dtype="float64")
    gap = lambda i, j: ((gram("sigmoid", t[i]) - gram("sigmoid", s[j])) ** 2).sum()  # noqa: E731
    loss, _ = evaluate(geometric(layers=((0, 0), (2, 0), (2, 1))), teacher, student)
    assert_allclose(loss, (gap(0, 0) + gap(2, 0) + gap(2, 1)) / 3.0, rtol=1e-10)
    loss, _ = evaluate(geometric(), teacher._replace(hiddens=teacher.hiddens[:2]), student)
    assert_allclose(loss, (gap(0, 0) + gap(1, 1)) / 2.0, rtol=1e-10)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_contrast_equals_the_formula(x64, temperature):
    rng = np.random.default_rng(3)
    t, s = rng.normal(size=(14, 4)), rng.normal(size=(14, 4))
    logits = np.array([[pair("cosine", u, v) / temperature for v in t[MASK]] for u in s[MASK]])
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))
    teacher, student = features(t, dtype="float64"), features(s, dtype="float64")
    loss, (_, gradient) = evaluate(gcrd(temperature, head="none"), teacher, student, mask=MASK)
    assert_allclose(loss, expected, rtol=1e-10)
    assert_array_equal(gradient[11:], 0.0)


def test_contrast_by_hand():
    teacher, student = features([[2.0, 0.0], [0.0, 3.0]]), features([[1.0, 0.0], [5.0, 0.0]])
    loss, _ = evaluate(gcrd(1.0, head="none"), teacher, student)  # logits [1, 0] and [1, 0], classes 0 and 1
    assert_allclose(loss, np.log(1.0 + np.e) - 0.5, rtol=1e-6)


OBJECTIVES = {
    "lsp": lsp(),
    "lsp-l2": lsp("l2"),
    "gsp": gsp(),
    "gsp-l2": gsp("l2"),
    "gsp-linear": gsp(head="linear", dim=3),
    "gcrd": gcrd(dim=5),
    "geometric": geometric("gaussian", 0.1),
}


@pytest.mark.parametrize("name", ["lsp", "gsp-linear", "gcrd", "geometric"])
def test_masked_nodes_equal_the_sub_graph_of_them(x64, name):
    objective = OBJECTIVES[name]
    teacher, student, *_ = small()
    params = random_params(objective, teacher, student)
    whole = evaluate(objective, teacher, student, graph=edge_graph(EDGES, 14), mask=MASK, params=params)
    part = jax.tree.map(lambda x: x[:11], (teacher, student))
    kept = EDGES[:, (EDGES < 11).all(axis=0)]
    loss, (to_params, gradient) = evaluate(objective, *part, graph=edge_graph(kept, 11), params=params)
    assert_allclose(whole[0], loss, rtol=1e-9)
    jax.tree.map(functools.partial(assert_allclose, rtol=1e-7, atol=1e-10), whole[1][0], to_params)
    assert_allclose(whole[1][1][:11], gradient, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradient_through_a_rectifier_is_finite_at_zero_rows_and_equal_points(name):
    objective, graph = OBJECTIVES[name], edge_graph(EDGES, 14)
    teacher, student, *_ = small("float32")
    mask, params = jnp.ones(14, bool), random_params(objective, teacher, student)

    @functools.partial(jax.jit, compiler_options=QUICK)
    @jax.grad
    def gradient(x):
        targets = objective.targets(teacher, graph=graph, mask=mask)
        seen = GNNOutput(student.logits, (jax.nn.relu(x),))
        return objective.apply(params, targets, seen, graph=graph, mask=mask, key=None)[0]

    slope = gradient(student.hiddens[0] - 0.1)
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0.0
    assert_array_equal(slope[3], 0.0)


def test_padding_edges_and_an_empty_edge_list_count_for_nothing():
    teacher, student = make_output(0, (3,), 5), make_output(1, (2,), 5)
    plain = from_edges(np.array([0, 1, 2]), np.array([1, 2, 3]), 5, nodes=np.zeros((5, 1), np.float32), undirected=True)
    padded = jraph.pad_with_graphs(plain, n_node=9, n_edge=20)
    spoilt = jax.tree.map(lambda x: jnp.concatenate([x, jnp.full((4, *x.shape[1:]), jnp.nan)]), (teacher, student))
    loss, (_, gradient) = evaluate(lsp(), teacher, student, graph=plain)
    loss2, (_, gradient2) = evaluate(lsp(), *spoilt, graph=padded, mask=np.arange(9) < 5)
    assert_allclose(loss2, loss, rtol=1e-6)
    assert_allclose(gradient2[:5], gradient, rtol=1e-5, atol=1e-7)
    empty = edge_graph(np.zeros((2, 0)), 5)
    loss, (_, gradient) = evaluate(lsp(), teacher, student, graph=empty)
    assert_array_equal(loss, 0.0)
    assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("kernel", ["l2", "rbf"])
def test_kernels_so_far_apart_that_a_share_vanishes_stay_finite(kernel):
    teacher, student, *_ = small("float32")
    far = jax.tree.map(lambda x: 1e3 * x, student)
    loss, (_, gradient) = evaluate(lsp(kernel), teacher, far, graph=edge_graph(EDGES, 14))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


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
        targets = objective.targets(teacher, graph=None, mask=mask)
        return objective.apply(params, targets, student, graph=None, mask=mask, key=key)[0]

    drawing, everything, plain = (
        jax.jit(functools.partial(loss, make(m)), compiler_options=QUICK) for m in (8, 30, None)
    )
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
    targets = objective.targets(teacher, graph=None, mask=mask)
    params = random_params(objective, teacher, student)
    losses = jax.jit(
        jax.vmap(lambda key: objective.apply(params, targets, student, graph=None, mask=mask, key=key)[0]),
        compiler_options=QUICK,
    )(jax.random.split(KEY, 2000))
    between = gap.sum() / (16 * 15)  # the diagonal is zero
    assert_allclose(np.mean(losses) * 6 / 5, between, rtol=0.03)


@pytest.mark.parametrize(("most", "sizes"), [(1, 1), (3, 3), (4, 4), (6, 4), (7, 7), (1024, 7)])
def test_blocks_add_up_to_the_whole(monkeypatch, most, sizes):
    monkeypatch.setattr(node_pairs, "_BLOCK_ROWS", most)
    seen = set()

    def term(rows):
        seen.add(len(rows[0]))
        return jnp.sum(rows[0] * rows[1][:, None] ** 2)

    x = np.arange(14.0, dtype=np.float32).reshape(7, 2)
    total = jax.jit(jax.value_and_grad(lambda x: sum_over_blocks(term, (x, x[:, 0]))), compiler_options=QUICK)
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
    monkeypatch.setattr(node_pairs, "_BLOCK_ROWS", 4)
    blocks = evaluate(objective, teacher, student, mask=MASK)
    jax.tree.map(functools.partial(assert_allclose, rtol=1e-5, atol=1e-6), blocks, whole)


def temporary_bytes(objective: Objective, n: int, dim: int) -> int:
    """Of the compiled loss and gradient, from the shapes alone."""
    output = GNNOutput(jax.ShapeDtypeStruct((n, 2), "float32"), (jax.ShapeDtypeStruct((n, dim), "float32"),))

    def gradient(teacher, student, mask):
        def loss(student):
            targets = objective.targets(teacher, graph=None, mask=mask)
            params = {"teacher": {}, "student": {}}
            return objective.apply(params, targets, student, graph=None, mask=mask, key=None)[0]

        return jax.value_and_grad(loss)(student)

    lowered = jax.jit(gradient).lower(output, output, jax.ShapeDtypeStruct((n,), "bool"))
    return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("name", ["contrast", "gsp"])
def test_memory_grows_with_the_nodes_and_not_with_their_square(name):
    objective = {"contrast": gcrd(head="none"), "gsp": gsp("l2")}[name]
    small, large = (temporary_bytes(objective, n, 8) for n in (8192, 32768))
    assert small > 8192 * 1024 * 4  # a block is there
    assert large < 4.5 * small
    assert large < 32768**2 * 4 / 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lsp("dot"), "lsp: kernel is 'dot', expected one of cosine, poly, l2, rbf"),
        (lambda: lsp(divergence="js"), "lsp: divergence is 'js', expected one of kl, mse"),
        (lambda: gsp("dot"), "gsp: kernel is 'dot'"),
        (lambda: gsp(max_nodes=0), "gsp: max_nodes is 0, expected a whole number of at least 1"),
        (lambda: gsp(head="mlp"), "gsp: head is 'mlp', expected one of none, linear, bnrelu"),
        (lambda: gcrd(0.0), "gcrd: temperature is 0.0, expected a finite number above 0"),
        (lambda: gcrd(dim=0), "gcrd: dim is 0, expected a whole number"),
        (lambda: geometric("rbf"), "geometric: kernel is 'rbf', expected one of sigmoid, gaussian"),
        (lambda: geometric(delta=-0.1), "geometric: delta is -0.1, expected a finite number >= 0"),
        (lambda: geometric(scale=0.0), "geometric: scale is 0.0, expected a finite number above 0"),
        (lambda: geometric(layers=()), "geometric: layers is empty, expected at least one"),
    ],
)
def test_bad_arguments_are_refused(unchecked, make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("objective", "widths", "message"),
    [
        (lsp(), ((), (3,)), "lsp: the teacher returns no hidden layers"),
        (gsp(), ((3,), ()), "gsp: the student returns no hidden layers"),
        (gcrd(), ((3,), ()), "gcrd: the student returns no hidden layers"),
        (
            gcrd(head="none"),
            ((3,), (2,)),
            "gcrd: the student's last hidden layer has width 2, expected the teacher's 3",
        ),
        (
            geometric(),
            ((3, 3), (2,)),
            "geometric: the student has 1 hidden layers and the teacher 2, expected the same",
        ),
        (geometric(), ((), ()), "the student has 0 hidden layers"),
        (geometric(layers=((1, 0),)), ((3,), (3,)), r"layers holds \(1, 0\), expected a teacher layer in 0..0"),
    ],
)
def test_models_that_do_not_fit_are_refused(objective, widths, message):
    teacher, student = (make_output(i, w) for i, w in enumerate(widths))
    with pytest.raises(InputError, match=message):
        random_params(objective, teacher, student)
