"""A graph, and a set of graphs, in the neutral form, and what is the same in two data sets."""

import numpy as np
import pytest
import scipy.sparse as sp

from abkd_jax import datasets
from abkd_jax.datasets.neutral.graph_level import graph_dataset
from abkd_jax.datasets.neutral.node_level import node_dataset
from abkd_jax.types import Dataset, GraphDataset

N = 12
PLACES = {"train_mask": (0, 1), "val_mask": (2,), "test_mask": (3,)}
MASKS = {name: np.isin(np.arange(N) % 4, places) for name, places in PLACES.items()}


def arrays(**changes) -> dict:
    """Twelve nodes on a directed ring with a shortcut, two classes; `None` leaves an array out."""
    place = np.arange(N)
    given = {
        "senders": np.append(place, 0),
        "receivers": np.append((place + 1) % N, 6),
        "features": np.stack([place, np.ones(N)], axis=1),
        "labels": place % 2,
        "split": np.array(["train", "train", "val", "test"])[place % 4],
    }
    return {name: value for name, value in (given | changes).items() if value is not None}


def graph_arrays(**changes) -> dict:
    """Four graphs of three nodes, their nodes and edges in turn; each is a path whose edges are listed once."""
    place = np.arange(N)
    given = {
        "edges": np.concatenate([np.stack([place[:8], place[4:]], axis=1)]),
        "features": np.stack([place, np.ones(N)], axis=1).astype(np.float32),
        "graph_ids": place % 4,
        "labels": np.array([1, 0, 1, 0]),
        "split": np.array([0, 0, 1, 2]),
    }
    return {name: value for name, value in (given | changes).items() if value is not None}


def write_tables(folder, form, **tables):
    """Writes tables as pandas does; several folders below one may be of different forms."""
    pandas = pytest.importorskip("pandas")
    folder.mkdir(exist_ok=True)
    for name, columns in tables.items():
        frame = pandas.DataFrame(columns)
        path = folder / f"{name}.{form}"
        frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    return folder


def columns_of(given):
    """Nodes and edges of `neutral_samples.arrays` without labels, as columns of tables."""
    features = {f"x{number}": column for number, column in enumerate(given["features"].T)}
    return {"id": np.arange(N), **features}, {"source": given["senders"], "target": given["receivers"]}


def read(given: dict, seed: int = 0) -> Dataset | GraphDataset:
    """The checked data set of arrays of the neutral form."""
    build = graph_dataset if "graph_ids" in given else node_dataset
    return datasets.validate(build({name: np.asarray(value) for name, value in given.items()}, "mine", "", seed))


def differences(first: Dataset | GraphDataset, second: Dataset | GraphDataset) -> list[str]:
    """Names of the fields that differ in value, type or order; name and source are left out."""
    assert type(first) is type(second)
    return [
        field
        for field, a, b in zip(first._fields, first, second, strict=True)
        if field not in ("name", "source") and not _same(a, b)
    ]


def _same(a, b) -> bool:
    if sp.issparse(a):
        parts = ("data", "indices", "indptr")
        return sp.issparse(b) and a.shape == b.shape and all(_same(getattr(a, p), getattr(b, p)) for p in parts)
    if isinstance(a, np.ndarray):
        floats = a.dtype.kind == "f"
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=floats)
    return not isinstance(b, np.ndarray) and a == b
