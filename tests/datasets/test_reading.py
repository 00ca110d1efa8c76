import csv
import json
import lzma
import pickle
import struct
import tokenize
import warnings
import zipfile
import zlib

import numpy as np
import pytest

from abkd_jax.datasets.files.reading import MAX_BYTES, read_bytes, reading, require_files
from abkd_jax.datasets.files.text import read_table
from abkd_jax.types import InputError

RAISED = [
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, IndexError, KeyError),
    *(MemoryError, NotImplementedError, OSError, OverflowError, RecursionError, RuntimeError, SyntaxError, TypeError),
    *(UnicodeError, UserWarning, ValueError, csv.Error, lzma.LZMAError, pickle.UnpicklingError, struct.error),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
]


@pytest.mark.parametrize("kind", RAISED)
def test_whatever_a_damaged_file_raises_becomes_one_line(tmp_path, kind):
    path = tmp_path / "file"
    with pytest.raises(InputError) as refusal, reading(path, "three numbers"):
        raise kind("first line\n\x1bsecond\x00line")
    text = str(refusal.value).replace("'first line\\n\\x1bsecond\\x00line'", "first line second line")  # of KeyError
    assert text == f"{path}: damaged (first line second line); expected three numbers"


def test_an_error_without_a_text_gives_its_name_and_a_long_one_its_beginning(tmp_path):
    with pytest.raises(InputError, match=r"damaged \(MemoryError\); expected"), reading(tmp_path, "less"):
        raise MemoryError
    with pytest.raises(InputError) as refusal, reading(tmp_path, "less"):
        json.loads("[" + "1" * 100_000 + "x")
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_stops_a_process_passes(tmp_path, kind):
    with pytest.raises(kind), reading(tmp_path, "something"):
        raise kind


def test_a_line_that_is_clear_already_stays(tmp_path):
    with pytest.raises(InputError, match=r"^clear$"), reading(tmp_path, "something"):
        raise InputError("clear")


def test_the_reason_of_the_system_is_given(tmp_path):
    with (
        pytest.raises(InputError, match=r"damaged \(No such file or directory\)"),
        reading(tmp_path / "none", "a file"),
    ):
        read_bytes(tmp_path / "none")


def test_size_is_limited_before_memory_is_taken(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(ValueError, match=f"more than {MAX_BYTES} bytes"):
        read_bytes(path)
    with path.open("wb") as file:
        file.truncate(7)
    assert read_bytes(path, 7) == bytes(7)


def test_all_missing_files_are_named_at_once(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "folder").mkdir()
    paths = [tmp_path / name for name in ("a", "b", "c", "folder")]
    require_files("set", paths[:1], "https://example.org")
    with pytest.raises(InputError) as refusal:
        require_files("set", paths, "https://example.org")
    expected = f"set: b, c, folder are missing; put the files in {tmp_path} by hand, from https://example.org"
    assert str(refusal.value) == expected


def test_a_fraction_that_numpy_would_cut_is_refused(tmp_path, monkeypatch):
    """NumPy before 2.4 reads 1.7 as 1, and warns in a way that Python shows in scripts alone."""

    def cut(*_, **__):
        warnings.warn("parsing an integer via a float is deprecated", DeprecationWarning, stacklevel=1)
        return np.ones((1, 1), np.int64)

    (tmp_path / "numbers.txt").write_text("1.7\n")
    monkeypatch.setattr(np, "loadtxt", cut)
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(InputError, match=r"numbers\.txt: damaged \(parsing an"),
    ):
        read_table(tmp_path / "numbers.txt", 1)
