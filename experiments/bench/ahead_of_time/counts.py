"""Counts what a compiled program does, from the text of its optimised HLO."""

import math
import re
from collections import Counter
from typing import NamedTuple

from experiments.bench.ahead_of_time.hlo import Instruction, Module, parse, shape_bytes, shapes

__all__ = ["Counts", "Loop", "count", "launched"]

# Not launched: data that is there and other names for it, and control flow.
NAMES = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "partition-id", "replica-id")
ORDER = ("while", "conditional", "call", "after-all", "add-dependency", "opt-barrier")
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")
HOST_OPS = ("infeed", "outfeed", "send", "recv")
HOST_MEMORY = "S(5)"  # in a layout
ANNOTATIONS = ("AssumeGatherIndicesInBound", "Sharding", "AllocateBuffer", "ConcatBitcast")  # calls that do nothing
SORTS = ("TopK", "ApproxTopK", "__cub$DeviceRadixSort")  # custom calls


class Loop(NamedTuple):
    """A `while` loop.

    Attributes:
        name: of its instruction.
        trips: how often the body runs; None where that depends on the data.
        kernels: launched by one run of body and condition, without those of the loops inside.
    """

    name: str
    trips: int | None
    kernels: int


class Counts(NamedTuple):
    """What one run of a program does. Bodies of loops count as often as they run, those of unknown length once.

    Attributes:
        kernels: launched by the entry, without those of loops.
        launches: kernels of the entry and of all runs of the bodies.
        loops: the `while` loops; none of those inside of kernels.
        number_gathers: gather instructions that read single numbers (not times the runs).
        numbers_gathered: what they read.
        row_gathers: all other gather instructions (likewise).
        rows_gathered: rows that they read.
        scatters: scatter instructions (likewise).
        rows_scattered: rows, or single numbers, that they add or write.
        sorts: sort instructions (likewise).
        host_transfers: infeeds, outfeeds, callbacks, copies to and from host memory (likewise).
        collectives: `{"all-gather": {"count": ..., "bytes": ...}}`, bytes of the larger side of each.
        flops: of dense products, two per multiplication and addition.
        bytes: operands and results of all launches; of a sliced or gathered operand what is read.
        custom_calls: by target.
    """

    kernels: int
    launches: int
    loops: tuple[Loop, ...]
    number_gathers: int
    numbers_gathered: int
    row_gathers: int
    rows_gathered: int
    scatters: int
    rows_scattered: int
    sorts: int
    host_transfers: int
    collectives: dict[str, dict[str, int]]
    flops: int
    bytes: int
    custom_calls: dict[str, int]


def count(text: str) -> Counts:
    """Counts a program.

    Args:
        text: its optimised HLO, `compiled.as_text()`.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> program = jax.jit(lambda x, i: x[i] @ x).lower(jnp.ones((4, 4)), jnp.arange(3)).compile()
        >>> found = count(program.as_text())
        >>> found.rows_gathered, found.flops, found.host_transfers
        (3, 96, 0)
    """
    module = parse(text)
    sums: Counter[str] = Counter()
    kernels: Counter[str] = Counter()  # by loop
    calls: Counter[str] = Counter()
    moved: dict[str, Counter[str]] = {}
    loops: dict[str, int | None] = {}
    for use in module.uses():
        for op in module.computations[use.name]:
            if op.opcode == "while":
                loops[op.name] = module.trip_count(op)
            if launched(op):
                kernels[use.loop] += 1
                sums.update(launches=use.times, bytes=use.times * _bytes(module, op))
            kind = op.opcode.removesuffix("-start")
            if kind in COLLECTIVES:
                moved.setdefault(kind, Counter()).update(count=use.times, bytes=use.times * _moved(module, op))
            for inner in module.inside(op):
                sums.update(_of_one(module, inner, use.times))
                if inner.opcode == "custom-call" and _target(inner) not in ANNOTATIONS:
                    calls[_target(inner)] += use.times
    special = {
        "kernels": kernels[""],
        "loops": tuple(Loop(name, trips, kernels[name]) for name, trips in loops.items()),
        "collectives": {kind: dict(totals) for kind, totals in moved.items()},
        "custom_calls": dict(calls),
    }
    return Counts(**special, **{name: sums[name] for name in Counts._fields if name not in special})


def launched(op: Instruction) -> bool:
    """Tells whether an instruction outside of fusions is a kernel.

    Copies and collectives that run beside kernels are none, nor is arithmetic on single numbers.
    """
    if op.opcode in NAMES + ORDER or op.opcode.endswith(("-start", "-update", "-done")):
        return False
    if op.opcode == "custom-call" and _target(op) in ANNOTATIONS:
        return False
    several = any(math.prod(sizes) > 1 for _, sizes in shapes(op.shape))
    return several or op.opcode in ("fusion", "custom-call", "reduce")


def _of_one(module: Module, op: Instruction, times: int) -> dict[str, int]:
    """Returns what one instruction adds, of a fusion or outside."""
    if op.opcode == "gather":
        size = math.prod(op.numbers("slice_sizes"))
        kind, rows = ("number" if size == 1 else "row"), _elements(op.shape) // max(size, 1)
        return {f"{kind}_gathers": 1, f"{kind}s_gathered": times * rows}
    if op.opcode == "scatter":
        return {"scatters": 1, "rows_scattered": times * _updates(module, op)}
    if op.opcode in ("dot", "convolution"):
        return {"flops": times * _flops(module, op)}
    if op.opcode == "custom-call":
        target = _target(op)
        product = "gemm_backend_config" in op.attributes
        return {
            "flops": times * _flops(module, op) if product else 0,
            "sorts": int(target in SORTS),
            "host_transfers": int("callback" in target.lower()),
        }
    if op.opcode.startswith("copy") and not op.opcode.endswith("done"):
        shapes_there = (op.shape, *(module.ops[name].shape for name in op.operands))
        return {"host_transfers": int(any(HOST_MEMORY in shape for shape in shapes_there))}
    return {"sorts": int(op.opcode == "sort"), "host_transfers": int(op.opcode in HOST_OPS)}


def _target(op: Instruction) -> str:
    return re.findall(r'custom_call_target="([^"]*)"', op.attributes)[0]


def _elements(shape: str) -> int:
    return math.prod(shapes(shape)[0][1])


def _updates(module: Module, op: Instruction) -> int:
    """Returns the number of rows that a scatter adds or writes."""
    updates = shapes(module.ops[op.operands[-1]].shape)[0][1]
    window = op.numbers("update_window_dims")
    return math.prod(size for axis, size in enumerate(updates) if axis not in window)


def _flops(module: Module, op: Instruction) -> int:
    """Returns the operations of a dense product."""
    left, right = (shapes(module.ops[name].shape)[0][1] for name in op.operands[:2])
    if op.opcode == "convolution":  # how a TPU writes its products; a dilated axis is one of the batch
        kernel = re.findall(r"dim_labels=\w+_(\w+)->", op.attributes)[0]
        sizes = re.findall(r"window={[^}]*\bsize=([\dx]+)", op.attributes)
        batch = "lhs_dilate" in op.attributes
        summed = right[kernel.index("i")] * (1 if batch or not sizes else math.prod(map(int, sizes[0].split("x"))))
    elif op.opcode == "dot":
        summed = math.prod(left[axis] for axis in op.numbers("lhs_contracting_dims"))
    else:
        axes = re.findall(r'"lhs_contracting_dimensions":\[([^\]]*)\]', op.attributes)[0]
        summed = math.prod(left[int(axis)] for axis in re.findall(r"\d+", axes))
    return 2 * _elements(op.shape) * summed


def _moved(module: Module, op: Instruction) -> int:
    """Returns the bytes of the larger side of a collective."""
    inputs = sum(shape_bytes(module.ops[name].shape) for name in op.operands)
    whole = shape_bytes(op.shape)
    return max(inputs, whole - inputs if op.opcode.endswith("-start") else whole)  # a start returns its inputs too


def _bytes(module: Module, op: Instruction) -> int:
    """Returns the bytes that a kernel reads and writes."""
    body = module.computations[op.called("calls")[0]] if op.opcode == "fusion" else [op]
    if op.opcode != "fusion":
        reads = sum(_read(module, body, name) for name in op.operands)
    else:
        inputs = sorted((inner for inner in body if inner.opcode == "parameter"), key=lambda inner: int(inner.constant))
        reads = sum(_read(module, body, inner.name) for inner in inputs)
    root = next((inner for inner in body if inner.root), op)
    if "gemm_backend_config" in op.attributes:  # beside the product its workspace
        kind, sizes = shapes(op.shape)[0]
        return reads + shape_bytes(f"{kind}[{','.join(map(str, sizes))}]")
    written = root.operands[1] if root.opcode == "dynamic-update-slice" else root.name
    return reads + shape_bytes(module.ops[written].shape)


def _read(module: Module, body: list[Instruction], name: str) -> int:
    """Returns the bytes of an array that some instructions read: slices of it, or all."""
    total = 0
    for user in body:
        for position, operand in enumerate(user.operands):
            if operand != name:
                continue
            if user.opcode in ("gather", "dynamic-slice", "slice") and position == 0:
                total += shape_bytes(user.shape)
            elif user.opcode == "fusion" and len(body) > 1:
                inner = module.computations[user.called("calls")[0]]
                source = next(op for op in inner if op.opcode == "parameter" and int(op.constant) == position)
                total += _read(module, inner, source.name)
            elif not (user.opcode == "dynamic-update-slice" and position == 0):
                return shape_bytes(module.ops[name].shape)
    return min(total, shape_bytes(module.ops[name].shape))
