"""Checkpoints: what goes in comes out, and nothing is lost to another config, damage or a kill."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from abkd_jax import checkpoint
from abkd_jax.types import InputError

# Orbax leaves the reads that it cancels to the garbage collector, which complains in whatever test runs then.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONFIG = {"method": "abkd", "seeds": [0, 1], "optim": {"epochs": 20, "rate": 0.1}}
HISTORY = {"loss": np.array([[0.5, 0.25], [0.125, np.nan]], np.float32), "seconds": np.asarray(1.5)}


def make_state(value=1.0):
    return {
        "params": {"w": jnp.full((2, 3), value), "empty": {}},
        "keys": jax.random.split(jax.random.key(7), 2),
        "step": jnp.asarray([3, 4], jnp.int32),
        "active": jnp.asarray([True, False]),
        "pair": (jnp.zeros(()), jnp.arange(3, dtype=jnp.uint32)),
    }


def template():
    return jax.eval_shape(make_state)


@pytest.fixture(autouse=True)
def cancelled_reads_are_collected_here():
    yield
    gc.collect()


@pytest.fixture
def saved(tmp_path):
    checkpoint.save(tmp_path / "run", make_state(), HISTORY, CONFIG, step=20)
    return tmp_path / "run"


def raw(tree):
    return jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)


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


@pytest.mark.parametrize("item", ["state", "history", "config"])
@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_damage_is_one_line(saved, item, damage):
    files = [path for path in (saved / "20" / item).rglob("*") if path.is_file() and path.name != "commit_success.txt"]
    assert files
    for path in files:
        if damage == "remove":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError) as caught:
        checkpoint.restore(saved, template(), CONFIG)
    message = str(caught.value)
    assert "cannot be read, remove it to start anew" in message
    assert str(saved) in message
    assert "\n" not in message
    assert len(message) < 400


def test_state_of_another_shape_is_refused(saved):
    other = template() | {"step": jax.ShapeDtypeStruct((3,), jnp.int32)}
    with pytest.raises(InputError, match="cannot be read"):
        checkpoint.restore(saved, other, CONFIG)


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


def test_old_step_goes_once_the_new_one_is_complete(saved, monkeypatch):
    seen = []
    save = checkpoint.ocp.CheckpointManager.save

    def watched(manager, step, **arguments):
        seen.append(sorted(path.name for path in saved.iterdir()))
        return save(manager, step, **arguments)

    monkeypatch.setattr(checkpoint.ocp.CheckpointManager, "save", watched)
    checkpoint.save(saved, make_state(2.0), HISTORY, CONFIG, step=40)
    assert seen == [["20"]]
    assert [path.name for path in saved.iterdir()] == ["40"]
    assert_array_equal(checkpoint.restore(saved, template(), CONFIG)[0]["params"]["w"], np.full((2, 3), 2.0))


def test_failed_save_leaves_the_old_step(saved):
    with pytest.raises(TypeError):
        checkpoint.save(saved, make_state(2.0), HISTORY, {**CONFIG, "optim": object()}, step=40)  # not JSON
    assert_array_equal(checkpoint.restore(saved, template(), CONFIG)[0]["params"]["w"], np.full((2, 3), 1.0))


def test_leftovers_of_a_killed_save_do_not_matter(saved):
    leftover = saved / "40.orbax-checkpoint-tmp-1234"
    (leftover / "state").mkdir(parents=True)
    (leftover / "state" / "half").write_bytes(b"torn")
    assert_array_equal(checkpoint.restore(saved, template(), CONFIG)[0]["params"]["w"], np.full((2, 3), 1.0))
    checkpoint.save(saved, make_state(2.0), HISTORY, CONFIG, step=40)
    assert_array_equal(checkpoint.restore(saved, template(), CONFIG)[0]["params"]["w"], np.full((2, 3), 2.0))
