"""Reads old pickles without running code in them, in bounded memory.

The opcodes are checked before the pickle is read: only those of Planetoid's files pass, and only the globals of
`ALLOWED`. Even these are replaced: the unpickler collects the constructor arguments and the state of arrays and
matrices in records of this module, and arrays are made of the records once their sizes are known to agree.
"""

import pickle
import pickletools
import re
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from abkd_jax.datasets.files.arrays import from_bytes
from abkd_jax.datasets.files.reading import read_bytes, reading
from abkd_jax.types import InputError

__all__ = ["ALLOWED", "MAX_OPCODES", "MAX_TUPLES", "Csr", "load"]

MAX_OPCODES = 2**20
"""Most opcodes of a pickle, and its largest memo index; `ind.pubmed.graph`, the longest that is published here, has
178,216, and a graph of the size of NELL, 65,755 nodes with 532,288 neighbours, 846,198."""

MAX_TUPLES = 1000
"""Most tuples of a pickle; a matrix has 18. Hashing a tuple nested a million deep overflows the stack."""

OPCODES = {
    *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"),
    *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
}
"""Protocol 2 without long integers, persistent objects, extension codes, and older opcodes that call functions."""


class Csr(NamedTuple):
    """The parts of a CSR matrix as in the pickle; `csr.check_csr` checks that they make one."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    shape: Any


class _Record:
    """Collects the constructor arguments and the state that a pickle gives an object.

    A pickle sets the state of an object through `__setstate__` where there is one, so that nothing else can be set, and
    nothing at all on the classes: there the call lacks an argument and fails.
    """

    __slots__ = ("arguments", "state")

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Record):
    __slots__ = ()


class _DType(_Record):
    __slots__ = ()


class _Matrix(_Record):
    __slots__ = ()


class _Dict(dict):
    """A dictionary that ignores constructor arguments and refuses a state."""

    __slots__ = ()

    def __init__(self, *arguments: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a dictionary with a state")


ALLOWED = {
    ("__builtin__", "list"): "list",  # an argument of defaultdict
    ("collections", "defaultdict"): _Dict,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): "ndarray",  # an argument of _reconstruct
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("scipy.sparse.csr", "csr_matrix"): _Matrix,
}
"""The globals that the Planetoid files name, as Python 2 wrote them, and the replacement of each."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        return ALLOWED[module_name, global_name]


def load(path: Path) -> Any:
    """Reads a Python 2 pickle that names no global but those of `ALLOWED`.

    Args:
        path: the file, of at most `reading.MAX_BYTES` and `MAX_OPCODES`.

    Returns:
        A NumPy array, the parts of a CSR matrix, or a dictionary, list, number or text. The content of lists and
        dictionaries is not checked.

    Raises:
        InputError: the file cannot be read, is damaged or too large, or names another global.

    Examples:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     _ = Path(file.name).write_bytes(pickle.dumps(print, protocol=2))
        ...     load(Path(file.name))
        Traceback (most recent call last):
        abkd_jax.types.InputError: ...: the pickle names the global __builtin__.print, which a data file has no use ...
    """
    with reading(path, "a pickle, the file as published"):
        content = read_bytes(path)
        _check_opcodes(path, content)
        value = _Unpickler(BytesIO(content), encoding="latin1").load()
        if isinstance(value, _Array):
            return _array(value)
        if isinstance(value, _Matrix):
            data, indices, indptr = (_array(value.state[part]) for part in ("data", "indices", "indptr"))
            return Csr(data, indices, indptr, value.state["_shape"])
        return value


def _check_opcodes(path: Path, content: bytes) -> None:
    tuples = 0
    for count, operation in enumerate(pickletools.genops(content)):
        opcode, argument, place = cast(tuple[pickletools.OpcodeInfo, Any, int], operation)
        if opcode.name not in OPCODES:
            raise ValueError(f"opcode {opcode.name} at byte {place}")
        if opcode.name == "GLOBAL" and tuple(argument.split(" ")) not in ALLOWED:
            raise InputError(
                f"{path}: the pickle names the global {_printable(argument)}, which a data file has no use for; "
                "refused, because a pickle can run code"
            )
        if opcode.name == "LONG1" and not -(2**63) <= argument < 2**63:
            raise ValueError("a number of more than 64 bits")
        tuples += opcode.name.startswith("TUPLE")
        if count == MAX_OPCODES or tuples > MAX_TUPLES or (opcode.name == "LONG_BINPUT" and argument > MAX_OPCODES):
            raise ValueError(f"more than {MAX_OPCODES} objects or {MAX_TUPLES} tuples")


def _printable(name: str) -> str:
    """Returns module and global of a name as dotted path in ASCII."""
    return ascii(".".join(name.split(" ", 1)))[1:-1][:80]


def _array(record: _Array) -> np.ndarray:
    _, shape, dtype, fortran_order, content = record.state
    code, order = dtype.arguments[0], dtype.state[1]
    if not re.fullmatch("[biuf][1248]", code) or order not in ("<", ">", "|", "="):
        raise ValueError(f"values of type {order}{code}")
    values = content.encode("latin1")  # strings of Python 2 are bytes
    return from_bytes(values, shape, np.dtype(code).newbyteorder(order), fortran_order=bool(fortran_order))
