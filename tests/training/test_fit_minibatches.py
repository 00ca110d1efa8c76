"""The loop on minibatches: the same numbers as the loop on the device, resumption, early stopping, the teacher."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from training_samples import LABELS_ONLY, Tiny, assert_same_bits, make, make_batch, one

from abkd_jax import distill
from abkd_jax.configs.options import OptimConfig
from abkd_jax.training.divergence import diverged_epochs
from abkd_jax.training.loops import fit, fit_minibatches
from abkd_jax.training.profiling import profiled
from abkd_jax.training.step import init_state, make_distill_step, make_optimizer, with_teacher_targets
from abkd_jax.training.tasks import classification
from abkd_jax.types import InputError

CONFIG = OptimConfig(epochs=8, eval_every=2, learning_rate=0.05)


@pytest.fixture(scope="module")
def setup():
    batch = make_batch()
    return batch, *make(Tiny(dropout=0.3), CONFIG, batch)


def run(setup, config=CONFIG, batches=1, **options):
    batch, step, validate, states = setup
    evaluate = jax.jit(lambda state: validate(state, batch))
    return fit_minibatches(step, evaluate, one(states), lambda epoch: [batch] * batches, config, **options)


def test_one_batch_that_is_the_whole_graph_is_the_loop_on_the_device(setup):
    batch, step, validate, states = setup
    expected, history = fit(step, validate, states, batch, LABELS_ONLY, CONFIG)
    found, own = run(setup)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-6), found.best_params, one(expected.best_params))
    assert int(found.best_epoch) == int(expected.best_epoch[0])
    for name in ("val_loss", "val_accuracy", "epoch", "recorded"):
        assert_allclose(own[name], history[name][:4], rtol=1e-5, atol=1e-6)


def test_metrics_are_means_over_the_steps_and_epochs_hold_all_batches(setup):
    seen = []

    def step(state, batch):
        seen.append(batch)
        state, metrics = setup[1](state, batch)
        return state, metrics | {"loss": jax.device_put(np.float32(len(seen)))}

    found, history = run((setup[0], step, *setup[2:]), batches=3)
    assert len(seen) == int(found.train.step) == 8 * 3
    assert_array_equal(history["loss"][:, 0], [3.5, 9.5, 15.5, 21.5])


def test_a_step_that_moves_data_between_host_and_device_is_refused(setup):
    """Batches in NumPy are moved by the loop, explicitly; a step that reads an array of the host stalls the device."""
    batch, step, *rest = setup
    on_host = jax.device_get(batch)
    found, _ = run((on_host, step, *rest), dataclasses.replace(CONFIG, epochs=2), batches=2)
    assert int(found.train.step) == 4

    def stalls(state, batch):
        return step(state, batch._replace(labels=np.asarray(on_host.labels)))

    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
        run((batch, stalls, *rest))


def test_a_trace_holds_the_steps_between_two_updates(setup, tmp_path):
    batch, step, validate, states = setup
    evaluate = jax.jit(lambda state: validate(state, batch))
    config = dataclasses.replace(CONFIG, epochs=6)
    fit = functools.partial(fit_minibatches, step, evaluate, one(states), lambda epoch: [batch] * 3, config)
    expected, _ = fit()
    found, _ = profiled(fit, tmp_path / "trace")()
    assert_same_bits(found, expected)
    (trace,) = (tmp_path / "trace").rglob("*.xplane.pb")
    planes = jax.profiler.ProfileData.from_file(str(trace)).planes
    events = [event for plane in planes for line in plane.lines for event in line.events if event.name == "step"]
    assert [dict(event.stats)["step_num"] for event in events] == list(range(6))


@pytest.mark.parametrize("name", ["loss", "val_loss"])
def test_a_loss_that_is_not_finite_stops_the_run(setup, name):
    """In one batch of the second epoch, or at the evaluation after it."""
    batch, step, validate, states = setup
    calls = []

    def learn(state, batch):
        calls.append(1)
        state, metrics = step(state, batch)
        return state, metrics | (
            {"loss": jax.device_put(np.float32(np.inf))} if name == "loss" and len(calls) == 4 else {}
        )

    def judge(state, batch):
        found = validate(state, batch)
        return found | ({"val_loss": jnp.asarray(jnp.nan)} if name == "val_loss" and len(calls) == 6 else {})

    run = fit_minibatches(learn, lambda state: judge(state, batch), one(states), lambda epoch: [batch] * 3, CONFIG)
    found, history = run
    assert len(calls) == 6
    assert diverged_epochs(history) == [2]
    assert not found.active
    assert int(found.best_epoch) == 0


def test_a_resumed_run_gives_the_same_bits(setup):
    kept = {}

    def keep(state, history, epochs):
        kept[epochs] = jax.tree.map(jnp.copy, state), {name: values.copy() for name, values in history.items()}

    expected, history = run(setup, on_chunk=keep)
    found, own = run(setup, resume=kept[4])
    assert_same_bits(found, expected)
    jax.tree.map(assert_array_equal, own, history)
    assert sorted(kept) == [2, 4, 6, 8]


@pytest.mark.parametrize("first", [2, 8, 10])
def test_a_run_of_fewer_epochs_is_resumed_to_the_numbers_of_the_whole_run(setup, first):
    """Patience ends it at 8: a shorter run trains on, one that patience has ended does not."""
    losses = jnp.asarray([5.0, 3.0, 4.0, 4.0, 1.0, 1.0])
    batch, step, _, states = setup
    config = dataclasses.replace(CONFIG, epochs=12, patience=4)

    def train(epochs, **options):
        evaluate = lambda state: {"val_loss": losses[state.step // 2 - 1], "val_accuracy": state.step}  # noqa: E731
        longer = dataclasses.replace(config, epochs=epochs)
        return fit_minibatches(step, evaluate, one(states), lambda epoch: [batch], longer, **options)

    expected, history = train(12)
    assert_array_equal(history["epoch"][:, 0], [2, 4, 6, 8, 0, 0])
    found, own = train(12, resume=train(first))
    assert_same_bits(found, expected)
    jax.tree.map(assert_array_equal, own, history)


def test_epochs_that_are_none_are_refused(setup):
    with pytest.raises(InputError, match=r"epochs \(8\) and eval_every \(0\) must be at least 1"):
        run(setup, dataclasses.replace(CONFIG, eval_every=0))


def test_patience_and_the_best_evaluation(setup):
    losses = iter([5.0, 3.0, 4.0, 4.0, 1.0, 1.0])

    def evaluate(state):
        loss = jnp.asarray(next(losses))
        return {"val_loss": loss, "val_accuracy": -loss}

    batch, step, _, states = setup
    config = dataclasses.replace(CONFIG, epochs=12, patience=4)
    found, history = fit_minibatches(step, evaluate, one(states), lambda epoch: [batch], config)
    assert (int(found.best_epoch), float(found.best_score)) == (4, -3.0)
    assert_array_equal(history["recorded"][:, 0], [True, True, True, True, False, False])
    assert not bool(found.active)


@pytest.mark.parametrize("stored", [False, True])
def test_the_teacher_sees_the_batch_or_has_seen_it(stored):
    """A step with the teacher inside is the step with the targets computed before."""
    batch, teacher, student = make_batch(), Tiny(), Tiny()
    variables = jax.jit(teacher.init)(jax.random.key(7), batch.graph)
    out = teacher.apply(variables, batch.graph)
    objective = distill.weighted_sum(distill.Term("soft_label", 1.0, distill.soft_label()))
    optimizer = make_optimizer(CONFIG)
    step = make_distill_step(student, objective, optimizer, classification())
    state = lambda: init_state(jax.random.key(0), student, optimizer, batch, objective_params={"soft_label": {}})  # noqa: E731
    targets = objective.targets(out, graph=batch.graph, mask=batch.masks)
    expected, _ = step(state(), batch._replace(targets=targets))
    learn = with_teacher_targets(step, objective, None if stored else teacher.apply)
    found, metrics = learn(state(), batch._replace(targets=out if stored else None), variables)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-6), found.params, expected.params)
    assert float(metrics["soft_label/loss"]) > 0.0


def test_bad_epochs_are_refused_in_one_line(setup):
    with pytest.raises(InputError, match="multiple of eval_every"):
        run(setup, dataclasses.replace(CONFIG, eval_every=3))
    with pytest.raises(InputError, match="no batch"):
        run(setup, batches=0)


def test_the_given_state_is_left_as_it_was(setup):
    before = jax.tree.map(np.array, one(setup[3]).params)
    run(setup)
    jax.tree.map(assert_array_equal, one(setup[3]).params, before)
