"""Damaged files: what may become of each byte string, and what a reader may make of it."""

import gzip
import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from abkd_jax import datasets
from abkd_jax.datasets.checks import published
from abkd_jax.types import InputError

Damage = Callable[[bytearray, np.random.Generator], bytes]

NUMBERS = (
    b"-1",
    b"0",
    b"99",
    b"1000000000",
    b"99999999999999999999",
    b"0.5",
    b"1e400",
    b"nan",
    b"x",
    b"",
    b"1 2",
    b"\x00",
)


def _flipped(content: bytearray, rng: np.random.Generator) -> bytes:
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(content)


def _set(content: bytearray, rng: np.random.Generator) -> bytes:
    content[rng.integers(len(content))] = rng.choice([0, 10, 32, 255])
    return bytes(content)


def _without(content: bytearray, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(content)))
    del content[start : start + int(rng.integers(1, 9))]
    return bytes(content)


def _cut(content: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(content[: int(rng.integers(len(content)))])


def _zeroed(content: bytearray, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(content)))
    content[start : start + 16] = bytes(len(content[start : start + 16]))
    return bytes(content)


def _twice(content: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(content + content)


def _line_twice(content: bytearray, rng: np.random.Generator) -> bytes:
    lines = bytes(content).split(b"\n")
    number = int(rng.integers(len(lines)))
    return b"\n".join([*lines[: number + 1], *lines[number:]])


def _blank_line(content: bytearray, rng: np.random.Generator) -> bytes:
    lines = bytes(content).split(b"\n")
    number = int(rng.integers(len(lines) + 1))
    return b"\n".join([*lines[:number], b"", *lines[number:]])


def _lines_swapped(content: bytearray, rng: np.random.Generator) -> bytes:
    lines = bytes(content).split(b"\n")
    first, second = rng.integers(len(lines), size=2)
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def _number_replaced(content: bytearray, rng: np.random.Generator) -> bytes:
    places = list(re.finditer(rb"\d+", bytes(content)))
    start, end = places[rng.integers(len(places))].span() if places else (0, 0)
    return bytes(content[:start]) + NUMBERS[rng.integers(len(NUMBERS))] + bytes(content[end:])


DAMAGES = (_flipped, _set, _without, _cut, _zeroed, _twice, _line_twice, _blank_line, _lines_swapped, _number_replaced)


def _inside_gzip(damage: Damage) -> Damage:
    return lambda content, rng: gzip.compress(damage(bytearray(gzip.decompress(content)), rng), mtime=0)


def _inside_zip(damage: Damage) -> Damage:
    """Damages one member, in an archive that is whole: sums are checked before anything else is."""

    def damaged(content: bytearray, rng: np.random.Generator) -> bytes:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        chosen = sorted(members)[rng.integers(len(members))]
        members[chosen] = damage(bytearray(members[chosen]), rng)
        new = io.BytesIO()
        with zipfile.ZipFile(new, "w") as archive:
            for name, member in members.items():
                archive.writestr(name, member)
        return new.getvalue()

    return damaged


def damages_of(path: Path) -> tuple[Damage, ...]:
    """Returns ways to damage a file, for archives inside of their members too."""
    if path.suffix not in (".gz", ".npz"):
        return DAMAGES
    inside = _inside_gzip if path.suffix == ".gz" else _inside_zip
    return (*DAMAGES, *(inside(damage) for damage in DAMAGES * 3))


def check_damaged_files(name: str, root: Path, monkeypatch, seed: int = 0) -> list[str]:
    """Damages every file of a data set in at least ten ways, and loads the set as if it had been the published one.

    Each time it must load with the same totals, and say so where the bytes are others, or be refused in one line.

    Args:
        name: of the set.
        root: the data root.
        monkeypatch: makes the totals and checksums of the whole files the published ones.
        seed: of all damages.

    Returns:
        The refusals.
    """
    paths = datasets.paths(name, root)
    whole = datasets.load(name, root)
    totals = published.totals_of(whole)
    monkeypatch.setattr(published, "TOTALS", {name: totals})
    sums = {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    monkeypatch.setattr(published, "CHECKSUMS", sums)
    refusals, rng = [], np.random.default_rng(seed)
    for path in paths:
        content = path.read_bytes()
        for damage in damages_of(path):
            damaged = damage(bytearray(content), rng)
            path.write_bytes(damaged)
            try:
                found = datasets.load(name, root)
            except InputError as error:
                refusals.append(str(error))
            else:
                assert published.totals_of(found) == totals
                assert (found.source != whole.source) == (damaged != content)
        path.write_bytes(content)
    assert not [refusal for refusal in refusals if "\n" in refusal or len(refusal) > 1000]
    return refusals
