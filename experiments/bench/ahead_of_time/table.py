"""The table of all cells, as Markdown: one row per program and target, states of the code as `before -> after`."""

import re
from collections.abc import Callable
from typing import Any

from experiments.bench.ahead_of_time.targets import TARGETS

__all__ = ["markdown"]

LABELS = ("before", "after")


def markdown(cells: list[dict[str, Any]]) -> str:
    """Returns the table.

    Args:
        cells: as they are stored.
    """
    rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for cell in cells:
        rows.setdefault((cell["program"], cell["target"]), {})[cell["label"]] = cell
    lines = ["| " + " | ".join(["program", "target", *COLUMNS]) + " |", "|---" * (2 + len(COLUMNS)) + "|"]
    for (program, target), states in rows.items():
        known = [states[label] for label in (*LABELS, *sorted(set(states) - set(LABELS))) if label in states]
        values = [_change(form, known) for form in COLUMNS.values()]
        lines.append("| " + " | ".join([program, target, *values]) + " |")
    return "\n".join(lines)


def _change(form: Callable[[dict[str, Any]], str], states: list[dict[str, Any]]) -> str:
    """Returns the values of a column, one where all states agree."""
    values = [form(cell) for cell in states]
    return values[0] if len(set(values)) == 1 else " -> ".join(values)


def _counted(form: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], str]:
    """Returns the form of a count; a dash where the program was not compiled or cannot be read."""
    return lambda cell: form(cell["counts"]) if cell.get("counts") else "-"


def _large(number: int) -> str:
    return f"{number / 1e6:.3g}M" if number >= 1e5 else f"{number:,}"


def _memory(cell: dict[str, Any]) -> str:
    """Returns GB per device; what the compiler says where they are more than there is."""
    if "failed" in cell:
        needed = re.search(r"\(([\d.]+)G\) exceeds available", cell["failed"])
        return f"{needed.group(1)}, does not fit" if needed else cell["failed"]
    over = cell["bytes_per_device"] > TARGETS[cell["target"]].memory
    return f"{cell['bytes_per_device'] / 1e9:.3g}" + (", does not fit" if over else "")


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "kernels": _counted(lambda counts: f"{counts['kernels'] + sum(loop['kernels'] for loop in counts['loops']):,}"),
    "launches": _counted(lambda counts: f"{counts['launches']:,}"),
    "numbers gathered": _counted(lambda counts: _large(counts["numbers_gathered"])),
    "rows gathered": _counted(lambda counts: _large(counts["rows_gathered"])),
    "rows scattered": _counted(lambda counts: _large(counts["rows_scattered"])),
    "sorts": _counted(lambda counts: str(counts["sorts"])),
    "loops": _counted(lambda counts: str(len(counts["loops"]))),
    "host": _counted(lambda counts: str(counts["host_transfers"])),
    "dense GFLOP": _counted(lambda counts: f"{counts['flops'] / 1e9:.3g}"),
    "GB moved": _counted(lambda counts: f"{counts['bytes'] / 1e9:.3g}"),
    "Mcycles": lambda cell: f"{cell['cycles']['total'] / 1e6:.3g}" if "cycles" in cell else "-",
    "GB per device": _memory,
    "compile, CPU s": lambda cell: f"{cell['compile_cpu_seconds']:.0f}" if "failed" not in cell else "-",
}
