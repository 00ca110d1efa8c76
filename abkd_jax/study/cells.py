"""Cells of a table on disk: one JSON file for all seeds of a method, a student, a regime and a data set."""

from pathlib import Path
from typing import Any

from abkd_jax.configs.names import is_path, short_name
from abkd_jax.datasets.files.atomic import as_json, read_json, write_atomic
from abkd_jax.run.report.statistics import metric_named
from abkd_jax.types import InputError

__all__ = ["Cell", "cell_path", "data_name", "load", "path_part", "read_cell", "write_cell"]

Cell = dict[str, Any]

REQUIRED = {"table": str, "dataset": str, "regime": str, "student": str, "method": str, "metric": str}
REQUIRED |= {"seeds": list, "splits": list, "scores": dict}


def cell_path(results: Path, dataset: str, regime: str, student: str, method: str) -> Path:
    """Returns the file of a cell below the folder of its table.

    Examples:
        >>> cell_path(Path("main"), "cora", "inductive", "mlp:2x16", "my_module:my_loss").as_posix()
        'main/cora/inductive/mlp_2x16/my_module_my_loss.json'
    """
    return results.joinpath(*map(path_part, (dataset, regime, student, f"{method}.json")))


def data_name(dataset: str) -> str:
    """Returns the name of a data set in cells, tables and figures: of a path that of its file or folder.

    Examples:
        >>> data_name("../graphs/mine.npz"), data_name("geom_gcn:film")
        ('mine', 'geom_gcn:film')
    """
    return short_name(dataset) if is_path(dataset) else dataset


def path_part(name: str) -> str:
    """Returns a name as paths of cells have it."""
    return name.replace(":", "_").replace("/", "_")


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
    """Reads all cells of a table, in the order of their paths.

    Args:
        folder: of the table.

    Raises:
        InputError: there are none, or one of them is damaged.
    """
    paths = sorted(folder.glob("*/*/*/*.json"))  # deeper ones are of checkpoints
    if not paths:
        raise InputError(f"{folder}: expected cells <dataset>/<regime>/<student>/<method>.json, got none")
    return [_checked(path, read_json(path)) for path in paths]


def _checked(path: Path, cell: Any) -> Cell:
    """Returns a cell that has what every reader needs, and as many scores as seeds."""
    if not isinstance(cell, dict):
        raise InputError(f"{path}: expected a JSON object, the cell of a study")
    for key, kind in REQUIRED.items():
        if not isinstance(cell.get(key), kind):
            raise InputError(f"{path}: {key} is {cell.get(key)!r}, expected {'text' if kind is str else 'its values'}")
    try:
        metric_named(cell["metric"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    lists = {"splits": cell["splits"], "diverged": cell.get("diverged") or cell["seeds"]}
    for name, values in (lists | cell["scores"]).items():
        if not isinstance(values, list) or len(values) != len(cell["seeds"]):
            raise InputError(f"{path}: expected {len(cell['seeds'])} values of {name}, one per seed")
    if len(set(zip(cell["seeds"], cell["splits"], strict=True))) != len(cell["seeds"]):
        raise InputError(f"{path}: expected every pair of seed and split once")
    return cell
