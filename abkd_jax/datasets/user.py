"""Reads a user's own graph: an npz file, or a folder of csv or parquet tables, in the neutral form.

The tables of the package's README say what the form holds; `neutral.npz.save_npz` and `neutral.folder.save_folder`
write it.
"""

from pathlib import Path

from abkd_jax.datasets.checks.node_level import validate
from abkd_jax.datasets.neutral.folder import read_folder, tables
from abkd_jax.datasets.neutral.graph_level import graph_dataset
from abkd_jax.datasets.neutral.labels import unlabelled
from abkd_jax.datasets.neutral.node_level import node_dataset
from abkd_jax.datasets.neutral.npz import read_npz
from abkd_jax.datasets.neutral.values import check_keys, word
from abkd_jax.types import Dataset, GraphDataset, InputError

__all__ = ["files", "load"]


def files(path: Path) -> tuple[Path, ...]:
    """Returns the files that `load` reads of a path; `()` where there are none.

    Args:
        path: an npz file, or a folder.
    """
    if path.is_dir():
        return tuple(tables(path).values())
    return (path,) if path.is_file() else ()


def load(path: Path, seed: int = 0, *, labelled: bool = True) -> Dataset | GraphDataset:
    """Reads and checks a graph, or with `graph_ids` a set of graphs.

    Args:
        path: an npz file, or a folder.
        seed: of the split, where the files have none.
        labelled: False reads neither labels nor split, which need not be there.

    Returns:
        The data set, named by the stem of the path. Nodes of a heterogeneous graph are numbered type by type, those
        with features first, and `node_ids` then says where they were; edges stay as they are listed.

    Raises:
        InputError: a file is missing or damaged, or one line with the array or column that is wrong.
    """
    if path.is_dir():
        arrays = read_folder(path, labelled=labelled)
    elif path.suffix == ".npz" or not path.exists():
        arrays = read_npz(path)
    else:
        raise InputError(f"{path}: expected an npz file, or a folder with edges.csv and nodes.csv (or .parquet)")
    try:
        check_keys(arrays)
        arrays = arrays if labelled else unlabelled(arrays)
        origin = word(arrays, "source")
        source = f"own file {path.name}" + (f" ({origin})" if origin else "")
        build = graph_dataset if "graph_ids" in arrays else node_dataset
        dataset = build(arrays, path.stem, source, seed)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return validate(dataset)
