"""The table of all cells, as Markdown: every state of the code side by side."""

from typing import Any

from experiments.bench.ahead_of_time.targets import TARGETS

__all__ = ["markdown"]

COLUMNS = {
    "compile, s": lambda cell: f"{cell['compile_cpu_seconds']:.0f}",
    "memory, GB": lambda cell: f"{cell['bytes_per_device'] / 1e9:.3g}",
    "launches": lambda cell: f"{cell['counts']['launches']:,}",
    "kernels": lambda cell: f"{_kernels(cell['counts']):,}",
    "gathered numbers": lambda cell: _large(cell["counts"]["numbers_gathered"]),
    "rows": lambda cell: _large(cell["counts"]["rows_gathered"]),
    "scattered": lambda cell: _large(cell["counts"]["rows_scattered"]),
    "sorts": lambda cell: str(cell["counts"]["sorts"]),
    "loops": lambda cell: str(len(cell["counts"]["loops"])),
    "host": lambda cell: str(cell["counts"]["host_transfers"]),
    "dense GFLOP": lambda cell: f"{cell['counts']['flops'] / 1e9:.3g}",
    "Mcycles": lambda cell: f"{cell['cycles']['total'] / 1e6:.3g}" if "cycles" in cell else "-",
}


def _kernels(counts: dict[str, Any]) -> int:
    return counts["kernels"] + sum(loop["kernels"] for loop in counts["loops"])


def _large(number: int) -> str:
    return f"{number / 1e6:.3g}M" if number >= 1e5 else f"{number:,}"


def markdown(cells: list[dict[str, Any]]) -> str:
    """Returns the table.

    Args:
        cells: as they are stored.
    """
    lines = ["| program | target | code | " + " | ".join(COLUMNS) + " |", "|---" * (3 + len(COLUMNS)) + "|"]
    order = sorted(cells, key=lambda cell: (cell["program"], cell["target"], cell["label"] != "before"))
    for cell in order:
        name = [cell["program"], cell["target"], cell["label"]]
        if "failed" in cell:
            values = [cell["failed"], *[""] * (len(COLUMNS) - 1)]
        elif cell["counts"] is None:
            values = [COLUMNS[c](cell) for c in list(COLUMNS)[:2]] + [cell["why"], *[""] * (len(COLUMNS) - 3)]
        else:
            values = [form(cell) for form in COLUMNS.values()]
            over = cell["bytes_per_device"] > TARGETS[cell["target"]].memory
            values[1] += " (does not fit)" if over else ""
        lines.append("| " + " | ".join([*name, *values]) + " |")
    return "\n".join(lines)
