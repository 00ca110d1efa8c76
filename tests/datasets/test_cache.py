import errno
import os
import time

import numpy as np
import pytest

from abkd_jax.datasets import cache
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


@pytest.mark.parametrize("content", [b"", b"half", None])
def test_a_damaged_folder_says_what_to_do(root, source, content):
    cache.cached("set", [source], Reader(source))
    (folder,) = root.iterdir()
    path = folder / "large.npy"
    path.write_bytes(path.read_bytes()[:-4] if content is None else content)
    with pytest.raises(InputError, match=f"{path}: damaged .*; delete the folder {folder}") as refusal:
        cache.cached("set", [source], Reader(source), mapped=["large"])
    assert "\n" not in str(refusal.value)


def test_the_folder_is_the_environment_s_then_the_user_s(root, monkeypatch):
    assert cache.cache_root() == root
    monkeypatch.delenv("ABKD_JAX_CACHE")
    assert str(cache.cache_root()).endswith(".cache/abkd_jax/graphs")
