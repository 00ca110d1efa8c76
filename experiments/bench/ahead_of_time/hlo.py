"""Reads the text of an optimised HLO module, as `compiled.as_text()` prints it for a CPU, a TPU or a GPU."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Instruction", "Module", "Use", "parse", "shape_bytes", "shapes"]

WIDTHS = {"pred": 1, "s4": 0.5, "u4": 0.5, "token": 0, "opaque": 0}  # bytes; other names end in their bits
SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,<= ]*)\]")
HEADER = re.compile(r"^(ENTRY )?%?([^ (]+) \(.*\{$")
LINE = re.compile(r"^\s+(ROOT )?%?([^ ]+) = (.*)$")
CALLED = re.compile(r"\b(calls|to_apply|body|condition|branch_computations|true_computation|false_computation)=")
INLINED = ("call", "async-start", "conditional")  # run what they call in place


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
        name: unique in the module.
        shape: of the result, as text.
        opcode: such as `fusion`.
        operands: names.
        attributes: the rest of the line.
        root: whether it is the result of its computation.
        constant: text between the parentheses of a constant or a parameter.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    root: bool
    constant: str = ""

    def called(self, kind: str = "") -> tuple[str, ...]:
        """Returns the names of computations that it calls, of one kind of attribute or of all."""
        found = []
        for match in CALLED.finditer(self.attributes):
            rest = self.attributes[match.end() :]
            text = rest[1 : rest.index("}")] if rest.startswith("{") else re.split(r"[,\s]", rest, maxsplit=1)[0]
            if kind in ("", match.group(1)):
                found += [name.strip().lstrip("%") for name in text.split(",")]
        return tuple(found)

    def numbers(self, attribute: str) -> tuple[int, ...]:
        """Returns the list of integers of an attribute, such as `slice_sizes={1,64}`; `()` where there is none."""
        match = re.search(rf"\b{attribute}={{([\d,]*)}}", self.attributes)
        return tuple(int(n) for n in match.group(1).split(",") if n) if match else ()


class Use(NamedTuple):
    """A computation that a program launches instructions from.

    Attributes:
        name: of the computation.
        times: how often it runs per run of the program; loops of unknown length count once.
        loop: name of the innermost `while` around it, `""` in the entry.
    """

    name: str
    times: int
    loop: str


class Module(NamedTuple):
    """A module.

    Attributes:
        computations: their instructions, by name.
        entry: name of the one that runs first.
        ops: all instructions by name.
    """

    computations: dict[str, list[Instruction]]
    entry: str
    ops: dict[str, Instruction]

    def uses(self) -> Iterator[Use]:
        """Yields the entry, the bodies and conditions of its loops, and what it calls in place."""
        stack = [Use(self.entry, 1, "")]
        while stack:
            use = stack.pop()
            yield use
            for op in self.computations[use.name]:
                if op.opcode == "while":
                    times = use.times * (self.trip_count(op) or 1)
                    stack += [Use(name, times, op.name) for name in op.called("body") + op.called("condition")]
                elif op.opcode in INLINED:
                    stack += [Use(name, use.times, use.loop) for name in op.called()]

    def inside(self, op: Instruction) -> Iterator[Instruction]:
        """Yields an instruction, and those of the fusion or the wrapped computation that it launches, at any depth."""
        yield op
        if op.opcode == "fusion":
            for name in op.called("calls"):
                for inner in self.computations[name]:
                    yield from self.inside(inner)

    def trip_count(self, loop: Instruction) -> int | None:
        """Returns how often the body of a `while` runs, where the compiler or the condition `i < n` says so."""
        known = re.search(r'"known_trip_count":{"n":"(\d+)"', loop.attributes)
        if known:
            return int(known.group(1))
        root = next(op for op in self.computations[loop.called("condition")[0]] if op.root)
        if root.opcode != "compare" or "direction=LT" not in root.attributes:
            return None
        counter, limit = (self.ops[name] for name in root.operands)
        if counter.opcode != "get-tuple-element" or limit.opcode != "constant":
            return None
        start = self._start(loop, int(re.findall(r"index=(\d+)", counter.attributes)[0]))
        return None if start is None else int(limit.constant) - start

    def _start(self, loop: Instruction, index: int) -> int | None:
        """Returns the first value of a number that a loop carries, where it is a constant."""
        carried = self.ops[loop.operands[0]]
        if carried.opcode != "tuple":
            return None
        value = self.ops[carried.operands[index]]
        while value.opcode in ("copy", "bitcast"):
            value = self.ops[value.operands[0]]
        return int(value.constant) if value.opcode == "constant" and value.constant.isdigit() else None


def parse(text: str) -> Module:
    """Parses the text of a module.

    Examples:
        >>> module = parse('''HloModule tiny
        ... ENTRY %main (x: f32[8,4]) -> f32[8,4] {
        ...   %x = f32[8,4]{1,0} parameter(0)
        ...   ROOT %copy.1 = f32[8,4]{0,1} copy(%x), metadata={op_name="x"}
        ... }''')
        >>> [(op.opcode, op.operands, op.root) for op in module.computations[module.entry]]
        [('parameter', (), False), ('copy', ('x',), True)]
    """
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if header := HEADER.match(line):
            current = computations.setdefault(header.group(2), [])
            entry = header.group(2) if header.group(1) else entry
        elif current is not None and (match := LINE.match(line)):
            current.append(_instruction(bool(match.group(1)), match.group(2), match.group(3)))
    return Module(computations, entry, {op.name: op for ops in computations.values() for op in ops})


def _instruction(root: bool, name: str, text: str) -> Instruction:
    text = re.sub(r"/\*.*?\*/", "", text)
    end = _closing(text) + 1 if text.startswith("(") else text.index(" ")
    shape, rest = text[:end], text[end:].lstrip()
    start = rest.index("(")
    stop = start + _closing(rest[start:])
    opcode, inner, attributes = rest[:start], rest[start + 1 : stop], rest[stop + 1 :]
    if opcode in ("constant", "parameter"):
        return Instruction(name, shape, opcode, (), attributes, root, inner)
    operands = tuple(re.findall(r"%([^\s,()]+)", inner)) or tuple(part.split()[-1] for part in inner.split(",") if part)
    return Instruction(name, shape, opcode, operands, attributes, root)


def _closing(text: str) -> int:
    """Returns the position of the parenthesis that closes the first one."""
    depth = 0
    for position, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return position
    raise ValueError(f"unbalanced: {text}")


def shapes(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """Returns the arrays of a shape, `(type, sizes)`; several where it is a tuple.

    Examples:
        >>> shapes("(f32[8,4]{1,0:T(8,128)}, s32[])")
        [('f32', (8, 4)), ('s32', ())]
    """
    return [(kind, tuple(int(n) for n in sizes.split(",") if n)) for kind, sizes in SHAPE.findall(text)]


def shape_bytes(text: str) -> int:
    """Returns the bytes of all arrays of a shape, without the padding of a layout.

    Examples:
        >>> shape_bytes("(bf16[8,4]{1,0:T(8,128)(2,1)}, pred[3])")
        67
    """
    return math.ceil(sum(_width(kind) * math.prod(sizes) for kind, sizes in shapes(text)))


def _width(kind: str) -> float:
    bits = re.match(r"[a-z]+(\d+)", kind)
    return WIDTHS[kind] if kind in WIDTHS else int(bits.group(1)) / 8 if bits else 0
