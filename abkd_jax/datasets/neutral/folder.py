"""Reads and writes the neutral form as a folder: tables of nodes, edges and graphs, and `meta.json`."""

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from abkd_jax.datasets.checks.node_level import validate
from abkd_jax.datasets.files.atomic import as_json, read_json, write_atomic
from abkd_jax.datasets.files.locations import expanded
from abkd_jax.datasets.neutral.columns import LABEL, REQUIRED, TEXT, check_columns, stacked, take_labels
from abkd_jax.datasets.neutral.labels import MASKS
from abkd_jax.datasets.neutral.npz import arrays_of
from abkd_jax.datasets.neutral.tables import FORMS, as_numbers, read_columns, write_columns
from abkd_jax.types import Dataset, GraphDataset, InputError

__all__ = ["read_folder", "save_folder", "tables"]

META = (
    *("task", "directed", "row_normalise", "row_normalised", "source", "classes", "num_classes"),
    *("node_type_names", "relation_names", "reverses", "vocabulary", "edge_vocabulary"),
)
PARTS = ("train", "validation", "test", "")


def tables(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder that belong to the form, by table, `meta.json` as `meta`.

    Raises:
        InputError: a table is there in two forms.
    """
    found = {"meta": folder / "meta.json"} if (folder / "meta.json").is_file() else {}
    for table in REQUIRED:
        paths = [folder / f"{table}.{form}" for form in FORMS if (folder / f"{table}.{form}").is_file()]
        if len(paths) > 1:
            raise InputError(f"{folder}: {' and '.join(path.name for path in paths)}; expected one of them")
        if paths:
            found[table] = paths[0]
    return found


def read_folder(folder: Path, *, labelled: bool = True) -> dict[str, np.ndarray]:
    """Reads a folder as the arrays that an npz file has, see `values.KEYS`; with `labelled` False graphs need no label.

    Raises:
        InputError: a table is missing or damaged, or a column that it needs; or `meta.json` holds something else.
    """
    found = tables(folder)
    missing = [f"{table}.csv (or .parquet)" for table in ("edges", "nodes") if table not in found]
    if missing:
        raise InputError(f"{folder}: no {' and no '.join(missing)}; expected both, or the path of an npz file")
    arrays = _read_meta(found["meta"]) if "meta" in found else {}
    owner = "graphs" if "graphs" in found else "nodes"
    read = {
        table: read_columns(
            found[table], TEXT[table], partial(check_columns, found[table], table, owner, labelled=labelled)
        )
        for table in REQUIRED
        if table in found
    }
    nodes, edges = read["nodes"], read["edges"]
    ids, sources, targets = as_numbers(nodes.pop("id"), edges.pop("source"), edges.pop("target"))
    arrays |= {"node_ids": ids, "senders": sources, "receivers": targets}
    if "graphs" in read:
        arrays["graphs"], arrays["graph_ids"] = as_numbers(read["graphs"].pop("id"), nodes.pop("graph"))
    elif "graph" in nodes:
        raise InputError(f"{folder}: column graph in {found['nodes'].name} and no graphs.csv; expected both or neither")
    arrays |= take_labels(found[owner], read[owner], str(arrays["task"]) if "task" in arrays else None)
    renamed = {"type": ("node_types", nodes), "relation": ("relations", edges), "weight": ("edge_weights", edges)}
    for column, (name, table) in renamed.items():
        if column in table:
            arrays[name] = as_numbers(table.pop(column))[0] if column != "weight" else table.pop(column)
    for owner, prefix, table in (("nodes", "", nodes), ("edges", "edge_", edges)):
        if table:
            arrays[f"{prefix}features"] = stacked(found[owner], table)
            if [*table] != _numbered(owner, len(table)):
                arrays[f"{prefix}columns"] = np.array([*table])
    return arrays


def _read_meta(path: Path) -> dict[str, np.ndarray]:
    meta = read_json(path)
    unknown = [name for name in meta if name not in META] if isinstance(meta, dict) else ["no object"]
    if unknown:
        raise InputError(f"{path}: {unknown[0]!r}; expected an object of {', '.join(META)}")
    arrays = {name: np.array(value) for name, value in meta.items()}
    odd = [name for name, array in arrays.items() if array.dtype.kind not in "biufU" or array.ndim > 1]
    if odd:
        raise InputError(
            f"{path}: {odd[0]} is {meta[odd[0]]!r}; expected a text, a number, a boolean or a list of one kind"
        )
    return arrays


def save_folder(dataset: Dataset | GraphDataset, folder: str | Path, form: Literal["csv", "parquet"] = "csv") -> Path:
    """Writes a data set with dense features as tables in the neutral form; read back it is the same.

    But for identifiers that are text: where all are whole numbers as text, they are numbers.

    Args:
        dataset: any, checked by `datasets.validate` first.
        folder: which must not exist, or be empty.
        form: of the tables.

    Returns:
        The folder.

    Raises:
        InputError: the data set is unsound or its features are sparse, or the folder cannot be written.
    """
    folder, arrays = expanded(folder), arrays_of(validate(dataset))
    if "features_data" in arrays:
        raise InputError(f"{dataset.name}: sparse features, which tables do not hold; expected dense ones, or save_npz")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} is there already; expected the name of a new folder")
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        for table, columns in _tables_of(arrays).items():
            write_columns(columns, temporary / f"{table}.{form}")
        meta = {name: arrays[name].tolist() for name in META if name in arrays}
        write_atomic(temporary / "meta.json", as_json(meta, indent=1))
        temporary.chmod(0o755)
        os.replace(temporary, folder)  # whole or not at all
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _tables_of(arrays: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Returns the columns of each table."""
    of_graphs = "graph_ids" in arrays
    count = len(arrays["graph_ids"] if of_graphs else arrays["labels"])
    items = _label_columns(arrays["labels"], arrays.get("classes"))
    masks = [arrays[f"{part}_mask"] for part in ("train", "val", "test")]
    items["split"] = np.array(PARTS)[np.select(masks, [0, 1, 2], 3)]
    nodes, edges = {"id": arrays.get("node_ids", np.arange(count))}, {}
    renamed = {"type": ("node_types", nodes), "graph": ("graph_ids", nodes), "source": ("senders", edges)}
    renamed |= {"target": ("receivers", edges), "weight": ("edge_weights", edges), "relation": ("relations", edges)}
    for column, (name, table) in renamed.items():
        if name in arrays:
            table[column] = arrays[name]
    if not of_graphs:
        nodes |= items
    nodes |= _feature_columns("nodes", arrays, count)
    edges |= _feature_columns("edges", arrays, len(arrays["senders"]))
    graphs = {"graphs": {"id": arrays.get("graphs", np.arange(len(arrays["labels"])))} | items} if of_graphs else {}
    return {"nodes": nodes, "edges": edges, **graphs}


def _label_columns(labels: np.ndarray, classes: np.ndarray | None) -> dict[str, np.ndarray]:
    if labels.ndim == 1:
        return {"label": labels}
    names = range(labels.shape[1]) if classes is None else classes.tolist()
    return {f"{LABEL}{name}": labels[:, column] for column, name in enumerate(names)}


def _numbered(owner: str, count: int) -> list[str]:
    """Returns the names of columns of features that have none."""
    return [f"{'x' if owner == 'nodes' else 'e'}{column}" for column in range(count)]


def _feature_columns(owner: str, arrays: dict[str, Any], rows: int) -> dict[str, np.ndarray]:
    """Returns one column per feature of nodes or edges; nodes beyond the rows have NaN.

    Raises:
        InputError: a column has a name that the form gives to something else.
    """
    prefix = "" if owner == "nodes" else "edge_"
    features = arrays.get(f"{prefix}features")
    if features is None:
        return {}
    names = arrays[f"{prefix}columns"].tolist() if f"{prefix}columns" in arrays else _numbered(owner, features.shape[1])
    reserved = (*TEXT[owner], *MASKS, *(("weight",) if owner == "edges" else ()))
    other = [name for name in names if name in reserved or name.startswith(LABEL)]
    if other:
        raise InputError(
            f"{prefix}columns: {other[0]!r} has another meaning in a table of {owner}, expected other names"
        )
    padded = features
    if features.shape[0] < rows:
        padded = np.full((rows, features.shape[1]), np.nan, np.float32)
        padded[: features.shape[0]] = features
    return dict(zip(names, padded.T, strict=True))
