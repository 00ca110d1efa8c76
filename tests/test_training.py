"""Training against NumPy and hand-made scripts: the optimizer, one step, and the loop."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax import training
from abkd_jax.config import OptimConfig
from abkd_jax.graph import from_edges, node_mask
from abkd_jax.models import GCN
from abkd_jax.tasks import classification
from abkd_jax.training import fit, init_state, make_distill_step, make_optimizer, make_validate
from abkd_jax.types import Batch, GNNOutput, InputError, NodeMasks, Objective

NODES, FEATURES, CLASSES = 20, 5, 3
LABELS_ONLY = Batch(None, None, None, None)  # axes: everything is shared between the seeds


class Tiny(nn.Module):
    """Two linear maps: one in the convolutions' decay group, one outside it."""

    dropout: float = 0.0
    normed: bool = False

    @nn.compact
    def __call__(self, graph, train=False):
        x = nn.Dropout(self.dropout, deterministic=not train)(graph.nodes)
        h = nn.Dense(4, use_bias=False, name="conv")(x)
        if self.normed:
            h = nn.BatchNorm(use_running_average=not train, momentum=0.75, name="norm")(h)
        return GNNOutput(nn.Dense(CLASSES, name="output")(h), (h,))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    graph = from_edges(rng.integers(NODES, size=40), rng.integers(NODES, size=40), NODES)
    graph = jax.device_put(graph._replace(nodes=rng.normal(size=(NODES, FEATURES)).astype(np.float32)))
    labels = jnp.asarray(rng.integers(CLASSES, size=NODES), jnp.int32)
    return Batch(graph, labels, NodeMasks(node_mask(graph), jnp.arange(NODES) < 12), None)


def val_mask():
    return jnp.arange(NODES) >= 12


def make(model, config, batch, seeds=(0,), objective=None, task_weight=1.0):
    """A step, its validation and stacked states."""
    optimizer, task = make_optimizer(config), classification()
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    states = jax.vmap(lambda key: init_state(key, model, optimizer, batch))(keys)
    step = make_distill_step(model, objective, optimizer, task, task_weight)
    return step, make_validate(model, task, val_mask()), states


def one(states):
    return jax.tree.map(lambda leaf: leaf[0], states)


def arrays(tree):
    """Leaves as NumPy arrays, keys as their words."""
    raw = jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)
    return jax.tree.map(np.array, raw)


def assert_same_bits(a, b):
    jax.tree.map(assert_array_equal, arrays(a), arrays(b))


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


# The loop, on a script: each step adds 1 to the parameter, validation reads the losses that the batch carries --------


def scripted(losses, config, **options):
    """`losses [seeds, epochs]`; the parameter counts the steps."""
    losses = np.asarray(losses, np.float32)
    batch = Batch(None, None, None, jnp.asarray(losses))  # type: ignore[arg-type]

    def step(state, batch):
        params = {"student": state.params["student"] + 1.0, "objective": {}}
        return state._replace(params=params, step=state.step + 1), {"loss": params["student"]}

    def validate(state, batch):
        return {"val_loss": batch.targets[state.step - 1], "val_accuracy": -batch.targets[state.step - 1]}

    states = jax.vmap(
        lambda key: training.TrainState(
            {"student": jnp.zeros(()), "objective": {}}, {}, (), key, jnp.zeros((), jnp.int32)
        )
    )(jax.random.split(jax.random.key(0), len(losses)))
    return fit(step, validate, states, batch, Batch(None, None, None, 0), config, **options)


STOPS_AT_7 = [9, 8, 5, 6, 7, 6, 5, 1, 1, 1, 1, 1]  # best at 3; equal to the best is no improvement
GOES_ON = [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
WORSENS = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]


@pytest.mark.parametrize("chunk", [1, 3, 20])
@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_every_seed_stops_by_itself(monkeypatch, chunk, monitor):
    monkeypatch.setattr(training, "CHUNK_EVALUATIONS", chunk)
    config = OptimConfig(epochs=12, patience=4, monitor=monitor)
    state, history = scripted([STOPS_AT_7, GOES_ON, WORSENS], config)
    assert_array_equal(state.train.step, [7, 12, 5])
    assert_array_equal(state.train.params["student"], [7, 12, 5])
    assert_array_equal(state.best_epoch, [3, 12, 1])
    assert_array_equal(state.best_params, [3, 12, 1])
    assert_array_equal(state.best_score, [-5, -1, -3])
    assert not np.asarray(state.active).any()
    recorded = history["recorded"]
    assert_array_equal(recorded.sum(axis=0), [7, 12, 5])
    for seed, losses in enumerate((STOPS_AT_7, GOES_ON, WORSENS)):
        epochs = history["epoch"][recorded[:, seed], seed]
        assert_array_equal(epochs, np.arange(1, len(epochs) + 1))
        assert_array_equal(history["val_loss"][recorded[:, seed], seed], losses[: len(epochs)])
        assert_array_equal(history["loss"][recorded[:, seed], seed], epochs)


def test_patience_counts_epochs_between_evaluations(monkeypatch):
    monkeypatch.setattr(training, "CHUNK_EVALUATIONS", 2)
    state, history = scripted([STOPS_AT_7, GOES_ON], OptimConfig(epochs=12, eval_every=3, patience=6))
    # evaluations at 3, 6, 9 and 12: 5, 6, 1, 1 and 10, 7, 4, 1
    assert_array_equal(state.best_epoch, [9, 12])
    assert_array_equal(state.train.step, [12, 12])
    assert_array_equal(history["epoch"], [[3, 3], [6, 6], [9, 9], [12, 12]])
    assert_array_equal(history["val_loss"], [[5, 10], [6, 7], [1, 4], [1, 1]])
    state, _ = scripted([STOPS_AT_7, GOES_ON], OptimConfig(epochs=12, eval_every=3, patience=3))
    assert_array_equal(state.train.step, [6, 12])
    assert_array_equal(state.best_params, [3, 12])


def test_without_patience_it_trains_to_the_end():
    state, history = scripted([WORSENS], OptimConfig(epochs=12))
    assert_array_equal(state.train.step, [12])
    assert_array_equal(state.best_epoch, [1])
    assert history["recorded"].all()


def test_all_stopped_ends_the_run_early(monkeypatch):
    monkeypatch.setattr(training, "CHUNK_EVALUATIONS", 3)
    seen = []
    scripted([WORSENS], OptimConfig(epochs=12, patience=2), on_chunk=lambda state, history, epochs: seen.append(epochs))
    assert seen == [3]  # stopped at 3: the other three chunks are not run


def test_uneven_chunks_report_epochs_that_were_trained(monkeypatch):
    monkeypatch.setattr(training, "CHUNK_EVALUATIONS", 4)
    seen = []
    state, history = scripted([GOES_ON[:10]], OptimConfig(epochs=10), on_chunk=lambda *given: seen.append(given[2]))
    assert seen == [4, 8, 10]
    assert_array_equal(state.train.step, [10])
    assert history["recorded"].sum() == 10


def test_evaluations_must_divide_the_epochs():
    with pytest.raises(InputError, match=r"epochs is 12, expected a multiple of eval_every \(5\)"):
        scripted([GOES_ON], OptimConfig(epochs=12, eval_every=5))


# The loop, training ---------------------------------------------------------------------------------------------------

NOISY = OptimConfig(epochs=20, learning_rate=0.05, conv_decay=0.01, schedule="cosine")


@pytest.fixture(scope="module")
def noisy_run(batch):
    """Three seeds with dropout and running statistics, in four chunks, and what `on_chunk` saw after the second."""
    kept = {}

    def keep(state, history, epochs):
        kept[epochs] = state, {name: values.copy() for name, values in history.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CHUNK_EVALUATIONS", 5)
        step, validate, states = make(Tiny(dropout=0.3, normed=True), NOISY, batch, seeds=(0, 1, 2))
        state, history = fit(step, validate, states, batch, LABELS_ONLY, NOISY, on_chunk=keep)
    return state, history, kept


def rerun(batch, seeds=(0, 1, 2), **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CHUNK_EVALUATIONS", 5)
        step, validate, states = make(Tiny(dropout=0.3, normed=True), NOISY, batch, seeds=seeds)
        return fit(step, validate, states, batch, LABELS_ONLY, NOISY, **options)


def test_same_seed_same_bits(batch, noisy_run):
    state, history = rerun(batch)
    assert_same_bits(state, noisy_run[0])
    assert_same_bits(history, noisy_run[1])


def test_different_seeds_differ(noisy_run):
    kernels = np.asarray(noisy_run[0].train.params["student"]["conv"]["kernel"])
    assert not np.allclose(kernels[0], kernels[1], atol=1e-2)


@pytest.mark.parametrize("epochs", [5, 15])
def test_resumed_run_ends_at_the_same_bits(batch, noisy_run, epochs):
    state, history, kept = noisy_run
    before = arrays(kept[epochs][1])
    resumed, resumed_history = rerun(batch, resume=kept[epochs])
    assert_same_bits(resumed, state)
    assert_same_bits(resumed_history, history)
    assert_same_bits(kept[epochs][1], before)  # what the caller gave is not written to


def test_finished_run_resumes_to_itself(batch, noisy_run):
    def refuse(*_):
        raise AssertionError("nothing is left to train")

    state, _ = rerun(batch, resume=noisy_run[:2], on_chunk=refuse)
    assert_same_bits(state, noisy_run[0])


def test_best_evaluation_is_the_best_of_the_history(batch, noisy_run):
    state, history, _ = noisy_run
    assert_array_equal(state.best_epoch, history["val_loss"].argmin(axis=0) + 1)
    assert_array_equal(state.best_score, -history["val_loss"].min(axis=0))
    _, validate, _ = make(Tiny(normed=True), NOISY, batch)
    for seed in range(3):
        params, model_state = (
            jax.tree.map(lambda x, s=seed: x[s], t) for t in (state.best_params, state.best_model_state)
        )
        best = one(state.train)._replace(params={"student": params}, model_state=model_state)
        assert_allclose(validate(best, batch)["val_loss"], -state.best_score[seed], rtol=1e-5)


def test_seed_alone_agrees_with_the_seed_among_others(batch):
    """GCN with dropout, one program of three seeds against a program of one."""
    model = GCN(hidden=4, layers=2, classes=CLASSES, dropout=0.2)
    finals = {}
    for seeds in ((0, 1, 2), (1,)):
        step, validate, states = make(model, NOISY, batch, seeds=seeds)
        finals[seeds] = fit(step, validate, states, batch, LABELS_ONLY, NOISY)[0].train.params["student"]
    jax.tree.map(
        lambda many, alone: assert_allclose(many[1], alone[0], rtol=1e-4, atol=1e-6), finals[0, 1, 2], finals[1,]
    )


def test_more_chunks_do_not_trace_more(monkeypatch, batch):
    monkeypatch.setattr(training, "CHUNK_EVALUATIONS", 2)
    traces = {}
    for epochs in (2, 12):
        config = dataclasses.replace(NOISY, epochs=epochs)
        step, validate, states = make(Tiny(dropout=0.3), config, batch)
        calls = []

        def counted(state, batch, step=step, calls=calls):
            calls.append(1)
            return step(state, batch)

        fit(counted, validate, states, batch, LABELS_ONLY, config)
        traces[epochs] = len(calls)
    assert traces[2] == traces[12] <= 2
