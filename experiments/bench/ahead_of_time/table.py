"""Tables of cells, as Markdown: one row per program and target, states of the code as `before -> after`."""

import re
from collections.abc import Callable
from typing import Any

from experiments.bench.ahead_of_time.targets import TARGETS

__all__ = ["NAME", "as_text", "markdown"]

LABELS = ("before", "after")
NAME = "ahead_of_time"  # of the excerpt
PROGRAMS = {  # of the excerpt, in words
    "cora_teacher": "Cora, GCNII 64 x 64, teacher step",
    "cora_soft": "Cora, student 4 x 4, soft labels",
    "cora_best": "the same, ABKD in closed form",
    "cora_paper": "the same, ABKD of the paper",
    "cora_stride": "the same, STRIDE",
    "cora_block": "ten steps of ABKD in closed form under one scan",
    "cora_seeds": "the same for ten seeds",
    "cora_export": "Cora, exported student",
    "arxiv_sage": "arxiv, GraphSAGE on sampled neighbours, GAT teacher inside",
    "arxiv_gat_teacher": "arxiv, GAT 3 x 750, whole graph",
    "molbace_gin": "molbace, GIN on 32 graphs, teacher inside",
    "mag_rgcn": "mag, RGCN 3 x 512 to 2 x 32 on walks, teacher inside",
    "mag_layer": "mag, a block of layer-wise inference",
}
SHOWN = (
    *("kernels", "launches", "numbers gathered", "rows gathered", "rows scattered"),
    *("Mcycles", "GB per device", "compile, CPU s"),
)


def markdown(cells: list[dict[str, Any]]) -> str:
    """Returns the table.

    Args:
        cells: as they are stored.
    """
    return _table(_rows(cells), tuple(COLUMNS))


def as_text(cells: list[dict[str, Any]]) -> str:
    """Returns the table of a text: the programs in words, for a v5e and an H100.

    Args:
        cells: as they are stored.
    """
    rows = _rows(cells)
    found = {
        (words, target): rows[program, target]
        for program, words in PROGRAMS.items()
        for target in ("v5e", "h100")
        if (program, target) in rows
    }
    return _table(found, SHOWN) + "\n"


def _rows(cells: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Returns the states of each program and target, in order."""
    rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for cell in cells:
        rows.setdefault((cell["program"], cell["target"]), {})[cell["label"]] = cell
    return {
        key: [states[label] for label in (*LABELS, *sorted(set(states) - set(LABELS))) if label in states]
        for key, states in rows.items()
    }


def _table(rows: dict[tuple[str, str], list[dict[str, Any]]], columns: tuple[str, ...]) -> str:
    lines = ["| " + " | ".join(["program", "target", *columns]) + " |", "|---" * (2 + len(columns)) + "|"]
    for names, states in rows.items():
        lines.append("| " + " | ".join([*names, *(_change(COLUMNS[name], states) for name in columns)]) + " |")
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


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 1e3 else f"{number:.3g}"


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
    "Mcycles": lambda cell: _short(cell["cycles"]["total"] / 1e6) if "cycles" in cell else "-",
    "GB per device": _memory,
    "compile, CPU s": lambda cell: f"{cell['compile_cpu_seconds']:.0f}" if "failed" not in cell else "-",
}
