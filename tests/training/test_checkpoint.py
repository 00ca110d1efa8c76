"""Checkpoints: what goes in comes out, and nothing is lost to another config, damage or a kill."""

import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore as ts
from numpy.testing import assert_array_equal

from abkd_jax.training import checkpoint, trees
from abkd_jax.types import InputError

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


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def restored(folder):
    """The number that fills the weights."""
    (value,) = np.unique(checkpoint.restore(folder, template(), CONFIG)[0]["params"]["w"])
    return value


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


# Damage --------------------------------------------------------------------------------------------------------------


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flip": flip,
    "zero": lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    "truncate": lambda path: os.truncate(path, path.stat().st_size // 2),
    "remove": pathlib.Path.unlink,
    "add": lambda path: path.with_name(path.name + ".more").touch(),
}


def files_of(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_to_any_file_is_believed(saved, damage):
    checkpoint.save(saved, make_state(2.0), HISTORY, CONFIG, step=40)
    assert checkpoint.verify(saved, CONFIG) == 40
    assert len(files_of(saved / "40")) > 10
    for path in files_of(saved / "40"):
        if path.stat().st_size == 0 and damage != "remove":
            continue
        content = path.read_bytes()
        DAMAGES[damage](path)
        assert checkpoint.verify(saved, CONFIG) == 20, path
        path.write_bytes(content)
        path.with_name(f"{path.name}.more").unlink(missing_ok=True)
    assert checkpoint.verify(saved, CONFIG) == 40


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_step_falls_back_to_the_one_before(saved, damage, caplog):
    checkpoint.save(saved, make_state(2.0), HISTORY, CONFIG, step=40)
    place = next((saved / "40" / "state" / "d").iterdir())
    DAMAGES[damage](place)
    assert restored(saved) == 1.0
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(f"checkpoint {saved}: step 40 is damaged (state/d/{place.name}")
    assert message.endswith(", going on from step 20")
    DAMAGES[damage](next((saved / "20" / "state" / "d").iterdir()))
    with pytest.raises(InputError, match=r"cannot be read, remove it to start anew: step 40 is damaged"):
        checkpoint.restore(saved, template(), CONFIG)
    checkpoint.save(saved, make_state(3.0), HISTORY, CONFIG, step=40)  # trained again from the start
    assert restored(saved) == 3.0


def test_a_manifest_that_is_gone_is_damage_where_older_steps_have_one(saved):
    checkpoint.save(saved, make_state(2.0), HISTORY, CONFIG, step=40)
    (saved / "40" / "manifest.json").unlink()
    assert restored(saved) == 1.0


def without_manifest(folder):
    """What older versions wrote: orbax's files alone."""
    arguments = ocp.args.Composite(
        state=ocp.args.StandardSave(raw(make_state())),
        history=ocp.args.StandardSave(HISTORY),
        config=ocp.args.JsonSave(CONFIG),
    )
    options = ocp.CheckpointManagerOptions(max_to_keep=1, create=True, enable_async_checkpointing=False)
    with ocp.CheckpointManager(folder, options=options) as manager:
        manager.save(20, args=arguments)
    return folder


def test_a_checkpoint_without_manifest_is_read_with_a_warning(tmp_path, caplog):
    old = without_manifest(tmp_path / "old")
    assert checkpoint.verify(old, CONFIG) is None
    state, history = checkpoint.restore(old, template(), CONFIG)
    for found, expected in zip(jax.tree.leaves(raw(state)), jax.tree.leaves(raw(make_state())), strict=True):
        assert_array_equal(found, expected)
    assert_array_equal(history["loss"], HISTORY["loss"])
    assert [record.getMessage() for record in caplog.records] == [
        f"checkpoint {old} cannot be verified: it was made before checkpoints had digests"
    ]
    with pytest.raises(InputError, match=r"was made by another config: method is 'abkd' there, 'fitnet' here"):
        checkpoint.restore(old, template(), CONFIG | {"method": "fitnet"})
    with pytest.raises(InputError, match=r"holds other arrays: step is 'int32\[2\]' there, 'float32\[2\]' here"):
        checkpoint.restore(old, template() | {"step": jax.ShapeDtypeStruct((2,), jnp.float32)}, CONFIG)
    checkpoint.save(old, state, history, CONFIG, step=40)
    assert checkpoint.verify(old, CONFIG) == 40


def test_a_header_that_claims_a_huge_history_is_refused(tmp_path):
    old = without_manifest(tmp_path / "old")
    store = ts.KvStore.open({"driver": "ocdbt", "base": (old / "20" / "history").as_uri() + "/"}).result()
    header = json.loads(store.read("loss/.zarray").result().value)
    store.write("loss/.zarray", json.dumps(header | {"shape": [10**6, 10**6], "chunks": [10**6, 10**6]})).result()
    with pytest.raises(InputError, match=r"its history claims 4,000,000,000,008 bytes, expected at most 1,073,741,824"):
        checkpoint.restore(old, template(), CONFIG)


# Interruptions -------------------------------------------------------------------------------------------------------


def test_a_step_counts_from_the_moment_its_manifest_is_there(saved):
    shutil.copytree(saved, saved.parent / "next")
    checkpoint.save(saved.parent / "next", make_state(2.0), HISTORY, CONFIG, step=40)
    new = shutil.copytree(saved.parent / "next" / "40", saved / "40.new")
    manifest = (new / "manifest.json").read_bytes()
    (new / "manifest.json").unlink()
    assert restored(saved) == 1.0  # killed before the manifest
    (new / "manifest.json").write_bytes(manifest)
    assert restored(saved) == 2.0  # killed after it
    checkpoint.prepare(saved)
    assert names(saved) == ["20", "40"]
    assert restored(saved) == 2.0


def test_a_kill_while_a_step_is_replaced_leaves_the_new_one(saved):
    shutil.copytree(saved, saved.parent / "next")
    checkpoint.save(saved.parent / "next", make_state(2.0), HISTORY, CONFIG, step=20)
    shutil.copytree(saved.parent / "next" / "20", saved / "20.new")
    assert restored(saved) == 2.0
    checkpoint.prepare(saved)
    assert names(saved) == ["20"]
    assert restored(saved) == 2.0


def test_prepare_removes_what_kills_have_left(saved):
    for name in ("40.new.orbax-checkpoint-tmp", "40.orbax-checkpoint-tmp-1234", "40.new"):
        (saved / name / "state").mkdir(parents=True)
        (saved / name / "state" / "half").write_bytes(b"truncated")
    checkpoint.prepare(saved)
    assert names(saved) == ["20"]


FULL = """
import resource, sys
import numpy as np
from abkd_jax import checkpoint
from abkd_jax.types import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
state = {f"w{i}": np.random.default_rng(i).normal(size=300_000) for i in range(8)}
try:
    checkpoint.save(sys.argv[1], state, {"loss": np.zeros(2)}, {"a": 1}, step=40)
except InputError as error:
    print(error)
"""


def test_a_file_that_cannot_grow_is_one_line(saved):
    """As on a full disk: the write fails in orbax's threads."""
    done = subprocess.run([sys.executable, "-c", FULL, saved], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"checkpoint folder {saved} cannot be written: File too large\n"
    assert names(saved) == ["20"]
    assert restored(saved) == 1.0


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


def test_what_asyncio_says_later_of_a_full_disk_is_no_news():
    """Its tasks complain when they are collected, long after the one line that told the user."""

    def record(error):
        return logging.LogRecord("asyncio", logging.ERROR, "", 0, "never retrieved", (), (type(error), error, None))

    assert not trees._is_news(record(ValueError("RESOURCE_EXHAUSTED [os_error_code='28']")))
    assert trees._is_news(record(ValueError("another")))
    assert trees._is_news(logging.LogRecord("asyncio", logging.ERROR, "", 0, "", (), None))
