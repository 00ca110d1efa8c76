"""Lines that are no lines of a table, and tables that do not end."""

import gzip
import zlib

import numpy as np
import pytest

from abkd_jax.datasets.files import csv_gz
from abkd_jax.types import InputError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.csv.gz"


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(InputError) as refused:
        call(*arguments, **options)
    text = str(refused.value)
    assert "\n" not in text
    assert text.startswith(str(arguments[0]))
    return text.removeprefix(str(arguments[0]))


GOOD = {
    "plain": b"1,2\n3,4\n",
    "no last line break": b"1,2\n3,4",
    "windows": b"1,2\r\n3,4\r\n",
    "reals without a fraction": b"1.0,2.0\n3e0,+4\n",
}


@pytest.mark.parametrize("chunk", [2, 2**23])
@pytest.mark.parametrize("case", GOOD)
def test_whole_numbers(path, case, chunk, monkeypatch):
    monkeypatch.setattr(csv_gz, "CHUNK_NUMBERS", chunk)
    path.write_bytes(gzip.compress(GOOD[case]))
    assert csv_gz.integers(path, 2).tolist() == [[1, 2], [3, 4]]
    assert csv_gz.reals(path, 2, rows=2).tolist() == [[1, 2], [3, 4]]


BAD = {
    "blank first": (b"\n1,2\n", False, ": has 1 columns; expected 2"),
    "blank between": (b"1,2\n\n3,4\n", True, ", line 2: is blank; expected 2 numbers per line"),
    "blank last": (b"1,2\n3,4\n\n", True, ", line 3: is blank"),
    "short and long": (b"1,2\n3\n4,5,6\n", True, ", line 2: column 2 is empty or NaN"),
    "long and short": (b"1,2\n4,5,6\n3\n", True, ", line 2: has 3 columns"),
    "gap": (b"1,2\n3,\n", False, ", line 2: column 2 is empty or NaN"),
    "nan": (b"1,2\n3,NaN\n", False, ", line 2: column 2 is empty or NaN"),
    "infinite": (b"1,2\n-inf,4\n", True, ", line 2: column 1 is '-inf'"),
    "too large for a double": (b"1,2\n1e400,4\n", True, ", line 2: has a number out of range"),
    "too large for a float": (b"1,2\n1e39,4\n", True, ", line 2: has a number out of range"),
    "words": (b"1,2\n3,True\n", True, ", line 2: column 2 is 'True'"),
    "zero byte": (b"1,2\n3\0,4\n", True, ", line 2: column 1 is '3\\x00'"),
    "quoted line break": (b'1,2\n"3\n",4\n', True, ", line 2: column 1 is '\"3'"),
    "old line break": (b"1,2\n3,4\r5,6\n", True, ", line 2: has 3 columns"),
    "other digits": ("1,2\n3,٤\n".encode(), True, ", line 2: column 2 is '\\\\xd9\\\\xa4'"),
}


@pytest.mark.parametrize("chunk", [2, 2**23])
@pytest.mark.parametrize("case", BAD)
def test_a_line_that_is_none_is_named(path, case, chunk, monkeypatch):
    content, gaps, message = BAD[case]
    monkeypatch.setattr(csv_gz, "CHUNK_NUMBERS", chunk)
    path.write_bytes(gzip.compress(content))
    assert refusal(csv_gz.reals, path, 2, gaps=gaps).startswith(message)


@pytest.mark.parametrize("number", ["1.5", "9" * 20, str(2**63), "1e-1", "0x10"])
def test_a_number_that_is_not_whole_is_named(path, number):
    path.write_bytes(gzip.compress(f"1,2\n3,{number}\n".encode()))
    assert refusal(csv_gz.integers, path, 2) == f", line 2: column 2 is {number!r}; expected 2 whole numbers per line"


ENDLESS = {
    "line breaks": (b"\n", ", line 1: is blank"),
    "digits": (b"0", ": has a line of over 40 bytes; expected 1 numbers"),
    "zero bytes": (b"\0", ": has a line of over 40 bytes"),
    "an open quote": (b'"' + b"0" * 99, ": has a line of over 40 bytes"),
    "commas": (b",", ": has a line of over 40 bytes"),
    "lines of commas": (b",,,\n", ": has 4 columns; expected 1"),
    "lines": (b"0\n", ": has 1001 rows or more; expected 500, as announced in the files beside it"),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_a_table_without_end_is_left_at_once(path, case, monkeypatch):
    """The stream is cut: whoever reads on finds that out."""
    unit, message = ENDLESS[case]
    monkeypatch.setattr(csv_gz, "CHUNK_NUMBERS", 1000)
    engine = zlib.compressobj(1, zlib.DEFLATED, 31)
    path.write_bytes(engine.compress(unit * (2**20 // len(unit))) + engine.flush(zlib.Z_SYNC_FLUSH))
    assert refusal(csv_gz.reals, path, 1, rows=500).startswith(message)


def test_a_table_of_unknown_length_has_a_limit(path):
    path.write_bytes(gzip.compress(b"0\n" * 11))
    assert csv_gz.integers(path, 1, most=11).tolist() == [[0]] * 11
    assert refusal(csv_gz.integers, path, 1, most=10) == ": has 11 rows; expected at most 10"


def test_a_header_without_end_is_left_unread(path):
    name = b"x" * 2**17
    path.write_bytes(b"\x1f\x8b\x08\x08" + bytes(6) + name + b"\0" + gzip.compress(b"1\n")[10:])
    assert refusal(csv_gz.integers, path, 1, rows=1).startswith(f": has {path.stat().st_size} bytes; expected at most")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"a,b\n" * 2**19), ": more than 1048576 bytes"),
        (gzip.compress(b"\xff\xfe\n"), ": 'utf-8' codec"),
        (gzip.compress(b"a" * 200_000), ": field larger than field limit"),
        (b"", ""),
        (gzip.compress(b"a,b\n")[:-3], ": Compressed file ended"),
    ],
    ids=["endless", "no text", "long word", "empty", "cut"],
)
def test_words(path, content, message):
    path.write_bytes(content)
    if content:
        assert refusal(csv_gz.strings, path).startswith(message)
    else:
        assert csv_gz.strings(path) == []


def test_gaps_are_not_numbers(path):
    path.write_bytes(gzip.compress(b'0,""\n,1\n'))
    np.testing.assert_array_equal(csv_gz.reals(path, 2, gaps=True), [[0, np.nan], [np.nan, 1]])
