import errno
import os
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from abkd_jax.datasets.files import cache
from abkd_jax.types import InputError


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("ABKD_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "numbers"
    path.write_text("1 2 3")
    return path


class Reader:
    """Reads numbers from a file into `numbers`, writes `large` itself, and counts how often."""

    def __init__(self, source):
        self.source, self.calls = source, 0

    def __call__(self, folder):
        self.calls += 1
        numbers = np.array([int(word) for word in self.source.read_text().split()])
        halves = (np.full((rows, 2), rows, np.float32) for rows in (1, 2))
        cache.write_rows(folder / "large.npy", np.float32, (3, 2), halves)
        return {"numbers": numbers}


def test_a_file_is_read_once(root, source):
    read = Reader(source)
    first, second = (cache.cached("set", [source], read, mapped=["large"]) for _ in range(2))
    assert read.calls == 1
    for arrays in (first, second):
        assert arrays.keys() == {"numbers", "large"}
        assert arrays["numbers"].tolist() == [1, 2, 3]
        assert arrays["large"].tolist() == [[1, 1], [2, 2], [2, 2]]
        assert isinstance(arrays["large"], np.memmap)
        assert not isinstance(arrays["numbers"], np.memmap)
        assert not arrays["large"].flags.writeable
    assert [folder.name.startswith("set-") for folder in root.iterdir()] == [True]


def test_a_changed_file_is_read_anew(root, source):
    read = Reader(source)
    cache.cached("set", [source], read)
    source.write_text("4 5 6 7")
    assert cache.cached("set", [source], read)["numbers"].tolist() == [4, 5, 6, 7]
    facts = source.stat()
    os.utime(source, ns=(facts.st_atime_ns, facts.st_mtime_ns + 10**9))
    cache.cached("set", [source], read)
    assert read.calls == 3


def kept(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["np.save", "write_rows", "rename"])
def test_a_full_disk_is_one_line_and_leaves_the_cache_as_it_was(root, source, monkeypatch, place):
    cache.cached("set", [source], Reader(source))
    before = kept(root)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if place == "rename":
        monkeypatch.setattr(cache.Path, "rename", full)
    elif place == "np.save":
        monkeypatch.setattr(cache.np, "save", full)
    else:
        monkeypatch.setattr(cache, "_flush", full)
    source.write_text("4 5")
    with pytest.raises(InputError) as refusal:
        cache.cached("set", [source], Reader(source))
    assert str(refusal.value) == (
        f"set: cannot be written to {root} (No space left on device); expected room and the right to write there, "
        "or another folder in ABKD_JAX_CACHE"
    )
    assert kept(root) == before
    assert len(list(root.iterdir())) == 1


def test_an_interrupted_read_leaves_the_cache_as_it_was(root, source, monkeypatch):
    cache.cached("set", [source], Reader(source))
    before = kept(root)
    source.write_text("4 5")

    def interrupted(folder):
        (folder / "numbers.npy").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.cached("set", [source], interrupted)
    assert kept(root) == before


def test_what_a_kill_has_left_is_not_taken_for_a_data_set_and_goes_after_a_day(root, source):
    folder = cache.cached_folder("set", [source])
    left = root / f".{folder.name}.killed"
    left.mkdir(parents=True)
    (left / "numbers.npy").write_bytes(b"half")
    cache.cached("set", [source], Reader(source))
    assert left.is_dir()  # it may be another process at work
    os.utime(left, (time.time() - 2 * cache.DAY,) * 2)
    cache.cached("other", [source], Reader(source))
    assert not left.exists()
    assert len(list(root.iterdir())) == 2


def test_another_process_may_be_faster(root, source):
    slow, fast = Reader(source), Reader(source)

    def read(folder):
        cache.cached("set", [source], fast)
        return slow(folder)

    assert cache.cached("set", [source], read)["numbers"].tolist() == [1, 2, 3]
    assert (slow.calls, fast.calls, len(list(root.iterdir()))) == (1, 1, 1)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def swap(folder):
    (folder / "numbers.npy").rename(folder / "x")
    (folder / "large.npy").rename(folder / "numbers.npy")
    (folder / "x").rename(folder / "large.npy")


def in_place_of(folder, make):
    shutil.rmtree(folder)
    make(folder)


DAMAGE = {
    "flipped bit": lambda folder: flip(folder / "large.npy"),
    "truncated": lambda folder: os.truncate(folder / "large.npy", 140),
    "empty file": lambda folder: (folder / "numbers.npy").write_bytes(b""),
    "huge header": lambda folder: (folder / "numbers.npy").write_bytes(
        (folder / "numbers.npy").read_bytes().replace(b"(3,), }         ", b"(3000000000,), }")
    ),
    "lost file": lambda folder: (folder / "large.npy").unlink(),
    "swapped": swap,
    "folder for a file": lambda folder: [(folder / "numbers.npy").unlink(), (folder / "numbers.npy").mkdir()],
    "no digests": lambda folder: (folder / cache.SUMS).unlink(),
    "digests cut": lambda folder: (folder / cache.SUMS).write_text(
        "".join((folder / cache.SUMS).read_text().splitlines(keepends=True)[1:])
    ),
    "digest flipped": lambda folder: flip(folder / cache.SUMS),
    "not ascii": lambda folder: (folder / cache.SUMS).write_bytes(b"\xff\n"),
    "empty folder": lambda folder: in_place_of(folder, Path.mkdir),
    "a file": lambda folder: in_place_of(folder, Path.touch),
    "a link to nowhere": lambda folder: in_place_of(folder, lambda path: path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_folder_is_made_anew_with_one_warning(root, source, case, caplog):
    read = Reader(source)
    cache.cached("set", [source], read)
    (folder,) = root.iterdir()
    before = kept(root)
    DAMAGE[case](folder)
    arrays = cache.cached("set", [source], read, mapped=["large"])
    assert arrays["numbers"].tolist() == [1, 2, 3]
    assert arrays["large"].tolist() == [[1, 1], [2, 2], [2, 2]]
    assert kept(root) == before
    assert [path.name for path in root.iterdir()] == [folder.name]
    (line,) = caplog.messages
    assert line.startswith(f"{folder}: ")
    assert line.endswith("the data set is read anew from its files")
    assert "\n" not in line
    cache.cached("set", [source], read)
    assert (read.calls, len(caplog.messages)) == (2, 1)


def test_a_stray_file_is_not_read(root, source, caplog):
    read = Reader(source)
    cache.cached("set", [source], read)
    (folder,) = root.iterdir()
    shutil.copy(folder / "numbers.npy", folder / "numbers copy.npy")
    assert cache.cached("set", [source], read).keys() == {"numbers", "large"}
    assert (read.calls, caplog.messages) == (1, [])


def test_a_damaged_folder_without_its_source_is_one_line(root, source):
    cache.cached("set", [source], Reader(source))
    source.unlink()
    with pytest.raises(InputError, match=f"^{source}: No such file or directory; expected a file of set$"):
        cache.cached("set", [source], Reader(source))


@pytest.mark.parametrize("place", ["a file", "read-only"])
def test_without_a_cache_the_files_are_read_each_time(root, source, place, monkeypatch, caplog, tmp_path):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    if place == "a file":
        root.write_text("in the way")
    else:
        make = tempfile.mkdtemp

        def refused(*args, **kwargs):
            if kwargs.get("dir") == root:
                raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))
            return make(*args, **kwargs)

        monkeypatch.setattr(cache.tempfile, "mkdtemp", refused)
    read = Reader(source)
    for _ in range(2):
        arrays = cache.cached("set", [source], read, mapped=["large"])
        assert arrays["large"].tolist() == [[1, 1], [2, 2], [2, 2]]
        assert isinstance(arrays["large"], np.memmap)
    assert read.calls == 2
    assert list((tmp_path / "temporary").iterdir()) == []
    assert [line.partition(" (")[0] for line in caplog.messages] == [f"set: cannot be written to {root}"] * 2
    assert all(line.endswith("; the data set is read without the cache") for line in caplog.messages)


def test_a_second_process_waits_for_the_first_one_s_folder(root, source, caplog):
    read, release = Reader(source), threading.Event()

    def slow(folder):
        release.wait(60)
        return read(folder)

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(cache.cached, "set", [source], slow) for _ in range(2)]
        deadline = time.monotonic() + 60
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.01)
        release.set()
        arrays = [future.result(60) for future in both]
    assert read.calls == 1
    assert [a["numbers"].tolist() for a in arrays] == [[1, 2, 3]] * 2
    assert ["waiting for another process that works on it" in line for line in caplog.messages] == [True]
    assert len(list(root.iterdir())) == 1


def test_the_folder_is_the_environment_s_then_the_user_s(root, monkeypatch):
    assert cache.cache_root() == root
    monkeypatch.delenv("ABKD_JAX_CACHE")
    assert str(cache.cache_root()).endswith(".cache/abkd_jax/graphs")
