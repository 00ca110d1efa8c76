"""Hostile pickles: they call functions, change classes, fill the memory, or have no end."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.fuzz.samples import dump_python2
from experiments.fuzz.structured import OPCODES, pick

__all__ = ["PICKLES", "plant"]

ALLOWED = (
    b"c__builtin__\nlist\n",
    b"ccollections\ndefaultdict\n",
    b"cnumpy\ndtype\n",
    b"cnumpy\nndarray\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cscipy.sparse.csr\ncsr_matrix\n",
)
"""Globals that the published files name."""
FOREIGN = (
    b"cos\nsystem\n",
    b"cposix\nsystem\n",
    b"c__builtin__\neval\n",
    b"cbuiltins\nexec\n",
    b"cbuiltins\ngetattr\n",
    b"cnumpy\nload\n",
    b"cnumpy\nmemmap\n",
    b"cnumpy\nfromfile\n",
    b"cscipy.sparse\nload_npz\n",
    b"csubprocess\nPopen\n",
    b"cabkd_jax.datasets.files.unpickle\nload\n",
    b"c__main__\nmain\n",
    b"\x8c\x11collections.abc\n\x8c\x03Set\x93",
    b"\x8c\x05numpy\x8c\x0fndarray.tofile2\x93",
    b"\x8c\x05numpy\x8c\x0endarray.tofile\x93",
    b"\x8c\x11scipy.sparse.csr\x8c\x17csr_matrix.check_format\x93",
    b"\x82\x01",  # an extension code
)
ATTRIBUTES = (b"check_format", b"__init__", b"sum_duplicates", b"__reduce__", b"__class__", b"shape", b"data")
Pickle = Callable[[bytes, np.random.Generator], bytes]


def plant(folder: Path, rng: np.random.Generator) -> str:
    """Replaces one file of a Planetoid data set; what was done is returned."""
    files = sorted(path for path in folder.rglob("ind.*") if path.suffix != ".index")
    path, make = pick(files, rng), pick(PICKLES, rng)
    path.write_bytes(make(path.read_bytes(), rng))
    return f"{path.name}: {make.__name__}"


def foreign_call(content: bytes, rng: np.random.Generator) -> bytes:
    return b"\x80\x02" + pick(FOREIGN, rng) + b"(U\x04true" + b"tR."


def foreign_call_before(content: bytes, rng: np.random.Generator) -> bytes:
    """Writes a foreign call, then the file as it was."""
    return b"\x80\x02" + pick(FOREIGN, rng) + b"(U\x04truetR0" + content.removeprefix(b"\x80\x02")


def set_attribute(content: bytes, rng: np.random.Generator) -> bytes:
    """Sets an attribute of an allowed class by BUILD, then the file as it was."""
    name = pick(ATTRIBUTES, rng)
    value = pick((*ALLOWED, b"N", b"K\x01", b")"), rng)
    state = b"}U" + bytes([len(name)]) + name + value + b"s"
    state = pick((state, b"N" + state + b"\x86"), rng)  # the state alone, or the pair (None, slots)
    return b"\x80\x02" + pick(ALLOWED, rng) + state + b"b0" + content.removeprefix(b"\x80\x02")


def strange_call(content: bytes, rng: np.random.Generator) -> bytes:
    """Calls an allowed global with arguments it was not meant for."""
    arguments = pick(
        (b")", b"K\x01\x85", b"U\x01O\x85", b"cnumpy\nndarray\n\x8a\x06\0\0\0\0\0\1\x85U\x01b\x87",
         b"\x8a\x05\0\0\0\0\x10\x85", b"(J\xff\xff\xff\xffJ\xff\xff\xff\x7ftK\x01\x86", b"}\x85", b"N\x85",
         b"(\x8a\x05\0\0\0\0\1\x8a\x05\0\0\0\0\1t\x85"), rng)  # fmt: skip
    return b"\x80\x02" + pick(ALLOWED, rng) + arguments + pick((b"R", b"\x81"), rng) + b"."


def deep(content: bytes, rng: np.random.Generator) -> bytes:
    """Nests a hundred thousand lists, tuples or dicts."""
    n = 100_000
    return pick((b"(" * n + b"t" * n + b".", b"]" * n + b"a" * (n - 1) + b".", b"(" * n + b"l" * n + b".",
                 b"N" + b"\x85" * n + b"."), rng)  # fmt: skip


def doubling(content: bytes, rng: np.random.Generator) -> bytes:
    """Makes lists that hold the one before twice: 2^60 entries when written out."""
    lines = b"".join(b"]q\x02h\x01ah\x01a0h\x02q\x01" for _ in range(60))
    return b"\x80\x02]q\x01" + lines + b"."


def shared_rows(content: bytes, rng: np.random.Generator) -> bytes:
    """Writes a graph of 100,000 nodes that share one list of as many neighbours: 10^10 edges in half a megabyte."""
    neighbours = list(range(100_000))
    return dump_python2(dict.fromkeys(range(100_000), neighbours))


def cyclic(content: bytes, rng: np.random.Generator) -> bytes:
    return pick((b"]q\0h\0a.", b"}q\0K\0h\0s.", b"cscipy.sparse.csr\ncsr_matrix\n)\x81q\0}U\x04datah\0sb."), rng)


def huge_length(content: bytes, rng: np.random.Generator) -> bytes:
    """Writes an opcode that announces gigabytes, or a memo of billions of entries."""
    return b"\x80\x04" + pick(
        (b"\x8e" + struct.pack("<Q", 2**40), b"\x8d" + struct.pack("<Q", 2**33), b"\x8b" + struct.pack("<i", 2**31 - 1),
         b"\x8b" + struct.pack("<i", -1), b"T" + struct.pack("<i", 2**31 - 1), b"\x95" + struct.pack("<Q", 2**62),
         b"Nr" + struct.pack("<I", 2**28), b"Nr" + struct.pack("<I", 2**32 - 1), b"Np999999999\n",
         b"\x96" + struct.pack("<Q", 2**36)), rng) + bytes(64) + b"."  # fmt: skip


def long_number(content: bytes, rng: np.random.Generator) -> bytes:
    n = int(rng.integers(5000, 200_000))
    return pick((b"L" + b"9" * n + b"L\n.", b"I" + b"9" * n + b"\n.", b"F" + b"9" * n + b"\n."), rng)


def long_integer(content: bytes, rng: np.random.Generator) -> bytes:
    """Writes a graph with a node index of a million bytes."""
    return b"\x80\x02}\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6 + b"]s."


def other_object(content: bytes, rng: np.random.Generator) -> bytes:
    """Harmless values that are not what the file should hold."""
    values = (None, 7, "text", b"bytes", {}, [], {"a": [1]}, {1: 2}, {1.5: [1]}, {True: [0]}, {0: "12"}, {0: [[1]]},
              np.arange(3), np.zeros((0, 3), np.int64), np.zeros((2, 2), "M8[s]"), np.array("x"),
              np.full((3, 3), 2**62), {0: [2**70]}, {-1: [0]}, {0: [0.5]}, {0: {1: 2}}, {0: None})  # fmt: skip
    return dump_python2(pick(values, rng)) if rng.random() < 0.8 else pickle.dumps(pick(values, rng), protocol=5)


def random_program(content: bytes, rng: np.random.Generator) -> bytes:
    """Opcodes in any order, most of which are refused at once."""
    parts = [pick((*OPCODES, *ALLOWED, b"(", b"t", b"\x85", b"\x86", b"q\0", b"h\0"), rng) for _ in range(30)]
    return b"\x80\x02" + b"".join(parts) + b"."


PICKLES: tuple[Pickle, ...] = (
    foreign_call,
    foreign_call_before,
    set_attribute,
    set_attribute,
    strange_call,
    strange_call,
    deep,
    doubling,
    shared_rows,
    cyclic,
    huge_length,
    huge_length,
    long_number,
    long_integer,
    other_object,
    other_object,
    random_program,
    random_program,
)
