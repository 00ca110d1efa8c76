"""Random damages to files, as disks, transfers, editors and other programs cause them."""

import gzip
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.fuzz import structured
from experiments.fuzz.structured import WORDS, pick

__all__ = ["damage", "mutate"]

Mutation = Callable[[bytes, np.random.Generator], bytes]


def damage(folder: Path, rng: np.random.Generator) -> str:
    """Damages one file of a folder, in one of ten cases as a whole, otherwise its content.

    Args:
        folder: its files are changed in place.
        rng: decides everything.

    Returns:
        What was done, for a person to read.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = np.array([path.stat().st_size for path in files]) + 1.0
    path = files[rng.choice(len(files), p=sizes / sizes.sum() if rng.random() < 0.5 else None)]
    if rng.random() < 0.1:
        change = pick((_remove, _empty, _into_folder, _from_other, _append_other, _stray), rng)
        return f"{path.relative_to(folder)}: {change(path, pick(files, rng))}"
    content, steps = mutate(path.name, path.read_bytes(), rng)
    path.write_bytes(content)
    return f"{path.relative_to(folder)}: {', '.join(steps)}"


def mutate(name: str, content: bytes, rng: np.random.Generator) -> tuple[bytes, list[str]]:
    """Damages the content of a file by one to three mutations that fit its name.

    Args:
        name: of the file; its suffix tells the format.
        content: its bytes.
        rng: decides everything.

    Returns:
        The damaged bytes and the names of the mutations.
    """
    steps = []
    for _ in range(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])):
        mutation = pick(_fitting(name), rng)
        inner = name.endswith(".gz") and mutation not in BYTES
        try:
            text = gzip.decompress(content) if inner else content
        except (OSError, EOFError, zlib.error):  # the first mutation hit the archive
            break
        damaged = mutation(text, rng)
        content = gzip.compress(damaged, mtime=0) if inner else damaged
        steps.append(mutation.__name__)
    return content, steps


def _fitting(name: str) -> tuple[Mutation, ...]:
    name = name.removesuffix(".gz")
    if name.startswith("ind.") and not name.endswith(".index"):
        return (*BYTES, *structured.PICKLE, *structured.PICKLE)
    for suffix, mutations in STRUCTURED.items():
        if name.endswith(suffix):
            return (*BYTES, *mutations, *mutations)
    return BYTES


def flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        if damaged:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
    return bytes(damaged)


def replace_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(content, rng, 8)
    return content[:start] + rng.bytes(end - start) + content[end:]


def delete_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(content, rng, 64)
    return content[:start] + content[end:]


def insert_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    start, _ = _span(content, rng, 1)
    return content[:start] + rng.bytes(int(rng.integers(1, 64))) + content[start:]


def zero_block(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(content, rng, 512)
    return content[:start] + bytes(end - start) + content[end:]


def swap_blocks(content: bytes, rng: np.random.Generator) -> bytes:
    (a, b), (c, d) = sorted((_span(content, rng, 128), _span(content, rng, 128)))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:] if b <= c else content[::-1]


def repeat_block(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(content, rng, 128)
    return content[:end] + content[start:end] * int(rng.integers(1, 5)) + content[end:]


def truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content) + 1)]


def append_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    return content + pick((b"\0", b"\n", b"\n\n", b" ", b"0", rng.bytes(100), content), rng)


def edit_line(content: bytes, rng: np.random.Generator) -> bytes:
    """Repeats, removes, moves, empties or joins a line."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return b"\n"
    at, to = rng.integers(len(lines), size=2)
    match int(rng.integers(6)):
        case 0:
            lines.insert(to, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[to] = lines[to], lines[at]
        case 3:
            lines.insert(at, pick((b"\n", b"\r\n", b"  \n", b"#\n", b"\x0c", b"\x1c"), rng))
        case 4:
            lines[at] = lines[at].rstrip(b"\n")
        case _:
            lines = [line.replace(b"\n", b"\r\n") for line in lines]
    return b"".join(lines)


def edit_field(content: bytes, rng: np.random.Generator) -> bytes:
    """Replaces, repeats, removes or adds one field of one line, or the column in all lines."""
    lines = content.splitlines()
    if not lines:
        return pick(WORDS, rng)
    comma = b"," if b"," in content else b"\t" if b"\t" in content else b" "
    row, everywhere = rng.integers(len(lines)), rng.random() < 0.2
    column, change, word = rng.integers(lines[row].count(comma) + 1), rng.integers(4), pick(WORDS, rng)
    for number in range(len(lines)) if everywhere else [row]:
        fields = lines[number].split(comma)
        if column < len(fields):
            old = fields[column]
            fields[column : column + 1] = [[word], [old, old], [], [old, word]][change]
        lines[number] = comma.join(fields)
    return b"\n".join(lines) + b"\n"


def _span(content: bytes, rng: np.random.Generator, longest: int) -> tuple[int, int]:
    start = int(rng.integers(len(content) + 1))
    return start, min(len(content), start + int(rng.integers(1, longest + 1)))


def _remove(path: Path, other: Path) -> str:
    path.unlink()
    return "removed"


def _empty(path: Path, other: Path) -> str:
    path.write_bytes(b"")
    return "emptied"


def _into_folder(path: Path, other: Path) -> str:
    path.unlink()
    path.mkdir()
    return "a folder"


def _from_other(path: Path, other: Path) -> str:
    path.write_bytes(other.read_bytes())
    return f"the content of {other.name}"


def _append_other(path: Path, other: Path) -> str:
    path.write_bytes(path.read_bytes() + other.read_bytes())
    return f"{other.name} appended"


def _stray(path: Path, other: Path) -> str:
    shutil.copyfile(other, path.with_name(f"stray{path.suffix}"))
    return f"a file stray{path.suffix} beside it"


BYTES: tuple[Mutation, ...] = (
    flip_bits,
    replace_bytes,
    delete_bytes,
    insert_bytes,
    zero_block,
    swap_blocks,
    repeat_block,
    truncate,
    append_bytes,
)
TEXT: tuple[Mutation, ...] = (edit_line, edit_line, edit_field, edit_field, edit_field)
STRUCTURED: dict[str, tuple[Mutation, ...]] = {
    ".npz": (*structured.NPZ, *structured.ZIP),
    ".zip": structured.ZIP,
    ".npy": structured.NPY,
    ".json": (*structured.JSON, *TEXT[::2]),
    ".jsonl": (*structured.JSON_LINES, *TEXT[::2]),
    ".zarray": structured.JSON,
    "_METADATA": structured.JSON,
    ".csv": TEXT,
    ".txt": TEXT,
    ".index": TEXT,
}
