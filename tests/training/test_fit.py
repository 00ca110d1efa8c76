"""The loop, on hand-made scripts and on a model that trains."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from training_samples import (
    CLASSES,
    LABELS_ONLY,
    Tiny,
    arrays,
    assert_same_bits,
    make,
    make_batch,
    one,
)

from abkd_jax.configs.options import OptimConfig
from abkd_jax.models import GCN
from abkd_jax.training import loops
from abkd_jax.training.divergence import diverged_epochs
from abkd_jax.training.loops import fit
from abkd_jax.training.step import TrainState
from abkd_jax.types import Batch, InputError


@pytest.fixture(scope="module")
def batch():
    return make_batch()


# The loop, on a script: each step adds 1 to the parameter, validation reads the losses that the batch carries --------


def scripted(losses, config, score=lambda loss: -loss, **options):
    """`losses [seeds, epochs]`; the parameter counts the steps, and the score is that of the loss."""
    losses = np.asarray(losses, np.float32)
    batch = Batch(None, None, None, jnp.asarray(losses))  # type: ignore[arg-type]

    def step(state, batch):
        params = {"student": state.params["student"] + 1.0, "objective": {}}
        return state._replace(params=params, step=state.step + 1), {"loss": params["student"]}

    def validate(state, batch):
        return {"val_loss": batch.targets[state.step - 1], "val_accuracy": score(batch.targets[state.step - 1])}

    states = jax.vmap(
        lambda key: TrainState({"student": jnp.zeros(()), "objective": {}}, {}, (), key, jnp.zeros((), jnp.int32))
    )(jax.random.split(jax.random.key(0), len(losses)))
    return fit(step, validate, states, batch, Batch(None, None, None, 0), config, **options)


STOPS_AT_7 = [9, 8, 5, 6, 7, 6, 5, 1, 1, 1, 1, 1]  # best at 3; equal to the best is no improvement
GOES_ON = [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
WORSENS = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]


@pytest.mark.parametrize("chunk", [1, 3, 20])
@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_every_seed_stops_by_itself(monkeypatch, chunk, monitor):
    monkeypatch.setattr(loops, "CHUNK_EVALUATIONS", chunk)
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


@pytest.mark.parametrize("switch", [lambda: jax.enable_x64(True), jax.disable_jit], ids=["64 bits", "without jit"])
def test_a_fit_does_not_depend_on_how_jax_computes(switch):
    with switch():
        wide = lambda loss: -loss.astype(jnp.result_type(float))  # noqa: E731
        state, _ = scripted([STOPS_AT_7], OptimConfig(epochs=12, patience=4, monitor="val_accuracy"), wide)
    assert_array_equal([state.best_epoch[0], state.train.step[0], state.best_score[0]], [3, 7, -5])


def test_the_best_evaluation_is_that_of_the_lowest_loss_where_no_score_is_defined():
    config = OptimConfig(epochs=12, patience=4, monitor="val_accuracy")
    state, history = scripted([STOPS_AT_7, GOES_ON], config, score=lambda loss: loss * jnp.nan)
    assert_array_equal(state.train.step, [7, 12])
    assert_array_equal(state.best_epoch, [3, 12])
    assert_array_equal(state.best_params, [3, 12])
    assert diverged_epochs(history) == [None, None]


def test_patience_counts_epochs_between_evaluations(monkeypatch):
    monkeypatch.setattr(loops, "CHUNK_EVALUATIONS", 2)
    state, history = scripted([STOPS_AT_7, GOES_ON], OptimConfig(epochs=12, eval_every=3, patience=6))
    # evaluations at 3, 6, 9 and 12: 5, 6, 1, 1 and 10, 7, 4, 1
    assert_array_equal(state.best_epoch, [9, 12])
    assert_array_equal(state.train.step, [12, 12])
    assert_array_equal(history["epoch"], [[3, 3], [6, 6], [9, 9], [12, 12]])
    assert_array_equal(history["val_loss"], [[5, 10], [6, 7], [1, 4], [1, 1]])
    state, _ = scripted([STOPS_AT_7, GOES_ON], OptimConfig(epochs=12, eval_every=3, patience=3))
    assert_array_equal(state.train.step, [6, 12])
    assert_array_equal(state.best_params, [3, 12])


def test_a_seed_whose_validation_loss_is_not_finite_stops_and_says_so():
    healthy, broken = GOES_ON, [*GOES_ON[:4], np.nan, *GOES_ON[5:]]
    state, history = scripted([healthy, broken, [np.inf, *GOES_ON[1:]]], OptimConfig(epochs=12))
    assert diverged_epochs(history) == [None, 5, 1]
    assert_array_equal(state.train.step, [12, 5, 1])
    assert_array_equal(state.best_epoch, [12, 4, 0])  # that evaluation is never the best
    assert_array_equal(history["recorded"].sum(axis=0), [12, 5, 1])
    assert_array_equal(history["diverged"].sum(axis=0), [0, 1, 1])


@pytest.mark.parametrize("part", ["params", "model_state", "opt_state", "loss"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_anywhere_is_divergence(part, value):
    """In the third of ten steps; a loss is finite again at the end, where the evaluation is."""

    def step(state, batch):
        bad = jnp.where(state.step == 2, value, 1.0)
        kept = jnp.where(jnp.isfinite(bad), getattr(state, part)["x"] if part != "loss" else 1.0, bad)
        changed = {} if part == "loss" else {part: getattr(state, part) | {"x": kept}}
        return state._replace(step=state.step + 1, **changed), {"loss": bad}

    def validate(state, batch):
        return {"val_loss": jnp.ones(()), "val_accuracy": jnp.ones(())}

    def begin(key):
        x = {"x": jnp.zeros(())}
        return TrainState({"student": x, "objective": {}, **x}, x, x, key, jnp.zeros((), jnp.int32))

    states = jax.vmap(begin)(jax.random.split(jax.random.key(0), 1))
    batch = Batch(None, None, None, None)  # type: ignore[arg-type]
    _, history = fit(step, validate, states, batch, LABELS_ONLY, OptimConfig(epochs=20, eval_every=10))
    assert diverged_epochs(history) == [10]


def test_a_gradient_too_large_for_the_optimizer_is_divergence():
    """Its square is infinite, its update 0: parameters and loss stay finite, and nothing is learnt."""
    batch = make_batch()
    batch = batch._replace(graph=batch.graph._replace(nodes=batch.graph.nodes * 1e30))
    config = OptimConfig(epochs=2)
    step, validate, states = make(Tiny(), config, batch)
    _, history = fit(step, validate, states, batch, LABELS_ONLY, config)
    assert diverged_epochs(history) == [1]


def test_without_patience_it_trains_to_the_end():
    state, history = scripted([WORSENS], OptimConfig(epochs=12))
    assert_array_equal(state.train.step, [12])
    assert_array_equal(state.best_epoch, [1])
    assert history["recorded"].all()


def test_all_stopped_ends_the_run_early(monkeypatch):
    monkeypatch.setattr(loops, "CHUNK_EVALUATIONS", 3)
    seen = []
    scripted([WORSENS], OptimConfig(epochs=12, patience=2), on_chunk=lambda state, history, epochs: seen.append(epochs))
    assert seen == [3]  # stopped at 3: the other three chunks are not run


def test_uneven_chunks_report_epochs_that_were_trained(monkeypatch):
    monkeypatch.setattr(loops, "CHUNK_EVALUATIONS", 4)
    seen = []
    state, history = scripted([GOES_ON[:10]], OptimConfig(epochs=10), on_chunk=lambda *given: seen.append(given[2]))
    assert seen == [4, 8, 10]
    assert_array_equal(state.train.step, [10])
    assert_array_equal(history["epoch"][:, 0], range(1, 11))  # no row for what a longer chunk would reach
    assert history["recorded"].all()


@pytest.mark.parametrize("first", [1, 5, 6, 7, 10])
@pytest.mark.parametrize("chunk", [1, 4])
def test_a_run_of_fewer_epochs_is_resumed_to_the_numbers_of_the_whole_run(monkeypatch, first, chunk):
    """Only what the epochs have ended trains on: patience ends seeds at 7 and 5, infinite losses at 5 and 6."""
    monkeypatch.setattr(loops, "CHUNK_EVALUATIONS", chunk)
    broken = [[*GOES_ON[:at], np.inf, *GOES_ON[at + 1 :]] for at in (4, 5)]
    losses, config = [STOPS_AT_7, GOES_ON, WORSENS, *broken], OptimConfig(epochs=12, patience=4)
    whole, expected = scripted(losses, config)
    short = scripted(losses, dataclasses.replace(config, epochs=first))
    assert not np.asarray(short[0].active).any()
    state, history = scripted(losses, config, resume=short)
    assert_array_equal(state.train.step, [7, 12, 5, 5, 6])
    assert_same_bits(state, whole)
    recorded = expected["recorded"]
    assert_array_equal(history["recorded"], recorded)
    for name, values in expected.items():
        assert_array_equal(history[name][recorded], values[recorded])


def test_evaluations_must_divide_the_epochs():
    with pytest.raises(InputError, match=r"epochs is 12, expected a multiple of eval_every \(5\)"):
        scripted([GOES_ON], OptimConfig(epochs=12, eval_every=5))
    with pytest.raises(InputError, match=r"epochs \(0\) and eval_every \(1\) must be at least 1"):
        scripted([GOES_ON], OptimConfig(epochs=0))


# The loop, training ---------------------------------------------------------------------------------------------------

NOISY = OptimConfig(epochs=20, learning_rate=0.05, conv_decay=0.01, schedule="cosine")


@pytest.fixture(scope="module")
def noisy_run(batch):
    """Three seeds with dropout and running statistics, in four chunks, and what `on_chunk` saw after the second."""
    kept = {}

    def keep(state, history, epochs):
        kept[epochs] = state, {name: values.copy() for name, values in history.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops, "CHUNK_EVALUATIONS", 5)
        step, validate, states = make(Tiny(dropout=0.3, normed=True), NOISY, batch, seeds=(0, 1, 2))
        state, history = fit(step, validate, states, batch, LABELS_ONLY, NOISY, on_chunk=keep)
    return state, history, kept


def rerun(batch, seeds=(0, 1, 2), **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops, "CHUNK_EVALUATIONS", 5)
        step, validate, states = make(Tiny(dropout=0.3, normed=True), NOISY, batch, seeds=seeds)
        return fit(step, validate, states, batch, LABELS_ONLY, NOISY, **options)


def test_states_that_are_not_those_of_the_seeds_are_refused(batch, noisy_run):
    with pytest.raises(InputError, match="fit: resume holds 3 seeds, expected the 2 of the states"):
        rerun(batch, seeds=(0, 1), resume=noisy_run[:2])
    step, validate, states = make(Tiny(), OptimConfig(), batch)
    with pytest.raises(InputError, match="fit: the training state of one seed, expected states stacked over seeds"):
        fit(step, validate, one(states), batch, LABELS_ONLY, OptimConfig())


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
    monkeypatch.setattr(loops, "CHUNK_EVALUATIONS", 2)
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
