"""Checkpoints after damage on the disk: every damage is found, and the step before is read."""

import json
import os
import pathlib

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest
import tensorstore as ts
from checkpoint_samples import CONFIG, HISTORY, first_step, make_state, raw, restored, template
from numpy.testing import assert_array_equal

from abkd_jax.training import checkpoint
from abkd_jax.types import InputError


@pytest.fixture
def saved(tmp_path):
    return first_step(tmp_path / "run")


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
    caplog.clear()  # what orbax itself says of saving
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
