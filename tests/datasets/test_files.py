"""Files, seals and locks: damage is one line, an interruption leaves old or new, one process at a time writes."""

import io
import json
import logging
import math
import os
import subprocess
import sys
import zipfile
from contextlib import ExitStack

import filelock
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from abkd_jax.datasets.files import atomic, locks, manifest
from abkd_jax.types import InputError


def refused(read, path):
    """The one line in which a damaged file is refused."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 400
    return message


# JSON ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0\0",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1' + b"0" * 30 + b"}",
        b'{"a": 1' + b"0" * 5000 + b"}",
        b'{"a": 1, "a": 2}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b'{"a": 1} {"b": 2}',
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_damaged_json_is_one_line(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_bytes(content)
    assert "expected a JSON file, but it is damaged" in refused(atomic.read_json, path)


def test_good_json_is_read_as_it_was_written(tmp_path):
    value = {"a": [1, -2.5, 1e300, 2**63, None, True], "ü": {"a": "\N{SNOWMAN}\n"}, "half": "\U0001f600"}
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
        assert atomic.read_json(tmp_path / "a.json") == value


def test_what_is_no_file_is_not_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for read in (atomic.read_json, atomic.read_json_lines, atomic.read_arrays):
        assert "expected a regular file" in refused(read, tmp_path / "pipe")  # opening it would wait for ever
        assert "expected a regular file" in refused(read, tmp_path)
        with pytest.raises(InputError, match="cannot read this file"):
            read(f"{tmp_path}/a\0b")
    (tmp_path / "large").write_bytes(b"[1, 2, 3]")
    monkeypatch.setattr(atomic, "MAX_JSON", 8)
    assert "it has 9 bytes, expected at most 8" in refused(atomic.read_json, tmp_path / "large")


def test_numbers_that_json_lacks_become_null(tmp_path):
    value = {"a": math.nan, "b": [math.inf, (1.5, -math.inf)], "c": 0.1, "d": np.float64("nan")}
    expected = {"a": None, "b": [None, [1.5, None]], "c": 0.1, "d": None}
    assert json.loads(atomic.as_json(value)) == expected
    finite = {"a": 0.1, "b": [1, "x", None]}
    assert atomic.as_json(finite, indent=1) == json.dumps(finite, indent=1)
    (tmp_path / "old.jsonl").write_text('{"loss": NaN, "a": 1}\n{"loss": Infinity}\n{"loss": 1.0}\n')
    assert atomic.read_json_lines(tmp_path / "old.jsonl") == [{"loss": None, "a": 1}, {"loss": None}, {"loss": 1.0}]


# Arrays --------------------------------------------------------------------------------------------------------------

ARRAYS = {"a": np.arange(12.0).reshape(3, 4), "b": np.asarray(3, np.int8), "c": np.array(["x", "yz"])}


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def header(text):
    """An npy file with this header and eight bytes of data."""
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(8)


def archive(path, *members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members:
            with file.open(name, "w") as member:  # `writestr` warns of a name that is there twice
                member.write(content)


def shaped(shape, dtype="<f8"):
    return header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}")


@pytest.mark.parametrize(
    "content",
    [
        shaped("(1000000000000,)"),
        shaped("(-1, -1)"),
        shaped("(1, True, 1, 10**9)"),
        shaped("(2,)"),
        shaped("()", "|O"),
        shaped("()", "|V8"),
        shaped("(1000000000000,)", "|U0"),
        header("{'descr': '<f8'"),
        header("(" * 100),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (1L,), }"),  # as Python 2 wrote it
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"",
    ],
    ids=range(12),
)
def test_damaged_arrays_are_one_line(tmp_path, content):
    path = tmp_path / "maps.npz"
    archive(path, ("good.npy", npy(ARRAYS["a"])), ("bad.npy", content))
    assert "expected an npz file of arrays, but it is damaged" in refused(atomic.read_arrays, path)


def test_arrays_are_bounded_before_they_are_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "maps.npz"
    zeros = npy(np.zeros(200_000))
    archive(path, ("a.npy", zeros), ("b.npy", zeros), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    assert set(atomic.read_arrays(path)) == {"a", "b"}
    monkeypatch.setattr(atomic, "MAX_ARRAYS", 2 << 20)
    assert "its arrays take more than 2 MiB" in refused(atomic.read_arrays, path)


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(tmp_path / "maps.npz", ("a.npy", npy(ARRAYS["a"])), ("a.npy", npy(ARRAYS["b"])))
    assert "a name appears twice" in refused(atomic.read_arrays, tmp_path / "maps.npz")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_no_flipped_byte_of_an_archive_is_believed(tmp_path, compression):
    """A flip in what carries no value, such as a time, may go unseen; another value may not."""
    path = tmp_path / "maps.npz"
    archive(path, *((f"{name}.npy", npy(array)) for name, array in ARRAYS.items()), compression=compression)
    content, rng, seen = path.read_bytes(), np.random.default_rng(0), 0
    for place in rng.choice(len(content), 150, replace=False):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << rng.integers(8)]) + content[place + 1 :])
        try:
            found = atomic.read_arrays(path)
        except InputError:
            seen += 1
        else:
            assert sorted(map(npy, found.values())) == sorted(map(npy, ARRAYS.values()))
    assert seen > 50


def test_good_arrays_are_read_as_they_were_written(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **ARRAYS, fortran=np.asfortranarray(ARRAYS["a"]))
    found = atomic.read_arrays(tmp_path / "a.npz")
    assert set(found) == {*ARRAYS, "fortran"}
    for name, expected in ARRAYS.items():
        assert found[name].dtype == expected.dtype
        assert_array_equal(found[name], expected)
    assert_array_equal(found["fortran"], ARRAYS["a"])


# Seals ---------------------------------------------------------------------------------------------------------------

CONTENTS = {"results.json": '{"records": []}\n', "maps.npz": b"\x00\x01\x02"}


@pytest.fixture
def sealed(tmp_path):
    manifest.write_sealed(tmp_path, CONTENTS)
    return tmp_path


def test_sealed_files_are_what_was_written(sealed):
    manifest.check_seal(sealed, CONTENTS)
    assert (sealed / "results.json").read_text() == CONTENTS["results.json"]
    manifest.write_sealed(sealed, {"results.json": "{}"})  # the other file's digest stays
    manifest.check_seal(sealed, CONTENTS)
    (sealed / "maps.npz").write_bytes(b"\x00\x01\x03")
    manifest.check_seal(sealed, ["results.json"])
    with pytest.raises(InputError, match=r"maps\.npz: not what was written there"):
        manifest.check_seal(sealed, CONTENTS)
    (sealed / "maps.npz").unlink()
    with pytest.raises(InputError, match=r"maps\.npz: not what was written there"):
        manifest.check_seal(sealed, CONTENTS)


def test_a_folder_without_digests_is_taken_as_it_is(sealed):
    (sealed / "digests.json").unlink()
    (sealed / "maps.npz").write_bytes(b"\x00\x01\x03")
    manifest.check_seal(sealed, CONTENTS)
    (sealed / "more.json").write_text("{}")
    manifest.check_seal(sealed, ["more.json"])


def test_no_flipped_bit_of_the_digests_is_believed(sealed):
    path = sealed / "digests.json"
    content = path.read_bytes()
    for place in range(0, len(content), 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(InputError, match=r"digests\.json"):
            manifest.check_seal(sealed, CONTENTS)
    manifest.write_sealed(sealed, CONTENTS)
    manifest.check_seal(sealed, CONTENTS)


def test_a_kill_between_any_two_files_leaves_a_folder_that_is_accepted(tmp_path, monkeypatch):
    new = {"results.json": '{"records": [1]}\n', "maps.npz": b"\x03", "metrics.jsonl": "{}\n"}
    write = manifest.write_atomic
    for killed_at in range(1, 6):
        folder = tmp_path / str(killed_at)
        folder.mkdir()
        manifest.write_sealed(folder, CONTENTS)
        calls = iter(range(1, killed_at))

        def killed(path, content, calls=calls):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            write(path, content)

        monkeypatch.setattr(manifest, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            manifest.write_sealed(folder, new)
        monkeypatch.setattr(manifest, "write_atomic", write)
        manifest.check_seal(folder, new)
        found = {name: (folder / name).read_bytes() for name in new if (folder / name).exists()}
        assert sum(found.get(name) == manifest._encoded(new[name]) for name in new) == max(0, killed_at - 2)


# Locks ---------------------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from abkd_jax.datasets.files.locks import locked
with locked(sys.argv[1], "trains", wait=False):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path / "run"`."""
    folder = tmp_path / "run"
    with ExitStack() as stack:
        command = [sys.executable, "-c", HOLDER, folder]
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield folder, process


def test_a_folder_in_use_is_refused_or_waited_for_until_its_holder_dies(holder, caplog):
    folder, process = holder
    with pytest.raises(InputError) as caught, locks.locked(folder, "writes there", wait=False):
        pass
    assert str(caught.value).startswith(f"{folder} is in use: another process writes there")

    class Dies(logging.Handler):
        def emit(self, record):
            process.kill()

    handler = Dies()
    logging.getLogger("abkd_jax.datasets.files.locks").addHandler(handler)
    try:
        (folder / ".results.json.77.tmp").write_text("what a killed write has left")
        with locks.locked(folder, "trains teacher cora seed 0", wait=True):
            assert [path.name for path in folder.iterdir()] == [".lock"]
    finally:
        logging.getLogger("abkd_jax.datasets.files.locks").removeHandler(handler)
    assert [record.getMessage() for record in caplog.records] == [
        f"waiting for another process that trains teacher cora seed 0 ({folder})"
    ]
    with locks.locked(folder, "again", wait=False):
        pass


def test_a_folder_that_cannot_be_locked_can_be_used(tmp_path, monkeypatch, caplog):
    def no_locks(*_, **__):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(filelock.FileLock, "acquire", no_locks)
    with locks.locked(tmp_path, "writes", wait=True):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} cannot be locked (no flock here): let no second process write there"
    ]
    caplog.clear()
    monkeypatch.setattr(os, "access", lambda *_: False)  # nobody writes to a read-only folder
    with locks.locked(tmp_path, "writes", wait=True):
        pass
    assert not caplog.records
    (tmp_path / "file").touch()
    with locks.locked(tmp_path / "file" / "run", "writes", wait=True):
        pass
