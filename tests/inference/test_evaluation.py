"""Evaluation: hand numbers, the Gram-matrix form of CKA in NumPy, and what must not change a result."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abkd_jax.graph.build import from_edges, prepare
from abkd_jax.inference import evaluation
from abkd_jax.models import GCNII
from abkd_jax.training import tasks
from abkd_jax.types import InputError

HIDDEN_CKA = jax.jit(evaluation.hidden_cka)
CKA = jax.jit(evaluation.cka)
NODES = 30


def gram_cka(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with linear kernels K, L centred by H = I - 11'/n."""
    n = x.shape[0]
    h = np.eye(n) - 1.0 / n
    k, m = h @ x @ x.T @ h, h @ y @ y.T @ h
    return float(np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)))


def random_layers(seed: int, widths: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple((rng.normal(size=(NODES, w)) * rng.uniform(0.5, 2.0, w) + 3.0).astype(np.float32) for w in widths)


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    return np.random.default_rng(7).random(NODES) < 0.6


def test_accuracy_by_hand_and_masked():
    logits = jnp.array([[2.0, 1.0], [0.0, 3.0], [5.0, 0.0], [0.0, 1.0]])  # predicts 0, 1, 0, 1
    labels = jnp.array([0, 0, 0, -1], jnp.int32)
    score = jax.jit(evaluation.accuracy)
    assert float(score(logits, labels, jnp.array([True, True, True, False]))) == pytest.approx(2 / 3)
    assert float(score(logits, labels, jnp.array([True, False, True, False]))) == 1.0
    assert float(score(logits, labels, jnp.array([False, True, False, True]))) == 0.0


def test_accuracy_is_the_tasks():
    assert evaluation.accuracy is tasks.accuracy


def test_agreement_counts_rows_and_is_not_defined_without_any():
    logits, teacher = (
        jnp.array([[2.0, 1.0], [0.0, 3.0], [jnp.nan, 0.0]]),
        jnp.array([[5.0, 1.0], [4.0, 3.0], [1.0, 0.0]]),
    )
    assert float(evaluation.agreement(logits, teacher, jnp.array([True, True, False]))) == 0.5
    assert float(evaluation.agreement(logits[:2, :1], teacher[:2, :1], jnp.ones(2, bool))) == 0.5  # signs
    for pair in ((logits, teacher), (teacher, logits)):
        assert np.isnan(evaluation.agreement(*pair, jnp.ones(3, bool)))
    assert np.isnan(evaluation.agreement(logits, teacher, jnp.zeros(3, bool)))


def test_cka_refuses_a_mask_of_another_length():
    with pytest.raises(InputError, match="a layer has 4 rows, expected 1 as the mask"):
        inspect.unwrap(evaluation.hidden_cka)((np.ones((4, 2), np.float32),), (), np.ones(1, bool))


def test_parameter_count_of_arrays_and_shapes():
    params = {"dense": {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)}, "scale": jnp.zeros(())}
    assert evaluation.parameter_count(params) == 17
    assert evaluation.parameter_count(jax.eval_shape(lambda: params)) == 17
    assert evaluation.parameter_count({}) == 0


def test_latency_orders_its_numbers_and_counts_calls(monkeypatch):
    clock = iter([0.0, 0.004, 1.0, 1.001, 2.0, 2.002])  # three calls of 4, 1 and 2 ms
    monkeypatch.setattr(evaluation.time, "perf_counter", lambda: next(clock))
    times = evaluation.latency(lambda x: {"y": x + 1.0}, np.ones(3, np.float32), repeats=3)
    assert times == pytest.approx({"median_ms": 2.0, "min_ms": 1.0, "max_ms": 4.0})
    assert next(clock, None) is None


def test_latency_compiles_once():
    traces = []

    def function(x):
        traces.append(x)
        return x * 2.0

    evaluation.latency(function, jnp.ones(2), repeats=2)
    assert len(traces) == 1


def test_latency_rejects_no_repeats():
    with pytest.raises(InputError, match="repeats of at least 1, got 0"):
        evaluation.latency(jnp.sin, jnp.ones(2), repeats=0)


def test_flops_of_a_matrix_product():
    shapes = jax.ShapeDtypeStruct((8, 16), jnp.float32), jax.ShapeDtypeStruct((16, 4), jnp.float32)
    assert evaluation.flops(jnp.dot, *shapes) == 2 * 8 * 16 * 4


def test_flops_count_loops_as_often_as_they_run_and_sparse_products():
    graph = prepare(
        from_edges(np.array([0, 1, 2]), np.array([1, 2, 3]), 5, nodes=np.ones((5, 6), np.float32), undirected=True)
    )
    graph = jax.device_put(graph)
    model = GCNII(hidden=4, layers=3, classes=2)
    params = jax.jit(model.init)(jax.random.key(0), graph)
    per_layer = 2 * 6 * 4 + 2 * 5 * 4 * 4  # six directed edges, and the kernel
    expected = 2 * 5 * 6 * 4 + 3 * per_layer + 2 * 5 * 4 * 2
    assert evaluation.flops(jax.jit(lambda p, g: model.apply(p, g).logits), params, graph) == expected


def test_cka_by_hand(mask):
    ones = np.ones(4, bool)
    x = np.array([[1.0], [-1.0], [1.0], [-1.0]], np.float32)
    y = np.array([[1.0], [1.0], [-1.0], [-1.0]], np.float32)
    assert float(CKA(x, y, ones)) == 0.0
    # X = [x, y], Y = x: ||Y'X||^2 = 16, ||X'X|| = 4 sqrt 2, ||Y'Y|| = 4
    assert float(CKA(np.hstack([x, y]), x, ones)) == pytest.approx(1 / np.sqrt(2), rel=1e-6)


def test_hidden_cka_matches_the_gram_form_and_ignores_masked_nodes(mask):
    teacher, student = random_layers(0, (5, 3, 8)), random_layers(1, (4, 2))
    student = (student[0] + teacher[0][:, :4], student[1])
    expected = [[gram_cka(t[mask].astype(float), s[mask].astype(float)) for s in student] for t in teacher]
    np.testing.assert_allclose(HIDDEN_CKA(teacher, student, mask), expected, rtol=2e-5)
    spoilt = tuple(np.where(mask[:, None], t, np.nan).astype(np.float32) for t in teacher)
    np.testing.assert_array_equal(HIDDEN_CKA(spoilt, student, mask), HIDDEN_CKA(teacher, student, mask))


def test_cka_ignores_rotation_scale_shift_and_node_order(mask):
    (x,), (y,) = random_layers(2, (6,)), random_layers(3, (5,))
    rotation = np.linalg.qr(np.random.default_rng(4).normal(size=(6, 6)))[0].astype(np.float32)
    reference = float(CKA(x, y, mask))
    assert 0.0 < reference < 1.0
    assert float(CKA(x @ rotation * np.float32(1e-9), y, mask)) == pytest.approx(reference, rel=1e-4)
    assert float(CKA(x + np.float32(50.0), y, mask)) == pytest.approx(reference, rel=1e-4)
    assert float(CKA(y, x, mask)) == pytest.approx(reference, rel=1e-6)
    order = np.random.default_rng(5).permutation(NODES)
    assert float(CKA(x[order], y[order], mask[order])) == pytest.approx(reference, rel=1e-5)
    assert float(CKA(x, x, mask)) == pytest.approx(1.0, rel=1e-6)


def test_cka_of_a_constant_layer_or_no_node_is_zero(mask):
    (y,) = random_layers(6, (5,))
    constant = np.full((NODES, 3), 0.1, np.float32)
    assert float(CKA(constant, y, mask)) == 0.0
    assert float(CKA(y, y, np.zeros(NODES, bool))) == 0.0


def test_cka_of_half_precision_is_float32(mask):
    (x,) = random_layers(8, (4,))
    value = CKA(jnp.asarray(x, jnp.bfloat16), x, mask)
    assert value.dtype == jnp.float32
    assert float(value) == pytest.approx(1.0, abs=1e-3)
