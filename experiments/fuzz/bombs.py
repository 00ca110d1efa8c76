"""Small files that need a hundred gigabytes: archives that unpack without end, headers of huge arrays."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

__all__ = ["BOMBS", "Bomb"]

MEMBER = 2**26  # bytes that one member of a gzip file unpacks to
MEMBERS = 128  # 8 GiB together, in 8 MB
SPARSE = 2**33  # bytes of a file of zeros that takes no room on the disk


class Bomb(NamedTuple):
    """A file of a layout that is replaced: the pattern of its name, and the function that writes the bomb."""

    layout: str
    pattern: str
    make: Callable[[Path], None]

    def plant(self, folder: Path, rng: np.random.Generator) -> str:
        """Replaces one of the files; what was done is returned."""
        files = sorted(path for path in folder.rglob(self.pattern) if path.is_file())
        path = files[int(rng.integers(len(files)))]
        self.make(path)
        return f"{path.relative_to(folder)}: {self.make.__name__}"


def gzip_of_blank_lines(path: Path) -> None:
    path.write_bytes(gzip.compress(b"\n" * MEMBER, mtime=0) * MEMBERS)


def gzip_of_rows(path: Path) -> None:
    """Rows as the file has them, again and again."""
    row = gzip.decompress(path.read_bytes()) or b"0\n"
    path.write_bytes(gzip.compress(row * (MEMBER // len(row)), mtime=0) * MEMBERS)


def gzip_of_one_line(path: Path) -> None:
    path.write_bytes(gzip.compress(b"1" * MEMBER, mtime=0) * MEMBERS)


def gzip_of_columns(path: Path) -> None:
    path.write_bytes(gzip.compress(b"1," * (MEMBER // 2), mtime=0) * MEMBERS)


def gzip_of_zeros(path: Path) -> None:
    path.write_bytes(gzip.compress(bytes(MEMBER), mtime=0) * MEMBERS)


def gzip_of_quotes(path: Path) -> None:
    """Writes one quoted field without an end."""
    path.write_bytes(gzip.compress(b'"' + b"\n" * MEMBER, mtime=0) + gzip.compress(b"\n" * MEMBER, mtime=0) * MEMBERS)


def sparse(path: Path) -> None:
    """Makes a sparse file of 8 GiB."""
    with path.open("r+b") as file:
        file.truncate(SPARSE)


def one_line(path: Path) -> None:
    """Writes 128 MB without a line feed."""
    path.write_bytes(b"1 " * 2**26)


def blank_lines(path: Path) -> None:
    path.write_bytes(b"\n" * 2**27)


def nested_json(path: Path) -> None:
    path.write_bytes(b"[" * 200_000 + b"]" * 200_000)


def long_json_number(path: Path) -> None:
    path.write_bytes(b'{"records": [' + b"9" * 2**22 + b"]}")


def huge_shape(path: Path) -> None:
    """Writes 8 TB into the header of an `.npy` file, or of all arrays of an `.npz`."""
    _write_arrays(path, _npy("(1000000000000,)", bytes(64)))


def large_shape(path: Path) -> None:
    """Does as `huge_shape`, with 6 GB, which many machines can allocate."""
    _write_arrays(path, _npy("(800000000,)", bytes(64)))


def overflowing_shape(path: Path) -> None:
    """Dimensions whose product is a small number modulo 2^64."""
    _write_arrays(path, _npy("(4294967296, 4294967297)", bytes(64)))


def long_header(path: Path) -> None:
    _write_arrays(path, b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31 - 1) + b"{" * 2**20)


def nested_header(path: Path) -> None:
    _write_arrays(path, _npy("(" * 9000 + "1" + ",)" * 9000, bytes(64)))


def power_in_header(path: Path) -> None:
    _write_arrays(path, _npy("(9**9**9,)", bytes(64)))


def deflated_zeros(path: Path) -> None:
    """Packs one member of 8 GiB of zeros into 8 MB, with the correct `.npy` header."""
    _write_member(path, _npy("(1073741824,)", b""), 8 * 1073741824)


def overlapping_members(path: Path) -> None:
    """Writes a directory of a thousand entries that all name the same gigabyte."""
    _write_member(path, b"", 2**30, times=1000)


def lying_size(path: Path) -> None:
    """Packs a member of a gigabyte to which the directory gives 100 bytes."""
    _write_member(path, b"", 2**30, claimed=100)


def many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(60_000):
            archive.writestr(zipfile.ZipInfo(f"ogbn_arxiv/raw/{number}"), b"")


def _npy(shape: str, content: bytes) -> bytes:
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + content


def _write_arrays(path: Path, array: bytes) -> None:
    if path.suffix == ".npy":
        path.write_bytes(array)
        return
    names = zipfile.ZipFile(path).namelist()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), array)
    path.write_bytes(file.getvalue())


def _write_member(path: Path, start: bytes, zeros: int, times: int = 1, claimed: int | None = None) -> None:
    """Replaces the largest member of an archive by some bytes and then zeros; the others stay as they are.

    Args:
        path: the archive.
        start: the first bytes of the member.
        zeros: how many zeros follow.
        times: how often the directory lists the member.
        claimed: the size that the directory states; None for the true one.
    """
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size).filename
        others = {name: archive.read(name) for name in archive.namelist() if name != largest}
    with path.open("wb") as file:
        entries = [_append(file, name, content, 0, zlib.crc32(content), None) for name, content in others.items()]
        entries += [_append(file, largest, start, zeros, 0, claimed)] * times
        begin, directory = file.tell(), b"".join(entries)
        end = struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), begin, 0)
        file.write(directory + b"PK\5\6" + end)


def _append(file: BinaryIO, name: str, start: bytes, zeros: int, crc: int, claimed: int | None) -> bytes:
    """Writes a member at the end of the file; its entry in the directory is returned."""
    body = b"".join(_deflated(start, zeros))
    raw, offset = name.encode(), file.tell()
    extra = struct.pack("<HHQQ", 1, 16, claimed or len(start) + zeros, len(body))  # sizes of 64 bits
    common = struct.pack("<HHHHHIIIHH", 45, 0, 8, 0, 33, crc, 2**32 - 1, 2**32 - 1, len(raw), len(extra))
    file.write(b"PK\3\4" + common + raw + extra + body)
    return b"PK\1\2" + struct.pack("<H", 45) + common + struct.pack("<HHHII", 0, 0, 0, 0, offset) + raw + extra


def _deflated(start: bytes, size: int) -> Iterator[bytes]:
    """Makes a raw deflate stream of some bytes and zeros; a block of zeros is packed once and repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    yield packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    yield block * (size // 2**24)
    yield packer.compress(bytes(size % 2**24)) + packer.flush()


GZIP = (gzip_of_blank_lines, gzip_of_rows, gzip_of_one_line, gzip_of_columns, gzip_of_zeros, gzip_of_quotes)
HEADERS = (huge_shape, large_shape, overflowing_shape, long_header, nested_header, power_in_header)
TEXTS = (sparse, one_line, blank_lines)
PLACES: dict[tuple[str, str], tuple[Callable[[Path], None], ...]] = {
    ("kgbench", "*.gz"): GZIP,
    ("arxiv", "edge.csv.gz"): GZIP,
    ("arxiv", "node-feat.csv.gz"): GZIP,
    ("mag", "num-node-dict.csv.gz"): GZIP,
    ("molecules", "num-node-list.csv.gz"): GZIP,
    ("kgbench", "*.csv"): TEXTS,
    ("tu", "*.txt"): TEXTS,
    ("heco", "*.txt"): TEXTS,
    ("planetoid", "ind.cora.*[xyh]"): (sparse,),
    ("planetoid", "*.index"): TEXTS,
    ("gnn_benchmark", "*.npz"): (sparse, *HEADERS, deflated_zeros, overlapping_members),
    ("heco", "*.npz"): (*HEADERS, deflated_zeros),
    ("heco", "*.npy"): (sparse, *HEADERS),
    ("cache", "*.npy"): (sparse, *HEADERS),
    ("cache", "SHA256SUMS"): TEXTS,
    ("archive", "*.zip"): (sparse, deflated_zeros, overlapping_members, many_members, lying_size),
    ("run", "*.json"): (sparse, nested_json, long_json_number),
    ("run", "*s.[jn]*"): (sparse,),
    ("report", "*.npz"): (*HEADERS, deflated_zeros),
    ("report", "results.json"): (sparse, nested_json, long_json_number),
    ("report", "*.jsonl"): (*TEXTS, nested_json),
    ("checkpoint", "*"): (sparse, blank_lines, nested_json),
}
BOMBS = [Bomb(layout, pattern, make) for (layout, pattern), makers in PLACES.items() for make in makers]
