"""Cells of a table on disk: one JSON file for all seeds of a method, a student, a regime and a data set."""

from pathlib import Path
from typing import Any

from abkd_jax.datasets.files.atomic import as_json, read_json, write_atomic

__all__ = ["Cell", "cell_path", "load", "read_cell", "write_cell"]

Cell = dict[str, Any]


def cell_path(results: Path, dataset: str, regime: str, student: str, method: str) -> Path:
    """Returns the file of a cell below the folder of its table.

    Examples:
        >>> cell_path(Path("main"), "cora", "inductive", "mlp:2x16", "my_module:my_loss").as_posix()
        'main/cora/inductive/mlp_2x16/my_module_my_loss.json'
    """
    parts = (dataset, regime, student, f"{method}.json")
    return results.joinpath(*(part.replace(":", "_").replace("/", "_") for part in parts))


def read_cell(path: Path, identity: str) -> Cell | None:
    """Reads a cell; None where there is none, or one of other settings, data or code version.

    Raises:
        InputError: the file is no JSON.
    """
    cell = read_json(path) if path.exists() else None
    return cell if isinstance(cell, dict) and cell.get("identity") == identity else None


def write_cell(path: Path, cell: Cell) -> None:
    """Writes a cell, a line for each entry, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f" {as_json(name)}: {as_json(entry)}" for name, entry in cell.items())
    write_atomic(path, f"{{\n{lines}\n}}\n")


def load(folder: Path) -> list[Cell]:
    """Reads all cells below a folder, in the order of their paths.

    Raises:
        InputError: a file is no JSON.
    """
    found = [read_json(path) for path in sorted(folder.rglob("*.json"))]
    return [cell for cell in found if isinstance(cell, dict) and "scores" in cell]
