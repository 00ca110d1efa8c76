"""KRD, FF-G2M and P&D against their equations in NumPy float64, node by node and edge by edge."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import EDGELESS, make_output
from graphs import EdgeList, edge_lists, quick, random_edges, raw_graph
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax.distill import ff_g2m, krd, propagate
from abkd_jax.distill.ops.soft_targets import counted_edges
from abkd_jax.types import GNNOutput, InputError, Objective

OBJECTIVES: dict[str, Objective] = {
    "krd": krd(0.5, power=2.0, noise=0.7),
    "ff_g2m": ff_g2m(0.5, 1.5),
    "propagate": propagate(0.5, steps=3, strength=0.8),
}
CLASSES = 3
RING = EDGELESS._replace(senders=np.arange(6), receivers=(np.arange(6) + 1) % 6, nodes=np.zeros((6, 1)))


def softmax(z):
    p = np.exp(z - z.max())
    return p / p.sum()


def kl(z_t, z_s):
    p, q = softmax(z_t), softmax(z_s)
    return np.sum(p * (np.log(p) - np.log(q)))


def entropy(z):
    return -np.sum(softmax(z) * np.log(softmax(z)))


def krd_in_numpy(t, s, edges, mask):
    steps = 0.7 * np.sqrt(CLASSES) * np.concatenate([np.eye(CLASSES), -np.eye(CLASSES)])
    rho = np.array([np.mean([(entropy(z + step) - entropy(z)) ** 2 for step in steps]) for z in t])
    a = 1.0 - (rho / rho[mask].max()) ** 2 if mask.any() else rho
    pairs = [(a[u], kl(t[u] / 0.5, s[v] / 0.5)) for u, v in edges]
    return sum(w * d for w, d in pairs) / sum(w for w, _ in pairs) if sum(w for w, _ in pairs) else 0.0


def ff_g2m_in_numpy(t, s, edges, mask):
    low = [kl(t[u] / 0.5, s[v] / 0.5) for u, v in [*edges, *((v, v) for v in np.flatnonzero(mask))]]
    high = [kl(abs(t[u] - t[v]) / 1.5, abs(s[u] - s[v]) / 1.5) for u, v in edges]
    return (np.mean(low) if low else 0.0) + (np.mean(high) if high else 0.0)


def propagate_in_numpy(t, s, edges, mask):
    adjacency = np.eye(len(t))
    for u, v in edges:
        adjacency[v, u] += 1.0
    scale = adjacency.sum(axis=1) ** -0.5
    p = np.array([softmax(z / 0.5) for z in t])
    for _ in range(3):
        p = 0.8 * (scale[:, None] * adjacency * scale) @ p + 0.2 * p
    p /= p.sum(axis=1, keepdims=True)
    losses = [kl(np.log(p[v]), s[v] / 0.5) for v in np.flatnonzero(mask)]
    return np.mean(losses) if losses else 0.0


FORMULAS = {"krd": krd_in_numpy, "ff_g2m": ff_g2m_in_numpy, "propagate": propagate_in_numpy}
every_loss = pytest.mark.parametrize("name", FORMULAS)


@functools.cache
def compiled(name: str):
    def loss(student, teacher, graph, mask):
        targets = OBJECTIVES[name].targets(GNNOutput(teacher, ()), graph=graph, mask=mask)
        return OBJECTIVES[name].apply({}, targets, GNNOutput(student, ()), graph=graph, mask=mask, key=None)[0]

    return jax.jit(jax.value_and_grad(loss))


def found_and_expected(name: str, edges: EdgeList, mask: np.ndarray, seed: int):
    """`(loss, gradient, formula of the student's logits)`, rows outside the mask NaN for the library."""
    rng = np.random.default_rng(seed)
    t, s = rng.normal(size=(2, edges.size, CLASSES))
    pairs = zip(edges.senders.tolist(), edges.receivers.tolist(), strict=True)
    kept = [(u, v) for u, v in pairs if mask[u] and mask[v] and u != v]
    with jax.enable_x64(True):
        seen = (jnp.asarray(np.where(mask[:, None], x, np.nan)) for x in (s, t))
        loss, gradient = compiled(name)(*seen, raw_graph(edges, np.zeros((edges.size, 1))), jnp.asarray(mask))
    return loss, gradient, lambda moved: FORMULAS[name](t, s + moved, kept, mask)


@every_loss
@quick
@given(edges=edge_lists(), seed=st.integers(0, 2**16), data=st.data())
def test_value_is_that_of_the_equation_on_any_graph(name, edges, seed, data):
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=edges.size, max_size=edges.size)))
    loss, gradient, formula = found_and_expected(name, edges, mask, seed)
    assert_allclose(loss, formula(0.0), rtol=1e-8, atol=1e-12)
    assert np.isfinite(gradient).all()
    assert_array_equal(gradient[~mask], 0.0)


@every_loss
def test_gradient_is_that_of_the_equation(name):
    mask = np.arange(9) != 4
    _, gradient, formula = found_and_expected(name, random_edges(3, 9, 20), mask, 1)
    slopes = np.zeros((9, CLASSES))
    for i in np.ndindex(*slopes.shape):
        step = np.zeros_like(slopes)
        step[i] = 1e-5
        slopes[i] = (formula(step) - formula(-step)) / 2e-5
    assert_allclose(gradient, slopes, atol=1e-8)
    assert np.abs(slopes).max() > 1e-3


def test_an_unreliable_neighbour_weighs_nothing_and_a_certain_one_most():
    """Of two neighbours the entropy of one moves with every noise, that of the other hardly."""
    teacher = GNNOutput(jnp.array([[0.0, 0.0], [30.0, -30.0], [1.0, 0.0]]), ())
    star = EDGELESS._replace(senders=np.array([1, 2]), receivers=np.array([0, 0]), nodes=np.zeros((3, 1)))
    targets = jax.jit(krd(power=0.5).targets)(teacher, graph=star, mask=jnp.ones(3, bool))
    assert_allclose(targets.probabilities[0], [1.0, 0.0], atol=1e-6)
    assert_allclose(targets.weight, [1.0, 0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize(("classes", "noise"), [(349, 1.0), (349, 1e3), (7, 40.0), (1, 1.0)])
def test_reliability_of_certain_nodes_is_that_of_float64(classes, noise):
    """Where the probability of all other classes is below the rounding of 1, and where one moved logit is above all."""
    logits = np.random.default_rng(0).normal(size=(6, classes)).astype(np.float32)
    logits[:, 0] += [3.0, 11.0, 17.0, 21.0, 25.0, 33.0]
    steps = noise * math.sqrt(classes) * np.array([1.0, -1.0])

    def entropies(z):
        log_p = z - np.logaddexp.reduce(z, axis=-1, keepdims=True)
        return -np.sum(np.exp(log_p) * log_p, axis=-1)

    def rho(z):
        moved = [z + step * (np.arange(classes) == i) for i in range(classes) for step in steps]
        return np.mean((entropies(np.array(moved)) - entropies(z)) ** 2)

    variation = np.array([rho(z) for z in logits.astype(np.float64)])
    largest = variation.max() if classes > 1 else 1.0
    targets = jax.jit(krd(noise=noise).targets)(GNNOutput(logits, ()), graph=RING, mask=np.ones(6, bool))
    assert_allclose(targets.weight, 1.0 - np.roll(variation, 1) / largest, atol=1e-4)


@pytest.mark.parametrize(
    ("factory", "arguments", "message"),
    [
        (krd, {"temperature": 0.0}, "krd: temperature is 0.0"),
        (krd, {"power": -1.0}, "krd: power is -1.0"),
        (krd, {"noise": 0.0}, "krd: noise is 0.0"),
        (ff_g2m, {"difference_temperature": 1e4}, "ff_g2m: difference_temperature is 10000.0"),
        (propagate, {"steps": 0}, "propagate: steps is 0"),
        (propagate, {"strength": 1.5}, "propagate: strength is 1.5"),
    ],
)
def test_wrong_arguments_are_one_line(factory, arguments, message):
    with pytest.raises(InputError, match=message):
        factory(**arguments)


def test_neighbours_count_once_whatever_types_of_edges_join_them():
    edges, mask = random_edges(3, 9, 60), jnp.arange(9) != 4
    graph = raw_graph(edges, np.zeros((9, 1)), weighted=False)
    senders, receivers, every = counted_edges(graph, mask)
    pairs = [(u, v) for u, v in zip(senders.tolist(), receivers.tolist(), strict=True) if u != 4 != v]
    assert int(every.sum()) == len(pairs) > len(set(pairs))
    *_, counted = counted_edges(graph._replace(edges={"relation": np.arange(60) % 3}), mask)
    assert sorted(zip(senders[counted].tolist(), receivers[counted].tolist(), strict=True)) == sorted(set(pairs))


@every_loss
def test_other_classes_than_the_teachers_are_refused(name):
    with pytest.raises(InputError, match=f"{name}: the student has 4 classes, expected the teacher's 3"):
        OBJECTIVES[name].init(jax.random.key(0), make_output(0, ()), make_output(0, (), classes=4))
