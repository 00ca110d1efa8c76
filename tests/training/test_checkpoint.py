"""Checkpoints: what goes in comes out, and nothing is lost to another config."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_samples import CONFIG, HISTORY, first_step, make_state, names, raw, restored, template
from numpy.testing import assert_array_equal

from abkd_jax.training import checkpoint
from abkd_jax.types import InputError


@pytest.fixture
def saved(tmp_path):
    return first_step(tmp_path / "run")


def test_round_trip_gives_the_same_bits(saved):
    state, history = checkpoint.restore(saved, template(), CONFIG)
    wanted = make_state()
    assert jax.tree.structure(state) == jax.tree.structure(wanted)
    for found, expected in zip(jax.tree.leaves(raw(state)), jax.tree.leaves(raw(wanted)), strict=True):
        assert found.dtype == expected.dtype
        assert_array_equal(found, expected)
    assert_array_equal(jax.random.bits(state["keys"][0]), jax.random.bits(wanted["keys"][0]))  # a typed key again
    assert set(history) == {"loss", "seconds"}
    assert_array_equal(history["loss"], HISTORY["loss"])
    assert float(history["seconds"]) == 1.5
    history["loss"][0, 0] = 0.0  # `fit` fills them in place


def test_nothing_there_is_none(tmp_path):
    assert checkpoint.restore(tmp_path / "absent", template(), CONFIG) is None
    (tmp_path / "empty").mkdir()
    assert checkpoint.restore(tmp_path / "empty", template(), CONFIG) is None


def test_config_of_another_run_is_refused_by_name_and_value(saved):
    other = {**CONFIG, "optim": {"epochs": 30, "rate": 0.1}}
    with pytest.raises(InputError) as caught:
        checkpoint.restore(saved, template(), other)
    message = str(caught.value)
    assert "optim.epochs is 20 there, 30 here" in message
    assert "\n" not in message
    assert "rate" not in message  # only what differs
    assert checkpoint.restore(saved, template(), CONFIG) is not None


def test_differences_name_every_entry():
    saved, wanted = {"a": {"b": 1, "gone": 2}, "c": [1]}, {"a": {"b": 3, "new": 4}, "c": [1]}
    assert checkpoint.differences(saved, wanted) == [
        "a.b is 1 there, 3 here",
        "a.gone is 2 there, 'absent' here",
        "a.new is 'absent' there, 4 here",
    ]
    assert checkpoint.differences(saved, saved) == []


STEP = jax.ShapeDtypeStruct((2,), jnp.int32)
OTHER_KEYS = jax.eval_shape(lambda: jax.random.split(jax.random.key(7, impl="unsafe_rbg"), 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": jax.ShapeDtypeStruct((3,), jnp.int32)}, "step is 'int32[2]' there, 'int32[3]' here"),
        ({"step": jax.ShapeDtypeStruct((2,), jnp.float32)}, "step is 'int32[2]' there, 'float32[2]' here"),
        ({"more": STEP}, "more is 'absent' there, 'int32[2]' here"),
        ({"step": None}, "step is 'int32[2]' there, 'absent' here"),
        ({"step": {"w": STEP}}, "step is 'int32[2]' there, 'absent' here"),
        ({"keys": OTHER_KEYS}, "keys is 'key<fry>[2]' there, 'key<urbg>[2]' here"),
    ],
)
def test_other_arrays_are_refused_by_the_first_that_differs(saved, change, message):
    with pytest.raises(InputError) as caught:
        checkpoint.restore(saved, template() | change, CONFIG)
    assert str(caught.value) == (
        f"checkpoint {saved} holds other arrays: {message}; use the old settings or another folder"
    )


@pytest.mark.parametrize(
    "attempt",
    [lambda folder: checkpoint.save(folder, make_state(), HISTORY, CONFIG), checkpoint.prepare],
    ids=["save", "prepare"],
)
def test_folder_below_a_file_cannot_be_written(tmp_path, attempt):
    (tmp_path / "file").write_text("here first")
    with pytest.raises(InputError) as caught:
        attempt(tmp_path / "file" / "run")
    assert str(caught.value) == f"checkpoint folder {tmp_path}/file/run cannot be written: Not a directory"
    assert (tmp_path / "file").read_text() == "here first"


def test_prepare_keeps_what_is_there(saved):
    checkpoint.prepare(saved)
    assert checkpoint.restore(saved, template(), CONFIG) is not None
    assert [path.name for path in saved.iterdir()] == ["20"]


def test_the_last_two_steps_are_kept_once_the_new_one_is_complete(saved, monkeypatch):
    checkpoint.save(saved, make_state(2.0), HISTORY, CONFIG, step=40)
    assert names(saved) == ["20", "40"]
    seen, settle = [], checkpoint._settle

    def watched(new):
        seen.append(names(saved))
        settle(new)

    monkeypatch.setattr(checkpoint, "_settle", watched)
    checkpoint.save(saved, make_state(3.0), HISTORY, CONFIG, step=60)
    assert seen == [["20", "40", "60.new"]]
    assert names(saved) == ["40", "60"]
    assert restored(saved) == 3.0


@pytest.mark.parametrize(("step", "left"), [(40, ["20", "40"]), (30, ["20", "30"]), (20, ["20"]), (0, ["0"])])
def test_a_step_not_above_the_last_replaces_it(saved, step, left):
    checkpoint.save(saved, make_state(2.0), HISTORY, CONFIG, step=40)
    checkpoint.save(saved, make_state(3.0), HISTORY, CONFIG, step=step)
    assert names(saved) == left
    assert restored(saved) == 3.0
    assert checkpoint.verify(saved, CONFIG) == step


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys_come_back_as_the_same_kind(tmp_path, impl):
    state = {"one": jax.random.key(3, impl=impl), "many": jax.random.split(jax.random.key(3, impl=impl), (2, 3))}
    checkpoint.save(tmp_path, state, HISTORY, CONFIG)
    for like in (state, jax.eval_shape(lambda: state)):
        found, _ = checkpoint.restore(tmp_path, like, CONFIG)
        for name, keys in state.items():
            assert (found[name].dtype, found[name].shape) == (keys.dtype, keys.shape)
            assert_array_equal(jax.random.key_data(found[name]), jax.random.key_data(keys))
        assert_array_equal(jax.random.bits(found["one"]), jax.random.bits(state["one"]))


def test_every_type_comes_back_as_it_was(tmp_path):
    state = {
        name: jnp.asarray([0, 1, 1], name) for name in ("bool", "int4", "uint8", "float16", "bfloat16", "complex64")
    }
    state |= {name: np.asarray([[2**40 + 1, 3]], name) for name in ("float64", "int64")} | {"minus": jnp.asarray(-0.0)}
    checkpoint.save(tmp_path, state, HISTORY, CONFIG)
    found, _ = checkpoint.restore(tmp_path, state, CONFIG)
    for name, values in state.items():
        assert found[name].dtype == values.dtype
        assert np.asarray(found[name]).tobytes() == np.asarray(values).tobytes()


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (3, "a.b is of type int, expected numbers or PRNG keys"),
        (np.array(["x"]), "a.b is of type <U1, expected numbers or PRNG keys"),
        (np.array([None]), "a.b is of type object, expected numbers or PRNG keys"),
        (np.zeros((0, 3)), "a.b has shape (0, 3), expected at least one element"),
    ],
)
def test_what_cannot_be_stored_is_refused(saved, leaf, message):
    with pytest.raises(InputError) as caught:
        checkpoint.save(saved, {"a": {"b": leaf}}, HISTORY, CONFIG, step=40)
    assert str(caught.value) == message
    assert names(saved) == ["20"]


def test_arrays_of_another_device_come_back_on_the_default_one(tmp_path):
    state = {"w": jax.device_put(jnp.ones(3), jax.devices()[-1])}
    checkpoint.save(tmp_path, state, HISTORY, CONFIG)
    assert checkpoint.restore(tmp_path, state, CONFIG)[0]["w"].devices() == {jax.devices()[0]}
