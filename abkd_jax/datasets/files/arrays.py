"""Reads arrays of `.npy` and `.npz` files, and of raw bytes: sizes are compared before memory is allocated."""

import io
import math
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np

from abkd_jax.datasets.files.reading import MAX_BYTES

__all__ = ["from_bytes", "from_npy", "from_npz"]

PLAIN = "biufSU"  # kinds of dtypes: numbers and text; no objects, structures or times
PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what NumPy writes
MAX_MEMBERS = 1000  # of an archive; the published ones have 10
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def from_bytes(content: bytes, shape: tuple[Any, ...], dtype: np.dtype, *, fortran_order: bool) -> np.ndarray:
    """Makes an array of bytes, whose number must be exactly that of the array.

    Args:
        content: the values, in the byte order of `dtype`.
        shape: the lengths that a file announces; not trusted.
        dtype: numbers or text.
        fortran_order: whether the first axis runs fastest.

    Returns:
        The array in the byte order of the machine, a copy.

    Raises:
        ValueError: another kind of values, or shape and bytes do not agree.

    Examples:
        >>> from_bytes(bytes([1, 0, 2, 0]), (2,), np.dtype("<i2"), fortran_order=False)
        array([1, 2], dtype=int16)
    """
    if dtype.kind not in PLAIN or dtype.itemsize == 0:
        raise ValueError(f"values of type {dtype}")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("a shape of other than whole numbers")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"shape {shape} of {dtype} does not take {len(content)} bytes")
    array = np.ndarray(shape, dtype, content, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="))


def from_npy(content: bytes) -> np.ndarray:
    """Reads the content of a `.npy` file; objects are refused.

    Raises:
        Exception: of many classes where the content is damaged; see `reading`.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"format {version} of .npy")
    shape, fortran_order, dtype = HEADERS[version](file)
    return from_bytes(content[file.tell() :], shape, dtype, fortran_order=fortran_order)


def from_npz(content: bytes, names: Iterable[str], limit: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Reads some arrays of an `.npz` archive; objects are refused.

    Args:
        content: of the archive.
        names: of the arrays.
        limit: most bytes that they may unpack to.

    Returns:
        The arrays by name.

    Raises:
        Exception: of many classes where an array is missing or the content is damaged; see `reading`.
    """
    if content.count(b"PK\1\2") > MAX_MEMBERS:  # before zipfile makes an object of each
        raise ValueError(f"more than {MAX_MEMBERS} members")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        listed = archive.namelist()
        members = {name: archive.getinfo(f"{name}.npy") for name in names}
        if sum(member.file_size for member in members.values()) > limit:
            raise ValueError(f"it unpacks to more than {limit} bytes")
        for member in members.values():
            if listed.count(member.filename) > 1 or member.compress_type not in PACKING:
                raise ValueError(f"{member.filename} is repeated, or packed in a way that NumPy does not write")
        return {name: from_npy(archive.read(member)) for name, member in members.items()}
