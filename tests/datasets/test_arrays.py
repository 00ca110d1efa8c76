import io
import struct
import zipfile

import numpy as np
import pytest

from abkd_jax.datasets.files.arrays import MAX_MEMBERS, from_npy, from_npz
from abkd_jax.datasets.files.reading import MAX_BYTES


def _npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _with_header(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + content


def _announcing(shape: str, dtype: str = "<f8", content: bytes = bytes(24)) -> bytes:
    return _with_header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}", content)


ARRAYS = [
    np.arange(6, dtype=np.int16).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.zeros((0, 3), np.float32),
    np.array(3, np.uint8),
    np.array(b"csr"),
    np.array(["a", "bc"]),
]


@pytest.mark.parametrize("array", ARRAYS)
def test_plain_arrays_come_back(array):
    found = from_npy(_npy(array))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    assert found.flags.owndata


def test_the_byte_order_of_the_file_does_not_matter():
    found = from_npy(_npy(np.array([1, 2, 2**40], ">i8")))
    assert found.dtype == np.int64
    assert found.dtype.isnative
    assert found.tolist() == [1, 2, 2**40]


REFUSED = {
    "a billion of billions": _announcing("(1000000000000, 1000000000000)"),
    "another product": _announcing("(4,)"),
    "more bytes": _announcing("(2,)"),
    "negative": _announcing("(-3,)"),
    "two negatives": _announcing("(-3, -1)"),
    "no numbers": _announcing("(3.0,)"),
    "nothing, a billion times": _announcing("(1000000000,)", "|S0", b""),
    "none of endless length": _announcing("(0, 100000000000000000000)", content=b""),
    "objects": _announcing("(3,)", "|O"),
    "times": _announcing("(3,)", "<M8[s]"),
    "void": _announcing("(3,)", "|V8"),
    "no header": b"\x93NUMPY\x01\x00",
    "brackets": _with_header("(" * 9000),
    "code": _with_header("__import__('os').getcwd()"),
    "long header": _with_header("{" + " " * 20_000),
    "format": b"\x93NUMPY\x09\x00" + _announcing("(3,)")[8:],
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    with pytest.raises(Exception):  # noqa: B017, PT011 -- of many classes; `reading` makes one line of them
        from_npy(REFUSED[case])


def _npz(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def test_only_the_named_arrays_are_read():
    content = _npz([("a.npy", _npy(np.arange(3))), ("b.npy", b"rubbish")])
    assert from_npz(content, ("a",))["a"].tolist() == [0, 1, 2]
    with pytest.raises(KeyError, match=r"c\.npy"):
        from_npz(content, ("a", "c"))


def test_archives_that_take_much_memory_or_are_ambiguous_are_refused():
    bomb = _npz([("a.npy", bytes(MAX_BYTES + 1))])
    assert len(bomb) < MAX_BYTES / 500
    with pytest.raises(ValueError, match="unpacks to more than"):
        from_npz(bomb, ("a",))
    with pytest.raises(ValueError, match=f"more than {MAX_MEMBERS} members"):
        from_npz(_npz([(str(number), b"") for number in range(MAX_MEMBERS + 1)]), ("0",))
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = _npz([("a.npy", _npy(np.arange(3)))] * 2)
    for content in (twice, _npz([("a.npy", _npy(np.arange(3)))], zipfile.ZIP_LZMA)):
        with pytest.raises(ValueError, match=r"a\.npy is repeated, or packed"):
            from_npz(content, ("a",))
