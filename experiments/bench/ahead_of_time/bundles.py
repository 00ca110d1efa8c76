"""Static cycles of a TPU program: its final instruction bundles, times the trip counts of the loops in its kernels.

One bundle is issued per cycle. What a bundle waits for is not in it, so the sums are near to lower bounds. Where the
compiler gives an estimate for a kernel, as for dense ones that wait for the memory, the larger number counts. They
compare forms of a computation; they are no times. `targets.environment` makes the compiler write the bundles.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from experiments.bench.ahead_of_time.counts import launched
from experiments.bench.ahead_of_time.hlo import Module

__all__ = ["Cycles", "kernel_cycles", "program_cycles"]

BUNDLE = re.compile(r"^\s*(0x[0-9a-f]+|0)\s*(?:(?:LB|LH|LE|PB|PF|CT):)?\s*:?\s*>*\s*{(.*)$")
BRANCH = re.compile(r"sbr\.rel \((!?)%(\w+)\) target = \$region(\d+)")
DEFINED = re.compile(r"%(\w+) = (\S+) (.*)$")
STAGE = re.compile(r"iteration index, stage = (\d+)")
SPILLED = re.compile(r"sst \[smem:\[(#allocation\d+_spill)\]\] %(\w+)")
DELAY = 4  # bundles after a branch that still belong to the loop
DEPTH = 12  # definitions that are followed back to a constant


class Cycles(NamedTuple):
    """Static cycles of a program.

    Attributes:
        total: of all kernels, as often as they run.
        unknown_loops: loops in kernels whose trip count depends on the data, counted once.
        missing: launched kernels without bundles.
        largest: the kernels that take most, `{name: cycles of all its runs}`.
    """

    total: int
    unknown_loops: int
    missing: int
    largest: dict[str, int]


def program_cycles(module: Module, folder: Path, most: int = 8) -> Cycles:
    """Sums the bundles of a program.

    Args:
        module: its optimised HLO, which says how often each kernel runs.
        folder: where the compiler wrote the bundles of this program alone.
        most: kernels to name.
    """
    texts = {
        re.sub(r"^\d+-|-\d+-final_bundles\.txt$", "", path.name): path for path in folder.glob("*-final_bundles.txt")
    }
    written = _representatives(folder)
    known: dict[str, tuple[int, int]] = {}
    totals: dict[str, int] = {}
    unknown = missing = 0
    for use in module.uses():
        for op in filter(launched, module.computations[use.name]):
            name = written.get(op.name, op.name)
            if name not in texts:
                missing += 1
                continue
            if name not in known:
                known[name] = kernel_cycles(texts[name].read_text().splitlines())
            cycles, loops = known[name]
            estimate = re.search(r'"estimated_cycles":"(\d+)"', op.attributes)
            cycles = max(cycles, int(estimate.group(1)) if estimate else 0)
            totals[op.name] = totals.get(op.name, 0) + use.times * cycles
            unknown += loops
    largest = sorted(totals, key=lambda name: -totals[name])[:most]
    return Cycles(sum(totals.values()), unknown, missing, {name: totals[name] for name in largest})


def _representatives(folder: Path) -> dict[str, str]:
    """Returns for each kernel the one whose bundles stand for it: equal kernels are written once."""
    found = {}
    for path in folder.glob("*-deduplication-map.txt"):
        key = ""
        for line in path.read_text().splitlines():
            if line.startswith("key:"):
                key = line.removeprefix("key:")
            elif line.startswith("  "):
                found[line.strip()] = key
    return found


def kernel_cycles(lines: Iterable[str]) -> tuple[int, int]:
    """Returns the bundles of a kernel times the trip counts of its loops, and the number of loops that count once.

    Loops of a software pipeline run a little longer than their work does, which the first and last turns skip: those
    turns are left out. A bound that is the smaller of a constant and of something unknown is the constant.

    Args:
        lines: of a file `*-final_bundles.txt`.
    """
    bundles = [match.group(2) for match in map(BUNDLE.match, lines) if match]
    scalars = _Scalars(bundles)
    starts = {region: i for i, text in enumerate(bundles) for region in re.findall(r"Start region (\d+)", text)}
    weights, unknown = [1] * len(bundles), 0
    for i, text in enumerate(bundles):
        for negated, predicate, region in BRANCH.findall(text):
            begin = starts.get(region, i + 1)
            if begin > i:  # forwards: not a loop
                continue
            trips = scalars.trips(predicate, bundles[begin : i + 1]) if negated else None
            unknown += trips is None
            for inside in range(begin, min(i + DELAY + 1, len(bundles))):
                weights[inside] *= trips or 1
    return sum(weights), unknown


class _Scalars:
    """Definitions of the scalar registers of a kernel."""

    def __init__(self, bundles: list[str]) -> None:
        self.definitions: dict[str, tuple[str, str]] = {}
        self.spilled: dict[str, str] = {}
        for text in bundles:
            for part in re.sub(r"/\*.*?\*/", "", text).rstrip(" }").split(";;"):
                if match := SPILLED.search(part):
                    self.spilled[match.group(1)] = match.group(2)
                elif match := DEFINED.search(part.strip(" }")):
                    self.definitions[match.group(1)] = (match.group(2), match.group(3))

    def trips(self, predicate: str, body: list[str]) -> int | None:
        """Returns how often a loop runs that ends where `predicate`, a comparison with a bound, holds."""
        operation, operands = self.definitions.get(predicate, ("", ""))
        if operation == "pmov":  # a loop that the compiler has found to run once
            return 1 if operands.strip().startswith("1") else None
        if not operation.startswith(("scmp.ge.s32", "scmp.eq.s32")):
            return None
        counter, bound = (part.strip() for part in _arguments(operands))
        step, pipelined = self._step(counter), max(map(int, STAGE.findall(" ".join(body[:8]))), default=0)
        limit = self._value(bound, DEPTH)
        if step is None or limit is None:
            return None
        literal = not bound.startswith("%")
        return max(1, -(-limit // step) - (pipelined if literal else 0))

    def _step(self, counter: str) -> int | None:
        operation, operands = self._source(counter.lstrip("%"))
        if not operation.startswith("sadd"):
            return None
        numbers = [int(part) for part in _arguments(operands) if part.strip().isdigit()]
        return numbers[0] if numbers and 0 < numbers[0] < 2**31 else None

    def _source(self, name: str) -> tuple[str, str]:
        """Returns the definition of a register, through copies and spills."""
        for _ in range(DEPTH):
            operation, operands = self.definitions.get(name, ("", ""))
            if operation == "sld" and (slot := re.search(r"#allocation\d+_spill", operands)):
                name = self.spilled.get(slot.group(), "")
            elif operation == "smov.u32" and operands.strip().startswith("%"):
                name = operands.strip().lstrip("%")
            else:
                return operation, operands
        return "", ""

    def _value(self, text: str, depth: int) -> int | None:
        """Returns the number that a register or a literal is, or the most that it can be; None where unknown."""
        text = text.strip()
        if re.fullmatch(r"\d+", text):
            return int(text)
        if depth == 0 or not text.startswith("%"):
            return None
        operation, operands = self._source(text.lstrip("%"))
        parts = [self._value(part, depth - 1) for part in _arguments(operands)]
        known = [part for part in parts if part is not None]
        if operation == "smov.u32" or operation == "scalar_select":
            return max(known, default=None)
        if operation == "sadd.s32" and len(parts) == 2 and not _arguments(operands)[1].strip().isdigit():
            return parts[1]  # the turns of a pipeline that are added to the bound
        return None


def _arguments(operands: str) -> list[str]:
    """Returns the operands of an instruction, without its predicate."""
    return re.sub(r"^\(!?%\w+\), ", "", operands.strip()).rstrip(" }").split(", ")
