"""The optimizer and one step, against NumPy."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from training_samples import (
    CLASSES,
    FEATURES,
    NODES,
    Tiny,
    arrays,
    assert_same_bits,
    make,
    make_batch,
    one,
)

from abkd_jax.configs.options import OptimConfig
from abkd_jax.distill import Term, soft_label, weighted_sum
from abkd_jax.training.step import (
    TrainState,
    init_state,
    make_distill_step,
    make_optimizer,
    make_validate,
)
from abkd_jax.training.tasks import classification
from abkd_jax.training.term_shares import make_gradient_shares
from abkd_jax.types import GNNOutput, InputError, Objective


@pytest.fixture(scope="module")
def batch():
    return make_batch()


# The optimizer -------------------------------------------------------------------------------------------------------


def adam(param, gradients, decay, rates):
    """Adam with L2 inside, as its paper has it (arXiv 1412.6980, algorithm 1)."""
    m, v = np.zeros_like(param), np.zeros_like(param)
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        g = gradient + decay * param
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        param = param - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return param


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_optimizer_is_adam_with_l2_inside_in_two_groups(schedule):
    config = OptimConfig(epochs=4, learning_rate=0.1, conv_decay=0.5, dense_decay=0.02, schedule=schedule)
    rng = np.random.default_rng(1)
    draw = lambda: rng.normal(size=3)  # noqa: E731
    layout = {
        "student": {"input": {"kernel": draw()}, "blocks": {"conv": {"kernel": draw()}}, "conv_0": {"bias": draw()}},
        "objective": {"heads": {"query": draw()}, "conv": draw()},
    }
    decays = {
        "student": {"input": {"kernel": 0.02}, "blocks": {"conv": {"kernel": 0.5}}, "conv_0": {"bias": 0.5}},
        "objective": {"heads": {"query": 0.0}, "conv": 0.0},
    }
    gradients = [jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), layout) for _ in range(4)]
    rates = [0.1] * 4 if schedule == "constant" else [0.05 * (1 + np.cos(np.pi * t / 4)) for t in range(4)]

    optimizer = make_optimizer(config)
    as_float32 = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)  # noqa: E731
    params = as_float32(layout)
    state = optimizer.init(params)
    for gradient in gradients:
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(as_float32(gradient), state, params)
        params = jax.tree.map(jnp.add, params, updates)

    expected = jax.tree.map(lambda p, decay, *gs: adam(p, gs, decay, rates), layout, decays, *gradients)
    jax.tree.map(lambda found, wanted: assert_allclose(found, wanted, rtol=1e-5, atol=1e-5), params, expected)


ONES = np.ones(2, np.float32)


class Projection(NamedTuple):
    kernel: np.ndarray


@pytest.mark.parametrize("own", [(ONES,), [ONES], Projection(ONES), ONES], ids=["tuple", "list", "named", "array"])
def test_parameters_of_a_loss_are_any_pytree(own):
    """No decay acts on them, and the first step of Adam is the learning rate."""
    optimizer = make_optimizer(OptimConfig(learning_rate=0.5, dense_decay=9.0))
    params = {"student": {}, "objective": jax.tree.map(jnp.asarray, own)}
    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
        updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    assert_allclose(*jax.tree.leaves(updates), -0.5, rtol=1e-5)


def test_cosine_reaches_zero_at_the_last_epoch():
    optimizer = make_optimizer(OptimConfig(epochs=3, learning_rate=0.1, schedule="cosine"))
    params = {"student": jnp.ones(2)}
    state, moved = optimizer.init(params), []
    for _ in range(4):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update({"student": jnp.ones(2)}, state, params)
        moved.append(float(jnp.max(jnp.abs(updates["student"]))))
    assert_allclose(moved, [0.1, 0.075, 0.025, 0.0], atol=1e-6)  # 0.05 (1 + cos(pi t / 3)); Adam's step is 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 0.0}, "learning rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning rate is nan"),
        ({"epochs": 0}, r"epochs \(0\)"),
        ({"eval_every": 0}, r"eval_every \(0\)"),
        ({"patience": -1}, "patience is -1"),
    ],
)
def test_bad_settings_are_refused(change, named):
    with pytest.raises(InputError, match=named):
        make_optimizer(dataclasses.replace(OptimConfig(), **change))


# One step ------------------------------------------------------------------------------------------------------------


def pull(weight):
    """An objective with a parameter it does not use: `weight * sum over masked nodes of targets * logits`."""

    def apply(params, targets, student, *, graph, mask, key):
        loss = weight * jnp.sum(jnp.where(mask.all[:, None], targets * student.logits, 0.0))
        return loss, {"pull": loss}

    return Objective(lambda *_: {"head": jnp.ones(2)}, lambda *_, **__: None, apply)


def gradients_by_hand(params, batch, task_weight, weight):
    """Gradients of `Tiny` without dropout, in float64."""
    x, labels = np.asarray(batch.graph.nodes, np.float64), np.asarray(batch.labels)
    conv, kernel, bias = (np.asarray(p, np.float64) for p in params)
    h = x @ conv
    logits = h @ kernel + bias
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    train = np.arange(NODES) < 12
    task = -np.log(p[train, labels[train]]).mean()
    g = task_weight * train[:, None] * (p - np.eye(CLASSES)[labels]) / 12 + weight * np.asarray(batch.targets)
    return (x.T @ g @ kernel.T, h.T @ g, g.sum(axis=0)), task


def test_step_equals_the_hand_written_one(batch):
    config = OptimConfig(epochs=3, learning_rate=0.1, conv_decay=0.3, dense_decay=0.05)
    targets = jnp.asarray(np.random.default_rng(2).normal(size=(NODES, CLASSES)), jnp.float32)
    batch = batch._replace(targets=targets)
    objective, optimizer = pull(0.2), make_optimizer(config)
    state = init_state(
        jax.random.key(0), Tiny(), optimizer, batch, objective_params=objective.init(jax.random.key(1), None, None)
    )
    step = make_distill_step(Tiny(), objective, optimizer, classification(), task_weight=0.7)
    flat = lambda p: [np.array(p["conv"]["kernel"]), np.array(p["output"]["kernel"]), np.array(p["output"]["bias"])]  # noqa: E731
    start = params = flat(state.params["student"])
    gradients = []
    for t in range(1, 4):
        by_hand, task = gradients_by_hand(params, batch, 0.7, 0.2)
        gradients.append(by_hand)
        state, metrics = step(state, batch)
        params = [
            adam(np.float64(p), [g[i] for g in gradients], decay, [0.1] * t)
            for i, (p, decay) in enumerate(zip(start, (0.3, 0.05, 0.05), strict=True))
        ]
        assert_allclose(metrics["task_loss"], task, rtol=1e-5)
        assert_allclose(metrics["loss"], 0.7 * task + float(metrics["pull"]), rtol=1e-5)
        for found, wanted in zip(flat(state.params["student"]), params, strict=True):
            assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert_array_equal(state.params["objective"]["head"], [1.0, 1.0])  # no gradient and no decay
    assert int(state.step) == 3


def test_supervised_step_is_the_step_with_an_empty_objective(batch):
    config = OptimConfig(learning_rate=0.1)
    without = make(Tiny(dropout=0.5), config, batch)
    with_none = make(Tiny(dropout=0.5), config, batch, objective=pull(0.0))
    zeros = batch._replace(targets=jnp.zeros((NODES, CLASSES)))
    supervised, distilled = without[0](one(without[2]), batch)[0], with_none[0](one(with_none[2]), zeros)[0]
    assert_same_bits(supervised.params["student"], distilled.params["student"])


def test_labels_do_not_matter_without_the_task(batch):
    batch = batch._replace(targets=jnp.ones((NODES, CLASSES)))
    others = batch._replace(labels=(batch.labels + 1) % CLASSES)
    results = {}
    for weight in (0.0, 1.0):
        step, _, states = make(Tiny(), OptimConfig(), batch, objective=pull(1e-3), task_weight=weight)
        results[weight] = [step(one(states), b)[0].params["student"]["output"]["kernel"] for b in (batch, others)]
    assert_array_equal(*results[0.0])
    assert not np.array_equal(*results[1.0])


def test_step_takes_the_buffers_of_its_state(batch):
    step, _, states = make(Tiny(), OptimConfig(), batch)
    state = one(states)
    step(state, batch)
    assert state.params["student"]["conv"]["kernel"].is_deleted()
    assert state.opt_state[2][0].mu["student"]["conv"]["kernel"].is_deleted()


def test_step_lowers_the_loss_and_moves_running_statistics(batch):
    step, validate, states = make(Tiny(normed=True), OptimConfig(learning_rate=0.05), batch)
    state = one(states)
    h = np.asarray(batch.graph.nodes) @ np.asarray(state.params["student"]["conv"]["kernel"])
    state, first = step(state, batch)
    norm = arrays(state.model_state["batch_stats"]["norm"])
    assert_allclose(norm["mean"], 0.25 * h.mean(axis=0), rtol=1e-4, atol=1e-6)
    assert_allclose(norm["var"], 0.75 + 0.25 * h.var(axis=0), rtol=1e-4)
    for _ in range(10):
        state, last = step(state, batch)
    assert float(last["loss"]) < 0.8 * float(first["loss"])
    moved = state._replace(model_state={"batch_stats": {"norm": {"mean": norm["mean"] + 1.0, "var": norm["var"]}}})
    assert float(validate(moved, batch)["val_loss"]) != float(validate(state, batch)["val_loss"])


def test_validation_scores_the_validation_nodes(batch):
    _, validate, states = make(Tiny(), OptimConfig(), batch)
    state = one(states)
    p = state.params["student"]
    logits = np.asarray(batch.graph.nodes) @ np.asarray(p["conv"]["kernel"]) @ np.asarray(p["output"]["kernel"])
    labels = np.asarray(batch.labels)
    loss = [np.log(np.exp(logits[v]).sum()) - logits[v, labels[v]] for v in range(12, NODES)]
    found = validate(state, batch)
    assert_allclose(found["val_loss"], np.mean(loss), rtol=1e-5)
    assert_allclose(found["val_accuracy"], np.mean(logits[12:].argmax(axis=1) == labels[12:]), rtol=1e-6)


class Bare(nn.Module):
    """A model that returns logits alone."""

    @nn.compact
    def __call__(self, graph, train=False):
        return nn.Dense(3)(graph.nodes)


@pytest.mark.parametrize("bare", [False, True], ids=["no targets", "no GNNOutput"])
def test_a_step_without_what_it_reads_is_refused_in_one_line(batch, bare):
    objective = None if bare else weighted_sum(Term("soft_label", 1.0, soft_label()))
    step, _, states = make(Bare() if bare else Tiny(), OptimConfig(), batch, objective=objective)
    expected = "Bare returns .*, expected GNNOutput" if bare else "batch.targets is None, expected objective.targets"
    with pytest.raises(InputError, match=expected):
        step(one(states), batch)


def test_a_validation_without_a_node_is_refused(batch):
    with pytest.raises(InputError, match="make_validate: no node in the mask, expected at least one"):
        make_validate(Tiny(), classification(), jnp.zeros(NODES, bool))


# Gradient shares ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_weight", [0.0, 2.0])
def test_gradient_shares_equal_differences_of_the_losses(task_weight):
    """In float64, one parameter after the other; the losses written out in NumPy."""
    with jax.enable_x64(True):
        batch = make_batch()
        graph = batch.graph._replace(nodes=jnp.asarray(np.asarray(batch.graph.nodes), "float64"))
        batch = batch._replace(graph=graph)
        model, terms = Tiny(), (Term("hot", 0.5, soft_label(1.0), "train"), Term("off", 0.0, soft_label()))
        terms = (*terms, Term("cold", 3.0, soft_label(2.0)))
        objective, wanted = weighted_sum(*terms), np.random.default_rng(5).normal(size=(NODES, CLASSES))
        teacher = GNNOutput(jnp.asarray(wanted), (jnp.zeros((NODES, 4)),))
        batch = batch._replace(targets=objective.targets(teacher, graph=graph, mask=batch.masks))
        rng = np.random.default_rng(1)
        params = {"conv": {"kernel": rng.normal(size=(FEATURES, 4))}}
        params["output"] = {"kernel": rng.normal(size=(4, CLASSES)), "bias": rng.normal(size=CLASSES)}
        heads = {term.name: {} for term in terms}
        state = TrainState({"student": params, "objective": heads}, {}, (), jax.random.key(0), jnp.zeros((), jnp.int32))
        shares = make_gradient_shares(model, terms, classification(), task_weight)(state, batch)

    features, labels = np.asarray(graph.nodes), np.asarray(batch.labels)
    softmax = lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)  # noqa: E731

    def numpy_losses(conv, kernel, bias) -> np.ndarray:
        z = features @ conv @ kernel + bias
        p, q = softmax(z), softmax(wanted)
        kl = lambda t, s: (t * np.log(t / s)).sum(axis=1)  # noqa: E731
        cold = 4.0 * kl(softmax(wanted / 2.0), softmax(z / 2.0)).mean()
        train = slice(0, 12)
        task = -np.log(p[np.arange(NODES), labels])[train].mean()
        return np.array([task_weight * task, 0.5 * kl(q, p)[train].mean(), 3.0 * cold])

    arrays = [params["conv"]["kernel"], params["output"]["kernel"], params["output"]["bias"]]
    slopes = []
    for i, array in enumerate(arrays):
        for j in np.ndindex(array.shape):
            moved = [[np.array(x) for x in arrays] for _ in range(2)]
            moved[0][i][j] += 1e-5
            moved[1][i][j] -= 1e-5
            slopes.append((numpy_losses(*moved[0]) - numpy_losses(*moved[1])) / 2e-5)
    norms = np.linalg.norm(slopes, axis=0)
    names = ["gradient_share/task", "gradient_share/hot", "gradient_share/cold"]
    assert set(shares) == set(names if task_weight else names[1:])
    assert_allclose([shares.get(name, 0.0) for name in names], norms / norms.sum(), rtol=1e-5)


@pytest.mark.parametrize(("terms", "task_weight"), [((), 1.0), ((Term("kd", 1.0, soft_label()),), 0.0)])
def test_a_single_term_has_nothing_to_share(terms, task_weight):
    batch = make_batch()
    _, _, states = make(Tiny(), OptimConfig(epochs=1), batch)
    assert make_gradient_shares(Tiny(), terms, classification(), task_weight)(one(states), batch) == {}


def test_a_term_that_hides_the_task_loss_is_refused():
    with pytest.raises(InputError, match="a term is called 'task'"):
        make_gradient_shares(Tiny(), [Term("task", 1.0, soft_label())], classification())
