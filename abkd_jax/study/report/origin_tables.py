"""Where the numbers of a study come from: settings, models, data, commits and machines."""

from collections.abc import Mapping
from typing import Any

from abkd_jax.run.report.origin import data_facts, program_facts
from abkd_jax.study.cells import Cell
from abkd_jax.study.report.blocks import Table, Text, plain
from abkd_jax.study.report.grid import TEACHER, Grid
from abkd_jax.study.report.score_tables import label

__all__ = ["data_table", "models_table", "programs_table", "settings"]

PROGRAM = ("Commit", "Hardware", "Versions")


def settings(grid: Grid) -> tuple[Text, Table]:
    """Returns what all cells have in common, and what each has of its own."""
    flat = {place: _flat(cell.get("settings", {})) for place, cell in grid.cells.items()}
    first = next(iter(flat.values()))
    common = {key: value for key, value in first.items() if all(of.get(key) == value for of in flat.values())}
    lines = [
        plain(method, label(grid, column), _list({k: v for k, v in of.items() if k not in common}))
        for (column, method), of in flat.items()
    ]
    own = Table("Settings that differ between cells", ("method", "data set", "settings"), lines, texts=3)
    return Text(f"Settings of all cells: {_list(common)}."), own


def models_table(grid: Grid) -> Table | None:
    """Returns architecture and sizes of teachers and students; None where no cell has them."""
    made: dict[tuple[str, str], list[str]] = {}
    for column in grid.columns:
        students = [(f"student {column.student}", cell) for cell in grid.of_column(column).values()]
        for name, cell in ((TEACHER, grid.teacher(column)), *students):
            if cell is not None and "model" in cell:
                made.setdefault((name, _list(_flat(cell["model"]))), []).append(column.dataset)
    lines = [plain(name, ", ".join(dict.fromkeys(datasets)), model) for (name, model), datasets in made.items()]
    return Table("Models", ("model", "data sets", "options"), lines, texts=3) if lines else None


def data_table(grid: Grid) -> Table:
    """Returns source, split, counts and fingerprint of each data set."""
    lines = []
    for dataset in dict.fromkeys(column.dataset for column in grid.columns):
        cells = [cell for cell in (*grid.cells.values(), *grid.teachers.values()) if cell["dataset"] == dataset]
        facts = data_facts([_record(cell) for cell in cells])
        lines.append(plain(dataset, *(fact or "-" for fact in facts.values())))
    headers = ("data set", "source", "fingerprint", "counts", "split")
    return Table("Data", headers, lines, texts=5)


def programs_table(grid: Grid) -> Table:
    """Returns what the cells were made with, a row for every commit and machine."""
    made: dict[tuple[str, ...], list[Cell]] = {}
    for cell in (*grid.cells.values(), *grid.teachers.values()):
        facts = program_facts([_record(cell)], {})
        made.setdefault(tuple(facts[name] or "unknown" for name in PROGRAM), []).append(cell)
    lines = []
    for facts, cells in made.items():
        datasets = ", ".join(dict.fromkeys(cell["dataset"] for cell in cells))
        days = sorted(str(date)[:10] for cell in cells if (date := (cell.get("provenance") or {}).get("date")))
        when = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "unknown"
        lines.append(plain(facts[0], datasets, *facts[1:], when, str(len(cells))))
    headers = ("commit", "data sets", "hardware", "versions", "date", "cells")
    return Table("Programs and machines", headers, lines, texts=5)


def _record(cell: Cell) -> dict[str, Any]:
    """Returns a cell as one record of a run."""
    name = "/".join(cell[key] for key in ("dataset", "regime", "student", "method"))
    return {"method": name, "seed": 0, "data": cell.get("data"), "provenance": cell.get("provenance")}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def _list(flat: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in flat.items()) or "none"
