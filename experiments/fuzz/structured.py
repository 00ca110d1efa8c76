"""Damages that leave a file valid for its parser: arrays of another type, missing keys, exchanged opcodes."""

import io
import json
import pickletools
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

__all__ = ["JSON", "JSON_LINES", "NPY", "NPZ", "PICKLE", "WORDS", "ZIP", "pick"]

T = TypeVar("T")
WORDS = (b"", b"-1", b"0", b"1", b"7", b"0.5", b"1e3", b"-0", b"1e400", b"nan", b"inf", b"abc", b"True", b"1,2", b'"',
         b"\xff", b"\0", b"2147483648", b"1000000000", b"99999999999999999999999", b"0x10", b"1_0", b"\xd9\xa3",
         b"9" * 5000, b" 1 ", b"#", b"-", b"1 2", b"'")  # fmt: skip
"""What may stand where a number belongs."""
VALUES = (None, True, False, -1, 0, 1, 10**9, 10**30, 0.5, -1e300, float("nan"), float("inf"), "", "abc", "1", [], {},
          [1, 2], {"a": 1}, [[]], "\u0000", "x" * 1000)  # fmt: skip
DTYPES = ("f2", "f4", "f8", ">f8", "i1", "i4", ">i8", "u8", "?", "c8", "S3", "U2", "M8[s]", "V4", "O")


def pick(items: Sequence[T], rng: np.random.Generator) -> T:
    """Draws one of several."""
    return items[int(rng.integers(len(items)))]


def edit_npz(content: bytes, rng: np.random.Generator) -> bytes:
    """Drops, doubles, renames or changes one array of an archive."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = dict(archive)
    except Exception:  # damaged by an earlier mutation
        return content[::-1]
    if not arrays:
        return content[:-1]
    key, other = pick(list(arrays), rng), pick(list(arrays), rng)
    match int(rng.integers(8)):
        case 0:
            del arrays[key]
        case 1:
            arrays[key] = arrays[other]
        case 2:
            arrays[f"{key}2"] = arrays.pop(key)
        case _:
            arrays[key] = _edit_array(arrays[key], rng)
    return _zipped({f"{name}.npy": _npy(array) for name, array in arrays.items()})


def edit_npy(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes the array of an `.npy` file."""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception:
        return content[::-1]
    return _npy(_edit_array(array, rng))


def edit_npy_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Writes another type or shape over the header of the first array, whose numbers stay."""
    start = content.find(b"{'descr'")
    end = content.find(b"}", start)
    if start < 0 or end < 0:
        return content[::-1]
    shape = pick(("()", "(-1,)", "(10**9,)", "(1000000000000,)", "(2, 2)", "(3,", "0", "(1,)*9**9", "('a',)"), rng)
    order = pick(("True", "False", "None"), rng)
    header = f"{{'descr': {pick(DTYPES, rng)!r}, 'fortran_order': {order}, 'shape': {shape}, "
    return content[:start] + header.encode().ljust(end - start) + content[end:]


def edit_zip(content: bytes, rng: np.random.Generator) -> bytes:
    """Drops, doubles, renames or damages one member of an archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {member.filename: archive.read(member) for member in archive.infolist()}
    except Exception:
        return content[::-1]
    if not members:
        return content[:-1]
    name = pick(list(members), rng)
    match int(rng.integers(5)):
        case 0:
            del members[name]
        case 1:
            return _zipped(members, twice=name)
        case 2:
            new = pick(
                (f"/{name}", f"../{name}", f"a/{name}", f"{name}/", name.upper(), "a" * 300, "\u00e9", "C:x"), rng
            )
            members[new] = members.pop(name)
        case 3:
            members[name] = members[name][: rng.integers(len(members[name]) + 1)]
        case _:
            members[f"{name}/below"] = b"a file below a file"
    return _zipped(members)


def edit_zip_fields(content: bytes, rng: np.random.Generator) -> bytes:
    """Writes other sizes, flags, methods or names into one entry of the archive's directory."""
    starts = [at for at in range(len(content) - 46) if content[at : at + 4] == b"PK\1\2"]
    if not starts:
        return content[::-1]
    damaged, start = bytearray(content), pick(starts, rng)
    offset, width = pick(((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (38, 4), (42, 4), (46, 1)), rng)
    damaged[start + offset : start + offset + width] = pick((bytes(width), b"\xff" * width, rng.bytes(width)), rng)
    return bytes(damaged)


def edit_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Drops a key, or puts a value of another type, somewhere in a JSON document."""
    try:
        document = json.loads(content)
    except ValueError:
        return content[::-1]
    box = {"": document}
    holder, key = pick(list(_places(box)), rng)
    match int(rng.integers(4)):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[f"{key}2"] = holder.pop(key)
        case _:
            holder[key] = pick(VALUES, rng)
    return json.dumps(box.get("", pick(VALUES, rng)), indent=1).encode()


def edit_json_line(content: bytes, rng: np.random.Generator) -> bytes:
    """Does as `edit_json`, in one line of several."""
    lines = content.splitlines() or [b""]
    at = int(rng.integers(len(lines)))
    lines[at] = edit_json(lines[at], rng).replace(b"\n", b"")
    return b"\n".join(lines) + b"\n"


def edit_opcodes(content: bytes, rng: np.random.Generator) -> bytes:
    """Removes, doubles, exchanges or replaces opcodes of a pickle."""
    try:
        starts = [position for _, _, position in pickletools.genops(content) if position is not None]
    except Exception:
        return content[::-1]
    parts = [content[a:b] for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]
    at, to = rng.integers(len(parts), size=2)
    match int(rng.integers(4)):
        case 0:
            del parts[at]
        case 1:
            parts.insert(to, parts[at])
        case 2:
            parts[at], parts[to] = parts[to], parts[at]
        case _:
            parts[at] = pick(OPCODES, rng)
    return b"".join(parts)


OPCODES = (b"N", b"\x88", b"K\xff", b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"]", b"}", b")", b"(t",
           b"0", b"2", b"R", b"b", b"a", b"s", b"\x81", b"G\x7f\xf8" + bytes(6), b"U\x03abc", b"I-1\n", b"F1e999\n",
           b"h\x00", b"q\xff", b"r\xff\xff\xff\x7f", b"cnumpy\ndtype\n", b"cscipy.sparse.csr\ncsr_matrix\n",
           b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n", b"c__builtin__\nlist\n")  # fmt: skip


def _edit_array(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    array = array.copy()
    match int(rng.integers(6)):
        case 0:
            return _cast(array, pick(DTYPES, rng))
        case 1:
            return pick(
                (array[None], array[..., None], array.ravel(), array.ravel()[:0], np.zeros((), array.dtype)), rng
            )
        case 2:
            return array[: rng.integers(len(array) + 1)] if array.ndim else array
        case 3:
            return np.concatenate([array, array[-1:]]) if array.ndim else array
        case 4 if array.ndim:
            return rng.permutation(array)
        case _:
            if array.size and array.dtype.kind in "iuf":
                values = (-1, 0, 1, array.size, 10**6, 2**31 - 1, -(2**31), 10**9)
                array.flat[rng.integers(array.size)] = np.array(pick(values, rng)).astype(array.dtype)
            return array


def _cast(array: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.zeros(array.shape, dtype) if dtype[0] in "VO" else array.astype(dtype)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _zipped(members: dict[str, bytes], twice: str = "") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            for _ in range(1 + (name == twice)):
                archive.writestr(_member(name), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name)


def _places(holder: Any) -> list[tuple[Any, Any]]:
    """Returns every (container, key) of a JSON document."""
    keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else []
    return [place for key in keys for place in [(holder, key), *_places(holder[key])]]


Mutation = Callable[[bytes, np.random.Generator], bytes]
NPZ: tuple[Mutation, ...] = (edit_npz, edit_npz, edit_npz, edit_npy_header)
NPY: tuple[Mutation, ...] = (edit_npy, edit_npy_header)
ZIP: tuple[Mutation, ...] = (edit_zip, edit_zip_fields)
JSON: tuple[Mutation, ...] = (edit_json,)
JSON_LINES: tuple[Mutation, ...] = (edit_json_line,)
PICKLE: tuple[Mutation, ...] = (edit_opcodes,)
